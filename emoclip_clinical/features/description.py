"""What decides the content of the tables, in words and hashes, for features.json and the parts."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoclip_clinical.features.config import ExtractionConfig, canonical_hash
from emoclip_clinical.features.face_setup import describe_faces
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.prompt_sets import prompt_set_content, prompt_set_hash
from emoclip_clinical.features.segments import Grid
from emoclip_clinical.file_hashes import FileHashes
from emoclip_clinical.records import PromptSet

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

FORMAT = 5
"""Number of the layout and of the calculations; parts made under another are made again."""

_PACKAGES = ("av", "numpy", "onnxruntime", "open_clip_torch", "pyarrow", "torch", "torchvision")


def describe_run(
    embedder: Embedder, config: ExtractionConfig, prompt_sets: Sequence[PromptSet], grid: Grid
) -> dict[str, object]:
    """Return everything that decides the content of the tables, apart from the videos.

    Parameters
    ----------
    embedder : Embedder
        The model, in the precision that is used.
    config : ExtractionConfig
        Settings.
    prompt_sets : sequence of PromptSet
        What is scored.
    grid : Grid
        Sampling and windows.

    Returns
    -------
    dict
        JSON-like; its hash tells whether two parts were made alike.
    """
    return {
        "format": FORMAT,
        "model": {
            "hash": embedder.model_hash,
            "embedding_width": embedder.embedding_width,
            "image_size_pixels": embedder.image_size_pixels,
            "temperature": embedder.temperature,
            "precision": embedder.precision,
            "compiled": config.compile_model,
        },
        "prompts": [
            {**prompt_set_content(prompts), "hash": prompt_set_hash(prompts)}
            for prompts in prompt_sets
        ],
        "sampling": {
            "sample_fps": grid.sample_fps,
            "window_seconds": grid.window_seconds,
            "stride_seconds": grid.stride_seconds,
        },
        "quality": config.quality.model_dump(mode="json"),
        "faces": describe_faces(config),
    }


def describe_tables(
    embedder: Embedder,
    config: ExtractionConfig,
    *,
    run: Mapping[str, object],
    pooled_names: Sequence[str],
    versions: Sequence[Mapping[str, str]] = (),
) -> dict[str, object]:
    """Return what ``features.json`` says of the tables beside what decided each part.

    Parameters
    ----------
    embedder : Embedder
        The model.
    config : ExtractionConfig
        Settings.
    run : mapping
        From `describe_run`.
    pooled_names : sequence of str
        Columns of pooled features.
    versions : sequence of mapping
        From `package_versions`, where each part was made; without any, those that are here.

    Returns
    -------
    dict
        JSON-like.
    """
    return {
        "training_people": embedder.card.get("training_people"),
        "tower": _tower(embedder.card),
        "settings_hash": canonical_hash(run),
        "pooling": {
            "statistics": list(config.pooling),
            "weights": config.pooling_weights,
        },
        "pooled_features": list(pooled_names),
        "versions": all_versions(versions),
    }


def _tower(card: Mapping[str, Any]) -> dict[str, object]:
    """Return what a model is made of; its hash tells whether it differs from another."""
    architecture = card.get("architecture", {})
    tower = architecture.get("tower", {})
    return {
        **{name: tower.get(name) for name in ("name", "pretrained")},
        "temporal": architecture.get("temporal", {}).get("kind"),
    }


def describe_source(interview: Interview, *, hashes: FileHashes) -> Mapping[str, object]:
    """Return size and hash of an interview's file, and the part of it that is read."""
    try:
        n_bytes, content_hash = interview.path.stat().st_size, hashes.file(interview.path)
    except OSError:
        # Reading it will fail too, with a reason for the user.
        n_bytes, content_hash = None, None
    return {
        "bytes": n_bytes,
        "sha256": content_hash,
        "start_seconds": interview.start_seconds,
        "stop_seconds": interview.stop_seconds,
    }


def file_state(path: Path) -> tuple[int, int] | None:
    """Return a file's size and its time of change in nanoseconds; None where it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def all_versions(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return every version that parts were made with.

    Parameters
    ----------
    parts : sequence of mapping
        From `package_versions`, one for each part.

    Returns
    -------
    dict of str to str
        By package; where parts differ, all of its versions, sorted, with commas. Of no parts, the
        versions that are here.
    """
    found: dict[str, set[str]] = {}
    for versions in parts or [package_versions()]:
        for package, version in versions.items():
            found.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(several)) for package, several in found.items()}

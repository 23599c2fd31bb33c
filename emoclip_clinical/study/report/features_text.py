"""How the features of a result were made, as text for a paper: as features.json has it.

The protocol is not asked: the model may have been trained or imported with other settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from emoclip_clinical.study.report.folder import Record, ResultFolder


def features_text(result: ResultFolder) -> str:
    """Return the paragraph on the features; what is not known is left to the author."""
    n = result.metrics["settings"]["n_features"]
    if not result.is_from_extract:
        return (
            f"Each visit was described by {n} features from a table that was made elsewhere "
            f"{_gap('how')}."
        )
    source: Record = result.provenance["features"]
    statistics = _part(source, "pooling").get("statistics") or ()
    pooled = ", ".join(str(name).replace("_", " ") for name in statistics)
    return (
        f"{_sampling(_part(source, 'sampling'), _faces(_part(source, 'faces')))} A "
        f"vision-language model ({_model(_part(source, 'tower'))}) gave each segment its "
        "similarity to sentences that describe expressions; no rating was used for this. Segments "
        f"were pooled to one row of features an interview{f' ({pooled})' if pooled else ''}, {n} "
        "in all."
    )


def _sampling(sampling: Record, faces: str) -> str:
    fps, window, stride = (
        sampling.get(name) for name in ("sample_fps", "window_seconds", "stride_seconds")
    )
    rate = f"{fps:g}" if fps is not None else _gap("how many")
    length = f"{window:g} s" if window is not None else f"a length of {_gap('how many')} s"
    step = f", one every {stride:g} s" if stride is not None else ""
    return (
        f"Interview videos were sampled at {rate} pictures a second; {faces}. Segments had "
        f"{length}{step}."
    )


def _faces(faces: Record) -> str:
    kind, detector, fps = (faces.get(name) for name in ("face", "detector", "detection_fps"))
    if kind == "detect" and detector is not None and fps is not None:
        return (
            f"faces were found with {detector} at {fps:g} pictures a second and followed over time"
        )
    return {
        "detect": "faces were found and followed over time",
        "whole_frame": "pictures were used whole",
        "precomputed": "faces were cut out with boxes of another tool",
    }.get(str(kind), f"faces were cut out {_gap('how')}")


def _model(tower: Record) -> str:
    towers = f"image and text tower {_tower(tower)}"
    return {
        "mean": f"{towers}; the mean of a segment's pictures",
        "first_frame": f"{towers}; a segment's first picture alone",
    }.get(str(tower.get("temporal")), f"EmoCLIP; {towers}")


def _tower(tower: Record) -> str:
    name, weights = tower.get("name"), tower.get("pretrained")
    if not name:
        return _gap("which")
    # Weights of an imported model, or of a file, are named by nothing but their hash.
    known = weights and weights != "none" and not str(weights).startswith("sha256:")
    return f"{name}, pretrained weights {weights}" if known else str(name)


def _part(source: Record, name: str) -> Record:
    found = source.get(name)
    return found if isinstance(found, Mapping) else {}


def _gap(what: str) -> str:
    return f"[FOR THE AUTHOR: {what}]"

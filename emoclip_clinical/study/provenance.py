"""What a result was made from: settings, hashes of inputs, versions. No name, no path."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from emoclip_clinical.file_hashes import FileHashes, file_sha256
from emoclip_clinical.study.protocol import Protocol

PACKAGES = (
    "emoclip-clinical", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "torch",
    "torchvision", "open_clip_torch", "av", "decord2", "onnxruntime",
)  # fmt: skip

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)


def provenance(
    *,
    command: str,
    protocol: Protocol,
    inputs: Mapping[str, str | None],
    started: datetime,
    ended: datetime,
) -> dict[str, object]:
    """Gather what a reader needs to repeat a result.

    Parameters
    ----------
    command : str
        Name of the command that made the result.
    protocol : Protocol
        With overrides applied.
    inputs : mapping of str to str or None
        SHA-256 of each input, by its role.
    started, ended : datetime
        With their time zone.

    Returns
    -------
    dict
        Ready for JSON.
    """
    settings = protocol.model_dump(mode="json")
    return {
        "command": command,
        "protocol": settings,
        "protocol_sha256": json_sha256(settings),
        "inputs": dict(inputs),
        "seed": protocol.seed,
        "device": "cpu",
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform_name(),
        "started": started.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
    }


def package_versions() -> dict[str, str | None]:
    """Return the versions of the packages that results follow from; None where one is missing."""
    return {name: _version(name) for name in PACKAGES}


def platform_name() -> str:
    """Return operating system and processor."""
    return f"{platform.system()} {platform.machine()}"


def json_sha256(content: object) -> str:
    """Return the SHA-256 of a value's canonical JSON form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def tree_sha256(path: Path, hashes: FileHashes | None = None) -> str | None:
    """Return the SHA-256 of a file, or of the names and bytes of all files in a folder.

    None where there is nothing at `path`. Without `hashes` every file is read.
    """
    of_file = file_sha256 if hashes is None else hashes.file
    if path.is_file():
        return of_file(path)
    if not path.is_dir():
        return None
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return json_sha256([[p.relative_to(path).as_posix(), of_file(p)] for p in files])


def git_commit(folder: Path) -> str | None:
    """Return the commit that a study's folder is at, or None where it is not under git."""
    git = shutil.which("git")
    if git is None:
        return None
    found = subprocess.run(
        [git, "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

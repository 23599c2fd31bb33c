"""YuNet's weights, fetched once, by explicit choice, and used only if they are the known ones."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

from emoclip_clinical.records import InputError

YUNET_ADDRESS = (
    "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
    "02246e79b1e976c83d1e135a85e0628120c93769/onnx/yunet_n_dynamic.onnx"
)
"""In its authors' repository, at one commit (Apache-2.0)."""

YUNET_SHA256 = "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12"
"""SHA-256 of that file."""

_FILE_NAME = "yunet_n_dynamic.onnx"
_MOST_BYTES = 16 * 2**20
_PATIENCE_SECONDS = 60.0


def weights_cache() -> Path:
    """Return the folder that fetched weights are kept in (``XDG_CACHE_HOME``, or ~/.cache)."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "emoclip-clinical"


def fetched_yunet(cache: Path, *, address: str = YUNET_ADDRESS, sha256: str = YUNET_SHA256) -> Path:
    """Return YuNet's weights; fetch them if they are not in the cache.

    Parameters
    ----------
    cache : Path
        Where they are kept.
    address : str
        Where they come from.
    sha256 : str
        What their content must be.

    Returns
    -------
    Path
        A file with that content.

    Raises
    ------
    InputError
        If they can not be fetched or kept, or are something else than they should be; then
        nothing is kept.
    """
    path = cache / _FILE_NAME
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE_SECONDS) as answer:
            content = answer.read(_MOST_BYTES)
    except OSError as error:
        raise InputError(
            f"YuNet's weights could not be fetched from {address} ({error}): fetch the file "
            "elsewhere and set yunet_weights to it"
        ) from None
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise InputError(
            f"YuNet's weights from {address} must have the SHA-256 {sha256}, got {got}: they are "
            "not used"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Another process may be fetching them too; each moves a whole file into place.
        part = cache / f"{_FILE_NAME}.{os.getpid()}.part"
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise InputError(f"can not write to {cache}: {error.strerror}") from None
    return path

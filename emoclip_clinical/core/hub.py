"""Weights that others trained: in the hub's local cache, or fetched once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import huggingface_hub
import open_clip.pretrained
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

from emoclip_clinical.records import InputError

REACH_SECONDS = 5.0
OTHER_WAYS = (
    "on a machine without a network give a file of weights, or `none` for random weights "
    "(train: --pretrained FILE, --pretrained none)"
)


def cached_weights(name: str, tag: str) -> Path | None:
    """Return the file of an architecture's weights if it is on this machine; never fetches.

    Parameters
    ----------
    name, tag : str
        Architecture and weights, as open_clip names them.

    Returns
    -------
    Path or None
    """
    repository, files = _hub_files(name, tag)
    for file in files:
        found = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch_weights(name: str, tag: str) -> Path:
    """Return the file of an architecture's weights, fetched into the hub's cache if need be.

    Raises
    ------
    InputError
        If the weights are not on this machine and can not be fetched.
    """
    if found := cached_weights(name, tag):
        return found
    what = f"the weights {tag!r} of {name}"
    require_hub(what, otherwise=OTHER_WAYS)
    config = open_clip.pretrained.get_pretrained_cfg(name, tag)
    try:
        with quiet_hub():
            return Path(open_clip.pretrained.download_pretrained(config))
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{what} could not be fetched: {reason}; {OTHER_WAYS}") from error


def require_hub(what: str, *, otherwise: str = "fetch them where there is a network") -> None:
    """Ask the hub once whether it is there: its own client tries for a minute before it gives up.

    Parameters
    ----------
    what : str
        What is wanted of it, in the plural.
    otherwise : str
        What else the user can do.

    Raises
    ------
    InputError
        If it does not answer within a few seconds, or is switched off by HF_HUB_OFFLINE.
    """
    address = huggingface_hub.constants.ENDPOINT
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE forbids fetching them"
    else:
        try:
            get_session().head(address, timeout=REACH_SECONDS)
        except Exception as error:
            # The hub's client changed its HTTP library, and its errors share no base class.
            reason = f"{address} does not answer ({type(error).__name__})"
        else:
            return
    raise InputError(f"{what} are not on this machine, and {reason}; {otherwise}")


def require_repository_file(repository: str, file: str) -> None:
    """Make sure that a file of the hub is on this machine or can be asked for.

    Raises
    ------
    InputError
        If neither holds.
    """
    if not isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str):
        require_hub(f"the settings of {repository!r}")


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep the hub's notes on retries to itself; what fails in the end is raised all the same."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _hub_files(name: str, tag: str) -> tuple[str, tuple[str, ...]]:
    """Return the repository and the file names to look for, the safest format first."""
    address = str(open_clip.pretrained.get_pretrained_cfg(name, tag).get("hf_hub") or "")
    if not address:
        return "", ()
    repository, _, file = address.rpartition("/")
    if not file:
        return repository, ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return repository, (str(PurePosixPath(file).with_suffix(".safetensors")), file)

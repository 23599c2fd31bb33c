"""How the work is shared among threads, devices, jobs and machines; results do not depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

from emoclip_clinical.features.shards import Shard, parse_shard
from emoclip_clinical.records import InputError

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

ENGINES = ("local", "ray")


class Loader(Protocol):
    """Makes the model on a device, as ``functools.partial(load_model, folder)`` does."""

    def __call__(self, *, device: str) -> Embedder:
        """Return the model on ``cpu`` or ``cuda[:k]``."""
        ...


@dataclass(frozen=True)
class ScaleOut:
    """How many interviews are read at once, where, and which.

    Attributes
    ----------
    workers : int or None
        Interviews that are read at the same time: in threads, or in Ray's actors; None: as many
        as the model's device needs so that it has no time off.
    engine : str
        ``local`` or ``ray``.
    shard : Shard or None
        The part of the interviews that this process reads; it writes no tables.
    merge_only : bool
        Whether no interview is read, and the tables are made of what the shards wrote.
    load : Loader or None
        Makes the model on another device or in another process; Ray pickles it.
    devices : tuple of str
        Further devices, beside the embedder's own.
    """

    workers: int | None = None
    engine: Literal["local", "ray"] = "local"
    shard: Shard | None = None
    merge_only: bool = False
    load: Loader | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        faults = []
        if self.workers is not None and self.workers < 1:
            faults.append(f"workers must be at least 1, got {self.workers}")
        if self.engine not in ENGINES:
            faults.append(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.shard is not None and self.merge_only:
            faults.append("a shard reads interviews and merging reads none: ask for one of them")
        if faults:
            raise InputError(faults)


THIS_PROCESS = ScaleOut()
"""All interviews, in this process, on the model's own device."""


def parse_scale(*, workers: int | None, engine: str, shard: str | None, merge: bool) -> ScaleOut:
    """Read what a command was given.

    Parameters
    ----------
    workers : int or None
        See `ScaleOut`.
    engine : str
        ``local`` or ``ray``.
    shard : str or None
        ``i/n``.
    merge : bool
        See `ScaleOut.merge_only`.

    Returns
    -------
    ScaleOut
        Without `load`.

    Raises
    ------
    InputError
        If the engine is unknown, or the options contradict each other.
    """
    return ScaleOut(
        workers=workers,
        engine=cast(Literal["local", "ray"], engine),  # checked there, with the other faults
        shard=None if shard is None else parse_shard(shard),
        merge_only=merge,
    )

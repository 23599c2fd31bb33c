"""How the work is shared among threads, devices, jobs and machines; results do not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from emoclip_clinical.features.shards import Shard
from emoclip_clinical.records import InputError

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class ScaleOut:
    """How many interviews are read at once, where, and which.

    Attributes
    ----------
    workers : int
        Interviews that are read at the same time: in threads, or in Ray's actors.
    engine : str
        ``local`` or ``ray``.
    shard : Shard or None
        The part of the interviews that this process reads; it writes no tables.
    merge_only : bool
        Whether no interview is read, and the tables are made of what the shards wrote.
    load : callable or None
        Makes the model on the device that it is given; for devices and for Ray, which must be
        able to pickle it.
    devices : tuple of str
        Further devices, beside the embedder's own.
    """

    workers: int = 1
    engine: Literal["local", "ray"] = "local"
    shard: Shard | None = None
    merge_only: bool = False
    load: Callable[[str], Embedder] | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        faults = []
        if self.workers < 1:
            faults.append(f"workers must be at least 1, got {self.workers}")
        if self.engine not in ENGINES:
            faults.append(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.shard is not None and self.merge_only:
            faults.append("a shard reads interviews and merging reads none: ask for one of them")
        if self.load is None and (self.devices or self.engine == "ray"):
            faults.append("further devices and Ray need load, which makes the model there")
        if faults:
            raise InputError(faults)


ONE_BY_ONE = ScaleOut()
"""One interview after the other, all of them, on the model's own device."""

"""Targets that are analysed together: what is wrong with any of them is told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from emoclip_clinical.records import InputError, Ratings
from emoclip_clinical.regression.design import Design

Of = TypeVar("Of", Ratings, Design)
Made = TypeVar("Made")


def for_each_target(targets: Sequence[Of], make: Callable[[Of], Made]) -> list[Made]:
    """Return what is made of each target.

    Parameters
    ----------
    targets : sequence of Ratings or of Design
    make : callable
        Raises InputError where a target can not be used.

    Raises
    ------
    InputError
        With the faults of every target, each with the target's name; what all of several targets
        have is told once, as it is.
    """
    made: list[Made] = []
    faults: dict[str, tuple[str, ...]] = {}
    for one in targets:
        try:
            made.append(make(one))
        except InputError as error:
            faults[one.target] = error.faults
    if faults:
        raise InputError(_told(faults, n_targets=len(targets)))
    return made


def _told(faults: Mapping[str, tuple[str, ...]], *, n_targets: int) -> list[str]:
    shared = set.intersection(*map(set, faults.values())) if len(faults) == n_targets else set()
    told = []
    for target, found in faults.items():
        name = f"target {target}: "
        told += [f if f in shared else name + f.removeprefix(name) for f in found]
    return list(dict.fromkeys(told))

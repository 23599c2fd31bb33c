"""Folders of the results, one a target, and targets that would share one or are one."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from emoclip_clinical.regression.scales import Registry
from emoclip_clinical.regression.targets import short_name


def target_folder(name: str, registry: Registry | None = None) -> str:
    """Return a target's name as a folder's or file's, one for all spellings of the name.

    Of `panss.negative_symptoms` it is `negative_symptoms`, see `short_name`; `N1+N3` stays, a
    slash does not.

    Parameters
    ----------
    name : str
    registry : mapping of str to Scale, optional
        The known scales; the shipped ones by default.
    """
    return re.sub(r"[^A-Za-z0-9._+-]", "_", short_name(name, registry))


def repeated_targets(
    names: Sequence[str], meant: Sequence[Hashable], registry: Registry | None = None
) -> list[str]:
    """Say which targets are the same one, or would be written to one folder.

    One target under two names would count twice where p values are adjusted over all targets.
    File systems of some machines do not tell upper from lower case.

    Parameters
    ----------
    names : sequence of str
        Targets as they were asked for.
    meant : sequence of hashable
        What each of them is; equal for one target.
    registry : mapping of str to Scale, optional
        As for `target_folder`.
    """
    faults = []
    of_meaning: dict[Hashable, str] = {}
    of_folder: dict[str, str] = {}
    for name, what in zip(names, meant, strict=True):
        folder = target_folder(name, registry)
        if what in of_meaning:
            faults.append(f"targets {of_meaning[what]!r} and {name!r} are the same: name it once")
        elif folder.casefold() in of_folder:
            other = of_folder[folder.casefold()]
            faults.append(
                f"targets {other!r} and {name!r} would both be written to the folder {folder!r}: "
                "rename a column of the ratings, or estimate them apart"
            )
        of_meaning.setdefault(what, name)
        of_folder.setdefault(folder.casefold(), name)
    return faults

"""Share a cohort among the jobs of an array."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.records import InputError


@dataclass(frozen=True)
class Shard:
    """One of several equal shares of the interviews.

    Attributes
    ----------
    number, total : int
        From 1 to `total`.
    """

    number: int
    total: int

    def __post_init__(self) -> None:
        """Refuse shares that do not exist."""
        if not 1 <= self.number <= self.total:
            raise InputError(
                f"a shard must be i/n with i from 1 to n, as 2/8, got {self.number}/{self.total}"
            )

    def of(self, interviews: Sequence[Interview]) -> tuple[Interview, ...]:
        """Return this share: every `total`-th interview, so that visits spread evenly."""
        return tuple(interviews[self.number - 1 :: self.total])

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_shard(text: str) -> Shard:
    """Read ``i/n``.

    Parameters
    ----------
    text : str
        As ``2/8``.

    Returns
    -------
    Shard
        The second of eight.

    Raises
    ------
    InputError
        If it is not of this form.
    """
    found = re.fullmatch(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*", text)
    if found is None:
        raise InputError(f"a shard must be i/n with i from 1 to n, as 2/8, got {text!r}")
    return Shard(number=int(found[1]), total=int(found[2]))

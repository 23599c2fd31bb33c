"""Tell where one face turns into another without a cut, as when a tile of a video call fades.

The face stays in its place and its look moves a little from picture to picture, so that no two
neighbouring looks differ much. Seconds apart they do: what is compared is the average look of the
last moments with that of some seconds before. A face that is turned, laughs or hides behind a hand
comes nowhere near the difference between two people, and a change of light moves its colours and
leaves its pattern alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emoclip_clinical.features.appearance import (
    Appearance,
    MeanAppearance,
    difference,
    pattern_difference,
)

RECENT_SECONDS = 1.5
"""Looks are averaged over this time, now and before."""

APART_SECONDS = 2.0
"""Time between the two averages. A fade that takes twice as long is still seen, a much slower one
is not."""

SETTLED_SECONDS = 2.0
"""Who has replaced another is surely there alone after this time."""

HISTORY_SECONDS = 2 * RECENT_SECONDS + APART_SECONDS

OTHER_DIFFERENCE = 0.3
"""Average looks that differ by more, see `difference`, are two people's; one person's differ by up
to 0.2, also with a hand before the face."""

OTHER_PATTERN = 0.15
"""And their light and dark must differ by more than this: a lamp that is switched on moves nothing
else but the colours."""

_LONGEST_CHANGE_SECONDS = 15.0
_FIRST_MOMENT_SECONDS = 0.5
_SAME_DIFFERENCE = 0.2
_CLEAR_RATIO = 1 / 3
_ANY_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class TimedLook:
    """What a face looked like at a moment."""

    seconds: float
    look: Appearance


@dataclass(frozen=True)
class Change:
    """A face that has begun to look like someone else.

    Attributes
    ----------
    before : Appearance
        What it looked like.
    since : float
        When it surely still did.
    """

    before: Appearance
    since: float


def begun(looks: Sequence[TimedLook]) -> Change | None:
    """Tell whether a face has become someone else's.

    Parameters
    ----------
    looks : sequence of TimedLook
        Of one track, in order of time, at least the last `HISTORY_SECONDS` of it.

    Returns
    -------
    Change or None
        None where the last looks are like those of some seconds before, or these are missing.
    """
    before, after = _before(looks), _latest(looks, RECENT_SECONDS)
    return _change(before, after)


def begun_at_the_end(looks: Sequence[TimedLook], *, replaced: bool) -> Change | None:
    """Tell the same of a track that ends, from its last look alone.

    Parameters
    ----------
    looks : sequence of TimedLook
        As for `begun`; where the track is shorter than that, its first moment is what was before.
    replaced : bool
        Whether another face is in its place: then less of a difference is a change.

    Returns
    -------
    Change or None
        As of `begun`.
    """
    first = [item for item in looks if item.seconds <= looks[0].seconds + _FIRST_MOMENT_SECONDS]
    return _change(_before(looks) or first, looks[-1:], strict=replaced)


def n_not_yet(looks: Sequence[TimedLook]) -> int:
    """Tell how long someone who has replaced another was still mixed with them.

    Parameters
    ----------
    looks : sequence of TimedLook
        Of the new track, from its start.

    Returns
    -------
    int
        So many looks at the start are not like the last ones.
    """
    settled = _mean(_latest(looks, RECENT_SECONDS))
    count = 0
    while difference(looks[count].look, settled) > _SAME_DIFFERENCE and count < len(looks) - 1:
        count += 1
    return count


def goes_on(change: Change, looks: Sequence[TimedLook]) -> bool:
    """Tell whether a change has not come to its end.

    Parameters
    ----------
    change : Change
        From `begun`.
    looks : sequence of TimedLook
        All since then.

    Returns
    -------
    bool
        False when the last looks are again like those of some seconds before, and after 15 s.
    """
    if looks[-1].seconds - change.since >= _LONGEST_CHANGE_SECONDS:
        return False
    return begun(looks) is not None


def divide(change: Change, looks: Sequence[TimedLook], *, ended: bool) -> tuple[int, int]:
    """Tell which looks of a change are the one person's and which the other's.

    Parameters
    ----------
    change : Change
        From `begun`.
    looks : sequence of TimedLook
        Those after `change.since`, in order of time.
    ended : bool
        Whether the track ends with the last look; then those at its end are someone's only if
        they last long enough to be sure.

    Returns
    -------
    n_before : int
        So many looks at the start are surely of who was there before; all of them where nobody
        else turned out to be there.
    first_after : int
        Looks from this one on are surely of who was there afterwards, who may be the same again;
        those in between are nobody's. Unless `ended`, there is at least one.
    """
    after = _mean(_latest(looks, RECENT_SECONDS))
    # Who hid for a while and came back is like both.
    returned = not _unlike(change.before, after)

    def like(look: Appearance, one: Appearance, other: Appearance) -> bool:
        own = difference(look, one)
        clear = returned or own <= _CLEAR_RATIO * difference(look, other)
        return own <= _SAME_DIFFERENCE and clear

    n_before = 0
    while n_before < len(looks) and like(looks[n_before].look, change.before, after):
        n_before += 1
    if n_before == len(looks):
        return n_before, n_before
    first_after = len(looks)
    while first_after > n_before and like(looks[first_after - 1].look, after, change.before):
        first_after -= 1
    if not ended:
        first_after = min(first_after, len(looks) - 1)
        return min(n_before, first_after), first_after
    sure = (
        first_after < len(looks)
        and looks[-1].seconds - looks[first_after].seconds >= RECENT_SECONDS - _ANY_SECONDS
    )
    return n_before, first_after if sure else len(looks)


def _before(looks: Sequence[TimedLook]) -> list[TimedLook]:
    end = looks[-1].seconds - RECENT_SECONDS - APART_SECONDS + _ANY_SECONDS
    start = looks[-1].seconds - HISTORY_SECONDS - _ANY_SECONDS
    return [item for item in looks if start <= item.seconds <= end]


def _latest(looks: Sequence[TimedLook], seconds: float) -> list[TimedLook]:
    return [item for item in looks if item.seconds > looks[-1].seconds - seconds + _ANY_SECONDS]


def _change(
    before: Sequence[TimedLook], after: Sequence[TimedLook], *, strict: bool = False
) -> Change | None:
    if not before or before[-1].seconds >= after[0].seconds:
        return None
    first, second = _mean(before), _mean(after)
    changed = difference(first, second) > _SAME_DIFFERENCE if strict else _unlike(first, second)
    return Change(first, before[-1].seconds) if changed else None


def _unlike(first: Appearance, second: Appearance) -> bool:
    if difference(first, second) < OTHER_DIFFERENCE:
        return False
    pattern = pattern_difference(first, second)
    return pattern is None or pattern >= OTHER_PATTERN


def _mean(items: Sequence[TimedLook]) -> Appearance:
    average = MeanAppearance()
    for item in items:
        average.add(item.look)
    return average.mean

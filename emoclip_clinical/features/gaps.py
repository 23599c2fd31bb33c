"""Holes in a video of steady rate.

Some demuxers skip damaged stretches without a word; in a video whose pictures otherwise follow
each other at one rate, the hole in its clock is what is left to see of it.
"""

from __future__ import annotations

from collections import Counter

_FEWEST_STEPS = 50
_STEADY_SHARE = 0.99
_SMALLEST_GAP_SECONDS = 0.4
_SMALLEST_GAP_STEPS = 8
_TOLERANCE = 0.25
_TOLERANCE_MILLISECONDS = 2


class GapWatch:
    """Tell holes from the pauses of a variable rate."""

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()

    def missing_seconds(self, step_seconds: float) -> float:
        """Take the time from one picture to the next.

        Parameters
        ----------
        step_seconds : float
            At least 0.

        Returns
        -------
        float
            Seconds for which pictures are missing: 0 unless the step is at least 0.4 s and eight
            usual ones, and at least 99 of 100 steps so far were usual, of 50 or more.
        """
        usual = self._usual() if step_seconds >= _SMALLEST_GAP_SECONDS else None
        if usual is not None and step_seconds >= _SMALLEST_GAP_STEPS * usual:
            return step_seconds - usual
        self._steps[round(1000 * step_seconds)] += 1
        return 0.0

    def _usual(self) -> float | None:
        """Return the median step in seconds; None where the steps are not steady."""
        total = self._steps.total()
        if total < _FEWEST_STEPS:
            return None
        seen, median = 0, 0
        for median in sorted(self._steps):
            seen += self._steps[median]
            if 2 * seen >= total:
                break
        reach = _TOLERANCE * median + _TOLERANCE_MILLISECONDS
        near = sum(count for step, count in self._steps.items() if abs(step - median) <= reach)
        return median / 1000 if near >= _STEADY_SHARE * total else None

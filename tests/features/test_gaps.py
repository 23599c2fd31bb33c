"""Holes are told from the pauses of a variable rate."""

from __future__ import annotations

import numpy as np
import pytest

from emoclip_clinical.features.gaps import GapWatch


def missing(steps):
    watch = GapWatch()
    return [watch.missing_seconds(float(step)) for step in steps]


@pytest.mark.parametrize("rate", [12.5, 25.0, 29.97, 60.0])
def test_a_hole_in_a_steady_rate(rate):
    times = np.round(np.arange(400) / rate, 3)
    kept = np.delete(times, slice(200, 200 + round(0.8 * rate)))
    found = missing(np.diff(kept))
    assert np.count_nonzero(found) == 1
    assert sum(found) == pytest.approx(0.8, abs=1.5 / rate)


def test_pauses_of_a_variable_rate_are_none():
    rng = np.random.default_rng(0)
    assert not any(missing(rng.choice([0.03, 0.05, 0.1, 0.9], size=2000)))
    # One picture in forty stands for a second: a recorder that saves space.
    assert not any(missing([0.04] * 40 + ([1.0] + [0.04] * 40) * 30))


def test_dropped_pictures_and_short_videos_are_none():
    assert not any(missing(([0.04] * 200 + [0.12]) * 5))
    assert not any(missing([0.04] * 30 + [2.0]))
    # At one picture a second, two are no hole.
    assert not any(missing([1.0] * 100 + [2.0]))


def test_two_holes_do_not_make_it_unsteady():
    assert np.count_nonzero(missing([0.04] * 60 + [3.0] + [0.04] * 5 + [3.0] + [0.04])) == 2

"""One independent stream of random numbers for each thing that is drawn.

Streams are keyed by what they are for and by the thing's number, so a clip or an interview has
the same bytes in whatever order and by however many processes it is drawn.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream of random numbers is for."""

    PLAN = 0
    CLIP_PERSON = 1
    CLIP = 2
    COHORT = 3
    SUBJECT = 4
    INTERVIEW = 5
    RATING = 6
    CALIBRATION = 7
    POPULATION = 8
    CAINS = 9


def generator(seed: int, stream: Stream, *numbers: int) -> np.random.Generator:
    """Return the random generator of one thing.

    Parameters
    ----------
    seed : int
        Seed of the study.
    stream : Stream
    *numbers : int
        Which thing of that kind.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> first = generator(0, Stream.CLIP, 3)
    >>> bool(first.random() == generator(0, Stream.CLIP, 3).random())
    True
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(int(stream), *numbers))
    return np.random.default_rng(sequence)

"""Which nested training sets many rating vectors need, when each vector has folds of its own.

A training set and its inner folds depend on the ratings only through who is left out, so that
vectors often need the same one: leaving out a subject and a partner, n subjects allow n (n - 1)
pairs, and a thousand permutations ask for 1000 n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from emoclip_clinical.regression.folds import Folds, deal_inner

TEST, DROPPED = -1, -2
WIDEST = 64
"""Most vectors that one entry of a plan serves: what is computed for them must fit in memory."""


@dataclass(frozen=True)
class Plans:
    """Distinct nested training sets, and the vectors that use them.

    Attributes
    ----------
    part : ndarray of int, shape (n_plans, n_visits)
        Inner fold of each training row, `TEST` for the rows to predict, `DROPPED` for those that
        are left out beside them.
    plan, vector, repeat : ndarray of int, shape (n_uses,)
        Which plan is used, for which rating vector, in which repeat; at most `WIDEST` times each.
    """

    part: np.ndarray
    plan: np.ndarray
    vector: np.ndarray
    repeat: np.ndarray

    def blocks(self, width: Callable[[int], int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield plans that are used about equally often, the most used first.

        Parameters
        ----------
        width : callable
            Maps the number of vectors of each plan to the number of plans to take together.

        Yields
        ------
        plans : ndarray of int, shape (n_taken,)
        uses : ndarray of int, shape (n_taken, n_vectors_each)
            Uses of each plan; one that has fewer repeats its first.
        """
        count = np.bincount(self.plan, minlength=len(self.part))
        first = np.cumsum(count) - count
        uses = np.argsort(self.plan, kind="stable")
        order = np.argsort(-count, kind="stable")
        while len(order):
            widest = int(count[order[0]])
            taken, order = np.split(order, [max(1, width(widest))])
            each = np.arange(widest)
            yield taken, uses[first[taken, None] + each * (each < count[taken, None])]


def nested_plans(
    folds: Sequence[Folds], *, subjects: np.ndarray, inner_folds: int, seed: int
) -> Plans:
    """Collect the nested training sets of many vectors.

    Parameters
    ----------
    folds : sequence of Folds
        Of each vector.
    subjects : ndarray of int, shape (n_visits,)
        Numbered from 0.
    inner_folds, seed : int
        As `folds.inner_folds` takes them, which deals the same folds.
    """

    @cache
    def dealt(repeat: int, fold: int, n_subjects: int) -> np.ndarray:
        return deal_inner(n_subjects, folds=inner_folds, seed=seed, repeat=repeat, fold=fold)

    numbers: dict[tuple[bytes, int], int] = {}
    used: dict[bytes, int] = {}
    uses = []
    for vector, drawn in enumerate(folds):
        for repeat in range(len(drawn.number)):
            for part in _parts(drawn, repeat, subjects, dealt):
                key = part.tobytes()
                used[key] = used.get(key, -1) + 1
                number = numbers.setdefault((key, used[key] // WIDEST), len(numbers))
                uses.append((number, vector, repeat))
    part = np.frombuffer(b"".join(key for key, _ in numbers), dtype=np.int16)
    plan, vectors, repeats = np.array(uses).T
    return Plans(part.reshape(len(numbers), -1), plan, vectors, repeats)


def _parts(
    folds: Folds, repeat: int, subjects: np.ndarray, dealt: Callable[[int, int, int], np.ndarray]
) -> Iterator[np.ndarray]:
    number = folds.number[repeat]
    of_subject = np.empty(int(subjects.max()) + 1, dtype=np.int64)
    of_subject[subjects] = number
    if not np.array_equal(of_subject[subjects], number):
        raise ValueError("a subject stands in training and test of a fold")
    for fold in range(int(number.max()) + 1):
        part = np.where(of_subject == fold, TEST, 0).astype(np.int16)
        if folds.dropped is not None:
            part[folds.dropped[repeat, fold]] = DROPPED
        training = part == 0
        part[training] = dealt(repeat, fold, int(training.sum()))
        yield part[subjects]

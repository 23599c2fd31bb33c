"""Splits of subjects: random, equal in subjects, and blind to the ratings.

Folds that were balanced on the outcome and kept while the ratings are permuted would make the
permutation test reject too often, so nothing here sees a rating.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emoclip_clinical.records import InputError

OUTER, INNER = 1, 2


def fold_of_subjects(n_subjects: int, *, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal subjects at random into folds whose sizes differ by at most one.

    Returns
    -------
    ndarray of int, shape (n_subjects,)
        Fold of each subject, from 0.

    Raises
    ------
    InputError
        If there are fewer subjects than folds.
    """
    if n_subjects < folds:
        raise InputError(f"{folds} folds need at least {folds} subjects, got {n_subjects}")
    fold = np.empty(n_subjects, dtype=np.int64)
    fold[rng.permutation(n_subjects)] = np.arange(n_subjects) % folds
    return fold


def outer_folds(subjects: np.ndarray, *, folds: int, repeats: int, seed: int) -> np.ndarray:
    """Return the fold of each row for repeated grouped K-fold cross-validation.

    Parameters
    ----------
    subjects : ndarray of int, shape (n_visits,)
        Subject of each row, numbered from 0.
    folds, repeats : int
        Number of folds and of repetitions with new random folds.
    seed : int
        Seed; each repeat has a stream of its own, so more repeats keep the first ones.

    Returns
    -------
    ndarray of int, shape (repeats, n_visits)
    """
    n_subjects = int(subjects.max()) + 1
    dealt = [
        fold_of_subjects(n_subjects, folds=folds, rng=_stream(seed, OUTER, repeat))
        for repeat in range(repeats)
    ]
    return np.stack(dealt)[:, subjects]


def leave_one_subject_out(subjects: np.ndarray) -> np.ndarray:
    """Return the fold of each row where every subject is a fold; shape (1, n_visits)."""
    return subjects[np.newaxis, :].copy()


def inner_folds(
    subjects: np.ndarray, *, folds: int, seed: int, repeat: int, fold: int
) -> np.ndarray:
    """Return the inner fold of each training row of one outer fold.

    Parameters
    ----------
    subjects : ndarray of int, shape (n_training_visits,)
        Subject of each training row.
    folds : int
        Number of inner folds.
    seed, repeat, fold : int
        Which outer training set it is; each has a stream of its own.

    Returns
    -------
    ndarray of int, shape (n_training_visits,)
    """
    dense = np.unique(subjects, return_inverse=True)[1]
    rng = _stream(seed, INNER, repeat, fold)
    return fold_of_subjects(int(dense.max()) + 1, folds=folds, rng=rng)[dense]


def splits(fold: np.ndarray, *, subjects: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield training and test rows of each fold, in the order of the folds.

    Parameters
    ----------
    fold : ndarray of int, shape (n_visits,)
        Fold of each row, from 0.
    subjects : ndarray of int, shape (n_visits,)
        Subject of each row.

    Raises
    ------
    ValueError
        If a subject would stand on both sides of a split.
    """
    for number in range(int(fold.max()) + 1):
        test = fold == number
        straddling = np.intersect1d(subjects[test], subjects[~test])
        if straddling.size:
            raise ValueError(f"subject {straddling[0]} stands in training and test of a fold")
        yield np.flatnonzero(~test), np.flatnonzero(test)


def _stream(seed: int, *path: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))

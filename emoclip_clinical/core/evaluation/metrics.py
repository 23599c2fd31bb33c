"""Figures of classification, from a confusion matrix or from scores; numpy alone.

All of them take weights, so that a bootstrap resample is a vector of counts and nothing is
copied. What is not defined is NaN here; records and files turn it into None.
"""

from __future__ import annotations

import numpy as np


def confusion_matrix(
    observed: np.ndarray,
    predicted: np.ndarray,
    *,
    n_classes: int,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Count clips by observed and predicted class.

    Parameters
    ----------
    observed, predicted : int ndarray of shape (n,)
        Classes, from 0 to `n_classes` - 1.
    n_classes : int
        Classes in all, those that do not occur included.
    weight : ndarray of shape (n,), optional
        How often each clip counts; once by default.

    Returns
    -------
    float64 ndarray of shape (n_classes, n_classes)
        A row an observed class, a column a predicted one.
    """
    cells = np.asarray(observed) * n_classes + np.asarray(predicted)
    counts = np.bincount(cells, weights=weight, minlength=n_classes * n_classes)
    return counts.astype(np.float64).reshape(n_classes, n_classes)


def recalls(confusion: np.ndarray) -> np.ndarray:
    """Return the recall of each class in [0, 1], shape (n_classes,); NaN where none occurs."""
    totals = confusion.sum(axis=1)
    out = np.full(len(confusion), np.nan)
    np.divide(np.diagonal(confusion), totals, out=out, where=totals > 0)
    return out


def uar(confusion: np.ndarray) -> float:
    """Return the unweighted average recall over the classes that occur, in [0, 1]."""
    found = recalls(confusion)
    occurs = ~np.isnan(found)
    return float(np.mean(found[occurs])) if occurs.any() else float("nan")


def war(confusion: np.ndarray) -> float:
    """Return the weighted average recall, which is the accuracy, in [0, 1]."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total > 0 else float("nan")


def macro_f1(confusion: np.ndarray) -> float:
    """Return the mean F1 over the classes that are observed or predicted, in [0, 1].

    A class that is predicted but never observed counts with F1 0, as in scikit-learn.
    """
    sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
    known = sizes > 0
    if not known.any():
        return float("nan")
    return float(np.mean(2 * np.diagonal(confusion)[known] / sizes[known]))


def dense_ranks(scores: np.ndarray) -> np.ndarray:
    """Return the rank of each score among the distinct scores, from 0; ties share one."""
    return np.unique(scores, return_inverse=True)[1]


def auc(present: np.ndarray, ranks: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Area under the ROC curve: the share of pairs in the right order, ties counting half.

    Parameters
    ----------
    present : bool ndarray of shape (n,)
        Whether the clip is of the class.
    ranks : int ndarray of shape (n,)
        `dense_ranks` of the class's scores.
    weight : ndarray of shape (n,), optional
        How often each clip counts.

    Returns
    -------
    float
        In [0, 1]; NaN where all clips are of the class, or none.
    """
    weight = np.ones(len(ranks)) if weight is None else weight
    length = int(ranks.max(initial=0)) + 1
    hits = np.bincount(ranks, weights=weight * present, minlength=length)
    others = np.bincount(ranks, weights=weight * ~present, minlength=length)
    pairs = hits.sum() * others.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(others) - others
    return float(np.sum(hits * (below + 0.5 * others)) / pairs)


def macro_auc(present: np.ndarray, ranks: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean area under the ROC curve over the classes where it is defined.

    Parameters
    ----------
    present : bool ndarray of shape (n, n_classes)
        Membership; several True a row for clips with several labels.
    ranks : int ndarray of shape (n, n_classes)
        `dense_ranks` of each column of scores.
    weight : ndarray of shape (n,), optional
        How often each clip counts.

    Returns
    -------
    float
        In [0, 1]; NaN where no class is both present and absent.
    """
    found = [auc(present[:, k], ranks[:, k], weight) for k in range(present.shape[1])]
    defined = [value for value in found if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")

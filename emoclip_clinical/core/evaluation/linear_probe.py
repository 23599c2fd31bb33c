"""A linear probe: logistic regression on the clip embeddings of a frozen model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.evaluation import metrics
from emoclip_clinical.core.evaluation.clip_embeddings import ClipEmbeddings
from emoclip_clinical.core.evaluation.config import ProbeConfig
from emoclip_clinical.core.evaluation.predictions import Predictions
from emoclip_clinical.records import InputError, Progress, no_progress


@dataclass(frozen=True)
class Probed:
    """A linear probe's predictions, and what was chosen on the way.

    Attributes
    ----------
    predictions : Predictions
        Of the test clips; scores are log probabilities.
    regularisation : float
        The C that was chosen.
    chosen_on : str
        `validation` or `inner folds`.
    warnings : tuple of str
    """

    predictions: Predictions
    regularisation: float
    chosen_on: str
    warnings: tuple[str, ...]


def linear_probe(
    clips: Sequence[Clip],
    classes: Sequence[str],
    embeddings: ClipEmbeddings,
    *,
    config: ProbeConfig,
    seed: int,
    progress: Progress = no_progress,
) -> Probed:
    """Learn classes from the training clips of a source and judge its test clips.

    Embeddings are standardised by the clips that are learned from. C is the one with the highest
    UAR on the validation clips, or, where there are none, over inner folds of the training clips
    by person; the smallest C wins a tie. The last fit is on training and validation clips.

    Parameters
    ----------
    clips : sequence of Clip
        Of all splits; those whose label is none of `classes` are left out.
    classes : sequence of str
        Names of the classes.
    embeddings : ClipEmbeddings
        Of the frozen model.
    config : ProbeConfig
        The grid of C and the inner folds.
    seed : int
        Of the inner folds.
    progress : callable
        Called while clips are decoded.

    Returns
    -------
    Probed

    Raises
    ------
    InputError
        If there is no test clip, or fewer than two classes to learn.
    """
    rows = [i for i, clip in enumerate(clips) if clip.label in classes]
    y = np.array([classes.index(clips[i].label) for i in rows], dtype=np.int64)
    split = np.array([clips[i].split or "train" for i in rows])
    learn, test = split != "test", split == "test"
    if faults := [
        *(["a linear probe needs test clips of its classes, got none"] if not test.any() else []),
        *([f"a linear probe needs training clips of two or more of {', '.join(classes)}, got "
           f"those of {len(set(y[split == 'train']))}"]
          if len(set(y[split == "train"])) < 2 else []),
    ]:  # fmt: skip
        raise InputError(faults)
    X = embeddings.get([clips[i] for i in rows], progress=progress).astype(np.float64)
    people = np.array([clips[i].group or f"clip {i}" for i in rows])
    parts = _parts(split, y, people, config=config, seed=seed)
    uars = [_grid_uar(X, y, parts, c, config) for c in config.regularisation]
    best = min(range(len(uars)), key=lambda k: (-uars[k], config.regularisation[k]))
    chosen = config.regularisation[best]
    model, converged = _fit(X[learn], y[learn], chosen, config)
    judged = [i for i, is_test in zip(rows, test, strict=True) if is_test]
    return Probed(
        Predictions(
            classes=tuple(classes),
            observed=y[test],
            scores=_log_probabilities(model, X[test], len(classes)),
            groups=tuple(clips[i].group for i in judged),
            clips=np.array(judged),
            folds=("",) * len(judged),
            components=tuple((name,) for name in classes),
        ),
        chosen,
        "validation" if (split == "validation").any() else "inner folds",
        () if converged else (
            f"the linear probe did not converge in {config.max_iterations} iterations",
        ),
    )  # fmt: skip


def _parts(
    split: np.ndarray, y: np.ndarray, people: np.ndarray, *, config: ProbeConfig, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of rows (learn, judge) by which C is chosen; never a test row."""
    train = np.flatnonzero(split == "train")
    validation = np.flatnonzero(split == "validation")
    if len(validation):
        return [(train, validation)]
    n_folds = min(config.inner_folds, len(set(people[train])))
    if n_folds < 2:
        raise InputError("inner folds need training clips of two or more people, got one person's")
    return list(_inner(train, y, people, n_folds=n_folds, seed=seed))


def _inner(
    train: np.ndarray, y: np.ndarray, people: np.ndarray, *, n_folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer people than folds is no fault here: it is learned where it stands.
        warnings.simplefilter("ignore", UserWarning)
        for learn, judge in folds.split(train, y[train], people[train]):
            if len(set(y[train[learn]])) > 1 and len(judge):
                yield train[learn], train[judge]


def _grid_uar(
    X: np.ndarray,
    y: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    regularisation: float,
    config: ProbeConfig,
) -> float:
    n_classes = int(y.max()) + 1
    total = np.zeros((n_classes, n_classes))
    for learn, judge in parts:
        model, _ = _fit(X[learn], y[learn], regularisation, config)
        total += metrics.confusion_matrix(y[judge], model.predict(X[judge]), n_classes=n_classes)
    return metrics.uar(total)


def _fit(
    X: np.ndarray, y: np.ndarray, regularisation: float, config: ProbeConfig
) -> tuple[Pipeline, bool]:
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=regularisation, max_iter=config.max_iterations)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X, y)
    return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _log_probabilities(model: Pipeline, X: np.ndarray, n_classes: int) -> np.ndarray:
    """Return log probabilities of all classes; minus infinity for those never learned."""
    out = np.full((len(X), n_classes), -np.inf)
    out[:, model.classes_] = model.predict_log_proba(X)
    return out

"""Running a model through all folds: for observed ratings, and for permuted ones.

Models that are linear in the ratings take all vectors at once. Others, and folds that depend on the
ratings, are run again for each permuted vector, in several processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from emoclip_clinical.records import CrossValidation, Progress
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import Folds, draw_folds, inner_folds, sees_ratings
from emoclip_clinical.regression.metrics import column_correlations
from emoclip_clinical.regression.models.base import FoldResult, Model, Predictor, Rows

STREAM = 8


@dataclass(frozen=True)
class Crossed:
    """A cross-validation and its permutations.

    Attributes
    ----------
    cv : CrossValidation
        Of the observed ratings.
    null : ndarray of shape (n_permutations,)
        Mean over repeats of the pooled r of each permuted vector; NaN where it is not defined.
    coefficients : ndarray of shape (n_fits, n_features) or (0, n_features)
        Of every outer training set; none where the model has no coefficients.
    predictors : tuple of callable
        The model of every outer training set; empty where it needs more than features.
    """

    cv: CrossValidation
    null: np.ndarray
    coefficients: np.ndarray
    predictors: tuple[Predictor, ...]


@dataclass(frozen=True)
class Pipeline:
    """A model and everything it needs to be run through the folds of any rating vector."""

    model: Model
    rows: Rows
    config: RegressionConfig
    seed: int
    sites: tuple[str, ...] | None

    def folds(self, y: np.ndarray) -> Folds:
        """Draw the folds of a rating vector."""
        return draw_folds(
            self.rows.subjects, config=self.config, seed=self.seed, y=y, sites=self.sites
        )

    def fits(
        self, Y: np.ndarray, folds: Folds, repeat: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, FoldResult]]:
        """Yield training rows, test rows and what was fitted, fold by fold of a repeat."""
        subjects = self.rows.subjects
        for number, (train, test) in enumerate(folds.splits(repeat, subjects=subjects)):
            inner = inner_folds(
                subjects[train],
                folds=self.config.inner_folds,
                seed=self.seed,
                repeat=repeat,
                fold=number,
            )
            path = np.random.SeedSequence(self.seed, spawn_key=(STREAM, repeat, number))
            yield (
                train,
                test,
                self.model.fit_fold(
                    Y,
                    rows=self.rows,
                    train=train,
                    test=test,
                    inner=inner,
                    seed=int(path.generate_state(1)[0]),
                ),
            )

    def pooled_r(self, y: np.ndarray) -> float:
        """Return the mean over repeats of the pooled r of one vector, with folds of its own."""
        with threadpool_limits(limits=1):
            folds, found = self.folds(y), []
            for repeat in range(len(folds.number)):
                out = np.empty((len(y), 1))
                for _, test, made in self.fits(y[:, np.newaxis], folds, repeat):
                    out[test] = made.predicted
                found.append(column_correlations(y[:, np.newaxis], out, self.rows.weights)[0])
        return float(np.mean(found))


def cross(
    design: Design, permuted: np.ndarray, *, pipeline: Pipeline, name: str, progress: Progress
) -> Crossed:
    """Cross-validate the ratings of a design, and permuted ones through the same pipeline.

    Parameters
    ----------
    design : Design
    permuted : ndarray of shape (n_visits, n_permutations)
    pipeline : Pipeline
    name : str
        What progress calls the model.
    progress : callable
        Called after each repeat; for models that share nothing then after each permutation, under
        a title that says how long all of them will take.
    """
    together = pipeline.model.shares and not sees_ratings(pipeline.config.cv)
    none = permuted[:, :0]
    started = time.perf_counter()
    # Small matrices: threads would wait for each other, and could change the last bits.
    with threadpool_limits(limits=1):
        made = _observed(design, permuted if together else none, pipeline, progress)
    if together or not permuted.shape[1]:
        return made
    seconds = time.perf_counter() - started
    null = _permutations(permuted, pipeline, name, seconds, progress)
    return Crossed(made.cv, null, made.coefficients, made.predictors)


def _observed(
    design: Design, permuted: np.ndarray, pipeline: Pipeline, progress: Progress
) -> Crossed:
    Y = np.column_stack([design.y, permuted])
    folds = pipeline.folds(design.y)
    predicted, baseline = np.empty(folds.number.shape), np.empty(folds.number.shape)
    total = np.zeros(permuted.shape[1])
    fitted: list[FoldResult] = []
    for repeat in range(len(folds.number)):
        out = np.empty_like(Y)
        for train, test, made in pipeline.fits(Y, folds, repeat):
            out[test] = made.predicted
            baseline[repeat, test] = np.average(design.y[train], weights=design.weights[train])
            fitted.append(made)
        predicted[repeat] = out[:, 0]
        if permuted.shape[1]:
            total += column_correlations(permuted, out[:, 1:], design.weights)
        progress(f"cross-validation of {design.target}", repeat + 1, len(folds.number))
    cv = CrossValidation(
        target=design.target,
        keys=design.keys,
        observed=design.y,
        predicted=predicted,
        baseline=baseline,
        fold=folds.number,
        weight=design.weights,
        chosen=tuple(made.chosen for made in fitted),
        dropped=folds.dropped,
    )
    slopes = [made.coefficients for made in fitted if made.coefficients is not None]
    known = tuple(made.predictor for made in fitted if made.predictor is not None)
    return Crossed(
        cv=cv,
        null=total / len(folds.number),
        coefficients=np.array(slopes).reshape(len(slopes), design.X.shape[1]),
        predictors=known if len(known) == len(fitted) else (),
    )


def _permutations(
    permuted: np.ndarray, pipeline: Pipeline, name: str, seconds_each: float, progress: Progress
) -> np.ndarray:
    n, jobs = permuted.shape[1], pipeline.config.jobs
    title = f"{n} permutations of {name}, about {duration(seconds_each * n / jobs)}"
    progress(title, 0, n)
    found = []
    # In order of memory, as they arrive in other processes: the last bits depend on it.
    for r in _in_processes(list(np.ascontiguousarray(permuted.T)), pipeline, jobs):
        found.append(r)
        progress(title, len(found), n)
    return np.array(found)


def _in_processes(vectors: Sequence[np.ndarray], pipeline: Pipeline, jobs: int) -> Iterator[float]:
    if jobs == 1 or len(vectors) == 1:
        yield from (pipeline.pooled_r(y) for y in vectors)
        return
    from joblib import Parallel, delayed

    run = Parallel(n_jobs=jobs, return_as="generator", inner_max_num_threads=1, backend="loky")
    yield from run(delayed(pipeline.pooled_r)(y) for y in vectors)


def duration(seconds: float) -> str:
    """Say a time in the unit that people would use.

    >>> duration(42.0), duration(150.0), duration(9000.0)
    ('42 s', '2.5 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

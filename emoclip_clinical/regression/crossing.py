"""Running a model through all folds: for observed ratings, and for permuted ones.

Models that are linear in the ratings take all vectors at once. Where the folds depend on the
ratings, ridge takes the training sets of all vectors in blocks. Everything else is run again for
each permuted vector. Blocks and vectors are shared out to several processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from threadpoolctl import threadpool_limits

from emoclip_clinical.records import CrossValidation, Progress
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import Folds, draw_folds, inner_folds, sees_ratings
from emoclip_clinical.regression.metrics import column_correlations
from emoclip_clinical.regression.models.base import FoldResult, Model, Predictor, Rows
from emoclip_clinical.regression.models.smoothers import RidgeModel
from emoclip_clinical.regression.nested_plans import nested_plans
from emoclip_clinical.regression.processes import in_processes
from emoclip_clinical.regression.ridge_stack import predict_plans

STREAM = 8
START_SECONDS = 5.0
"""Work that takes less is done in this process: others would only just have started."""


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
    converged : tuple of bool
        Whether each fit to the observed ratings came to its end; see `FoldResult`.
    """

    cv: CrossValidation
    null: np.ndarray
    coefficients: np.ndarray
    predictors: tuple[Predictor, ...]
    converged: tuple[bool, ...] = ()


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

    @property
    def stacks(self) -> bool:
        """Whether training sets are fitted in blocks: those of ridge, on folds that see ratings."""
        return isinstance(self.model, RidgeModel) and sees_ratings(self.config.cv)

    def pooled_r(self, ratings: np.ndarray) -> float:
        """Return the mean over repeats of the pooled r of one vector, with folds of its own.

        Parameters
        ----------
        ratings : ndarray of shape (n_visits,) or (n_visits, n_outputs)
        """
        if self.stacks:
            return float(self.pooled_rs(ratings[np.newaxis])[0])
        y = ratings if ratings.ndim == 1 else ratings[:, 0]
        with threadpool_limits(limits=1):
            folds = self.folds(y)
            predicted = np.empty((1, *folds.number.shape))
            for repeat in range(len(folds.number)):
                for _, test, made in self.fits(ratings[:, np.newaxis], folds, repeat):
                    predicted[0, repeat, test] = made.predicted[:, 0]
        return float(self._correlations(y[np.newaxis], predicted)[0])

    def pooled_rs(
        self, vectors: np.ndarray, *, jobs: int = 1, done: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Return the `pooled_r` of many vectors, which take less together where `stacks`.

        Parameters
        ----------
        vectors : ndarray of shape (n_vectors, n_visits) or (n_vectors, n_visits, n_outputs)
        jobs : int
            Number of processes; results do not depend on it.
        done : callable, optional
            Told how many vectors' worth of work is behind.
        """
        if self.stacks:
            return self._correlations(vectors, self.stacked(vectors, jobs=jobs, done=done))
        found = []
        for r in in_processes(self.pooled_r, vectors, jobs=jobs):
            found.append(r)
            if done is not None:
                done(len(found))
        return np.array(found)

    def stacked(
        self, vectors: np.ndarray, *, jobs: int = 1, done: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Return out-of-fold predictions, (n_vectors, n_repeats, n_visits), where `stacks`."""
        assert isinstance(self.model, RidgeModel)
        plans = nested_plans(
            [self.folds(y) for y in vectors],
            subjects=self.rows.subjects,
            inner_folds=self.config.inner_folds,
            seed=self.seed,
        )
        with threadpool_limits(limits=1):
            return predict_plans(
                vectors, plans=plans, rows=self.rows, alphas=self.model.alphas, jobs=jobs, done=done
            )

    def _correlations(self, vectors: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        found = [
            column_correlations(vectors.T, predicted[:, repeat].T, self.rows.weights)
            for repeat in range(predicted.shape[1])
        ]
        return np.asarray(np.mean(found, axis=0))


def cross(
    design: Design,
    ratings: np.ndarray,
    permuted: np.ndarray,
    *,
    pipeline: Pipeline,
    name: str,
    progress: Progress,
) -> Crossed:
    """Cross-validate the ratings of a design, and permuted ones through the same pipeline.

    Parameters
    ----------
    design : Design
    ratings : ndarray of shape (n_visits,) or (n_visits, n_outputs)
        The target's, and those of the targets that the model learns with it.
    permuted : ndarray of shape (n_visits, n_permutations) or with n_outputs behind
    pipeline : Pipeline
    name : str
        What progress calls the model.
    progress : callable
        Called after each repeat; where permutations are run anew, then as they are done, under a
        title that says how long all of them will take.
    """
    together = pipeline.model.shares and not sees_ratings(pipeline.config.cv)
    none = permuted[:, :0]
    started = time.perf_counter()
    # Small matrices: threads would wait for each other, and could change the last bits.
    with threadpool_limits(limits=1):
        made = _observed(design, ratings, permuted if together else none, pipeline, progress)
    if together or not permuted.shape[1]:
        return made
    seconds = time.perf_counter() - started
    null = _permutations(permuted, pipeline, name, seconds, progress)
    return replace(made, null=null)


def _observed(
    design: Design,
    ratings: np.ndarray,
    permuted: np.ndarray,
    pipeline: Pipeline,
    progress: Progress,
) -> Crossed:
    Y = np.concatenate([ratings[:, np.newaxis], permuted], axis=1)
    folds = pipeline.folds(design.y)
    predicted, baseline = np.empty(folds.number.shape), np.empty(folds.number.shape)
    total = np.zeros(permuted.shape[1])
    fitted: list[FoldResult] = []
    for repeat in range(len(folds.number)):
        out = np.empty(Y.shape[:2])
        for train, test, made in pipeline.fits(Y, folds, repeat):
            out[test] = made.predicted
            baseline[repeat, test] = np.average(design.y[train], weights=design.weights[train])
            fitted.append(made)
        predicted[repeat] = out[:, 0]
        if permuted.shape[1]:
            total += column_correlations(permuted, out[:, 1:], design.weights)
        progress(f"cross-validation of {design.target}", repeat + 1, len(folds.number))
    if pipeline.stacks:
        # Through the same code as permuted ratings; it differs from the above in rounding.
        predicted = pipeline.stacked(design.y[np.newaxis])[0]
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
        converged=tuple(chain.from_iterable(made.converged for made in fitted)),
    )


def _permutations(
    permuted: np.ndarray, pipeline: Pipeline, name: str, seconds_each: float, progress: Progress
) -> np.ndarray:
    n, jobs = permuted.shape[1], pipeline.config.jobs
    # In order of memory, as they arrive in other processes: the last bits depend on it.
    vectors = np.ascontiguousarray(np.moveaxis(permuted, 1, 0))
    if pipeline.stacks:
        started = time.perf_counter()
        pipeline.pooled_r(vectors[0])
        seconds_each = time.perf_counter() - started
    seconds = seconds_each * n
    jobs = 1 if n == 1 or seconds < START_SECONDS else jobs
    title = f"{n} permutations of {name}, about {duration(seconds / jobs)}"
    progress(title, 0, n)
    return pipeline.pooled_rs(vectors, jobs=jobs, done=lambda done: progress(title, done, n))


def duration(seconds: float) -> str:
    """Say a time in the unit that people would use.

    >>> duration(42.0), duration(150.0), duration(9000.0)
    ('42 s', '2.5 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

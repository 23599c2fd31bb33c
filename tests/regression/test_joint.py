"""Targets that are learnt together: alignment by hand, folds and permutations by a plain loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import SegmentBags
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.folds import inner_folds, outer_folds
from emoclip_clinical.regression.inference import exchange, permuted_ratings
from emoclip_clinical.regression.joint import ALONE_WARNING, learnt_together
from emoclip_clinical.regression.models.search import BagModel


class OfSegments:
    """Least squares with a penalty on the mean segment; sees the other targets, if there are any.

    Its prediction of the target leans on that of the others, so that a test sees what came in.
    """

    def __init__(self, penalty):
        self.penalty = penalty

    def fit(self, bags, y, *, weight):
        X = means(bags)
        self.is_single = y.ndim == 1
        ratings = y.reshape(len(y), -1)
        columns = []
        for k in range(ratings.shape[1]):
            rows = ~np.isnan(ratings[:, k])
            A = np.column_stack([np.ones(rows.sum()), X[rows]])
            W = weight[rows, None] * A
            columns.append(
                np.linalg.solve(A.T @ W + self.penalty * np.eye(A.shape[1]), W.T @ ratings[rows, k])
            )
        self.slopes = np.array(columns)
        self.slopes[0] += 0.1 * self.slopes[1:].sum(axis=0)
        return self

    def predict(self, bags):
        X = np.column_stack([np.ones(bags.n_visits), means(bags)])
        found = X @ self.slopes.T
        return found[:, 0] if self.is_single else found


def means(bags):
    return np.stack([bags.values[a:b].mean(axis=0) for a, b in pairwise(bags.starts)])


def make(candidate, seed):
    return OfSegments(candidate["penalty"])


CANDIDATES = ({"penalty": 0.1}, {"penalty": 30.0})
CONFIG = RegressionConfig(
    model="mlp_probe", folds=4, repeats=2, inner_folds=3, permutations=5, bootstrap=0, jobs=1
)


def together(make_design):
    design = make_design(n_subjects=24, n_features=3)
    rng = np.random.default_rng(1)
    second = replace(design, target="second", y=rng.normal(size=len(design.y)) * 4 + 10)
    keep = np.arange(len(design.y)) % 5 != 0
    part = replace(
        second,
        keys=second.keys[keep].iloc[::-1].reset_index(drop=True),
        y=second.y[keep][::-1],
    )
    n = len(design.y)
    values = rng.normal(size=(3 * n, 4)).astype(np.float32)
    values[:, 0] += np.repeat((design.y - design.y.mean()) / design.y.std(), 3)
    return design, part, SegmentBags(values, np.arange(0, 3 * n + 1, 3)), second.y, keep


def test_ratings_are_found_by_visit_and_rater(make_design):
    design, part, _, y, keep = together(make_design)
    first, second = learnt_together([design, part])
    assert list(first.others.columns) == ["second"]
    np.testing.assert_array_equal(first.others["second"], np.where(keep, y, np.nan))
    np.testing.assert_array_equal(second.others[design.target], design.y[keep][::-1])
    two = replace(
        design,
        keys=pd.concat([design.keys, design.keys], ignore_index=True),
        y=np.concatenate([design.y, design.y + 1]),
        rater_ids=("a",) * len(design.y) + ("b",) * len(design.y),
    )
    other = replace(two, target="second", y=2 * two.y, rater_ids=two.rater_ids[::-1])
    made, _ = learnt_together([two, other])
    half = len(design.y)
    np.testing.assert_array_equal(made.others["second"], np.roll(other.y, half))
    (alone,) = learnt_together([design])
    assert alone.others is None
    assert alone.warnings[-1] == ALONE_WARNING


def test_several_ratings_of_a_visit_stay_together(make_design):
    design, *_ = together(make_design)
    swaps = exchange(design.subjects, design.keys["session_id"].tolist())
    pairs = np.column_stack([design.y, np.arange(len(design.y))])
    permuted = permuted_ratings(pairs, exchange=swaps, n=6, seed=3)
    assert permuted.shape == (len(design.y), 6, 2)
    alone = permuted_ratings(design.y, exchange=swaps, n=6, seed=3)
    np.testing.assert_array_equal(permuted[..., 0], alone)
    np.testing.assert_array_equal(design.y[permuted[..., 1].astype(int)], alone)


def by_loop(design, ratings, bags):
    """Out-of-fold predictions of the target, (n_repeats, n_visits)."""
    folds = outer_folds(design.subjects, folds=4, repeats=2, seed=0)
    out = np.empty(folds.shape)
    for repeat, fold in enumerate(folds):
        for k in range(4):
            train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            inner = inner_folds(design.subjects[train], folds=3, seed=0, repeat=repeat, fold=k)
            errors = []
            for candidate in CANDIDATES:
                error = 0.0
                for i in range(3):
                    fit, held = train[inner != i], train[inner == i]
                    model = make(candidate, 0)
                    model.fit(bags.take(fit), ratings[fit], weight=design.weights[fit])
                    miss = model.predict(bags.take(held))[:, 0] - ratings[held, 0]
                    error += np.average(miss**2, weights=design.weights[held])
                errors.append(error)
            model = make(CANDIDATES[int(np.argmin(errors))], 0)
            model.fit(bags.take(train), ratings[train], weight=design.weights[train])
            out[repeat, test] = model.predict(bags.take(test))[:, 0]
    return out


def test_estimate_equals_a_plain_loop(make_design):
    design, part, bags, _, _ = together(make_design)
    first = learnt_together([design, part])[0]
    models = {"mlp_probe": BagModel(CANDIDATES, make, joint=True)}
    made = estimate(first, config=CONFIG, seed=0, bags=bags, segment_models=models)
    ratings = np.column_stack([first.y, first.others])
    np.testing.assert_allclose(
        made.cross_validation.predicted, by_loop(first, ratings, bags), atol=1e-9
    )
    swaps = exchange(first.subjects, first.keys["session_id"].tolist())
    permuted = permuted_ratings(ratings, exchange=swaps, n=5, seed=0)
    null = []
    for column in range(5):
        vector = permuted[:, column]
        rs = [
            weighted_r(vector[:, 0], predicted, first.weights)
            for predicted in by_loop(first, vector, bags)
        ]
        null.append(np.mean(rs))
    np.testing.assert_allclose(made.null, null, atol=1e-9)


def weighted_r(x, y, weight):
    c = np.cov(x, y, aweights=weight)
    return c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])


def test_who_does_not_learn_together_sees_the_target_alone(make_design):
    design, part, bags, _, _ = together(make_design)
    first = learnt_together([design, part])[0]
    config = CONFIG.model_copy(update={"compare": ("ridge", "attention_pooling")})
    models = {
        "mlp_probe": BagModel(CANDIDATES, make),
        "attention_pooling": BagModel(CANDIDATES, make, joint=True),
    }
    runs = [
        estimate(d, config=config, seed=0, bags=bags, segment_models=models)
        for d in (design, first)
    ]
    np.testing.assert_array_equal(*(r.cross_validation.predicted for r in runs))
    np.testing.assert_array_equal(*(r.null for r in runs))
    np.testing.assert_array_equal(*(r.compared["ridge"].predicted for r in runs))
    both = [r.compared["attention_pooling"].predicted for r in runs]
    assert not np.allclose(*both)


@pytest.mark.parametrize("joint", [False, True])
def test_test_rows_teach_nothing(make_design, joint):
    design, part, bags, _, _ = together(make_design)
    first = learnt_together([design, part])[0]
    models = {"mlp_probe": BagModel(CANDIDATES, make, joint=joint)}
    config = CONFIG.model_copy(update={"permutations": 0, "repeats": 1})
    made = estimate(first, config=config, seed=0, bags=bags, segment_models=models)
    test = made.cross_validation.fold[0] == 0
    others = first.others.assign(second=np.where(test, 1e6, first.others["second"]))
    moved = replace(first, others=others, y=np.where(test, first.y + 50, first.y))
    again = estimate(moved, config=config, seed=0, bags=bags, segment_models=models)
    np.testing.assert_array_equal(
        made.cross_validation.predicted[0, test], again.cross_validation.predicted[0, test]
    )

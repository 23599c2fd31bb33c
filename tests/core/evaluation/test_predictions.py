"""Predictions: figures, intervals over people, folds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from emoclip_clinical.core.evaluation.bootstrap import percentile_interval
from emoclip_clinical.core.evaluation.predictions import FIGURES, Predictions, pool

SINGLES = ("anger", "fear", "sadness")
PARTS = (*((s,) for s in SINGLES), ("anger", "fear"), ("anger", "fear", "sadness"))


def made(n: int = 60, *, seed: int = 0, n_people: int = 12, fold: str = "") -> Predictions:
    rng = np.random.default_rng(seed)
    observed = rng.integers(0, len(PARTS), n)
    scores = rng.normal(size=(n, len(PARTS))) + 1.2 * np.eye(len(PARTS))[observed]
    people = rng.integers(0, n_people, n) if n_people else None
    return Predictions(
        classes=tuple("_".join(p) for p in PARTS),
        observed=observed,
        scores=scores,
        groups=("",) * n if people is None else tuple(f"p{i}" for i in people),
        clips=np.arange(n),
        folds=(fold,) * n,
        components=PARTS,
    )


def test_figures_equal_scikit_learn() -> None:
    found = made()
    uar, war, f1, auc, component_auc = found.figures()
    y, p = found.observed, found.predicted
    assert uar == found.uar == pytest.approx(reference.balanced_accuracy_score(y, p))
    assert war == found.war == pytest.approx(reference.accuracy_score(y, p))
    assert f1 == pytest.approx(reference.f1_score(y, p, average="macro"))
    one_hot = np.eye(5)[y]
    assert auc == pytest.approx(reference.roc_auc_score(one_hot, found.scores, average="macro"))
    held = np.array([[s in PARTS[k] for s in SINGLES] for k in y])
    assert component_auc == pytest.approx(
        reference.roc_auc_score(held, found.scores[:, :3], average="macro")
    )
    assert found.chance == 0.2
    assert found.recalls()["anger_fear"] == pytest.approx(np.mean(p[y == 3] == 3))


def test_the_interval_draws_whole_people() -> None:
    found = made()
    interval = found.intervals(("uar", "macro_auc"), seed=7, n_resamples=150, confidence=0.9)
    rng = np.random.default_rng(7)
    people = sorted(set(found.groups))
    values = []
    for _ in range(150):
        drawn = rng.integers(len(people), size=len(people))
        rows = np.concatenate(
            [[i for i, g in enumerate(found.groups) if g == people[d]] for d in drawn]
        )
        y, p, s = found.observed[rows], found.predicted[rows], found.scores[rows]
        aucs = [
            reference.roc_auc_score(y == k, s[:, k]) for k in range(5) if 0 < (y == k).mean() < 1
        ]
        values.append([np.mean([np.mean(p[y == k] == k) for k in np.unique(y)]), np.mean(aucs)])
    for name, column in zip(("uar", "macro_auc"), np.array(values).T, strict=True):
        got = interval[name]
        assert got is not None
        assert [got.low, got.high] == pytest.approx(np.quantile(column, [0.05, 0.95]))


def test_unknown_people_are_drawn_as_clips() -> None:
    assert len(set(made(n_people=0).units)) == 60
    alone = made(n_people=1).intervals(("uar",), seed=0, n_resamples=10, confidence=0.9)
    assert alone == {"uar": None}
    none = made().intervals(("uar",), seed=0, n_resamples=0, confidence=0.9)
    assert none == {"uar": None}
    assert percentile_interval(np.full(3, np.nan), confidence=0.9) is None


def test_folds_are_pooled_and_parted_again() -> None:
    one, two = made(20, seed=1, fold="1"), made(30, seed=2, fold="2")
    both = pool([one, two])
    assert both.war == pytest.approx((20 * one.war + 30 * two.war) / 50)
    parts = both.by_fold()
    assert list(parts) == ["1", "2"]
    np.testing.assert_array_equal(parts["2"].scores, two.scores)
    assert parts["1"].figures(FIGURES) == one.figures(FIGURES)
    assert set(one.with_fold("x").folds) == {"x"}

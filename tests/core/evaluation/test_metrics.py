"""Every figure equals scikit-learn's or a hand count, absent and single classes included."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from emoclip_clinical.core.evaluation import metrics

CASES = {
    "all classes": (5, range(5), range(5)),
    "one class never observed": (5, (0, 1, 3), range(5)),
    "one class never predicted": (4, range(4), (0, 2)),
    "a class neither observed nor predicted": (6, (0, 2, 3), (0, 2, 3)),
    "predicted and observed apart": (4, (0, 1), (2, 3)),
    "a single class observed": (4, (2,), range(4)),
    "a single class in all": (1, (0,), (0,)),
    "two classes": (2, range(2), range(2)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def labels(request: pytest.FixtureRequest) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    n_classes, observed, predicted = request.param
    rng = np.random.default_rng(n_classes)
    return (
        n_classes,
        rng.choice(list(observed), 60),
        rng.choice(list(predicted), 60),
        rng.integers(0, 4, 60).astype(float),
    )


def test_confusion_matrix(labels: tuple[int, np.ndarray, np.ndarray, np.ndarray]) -> None:
    k, observed, predicted, weight = labels
    for w in (None, weight):
        expected = reference.confusion_matrix(observed, predicted, labels=range(k), sample_weight=w)
        found = metrics.confusion_matrix(observed, predicted, n_classes=k, weight=w)
        np.testing.assert_array_equal(found, expected)


def test_recalls_uar_war_and_f1(labels: tuple[int, np.ndarray, np.ndarray, np.ndarray]) -> None:
    k, observed, predicted, weight = labels
    for w in (None, weight):
        kept = slice(None) if w is None else w > 0
        y, p = observed[kept], predicted[kept]
        s = None if w is None else w[kept]
        matrix = metrics.confusion_matrix(observed, predicted, n_classes=k, weight=w)
        for c, recall in enumerate(metrics.recalls(matrix)):
            if c in y:
                expected = reference.recall_score(
                    y, p, labels=[c], average=None, zero_division=0, sample_weight=s
                )
                assert recall == pytest.approx(expected[0])
            else:
                assert np.isnan(recall)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            balanced = reference.balanced_accuracy_score(y, p, sample_weight=s)
        assert metrics.uar(matrix) == pytest.approx(balanced)
        assert metrics.war(matrix) == pytest.approx(reference.accuracy_score(y, p, sample_weight=s))
        assert metrics.macro_f1(matrix) == pytest.approx(
            reference.f1_score(y, p, average="macro", zero_division=0, sample_weight=s)
        )


def test_figures_by_hand() -> None:
    # Three of class 0 (two found), one of class 1 (found), none of class 2 (guessed once).
    matrix = metrics.confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1]), n_classes=3)
    assert metrics.uar(matrix) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.war(matrix) == 0.75
    assert metrics.macro_f1(matrix) == pytest.approx((0.8 + 1 + 0) / 3)


def test_nothing_is_not_a_number() -> None:
    empty = np.zeros((3, 3))
    assert np.isnan(metrics.uar(empty))
    assert np.isnan(metrics.war(empty))
    assert np.isnan(metrics.macro_f1(empty))
    ranks = metrics.dense_ranks(np.array([0.1, 0.2]))
    assert np.isnan(metrics.auc(np.array([True, True]), ranks))
    assert np.isnan(metrics.macro_auc(np.zeros((2, 1), dtype=bool), ranks[:, None]))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_of_several_labels(ties: bool) -> None:
    rng = np.random.default_rng(3)
    present = rng.random((80, 6)) < 0.3
    present[:, 2] = False  # a class that no clip has
    present[:, 4] = True  # and one that every clip has
    scores = rng.normal(size=(80, 6)) + present
    if ties:
        scores = np.round(scores)
    weight = rng.integers(0, 3, 80).astype(float)
    ranks = np.stack([metrics.dense_ranks(column) for column in scores.T], axis=1)
    for w in (None, weight):
        expected = [
            reference.roc_auc_score(present[:, k], scores[:, k], sample_weight=w)
            for k in (0, 1, 3, 5)
        ]
        assert metrics.macro_auc(present, ranks, w) == pytest.approx(np.mean(expected))


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(4)
    present, scores = rng.random(30) < 0.4, rng.integers(0, 5, 30)
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[present] for b in scores[~present]
    ]
    found = metrics.auc(present, metrics.dense_ranks(scores))
    assert found == pytest.approx(np.mean(wins))

"""Regressors of segments: losses by formula, pooling by loop, the same bits for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emoclip_clinical.core.estimators.attention_pooling import (
    AttentionPooling,
    make_attention_pooling,
)
from emoclip_clinical.core.estimators.config import SegmentModelConfig
from emoclip_clinical.core.estimators.losses import (
    concordance_loss,
    relational_loss,
    root_mean_squared_error,
)
from emoclip_clinical.core.estimators.mlp_probe import make_mlp_probe
from emoclip_clinical.core.estimators.training import visit_means
from emoclip_clinical.records import SegmentBags
from emoclip_clinical.regression.metrics import ccc

SMALL = SegmentModelConfig(hidden=(16, 8), attention_width=8, batch_visits=8, dropout=0.0)
MAKERS = {"mlp_probe": make_mlp_probe, "attention_pooling": make_attention_pooling}


def cohort(seed=0, n=30, width=6):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, n)
    trait = rng.normal(size=n)
    values = rng.normal(size=(sizes.sum(), width)) * 0.3
    values[:, 0] += np.repeat(trait, sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return SegmentBags(values.astype(np.float32), starts), 20 + 5 * trait


def test_bags_are_taken_visit_by_visit():
    bags, _ = cohort()
    visits = np.array([4, 0, 4, 29])
    part = bags.take(visits)
    rows = [bags.values[bags.starts[v] : bags.starts[v + 1]] for v in visits]
    np.testing.assert_array_equal(part.values, np.concatenate(rows))
    assert part.n_visits == 4
    assert part.visit.tolist() == np.repeat(range(4), [len(r) for r in rows]).tolist()


def test_losses_by_formula():
    rng = np.random.default_rng(1)
    x, y, w = rng.normal(size=12), rng.normal(size=12), rng.uniform(0.2, 1, 12)
    tensors = [torch.tensor(v[:, None]) for v in (x, y, w)]
    rmse = np.sqrt(np.average((x - y) ** 2, weights=w))
    assert float(root_mean_squared_error(*tensors)) == pytest.approx(rmse, abs=1e-6)
    assert float(concordance_loss(*tensors)) == pytest.approx(1 - ccc(y, x, w), abs=1e-6)


def test_relational_loss_by_loop():
    rng = np.random.default_rng(2)
    hidden, labels = rng.uniform(size=(5, 4)), rng.normal(size=(5, 2))
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    largest = max(np.linalg.norm(labels[i] - labels[j]) for i, j in pairs)
    squared = []
    for i, j in pairs:
        cosine = hidden[i] @ hidden[j] / np.linalg.norm(hidden[i]) / np.linalg.norm(hidden[j])
        wanted = np.linalg.norm(labels[i] - labels[j]) / largest
        squared.append((1 - cosine - wanted) ** 2)
    found = float(relational_loss(torch.tensor(hidden), torch.tensor(labels)))
    assert found == pytest.approx(np.sqrt(np.mean(squared)), abs=1e-6)
    assert float(relational_loss(torch.ones(1, 3), torch.ones(1, 1))) == 0


def test_attention_sums_to_one_in_each_visit():
    bags, _ = cohort()
    torch.manual_seed(0)
    network = AttentionPooling(6, 1, config=SMALL)
    values, visit = torch.from_numpy(bags.values), torch.from_numpy(np.asarray(bags.visit))
    share = network.attention(values, visit, bags.n_visits).detach().numpy()
    np.testing.assert_allclose(np.bincount(bags.visit, weights=share), 1.0, atol=1e-6)
    # By hand for one visit.
    z = values[visit == 3]
    gated = torch.tanh(network.content(z)) * torch.sigmoid(network.gate(z))
    expected = torch.softmax(network.score(gated)[:, 0], dim=0).detach().numpy()
    np.testing.assert_allclose(share[bags.visit == 3], expected, atol=1e-6)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "config", [{}, {"loss": "ccc"}, {"relational_weight": 0.5}], ids=["rmse", "ccc", "relational"]
)
def test_what_is_planted_is_learnt(name, config):
    make = MAKERS[name](SMALL.model_copy(update=config))
    bags, y = cohort()
    model = make({"epochs": 60}, 0).fit(bags, y, weight=np.ones(len(y)))
    new, wanted = cohort(seed=5)
    predicted = model.predict(new)
    assert predicted.shape == wanted.shape
    assert np.corrcoef(predicted, wanted)[0, 1] > 0.8
    assert abs(predicted.mean() - wanted.mean()) < 3


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_bits_and_leaves_torch_alone(name):
    make = MAKERS[name](SMALL.model_copy(update={"dropout": 0.5}))
    bags, y = cohort()
    before = torch.random.get_rng_state()
    runs = [
        make({"epochs": 3}, s).fit(bags, y, weight=np.ones(30)).predict(bags) for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert torch.equal(before, torch.random.get_rng_state())


def test_several_ratings_at_once():
    bags, y = cohort()
    both = np.column_stack([y, -2 * y])
    model = make_mlp_probe(SMALL)({"epochs": 60}, 0).fit(bags, both, weight=np.ones(30))
    predicted = model.predict(bags)
    assert predicted.shape == (30, 2)
    assert np.corrcoef(predicted[:, 1], both[:, 1])[0, 1] > 0.8


@pytest.mark.parametrize("loss", [root_mean_squared_error, concordance_loss])
def test_what_is_not_rated_has_no_share_in_the_loss(loss):
    rng = np.random.default_rng(3)
    predicted, wanted = torch.tensor(rng.normal(size=(2, 9, 3)))
    weight = torch.tensor(rng.uniform(0.2, 1, size=(9, 3)))
    weight[:4, 1], weight[:, 2] = 0, 0
    moving = predicted.clone().requires_grad_()
    found = loss(moving, wanted, weight)
    # By output, over its own rows; nothing is known of the third, whose part is a constant.
    alone = [
        float(loss(predicted[rows, k, None], wanted[rows, k, None], weight[rows, k, None]))
        for k, rows in ((0, slice(None)), (1, slice(4, None)))
    ]
    constant = {root_mean_squared_error: 1e-4, concordance_loss: 1.0}[loss]
    assert found.item() == pytest.approx(np.mean([*alone, constant]), abs=1e-9)
    found.backward()
    assert (moving.grad[weight == 0] == 0).all()
    assert (moving.grad[weight > 0] != 0).all()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "config", [{}, {"loss": "ccc"}, {"relational_weight": 0.5}], ids=["rmse", "ccc", "relational"]
)
def test_missing_ratings_of_another_target_teach_nothing(name, config):
    make = MAKERS[name](SMALL.model_copy(update=config))
    bags, y = cohort()
    other = np.where(np.arange(30) % 3 == 0, np.nan, 100 - 3 * y)
    both, never = np.column_stack([y, other]), np.column_stack([y, np.full(30, np.nan)])
    new, wanted = cohort(seed=5)
    weight = np.linspace(0.5, 1, 30)
    for ratings in (both, never):
        model = make({"epochs": 60}, 0).fit(bags, ratings, weight=weight)
        predicted = model.predict(new)
        assert np.isfinite(predicted).all()
        # What relates visits to each other takes complete ones only: none of `never`.
        assert np.corrcoef(predicted[:, 0], wanted)[0, 1] > 0.8
        assert model.centre_[0] == pytest.approx(np.average(y, weights=weight))
    known = ~np.isnan(other)
    centre = make({"epochs": 1}, 0).fit(bags, both, weight=weight).centre_[1]
    assert centre == pytest.approx(np.average(other[known], weights=weight[known]))


def test_a_segment_prediction_is_averaged_over_its_visit():
    bags, y = cohort()
    model = make_mlp_probe(SMALL)({"epochs": 2}, 0).fit(bags, y, weight=np.ones(30))
    alone = SegmentBags(bags.values, np.arange(len(bags.values) + 1))
    by_segment = model.predict(alone)
    sums = np.bincount(bags.visit, weights=by_segment) / np.bincount(bags.visit)
    np.testing.assert_allclose(model.predict(bags), sums, atol=1e-4)
    means = visit_means(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2)
    assert means.ravel().tolist() == [2.0, 5.0]

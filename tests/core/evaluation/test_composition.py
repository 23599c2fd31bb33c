"""Compositions: what they are by hand, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from emoclip_clinical.core.evaluation.class_texts import ClassTexts
from emoclip_clinical.core.evaluation.composition import (
    Composition,
    ConcatenatedPrompt,
    Mean,
    SimilarityProduct,
    Spherical,
    Weighted,
    concatenated,
    karcher_mean,
)
from emoclip_clinical.core.evaluation.config import ComposerConfig
from emoclip_clinical.core.evaluation.learned_composition import Learned
from emoclip_clinical.records import InputError

SINGLES = ("anger", "fear", "joy", "sadness")
COMPOUNDS = {
    "anger_fear": ("anger", "fear"),
    "fear_sadness": ("fear", "sadness"),
    "anger_fear_sadness": ("anger", "fear", "sadness"),
    "all": SINGLES,
}


def unit(values: np.ndarray) -> np.ndarray:
    out: np.ndarray = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return out


def made(width: int = 8, *, seed: int = 0) -> tuple[np.ndarray, ClassTexts]:
    rng = np.random.default_rng(seed)
    vectors = unit(1.0 + rng.normal(size=(4, width))).astype(np.float32)
    clips = unit(rng.normal(size=(10, width))).astype(np.float32)
    return clips, ClassTexts(SINGLES, vectors, COMPOUNDS)


def fake_encode(texts: Sequence[str]) -> np.ndarray:
    rng = [np.random.default_rng(sum(map(ord, t))) for t in texts]
    return unit(np.stack([r.normal(size=8) for r in rng])).astype(np.float32)


def test_mean_and_weighted_by_hand() -> None:
    clips, texts = made()
    e = dict(zip(SINGLES, texts.vectors.astype(float), strict=True))
    mean = Mean().scores(clips, texts)
    weighted = Weighted({"fear": 3.0}).scores(clips, texts)
    for k, parts in enumerate(COMPOUNDS.values(), start=4):
        plain = unit(sum(e[p] for p in parts))
        np.testing.assert_allclose(mean[:, k], clips @ plain, atol=1e-6)
        heavy = unit(sum((3.0 if p == "fear" else 1.0) * e[p] for p in parts))
        np.testing.assert_allclose(weighted[:, k], clips @ heavy, atol=1e-6)


def test_weights_of_their_own_come_from_how_far_texts_lie_apart() -> None:
    clips, texts = made()
    v = texts.vectors.astype(float)
    weight = [1 - np.mean([v[i] @ v[j] for j in range(4) if j != i]) for i in range(4)]
    expected = unit(weight[0] * v[0] + weight[1] * v[1])
    np.testing.assert_allclose(Weighted().scores(clips, texts)[:, 4], clips @ expected, atol=1e-6)


def test_spherical_mean_is_the_least_squares_point_of_angles() -> None:
    clips, texts = made()
    v = texts.vectors.astype(float)

    def cost(x: np.ndarray) -> float:
        return float(sum(np.arccos(np.clip(p @ unit(x), -1, 1)) ** 2 for p in v[[0, 1, 3]]))

    best = unit(minimize(cost, v.mean(axis=0), tol=1e-12).x)
    spherical = Spherical().scores(clips, texts)
    np.testing.assert_allclose(spherical[:, 6], clips @ best, atol=1e-5)
    # The middle of an arc is the normalised mean; with three components it is another point.
    np.testing.assert_allclose(spherical[:, 4:6], Mean().scores(clips, texts)[:, 4:6], atol=1e-6)
    assert np.abs(spherical[:, 6] - Mean().scores(clips, texts)[:, 6]).max() > 1e-5


def test_spherical_mean_of_two_is_slerp() -> None:
    v = made()[1].vectors.astype(float)[:2]
    angle = np.arccos(v[0] @ v[1])
    t = 0.3
    slerp = (np.sin((1 - t) * angle) * v[0] + np.sin(t * angle) * v[1]) / np.sin(angle)
    found = karcher_mean(v, weights=np.array([1 - t, t]), start=unit(v.mean(axis=0)))
    np.testing.assert_allclose(found, slerp, atol=1e-7)
    same = karcher_mean(v[[0, 0]], weights=np.ones(2), start=v[0])
    np.testing.assert_allclose(same, v[0], atol=1e-7)


def test_similarity_product_is_a_probability_over_all_sets() -> None:
    clips, texts = made()
    sets = {"_".join(c): c for r in (2, 3, 4) for c in combinations(SINGLES, r)}
    every = ClassTexts(SINGLES, texts.vectors, sets)
    found = SimilarityProduct(temperature=0.2).scores(clips, every)
    cosines = clips.astype(float) @ texts.vectors.astype(float).T
    p = 1 / (1 + np.exp(-(cosines - cosines.mean(axis=1, keepdims=True)) / 0.2))
    by_hand = p[:, 0] * p[:, 1] * (1 - p[:, 2]) * (1 - p[:, 3])
    np.testing.assert_allclose(np.exp(found[:, 4]), by_hand, rtol=1e-9)
    # With the empty set, the sets are all that can happen.
    np.testing.assert_allclose(np.exp(found).sum(axis=1) + (1 - p).prod(axis=1), 1.0, rtol=1e-9)
    # The best set is that of the classes above the clip's mean.
    best = [set(every.components[k]) for k in found.argmax(axis=1)]
    above = [{SINGLES[i] for i in range(4) if row[i] > row.mean()} for row in cosines]
    assert best == above


def test_concatenated_prompt_encodes_joined_sentences() -> None:
    clips, texts = made()
    sentences = {s: (f"{s} one", f"{s} two") if s != "fear" else ("fear",) for s in SINGLES}
    found = ConcatenatedPrompt(sentences, fake_encode).scores(clips, texts)
    expected = unit(fake_encode(["anger one fear", "anger two fear"]).mean(axis=0))
    np.testing.assert_allclose(found[:, 4], clips @ expected, atol=1e-6)
    assert concatenated([["a"], ["b", "c"], ["d"]]) == ["a b d", "a c d"]


def learned(n_epochs: int = 60, *, seed: int = 0, clips: int = 300) -> tuple[Learned, np.ndarray]:
    """Training clips that lie where a rotated mean of their components does."""
    rng = np.random.default_rng(5)
    _, texts = made()
    parts = [texts.components[k] for k in rng.integers(0, 8, clips)]
    held = np.array([[s in p for s in SINGLES] for p in parts], dtype=float)
    several = held.sum(axis=1, keepdims=True) > 1
    bias = 0.8 * unit(rng.normal(size=8))
    places = unit(unit(held @ texts.vectors) + several * bias)
    embeddings = unit(places + 0.1 * rng.normal(size=(clips, 8))).astype(np.float32)
    config = ComposerConfig(width=16, epochs=n_epochs, learning_rate=1e-2, combination_folds=4)
    made_of = Learned(embeddings, parts, temperature=0.1, config=config, seed=seed)
    mean = unit(np.array([[s in p for s in SINGLES] for p in texts.components]) @ texts.vectors)
    moved = unit(mean + bias * np.array([[len(p) > 1] for p in texts.components]))
    return made_of, moved


def test_a_learned_composer_carries_over_to_unseen_combinations() -> None:
    _, texts = made()
    composer, truth = learned()
    found = composer.vectors(texts)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(found[:4], texts.vectors)
    mean = unit(texts.membership.astype(float) @ texts.vectors)
    near = np.sum(found * truth, axis=1)[4:]
    assert (near > np.sum(mean * truth, axis=1)[4:]).all()
    again, _ = learned()
    np.testing.assert_array_equal(found, again.vectors(texts))


def test_an_unseen_combination_is_composed_without_its_clips() -> None:
    _, texts = made()
    composer, _ = learned()
    whole = composer.vectors(texts)
    fold = {k for k in range(8) if k >= 4}
    order = np.random.default_rng(0).permutation(4)
    alone = {4 + int(order[0])}  # four folds of four combinations: one each
    unseen = frozenset(texts.components[4 + int(order[0])])
    keep = [i for i, p in enumerate(composer._parts) if frozenset(p) != unseen]
    without = Learned(
        composer._clips[keep],
        [composer._parts[i] for i in keep],
        temperature=0.1,
        config=composer._config,
        seed=0,
    ).vectors(texts)
    for k in fold:
        assert np.array_equal(whole[k], without[k]) == (k in alone)


def test_learned_needs_combinations() -> None:
    clips, texts = made()
    composer = Learned(clips, [("anger",)] * 10, temperature=0.1, config=ComposerConfig(), seed=0)
    with pytest.raises(InputError, match="two or more combinations, got 0"):
        composer.vectors(texts)


@pytest.mark.parametrize(
    "composition",
    [
        Mean(),
        Weighted(),
        Weighted({"fear": 2.0}),
        Spherical(),
        Spherical({"fear": 2.0}),
        SimilarityProduct(0.1),
        learned(5)[0],
    ],
    ids=lambda c: type(c).__name__,
)
def test_the_order_of_components_does_not_matter(composition: Composition) -> None:
    clips, texts = made()
    turned = ClassTexts(SINGLES, texts.vectors, {k: p[::-1] for k, p in COMPOUNDS.items()})
    np.testing.assert_allclose(
        composition.scores(clips, texts), composition.scores(clips, turned), atol=1e-6
    )


def test_components_that_cancel_and_unknown_weights_are_refused() -> None:
    clips, texts = made()
    opposed = texts.vectors.copy()
    opposed[1] = -opposed[0]
    with pytest.raises(InputError, match="'anger_fear' cancel"):
        Mean().scores(clips, ClassTexts(SINGLES, opposed, COMPOUNDS))
    with pytest.raises(InputError, match="got glee"):
        Spherical({"glee": 2.0}).scores(clips, texts)

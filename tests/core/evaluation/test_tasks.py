"""Tasks on chosen embeddings: what is judged, what is left out, what chooses and what must not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.evaluation.class_texts import ClassTexts
from emoclip_clinical.core.evaluation.config import ProbeConfig
from emoclip_clinical.core.evaluation.held_out_classes import (
    only_class,
    uar_per_run_as_published,
    without_class,
)
from emoclip_clinical.core.evaluation.labels import compound_classes, parts_of
from emoclip_clinical.core.evaluation.linear_probe import linear_probe
from emoclip_clinical.core.evaluation.out_of_vocabulary import Detector, detect, detection
from emoclip_clinical.core.evaluation.predictions import Predictions, pool
from emoclip_clinical.core.evaluation.zero_shot import score
from emoclip_clinical.records import InputError

MakeClips = Callable[[Sequence[tuple[str, str, str]]], list[Clip]]


class KnownEmbeddings:
    """Stands for `ClipEmbeddings`: the vector of a clip is looked up, and every look is noted."""

    def __init__(self, vectors: Mapping[Path, np.ndarray]) -> None:
        self._vectors = vectors
        self.asked: list[Path] = []

    def get(self, clips: Sequence[Clip], *, progress: object = None) -> np.ndarray:
        self.asked += [c.path for c in clips]
        return np.array([self._vectors[c.path] for c in clips], dtype=np.float32)


@pytest.fixture
def make_clips() -> MakeClips:
    """Return a function from (label, group, split) to clips that are nowhere on the disk."""

    def make(rows: Sequence[tuple[str, str, str]]) -> list[Clip]:
        return [
            Clip(Path(f"/nowhere/{i}.mp4"), "", label, group, split, f"row {i}")
            for i, (label, group, split) in enumerate(rows)
        ]

    return make


SINGLES = ("anger", "fear", "joy")


def unit(values: np.ndarray) -> np.ndarray:
    out: np.ndarray = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return out


def texts(*, compounds: dict[str, tuple[str, ...]] | None = None) -> ClassTexts:
    return ClassTexts(SINGLES, np.eye(3, 6, dtype=np.float32), compounds or {})


def embedded(clips: list[Clip], *, noise: float, seed: int = 0) -> KnownEmbeddings:
    """Vectors near the mean of the texts of a clip's label; far from all for other labels."""
    rng = np.random.default_rng(seed)
    vectors = {}
    for clip in clips:
        parts = parts_of(clip.label, SINGLES) or ()
        place = np.eye(6)[5] + sum((3 * np.eye(6)[SINGLES.index(p)] for p in parts), np.zeros(6))
        vectors[clip.path] = unit(place + noise * rng.normal(size=6))
    return KnownEmbeddings(vectors)


def test_labels_are_read_in_any_order() -> None:
    singles = ("fear", "mild_joy", "sadness")
    assert parts_of("sadness_mild_joy", singles) == ("mild_joy", "sadness")
    assert parts_of("mild_joy", singles) == ("mild_joy",)
    assert parts_of("fear_glee", singles) is None
    assert parts_of("", singles) is None
    found = compound_classes(
        ["sadness_fear", "fear_sadness", "fear", "fear_mild_joy_sadness", "glee_fear"],
        singles,
        named={"sad_fear": ("sadness", "fear")},
    )
    assert found == {
        "sad_fear": ("fear", "sadness"),
        "fear_mild_joy_sadness": ("fear", "mild_joy", "sadness"),
    }


def test_scoring_leaves_out_other_labels_and_does_not_decode_them(make_clips: MakeClips) -> None:
    clips = make_clips(
        [("anger", "a", "test"), ("glee", "b", "test"), ("joy_fear", "", "test"), ("joy", "c", "")]
    )
    embeddings = embedded(clips, noise=0.1)
    both = texts(compounds={"fear_joy": ("fear", "joy")})
    found = score(clips, both, embeddings)  # type: ignore[arg-type]
    assert embeddings.asked == [clips[i].path for i in (0, 2, 3)]
    assert found.clips.tolist() == [0, 2, 3]
    assert [found.classes[k] for k in found.observed] == ["anger", "fear_joy", "joy"]
    assert found.uar == 1.0
    assert found.groups == ("a", "", "c")
    with pytest.raises(InputError, match="wanted one of anger, fear, joy, got glee"):
        score(clips[1:2], texts(), embeddings)  # type: ignore[arg-type]


class TestLinearProbe:
    def rows(self, *, validation: bool) -> list[tuple[str, str, str]]:
        rng = np.random.default_rng(0)
        splits = ["train"] * 6 + ["test"] * 3 + (["validation"] * 3 if validation else [])
        return [
            (SINGLES[rng.integers(3)], f"p{p}", split)
            for p, split in enumerate(splits)
            for _ in range(12)
        ]

    @pytest.mark.parametrize("validation", [False, True])
    def test_it_learns(self, make_clips: MakeClips, validation: bool) -> None:
        clips = make_clips(self.rows(validation=validation))
        embeddings = embedded(clips, noise=0.8)
        found = linear_probe(clips, SINGLES, embeddings, config=ProbeConfig(), seed=0)  # type: ignore[arg-type]
        assert found.chosen_on == ("validation" if validation else "inner folds")
        assert found.predictions.uar > 0.7
        assert {clips[i].split for i in found.predictions.clips} == {"test"}
        np.testing.assert_allclose(np.exp(found.predictions.scores).sum(axis=1), 1.0)

    @pytest.mark.parametrize("validation", [False, True])
    def test_test_clips_choose_nothing(self, make_clips: MakeClips, validation: bool) -> None:
        clips = make_clips(self.rows(validation=validation))
        embeddings = embedded(clips, noise=1.5)
        kept = linear_probe(clips, SINGLES, embeddings, config=ProbeConfig(), seed=0)  # type: ignore[arg-type]
        rng = np.random.default_rng(1)
        for clip in clips:
            if clip.split == "test":
                embeddings._vectors[clip.path] = unit(rng.normal(size=6))  # type: ignore[index]
        moved = linear_probe(clips, SINGLES, embeddings, config=ProbeConfig(), seed=0)  # type: ignore[arg-type]
        assert moved.regularisation == kept.regularisation
        assert moved.predictions.uar < kept.predictions.uar

    def test_a_class_without_training_clips_is_never_predicted(self, make_clips: MakeClips) -> None:
        rows = [r for r in self.rows(validation=False) if r[0] != "joy" or r[2] == "test"]
        clips = make_clips(rows)
        embeddings = embedded(clips, noise=0.5)
        found = linear_probe(clips, SINGLES, embeddings, config=ProbeConfig(), seed=0)  # type: ignore[arg-type]
        assert found.predictions.recalls()["joy"] == 0.0

    def test_refusals(self, make_clips: MakeClips) -> None:
        clips = make_clips([("joy", "a", "train"), ("joy", "b", "train")])
        with pytest.raises(InputError) as error:
            linear_probe(
                clips,
                SINGLES,
                embedded(clips, noise=0.1),  # type: ignore[arg-type]
                config=ProbeConfig(),
                seed=0,
            )
        assert len(error.value.faults) == 2


class TestOutOfVocabulary:
    def test_figures_equal_scikit_learn_and_test_clips_choose_nothing(
        self, make_clips: MakeClips
    ) -> None:
        rng = np.random.default_rng(2)
        labels = [*SINGLES, "glee", "awe"]
        clips = make_clips([(labels[rng.integers(5)], f"p{i % 7}", "test") for i in range(120)])
        held = [
            Clip(Path(f"/held/{i}.mp4"), "", labels[rng.integers(5)], "", "validation", "")
            for i in range(60)
        ]
        embeddings = embedded([*clips, *held], noise=0.9)
        detector = Detector("cosine", 0.07, 0.9)
        found = detect(clips, held, texts(), embeddings, unknown=(), detector=detector)  # type: ignore[arg-type]
        known = np.array([c.label in SINGLES for c in clips])
        highest = embeddings.get(clips).astype(float)[:, :3].max(axis=1)
        figures = detection(found)
        assert figures.auroc == pytest.approx(roc_auc_score(known, highest))
        validation = embeddings.get([c for c in held if c.label in SINGLES])[:, :3].max(axis=1)
        threshold = found.scores[0, -1]
        assert np.mean(validation >= threshold - 1e-6) >= 0.9
        assert np.mean(validation > threshold + 1e-6) < 0.9 + 1e-9
        assert figures.known_kept == pytest.approx(np.mean(highest[known] >= threshold - 1e-9))
        assert figures.unknown_found == pytest.approx(np.mean(highest[~known] < threshold))
        # Unknown validation clips have no say either.
        only_known = [c for c in held if c.label in SINGLES]
        same = detect(clips, only_known, texts(), embeddings, unknown=(), detector=detector)  # type: ignore[arg-type]
        assert same.scores[0, -1] == threshold

    def test_without_validation_nothing_is_called_unknown(self, make_clips: MakeClips) -> None:
        clips = make_clips([("joy", "", "test"), ("glee", "", "test"), ("awe", "", "test")])
        detector = Detector("softmax", 0.07, 0.9)
        embeddings = embedded(clips, noise=0.1)
        found = detect(clips, [], texts(), embeddings, unknown=("glee",), detector=detector)  # type: ignore[arg-type]
        assert found.clips.tolist() == [0, 1]
        assert detection(found).unknown_found == 0.0
        np.testing.assert_allclose(found.scores[:, :3].sum(axis=1), 1.0)
        with pytest.raises(InputError, match="of an unknown class, got none"):
            detect(clips[:1], [], texts(), embeddings, unknown=(), detector=detector)  # type: ignore[arg-type]


class TestLeaveOneClassOut:
    def test_what_is_trained_on_and_judged(self, make_clips: MakeClips) -> None:
        clips = make_clips(
            [("anger", "", "train"), ("fear", "", "train"), ("anger_fear", "", "validation"),
             ("fear", "", "test"), ("anger", "", "test"), ("joy", "", "")]
        )  # fmt: skip
        left = without_class(clips, "fear", singles=SINGLES)
        assert [c.label for c in left] == ["anger", "fear", "anger", "joy"]
        assert [c.label for c in left if c.split != "test"] == ["anger", "joy"]
        assert [c.label for c in only_class(clips[3:5], "fear")] == ["fear", ""]

    def test_compounds_with_a_part_that_no_prompt_describes(self, make_clips: MakeClips) -> None:
        labels = ("boredom_fear", "fear_boredom", "boredom_joy", "fearless_boredom", "")
        clips = make_clips([(label, "", "train") for label in labels])
        left = without_class(clips, "fear", singles=SINGLES)
        assert [c.label for c in left] == ["boredom_joy", "fearless_boredom", ""]

    def test_gathered_recalls_and_the_official_figure(self) -> None:
        rng = np.random.default_rng(0)
        runs, uars, official = [], [], []
        for held_out in range(3):
            scores = rng.normal(size=(15, 3)) + 0.5 * np.eye(3)[held_out]
            y = np.full(15, held_out)
            runs.append(
                Predictions(SINGLES, y, scores, ("",) * 15, np.arange(15), ("",) * 15,
                            tuple((s,) for s in SINGLES))
            )  # fmt: skip
            p = scores.argmax(axis=1)
            uars.append(np.mean(p == held_out))
            official.append(recall_score(y, p, average="macro", zero_division=0))
        gathered = pool(runs)
        assert gathered.uar == pytest.approx(np.mean(uars))
        assert uar_per_run_as_published(gathered) == pytest.approx(np.mean(official))
        assert uar_per_run_as_published(gathered) < gathered.uar

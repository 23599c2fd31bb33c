"""The tasks of an evaluation: what is trained, what is judged, fold by fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.datasets.clip_set import ClipSet
from emoclip_clinical.core.evaluation.class_texts import ClassTexts, class_texts
from emoclip_clinical.core.evaluation.compositions import make_composition
from emoclip_clinical.core.evaluation.config import EvaluationConfig
from emoclip_clinical.core.evaluation.held_out_classes import only_class, without_class
from emoclip_clinical.core.evaluation.labels import compound_classes, parts_of
from emoclip_clinical.core.evaluation.linear_probe import linear_probe
from emoclip_clinical.core.evaluation.out_of_vocabulary import Detector, detect
from emoclip_clinical.core.evaluation.predictions import Predictions, pool
from emoclip_clinical.core.evaluation.zero_shot import score
from emoclip_clinical.records import InputError, Progress, PromptSet
from emoclip_clinical.study.evaluation_models import Judged, JudgedModels
from emoclip_clinical.study.protocol import Protocol


@dataclass(frozen=True)
class Fold:
    """One fold of the labelled clips.

    Attributes
    ----------
    name : str
        Its number; empty where the source has no folds.
    data : ClipSet
        The clips that are judged, and those they are told apart by.
    training : ClipSet or None
        The same fold of the clips that a model is trained on; None where none is trained.
    """

    name: str
    data: ClipSet
    training: ClipSet | None


@dataclass
class Found:
    """What a task finds as it goes: predictions and details by variant, warnings."""

    predictions: dict[str, list[Predictions]] = field(default_factory=dict)
    details: dict[str, dict[str, object]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, variant: str, fold: str, found: Predictions, **details: object) -> None:
        """Remember the predictions of a fold."""
        self.predictions.setdefault(variant, []).append(found.with_fold(fold))
        if details:
            self.details.setdefault(variant, {})[fold] = details


@dataclass(frozen=True)
class Bench:
    """What every task needs.

    Attributes
    ----------
    protocol : Protocol
        Training settings and seed.
    config : EvaluationConfig
        The task.
    models : JudgedModels
        Where models come from.
    training_prompts : PromptSet or None
        Class descriptions that the protocol's own training needs.
    labels : tuple of str
        Every label of any fold, so that all folds are judged on the same combinations.
    progress : callable
        Of embedding clips.
    """

    protocol: Protocol
    config: EvaluationConfig
    models: JudgedModels
    training_prompts: PromptSet | None
    labels: tuple[str, ...]
    progress: Progress

    def model(self, fold: Fold) -> Judged:
        """Return the model that judges a fold by text: the study's, or the fold's own."""
        if fold.training is None:
            return self.models.own()
        return self.models.trained(
            fold.training.clips,
            name=f"fold {fold.name}".strip(),
            training=self.protocol.training,
            prompts=self.training_prompts,
        )


Task = Callable[[Bench, Fold, PromptSet, Found], None]
"""Judges one fold with one prompt set."""


def zero_shot(bench: Bench, fold: Fold, prompts: PromptSet, found: Found) -> None:
    """Classify the test clips by the descriptions of the single classes."""
    judged = bench.model(fold)
    test, places = test_clips(fold.data)
    texts = class_texts(judged.embedder, prompts, compounds={})
    made = score(test, texts, judged.embeddings, progress=bench.progress)
    found.warnings += left_out(fold, prompts, len(test) - len(made.observed))
    found.add(prompts.name, fold.name, placed(made, places))


def supervised(bench: Bench, fold: Fold, prompts: PromptSet, found: Found) -> None:
    """Learn the classes from the fold's training clips, by description or by a linear probe."""
    if bench.config.method == "linear_probe":
        _probe(bench, fold, prompts, found)
        return
    training = bench.protocol.training.model_copy(update={"captions": "class_descriptions"})
    known = [c for c in fold.data.clips if c.label in prompts.classes]
    judged = bench.models.trained(
        known,
        name=" ".join(part for part in ("supervised", fold.name, prompts.name) if part),
        training=training,
        prompts=prompts,
    )
    test, places = test_clips(fold.data)
    texts = class_texts(judged.embedder, prompts, compounds={})
    made = score(test, texts, judged.embeddings, progress=bench.progress)
    found.warnings += left_out(fold, prompts, len(test) - len(made.observed))
    found.add(prompts.name, fold.name, placed(made, places))


def _probe(bench: Bench, fold: Fold, prompts: PromptSet, found: Found) -> None:
    judged = bench.model(fold)
    # Texts play no part: the classes are those of the data, and are judged once.
    classes = fold.data.classes
    made = linear_probe(
        fold.data.clips,
        classes,
        judged.embeddings,
        config=bench.config.probe,
        seed=bench.protocol.seed,
        progress=bench.progress,
    )
    n_judged, n_test = len(made.predictions.observed), len(test_clips(fold.data)[0])
    if n_judged < n_test:
        where = f", fold {fold.name}" if fold.name else ""
        found.warnings.append(
            f"linear_probe{where}: {n_test - n_judged} of {n_test} test clips are left out, for "
            f"their label is none of {', '.join(classes)}"
        )
    found.warnings += made.warnings
    found.add(
        "linear_probe",
        fold.name,
        made.predictions,
        regularisation=made.regularisation,
        chosen_on=made.chosen_on,
    )


def leave_one_class_out(bench: Bench, fold: Fold, prompts: PromptSet, found: Found) -> None:
    """Train without a class, then classify its test clips among all classes; for each class."""
    classes = tuple(prompts.classes)
    test, places = test_clips(fold.data)
    present = [c for c in classes if any(clip.label == c for clip in test)]
    held_out = bench.config.held_out or tuple(present)
    if faults := [
        f"evaluation.held_out must name classes with test clips, {', '.join(present)}; got {name!r}"
        for name in held_out
        if name not in present
    ]:
        raise InputError(faults)
    by_description = bench.protocol.training.captions == "class_descriptions"
    known = [
        clip
        for clip in fold.data.clips
        if not by_description or parts_of(clip.label, classes) or clip.split == "test"
    ]
    runs = []
    for name in held_out:
        judged = bench.models.trained(
            [
                clip
                for clip in without_class(known, name, singles=classes)
                if clip.split != "test" or clip.label == name
            ],
            name=" ".join(part for part in ("without", name, fold.name, prompts.name) if part),
            training=bench.protocol.training,
            prompts=prompts,
        )
        texts = class_texts(judged.embedder, prompts, compounds={})
        clips = only_class(test, name)
        runs.append(placed(score(clips, texts, judged.embeddings, progress=bench.progress), places))
    found.add(prompts.name, fold.name, pool(runs))


def compound(bench: Bench, fold: Fold, prompts: PromptSet, found: Found) -> None:
    """Classify test clips among single classes and the combinations that the data hold."""
    judged = bench.model(fold)
    test, places = test_clips(fold.data)
    singles = tuple(prompts.classes)
    compounds = compound_classes(bench.labels, singles, named=prompts.compounds)
    if not compounds:
        raise InputError(
            "task compound needs clips whose labels join two or more of "
            f"{', '.join(singles)} by '_', got none"
        )
    texts = class_texts(judged.embedder, prompts, compounds=compounds)
    learn = [c for c in fold.data.clips if c.split not in ("test", "validation")]
    for setting in bench.config.compositions:
        composition = make_composition(
            setting,
            embedder=judged.embedder,
            prompts=prompts,
            training=lambda: labelled(judged, learn, singles, bench.progress),
            composer=bench.config.composer,
            seed=bench.protocol.seed,
        )
        made = score(
            test, texts, judged.embeddings, composition=composition, progress=bench.progress
        )
        found.add(f"{prompts.name}/{setting.name}", fold.name, placed(made, places))
    found.warnings += left_out(fold, prompts, len(test) - len(made.observed))


def out_of_vocabulary(bench: Bench, fold: Fold, prompts: PromptSet, found: Found) -> None:
    """Tell test clips of known classes from those of classes outside the vocabulary."""
    judged = bench.model(fold)
    config = bench.config
    texts = class_texts(judged.embedder, prompts, compounds={})
    here = {*texts.singles, *bench.labels}
    if faults := [
        f"evaluation.unknown_classes must name classes of the prompt set or labels of the clips, "
        f"got {name!r}"
        for name in config.unknown_classes
        if name not in here
    ]:
        raise InputError(faults)
    known = [s for s in texts.singles if s not in config.unknown_classes]
    rows = [texts.singles.index(s) for s in known]
    test, places = test_clips(fold.data)
    made = detect(
        test,
        [c for c in fold.data.clips if c.split == "validation"],
        ClassTexts(tuple(known), texts.vectors[rows], {}),
        judged.embeddings,
        unknown=config.unknown_classes,
        detector=Detector(config.confidence_score, judged.embedder.temperature, config.known_kept),
        progress=bench.progress,
    )
    threshold = float(made.scores[0, -1])
    if not np.isfinite(threshold):
        found.warnings.append(
            "no validation clip of a known class: there is no threshold, so nothing is called "
            "none of these; the AUROC stands"
        )
    found.add(
        prompts.name,
        fold.name,
        placed(made, places),
        threshold=threshold if np.isfinite(threshold) else None,
    )


TASKS: Mapping[str, Task] = {
    "zero_shot": zero_shot,
    "supervised": supervised,
    "leave_one_class_out": leave_one_class_out,
    "compound": compound,
    "out_of_vocabulary": out_of_vocabulary,
}


def test_clips(data: ClipSet) -> tuple[list[Clip], np.ndarray]:
    """Return the test clips and their positions in the source.

    Raises
    ------
    InputError
        If there is none.
    """
    places = [i for i, clip in enumerate(data.clips) if clip.split == "test"]
    if not places:
        splits = ", ".join(sorted({c.split or "(none)" for c in data.clips})) or "no clip"
        raise InputError(f"an evaluation needs clips of split test, got {splits}")
    return [data.clips[i] for i in places], np.array(places)


def placed(found: Predictions, places: np.ndarray) -> Predictions:
    """Name clips by their position in the source instead of that among the test clips."""
    return replace(found, clips=places[found.clips])


def labelled(
    judged: Judged, clips: Sequence[Clip], singles: Sequence[str], progress: Progress
) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Return embeddings of the clips whose label can be read, and the parts of each label."""
    known = [(clip, parts) for clip in clips if (parts := parts_of(clip.label, singles))]
    vectors = judged.embeddings.get([clip for clip, _ in known], progress=progress)
    return vectors, [parts for _, parts in known]


def left_out(fold: Fold, prompts: PromptSet, n: int) -> list[str]:
    """Say how many test clips a prompt set has no class for."""
    where = f", fold {fold.name}" if fold.name else ""
    return [f"{prompts.name}{where}: {n} test clips have a label that it lacks"] if n else []

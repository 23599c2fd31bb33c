"""Which text a clip is paired with: its caption or a part of it, another's, or its class's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.core.captions import matched_parts, split_caption
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.evaluation.labels import parts_of
from emoclip_clinical.core.model import derived_seed
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.records import InputError, PromptSet
from emoclip_clinical.tables import limit_faults


@dataclass(frozen=True)
class ClipTexts:
    """Candidate texts of clips.

    Attributes
    ----------
    texts : tuple of str
        All candidates.
    choices : tuple of tuple of int
        For each clip the positions in `texts` that it may be paired with; one of them is drawn.
    meanings : int ndarray of shape (n_texts,)
        Equal for texts that are one another's positives: equal texts, and texts of one class.
    """

    texts: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]
    meanings: np.ndarray

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw for each of some clips the position of its text."""
        shares = rng.random(len(rows))
        chosen = [
            options[int(share * len(options))]
            for share, options in zip(shares, (self.choices[r] for r in rows), strict=True)
        ]
        return np.asarray(chosen, dtype=np.int64)


@dataclass(frozen=True)
class Captioned:
    """Clips that a text could be found for.

    Attributes
    ----------
    clips : tuple of Clip
        In their order, without those that lack the asked part.
    texts : ClipTexts
        Theirs.
    warnings : tuple of str
        How many clips were left out, and why.
    """

    clips: tuple[Clip, ...]
    texts: ClipTexts
    warnings: tuple[str, ...]


def caption_clips(
    clips: Sequence[Clip],
    *,
    training: TrainingConfig,
    prompts: PromptSet | None,
    seed: int,
) -> Captioned:
    """Find the texts of clips by the rule `training.captions`.

    `both` is the caption as it stands; `context` and `expression` are its halves
    (`split_caption`). `shuffled` moves captions along one random cycle through the training
    clips, so that none keeps its own while the texts themselves stay the same; those of
    validation and test clips are not moved. With `match_caption_length` a clip's context and
    expression both have as many words as the shorter of the two, `both` and `shuffled` take half
    of their words from each, and a clip without one of the halves is left out of every condition:
    conditions then differ in what is said, not in how much or of which clips.
    `class_descriptions` draws one sentence of the clip's class, for a compound one of one of its
    components; `class_names` fills the class's name into a template.

    Parameters
    ----------
    clips : sequence of Clip
        Of all splits.
    training : TrainingConfig
        `captions`, `match_caption_length`, `class_name_template`.
    prompts : PromptSet, optional
        Sentences of the classes; needed for `class_descriptions`.
    seed : int
        Of the cycle of `shuffled`.

    Returns
    -------
    Captioned

    Raises
    ------
    InputError
        If class descriptions are asked for without a prompt set, or listing every clip whose
        label is empty or has no class in it.
    """
    if training.captions == "class_descriptions":
        return _by_class(clips, _descriptions(prompts))
    if training.captions == "class_names":
        return _by_class(clips, _names(clips, training.class_name_template))
    wording = [_wording(c.caption, training) for c in clips]
    kept = tuple(c for c, text in zip(clips, wording, strict=True) if text)
    texts = [text for text in wording if text]
    if training.captions == "shuffled":
        texts = _shuffled(texts, kept, seed=seed)
    meanings = np.unique(texts, return_inverse=True)[1] if texts else np.empty(0, dtype=np.int64)
    choices = tuple((i,) for i in range(len(texts)))
    return Captioned(
        kept, ClipTexts(tuple(texts), choices, meanings), _left_out(len(clips), len(kept), training)
    )


def _wording(caption: str, training: TrainingConfig) -> str:
    """Return what is said of a clip under a condition; empty where its caption lacks it."""
    if training.match_caption_length:
        matched = matched_parts(caption)
        if matched is None:
            return ""
        context, expression = matched.context.split(), matched.expression.split()
        if training.captions in ("both", "shuffled"):
            half = (len(context) + 1) // 2
            return " ".join(context[:half] + expression[: len(context) - half])
        return matched.context if training.captions == "context" else matched.expression
    if training.captions in ("both", "shuffled"):
        return caption
    parts = split_caption(caption)
    return parts.context if training.captions == "context" else parts.expression


def _shuffled(texts: list[str], clips: Sequence[Clip], *, seed: int) -> list[str]:
    learned = [i for i, c in enumerate(clips) if c.split not in ("validation", "test")]
    cycle = np.random.default_rng(derived_seed(seed, 6)).permutation(learned)
    moved = list(texts)
    for target, source in zip(cycle, np.roll(cycle, 1), strict=True):
        moved[int(target)] = texts[int(source)]
    return moved


def _left_out(n_clips: int, n_kept: int, training: TrainingConfig) -> tuple[str, ...]:
    if n_kept == n_clips:
        return ()
    lacks = "a context or an expression" if training.match_caption_length else training.captions
    return (
        f"{n_clips - n_kept} of {n_clips} clips are left out: no sentence of their caption is "
        f"{lacks}",
    )


def _descriptions(prompts: PromptSet | None) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return for each class and compound its (class, sentence) pairs."""
    if prompts is None:
        raise InputError("captions: class_descriptions needs a prompt set, got none")
    single = {
        name: tuple((name, sentence) for sentence in sentences)
        for name, sentences in prompts.classes.items()
    }
    return single | {
        name: tuple(pair for part in parts for pair in single[part])
        for name, parts in prompts.compounds.items()
    }


def _names(clips: Sequence[Clip], template: str) -> dict[str, tuple[tuple[str, str], ...]]:
    labels = {c.label for c in clips if c.label}
    spoken = {label: label.replace("_", " and ") for label in labels}
    return {x: ((x, template.replace("{name}", spoken[x])),) for x in sorted(labels)}


def _by_class(clips: Sequence[Clip], known: dict[str, tuple[tuple[str, str], ...]]) -> Captioned:
    options = [_options(c.label, known) for c in clips]
    if faults := [
        f"captions by class need a label of the prompt set, got {c.label!r} ({c.where})"
        for c, pairs in zip(clips, options, strict=True)
        if not pairs
    ]:
        raise InputError(limit_faults(faults))
    pairs = sorted({pair for found in options for pair in found})
    place = {pair: i for i, pair in enumerate(pairs)}
    classes = sorted({name for name, _ in pairs})
    return Captioned(
        tuple(clips),
        ClipTexts(
            tuple(sentence for _, sentence in pairs),
            tuple(tuple(place[pair] for pair in found) for found in options),
            np.array([classes.index(name) for name, _ in pairs], dtype=np.int64),
        ),
        (),
    )


def _options(
    label: str, known: dict[str, tuple[tuple[str, str], ...]]
) -> tuple[tuple[str, str], ...]:
    return tuple(pair for part in parts_of(label, tuple(known)) or () for pair in known[part])

"""Captions in two halves, and the conditions that are made of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from emoclip_clinical.core.captions import matched_parts, split_caption
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.core.training_texts import Captioned, caption_clips
from emoclip_clinical.records import InputError, PromptSet


@pytest.mark.parametrize(
    ("context", "expression"),
    [
        (
            "A woman communicates with a man, talking about dinner.",
            "The slightly closed eyes, the open mouth and the raised lip corners.",
        ),
        ("A man with wide eyes looks at his phone.", "The deep frown. The pressed lips."),
        ("Someone waits for news at a table.", "A calm face and heavy eyelids."),
        ("The little boy smiles at his mother. She waves.", "The raised cheeks."),
        ("A man reads a letter.", ""),
        ("", "The furrowed brows and the downturned mouth corners."),
        ("He shouts!", "The man's eyes are wide open."),
        ("A girl sits by a window", ""),
    ],
)
def test_a_caption_is_parted_where_the_face_begins(context: str, expression: str) -> None:
    parts = split_caption(f"{context} {expression}")
    assert (parts.context, parts.expression) == (context, expression)


def test_matched_halves_have_equally_many_words() -> None:
    parts = matched_parts("A man talks about a long journey at home. The open mouth.")
    assert parts is not None
    assert (parts.context, parts.expression) == ("A man talks", "The open mouth.")
    assert matched_parts("A man talks about dinner.") is None


CLIPS = [
    Clip(None, caption, label, "", split, f"row {i}")  # type: ignore[arg-type]
    for i, (caption, label, split) in enumerate(
        [
            ("A man talks. The open mouth.", "anger", "train"),
            ("A woman waits. The deep frown.", "fear", "train"),
            ("A man talks. The raised brows.", "anger_fear", ""),
            ("A boy sings.", "fear", "train"),
            ("A girl talks. The wide eyes.", "anger", "validation"),
        ],
        start=2,
    )
]
PROMPTS = PromptSet(
    "two",
    {"anger": ("a frown", "tight lips"), "fear": ("wide eyes",)},
    {"anger_fear": ("anger", "fear")},
)


def _captioned(**settings: object) -> Captioned:
    training = TrainingConfig.model_validate(settings)
    return caption_clips(CLIPS, training=training, prompts=PROMPTS, seed=1)


def _said(captioned: Captioned) -> list[str]:
    texts = captioned.texts
    drawn = texts.draw(np.arange(len(captioned.clips)), np.random.default_rng(0))
    return [texts.texts[i] for i in drawn]


def test_whole_captions_and_their_halves() -> None:
    assert _said(_captioned()) == [c.caption for c in CLIPS]
    context = _captioned(captions="context")
    assert _said(context)[3] == "A boy sings."
    assert context.texts.meanings[0] == context.texts.meanings[2]  # both: a man talks
    expression = _captioned(captions="expression")
    assert _said(expression)[0] == "The open mouth."
    assert len(expression.clips) == 4
    assert expression.warnings == (
        "1 of 5 clips are left out: no sentence of their caption is expression",
    )


def test_shuffled_captions_keep_the_texts_and_lose_every_pair() -> None:
    said = _said(_captioned(captions="shuffled"))
    assert Counter(said) == Counter(c.caption for c in CLIPS)
    assert all(text != c.caption for text, c in zip(said[:4], CLIPS, strict=False))
    assert said[4] == CLIPS[4].caption  # validation clips keep theirs


def test_matched_conditions_see_the_same_clips_and_as_many_words() -> None:
    lengths = []
    for captions in ("context", "expression", "both"):
        found = _captioned(captions=captions, match_caption_length=True)
        assert [c.where for c in found.clips] == ["row 2", "row 3", "row 4", "row 6"]
        lengths.append([len(text.split()) for text in _said(found)])
    assert lengths[0] == lengths[1] == lengths[2] == [3, 3, 3, 3]
    shuffled = _captioned(captions="shuffled", match_caption_length=True)
    assert Counter(_said(shuffled)) == Counter(
        _said(_captioned(captions="both", match_caption_length=True))
    )


def test_class_descriptions_are_drawn_and_mean_their_class() -> None:
    found = _captioned(captions="class_descriptions")
    rng = np.random.default_rng(0)
    seen = [set(), set(), set(), set(), set()]  # type: ignore[var-annotated]
    for _ in range(40):
        for i, text in enumerate(found.texts.draw(np.arange(5), rng)):
            seen[i].add(found.texts.texts[text])
    assert seen[0] == {"a frown", "tight lips"}
    assert seen[1] == {"wide eyes"}
    assert seen[2] == {"a frown", "tight lips", "wide eyes"}  # a compound: any component's
    meaning = dict(zip(found.texts.texts, found.texts.meanings, strict=True))
    assert meaning["a frown"] == meaning["tight lips"] != meaning["wide eyes"]


def test_compounds_of_classes_with_an_underscore_are_read_as_everywhere() -> None:
    prompts = PromptSet("set", {"mild_joy": ("a faint smile",), "fear": ("wide eyes",)})
    clips = [Clip(None, "x", "fear_mild_joy", "", "", "row 2")]  # type: ignore[arg-type]
    found = caption_clips(
        clips, training=TrainingConfig(captions="class_descriptions"), prompts=prompts, seed=0
    )
    assert {found.texts.texts[i] for i in found.texts.choices[0]} == {"a faint smile", "wide eyes"}


def test_class_names_fill_the_template() -> None:
    found = _captioned(captions="class_names", class_name_template="a face of {name}")
    assert _said(found)[2] == "a face of anger and fear"
    unlabelled = [Clip(None, "x", "", "", "", "row 9")]  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"got '' \(row 9\)"):
        caption_clips(
            unlabelled,
            training=TrainingConfig(captions="class_names"),
            prompts=None,
            seed=0,
        )


def test_class_descriptions_need_a_prompt_set() -> None:
    with pytest.raises(InputError, match="needs a prompt set"):
        caption_clips(
            CLIPS, training=TrainingConfig(captions="class_descriptions"), prompts=None, seed=0
        )

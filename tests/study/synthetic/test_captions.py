"""Do captions say what the face does, and can a reader of captions read the prompts?"""

import re

import numpy as np
import pytest
from ruamel.yaml import YAML

from emoclip_clinical.study.synthetic.actions import action_vector
from emoclip_clinical.study.synthetic.captions import (
    PHRASES,
    class_prompts,
    visible_actions,
    write_caption,
    write_context,
    write_expression,
)
from emoclip_clinical.study.synthetic.expressions import COMPOUNDS, EMOTIONS, draw_apex
from emoclip_clinical.study.synthetic.prompt_file import write_prompts


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.fixture(scope="module")
def captions() -> list[str]:
    """Captions of 1,500 faces: half as many as the default study has for training."""
    rng = np.random.default_rng(0)
    labels = (*EMOTIONS, *COMPOUNDS)
    return [
        write_caption(draw_apex(labels[i % len(labels)], rng=rng), rng=rng) for i in range(1500)
    ]


def test_every_word_of_the_prompts_occurs_in_captions(captions):
    known = set().union(*map(_words, captions))
    for sentences in class_prompts().classes.values():
        for sentence in sentences:
            assert _words(sentence) <= known


def test_no_prompt_is_a_caption_and_none_could_be(captions):
    said = {caption.split(". ", 1)[1] for caption in captions}
    prompts = [p for sentences in class_prompts().classes.values() for p in sentences]
    assert not said & set(prompts)
    assert len(prompts) == len(set(prompts))
    # captions list what they see with commas and "and", and say "with" once at most
    assert max(sentence.split().count("with") for sentence in said) == 1
    assert min(prompt.split().count("with") for prompt in prompts) > 1


def test_captions_are_two_sentences_and_name_no_emotion(captions):
    for caption in captions:
        assert len(re.findall(r"[A-Z][^.]*\.", caption)) == 2
        assert caption.endswith(".")
        assert not _words(caption) & set(EMOTIONS)


def test_captions_have_many_wordings(captions):
    assert len(set(captions)) > 0.99 * len(captions)


def test_prompts_cover_the_eleven_classes_and_the_compounds():
    prompts = class_prompts()
    assert tuple(prompts.classes) == (
        "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt",
        "anxiety", "helplessness", "disappointment",
    )  # fmt: skip
    assert prompts.compounds["fear_surprise"] == ("fear", "surprise")


def test_expression_sentence_names_just_what_is_visible():
    rng = np.random.default_rng(3)
    apex = action_vector(jaw_drop=0.7, brow_lower=0.9, lip_press=0.1)
    for _ in range(30):
        sentence = write_expression(apex, rng=rng)
        assert _words(sentence) & {"jaw", "mouth"}
        assert _words(sentence) & {"brows", "eyebrows"}
        assert not _words(sentence) & {"lips", "eyes", "head", "calm"}


def test_strength_chooses_the_adverb():
    rng = np.random.default_rng(4)
    weak = [write_expression(action_vector(jaw_drop=0.35), rng=rng) for _ in range(60)]
    strong = [write_expression(action_vector(jaw_drop=0.95), rng=rng) for _ in range(60)]
    assert any("slightly" in s for s in weak)
    assert not any("strongly" in s for s in weak)
    assert any("strongly" in s for s in strong)
    assert not any("slightly" in s for s in strong)


def test_visible_actions_know_up_from_down_and_forget_the_side():
    assert set(visible_actions(action_vector(gaze_down=-0.8))) == {"gaze_up"}
    assert set(visible_actions(action_vector(gaze_down=0.8))) == {"gaze_down"}
    assert visible_actions(action_vector(smirk=-0.8)) == visible_actions(action_vector(smirk=0.8))
    assert visible_actions(action_vector(head_pitch_degrees=-12.0)) == {}
    assert set(visible_actions(action_vector(head_pitch_degrees=12.0))) == {"head_pitch_degrees"}


def test_context_uses_no_word_for_a_face():
    rng = np.random.default_rng(5)
    nouns = {w for _, options in PHRASES.values() for noun in options for w in _words(noun)}
    for _ in range(200):
        assert not _words(write_context(rng=rng)) & nouns


def test_prompt_file_reads_back_the_same(tmp_path):
    prompts = class_prompts()
    write_prompts(prompts, path=tmp_path / "synthetic.yaml")
    content = YAML(typ="safe").load(tmp_path / "synthetic.yaml")
    assert list(content) == ["name", "language", "author", "date", "classes", "compounds"]
    assert {k: tuple(v) for k, v in content["classes"].items()} == dict(prompts.classes)
    assert {k: tuple(v) for k, v in content["compounds"].items()} == dict(prompts.compounds)
    assert isinstance(content["date"], str)

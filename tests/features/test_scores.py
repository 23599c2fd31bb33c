"""Scores against scipy; prompt sets with all their faults."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import softmax

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.prompt_sets import (
    load_prompt_set,
    load_prompt_sets,
    parse_prompt_set,
    prompt_set_hash,
    shipped_prompt_sets,
)
from emoclip_clinical.features.scores import (
    encode_prompt_sets,
    score_columns,
    score_embeddings,
)
from emoclip_clinical.records import InputError, PromptSet
from emoclip_clinical.regression.scales import load_scales


@pytest.fixture
def embeddings():
    rows = np.random.default_rng(3).normal(size=(6, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_scores_are_cosines_and_their_softmax(embedder, prompts, embeddings):
    vectors = encode_prompt_sets(embedder, [prompts])
    scores = score_embeddings(embeddings, vectors, temperature=0.07)
    assert tuple(scores) == score_columns(vectors)
    assert [c for c in scores if c.startswith("emotion")] == [
        "emotion_two__smile",
        "emotion_two__frown",
        "emotion_two__rest",
        "emotion_two_compounds__smile_frown",
        "emotion_two_compounds__smile_rest",
    ]
    text = embedder.encode_text
    smile = text(["a smile", "a grin"]).mean(axis=0)
    classes = [smile / np.linalg.norm(smile), text(["a frown"])[0], text(["a face"])[0]]
    cosines = embeddings @ np.stack(classes).T
    np.testing.assert_allclose(scores["cosine_two__frown"], cosines[:, 1], atol=1e-6)
    expected = softmax(cosines.astype(float) / 0.07, axis=1)
    for i, name in enumerate(("smile", "frown", "rest")):
        np.testing.assert_allclose(scores[f"emotion_two__{name}"], expected[:, i], atol=1e-6)
    compound = np.mean([classes[0], classes[2]], axis=0)
    np.testing.assert_allclose(
        scores["cosine_two_compounds__smile_rest"],
        embeddings @ compound / np.linalg.norm(compound),
        atol=1e-6,
    )


def test_sets_that_would_share_columns_are_refused(embedder, prompts):
    with pytest.raises(InputError, match="two prompt sets are called 'two'"):
        encode_prompt_sets(embedder, [prompts, prompts])
    clash = PromptSet(name="two_compounds", classes={"a": ("a",), "b": ("b",)})
    with pytest.raises(InputError, match="two_compounds"):
        encode_prompt_sets(embedder, [prompts, clash])


def test_shipped_sets_are_sound():
    assert {"basic_seven", "class_names", "mafw_eleven"} <= set(shipped_prompt_sets())
    for name in shipped_prompt_sets():
        assert load_prompt_set(name).name == name
    assert len(load_prompt_set("basic_seven").classes) == 7
    eleven = load_prompt_set("mafw_eleven")
    assert (len(eleven.classes), len(eleven.compounds)) == (11, 10)
    compounds = load_prompt_set("mafw_compounds")
    assert compounds.classes == eleven.classes
    # Liu et al. 2022: 32 classes of several emotions.
    assert len({frozenset(parts) for parts in compounds.compounds.values()}) == 32
    assert all(name == "_".join(parts) for name, parts in compounds.compounds.items())


@pytest.mark.parametrize("name", ["actions", "clinical"])
def test_no_two_classes_share_a_sentence(name):
    texts = [text for texts in load_prompt_set(name).classes.values() for text in texts]
    assert len(set(texts)) == len(texts) > 20


def test_the_clinical_set_names_no_item_of_a_scale():
    items = {item.name.lower() for scale in load_scales().values() for item in scale.items}
    # Single words such as "tension" are everyday language.
    phrases = {item for item in items if " " in item}
    assert len(phrases) > 50
    for sentences in load_prompt_set("clinical").classes.values():
        for text in sentences:
            assert not [phrase for phrase in phrases if phrase in text.lower()]


def test_who_wrote_a_set_changes_no_score():
    first, second = (
        PromptSet(name="own", classes={"a": ("x",), "b": ("y",)}, author=author)
        for author in ("", "someone else")
    )
    assert prompt_set_hash(first) == prompt_set_hash(second)


def test_own_file_by_relative_path(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "\ufeffname: own\ndate: 2026-01-02\nclasses:\n  a: one sentence\n  b: [two, three]\n",
        encoding="utf-8",
    )
    loaded = load_prompt_set("own.yaml", folder=tmp_path)
    assert loaded.classes == {"a": ("one sentence",), "b": ("two", "three")}
    assert loaded.date == "2026-01-02"
    other = PromptSet(name="own", classes={"a": ("one sentence",), "b": ("two",)})
    assert prompt_set_hash(loaded) != prompt_set_hash(other)


def test_classes_must_differ_and_components_stand_once():
    with pytest.raises(InputError) as caught:
        PromptSet(
            "own",
            {
                "joy": ("a smile", "a grin"),
                "mirth": ("a laugh", "A  smile"),
                "glee": ("a laugh",),
                "calm": ("a face", "a face"),
            },
            {"more": ("joy", "calm", "joy"), "both": ("joy", "calm")},
        )
    assert list(caught.value.faults) == [
        "prompt set 'own': the classes 'joy', 'mirth' have one sentence, 'a smile'; each class "
        "needs its own",
        "prompt set 'own': the classes 'mirth', 'glee' have one sentence, 'a laugh'; each class "
        "needs its own",
        "prompt set 'own': compound 'more' must name each class once, got 'joy' more than once",
    ]


def test_every_fault_of_a_file_is_listed_with_its_key():
    content = "nam: x\nlanguage: 3\nclasses:\n  a: 1\n  yes: [a, 2]\ncompounds: [a, b]\n"
    with pytest.raises(InputError) as caught:
        parse_prompt_set(content, where="own.yaml")
    text = str(caught.value)
    for part in ("'nam'", "'name' is missing", "language", "classes.a", "classes.yes", "compounds"):
        assert part in text
    assert all(fault.startswith("own.yaml: ") for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("name: x\nclasses:\n  a: [b\n", "line"),
        ("name: x\nname: y\n", "line 2"),
        ("- a\n- b\n", "got list"),
        ("", "got NoneType"),
        ("name: x\nclasses: {a: t, b: t}\ncompounds: {c: [a, z]}\n", "compound 'c'"),
        ("name: Big Name\nclasses: {a: t, b: t}\n", "lower-case"),
        ("name: !!python/object:os.system x\n", "YAML"),
    ],
)
def test_unusable_yaml_is_refused(content, fault):
    with pytest.raises(InputError, match=fault):
        parse_prompt_set(content, where="own.yaml")


def test_unknown_sets_are_listed_together():
    with pytest.raises(InputError) as caught:
        load_prompt_sets(("basic_sevn", "absent.yaml", "basic_seven"))
    assert len(caught.value.faults) == 2
    assert "basic_seven" in caught.value.faults[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts": ()},
        {"prompts": ("a", "a")},
        {"sample_fps": 0},
        {"sample_fps": float("nan")},
        {"window_seconds": -1},
        {"face": "precomputed"},
        {"unknown": 1},
        {"quality": {"minimum_coverage": 1.5}},
        {"quality": {"minimum_face_height_pixels": 0}},
        {"quality": {"minimum_brightness": 200, "maximum_brightness": 100}},
        {"quality": {"sharpness": 1}},
        {"pooling": ()},
        {"pooling": ("mode",)},
        {"pooling_weights": "best"},
        {"detection_fps": 0.1},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValidationError):
        ExtractionConfig(**settings)

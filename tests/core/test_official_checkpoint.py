"""Imported checkpoints against the published forward pass in plain tensor arithmetic."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from typer.testing import CliRunner

from emoclip_clinical import InputError, load_model
from emoclip_clinical.cli import app
from emoclip_clinical.core.config import FAITHFUL_TEMPORAL
from emoclip_clinical.core.official_checkpoint import import_official

# pytest's importlib mode puts no test folder on the path.
_spec = importlib.util.spec_from_file_location(
    "official_model", Path(__file__).with_name("official_model.py")
)
assert _spec is not None
assert _spec.loader is not None
official = importlib.util.module_from_spec(_spec)
sys.modules["official_model"] = official
_spec.loader.exec_module(official)

SMALL = official.Size()
TEXTS = ["a broad smile", "raised brows and an open mouth"]


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    return official.random_state(SMALL, seed=0)


def _clips(size: Any, lengths: tuple[int, ...] = (3, 1, 5)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (t, size.image, size.image, 3), dtype=np.uint8) for t in lengths]


def _expected(clips: list[np.ndarray], state: dict[str, torch.Tensor], size: Any) -> np.ndarray:
    with torch.inference_mode():
        pictures = [torch.from_numpy(c).permute(0, 3, 1, 2) for c in clips]
        return torch.stack([official.encode_clip(p, state, size) for p in pictures]).numpy()


def _save(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


WRAPPINGS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "plain": lambda s: s,
    "data parallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "both": lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_clips_and_texts_equal_the_published_forward_pass(
    wrapping: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = _save(tmp_path / "a.pth", WRAPPINGS[wrapping](state))
    done = import_official(file, folder=tmp_path / "imported")
    assert (done.form, done.text_tower, done.missing) == ("full", "checkpoint", ())
    assert done.left_out == ("backbone.logit_scale",)
    assert set(done.found) == set(state) - {"backbone.logit_scale"}
    model = load_model(tmp_path / "imported", device="cpu")
    clips = _clips(SMALL)
    np.testing.assert_allclose(model.encode_clips(clips), _expected(clips, state, SMALL), atol=1e-5)
    tokens = open_clip.SimpleTokenizer(context_length=SMALL.context)(TEXTS)
    expected = torch.stack([official.encode_tokens(t, state, SMALL) for t in tokens]).numpy()
    np.testing.assert_allclose(model.encode_text(TEXTS), expected, atol=1e-5)
    # The root's scale, not the backbone's.
    assert model.temperature == pytest.approx(np.exp(-3.7))
    geometry = done.config.temporal
    assert (geometry.layers, geometry.heads, geometry.head_width) == (2, 8, 24)
    assert (geometry.mlp_width, geometry.positions) == (40, 20)


def test_half_precision_is_read_as_the_numbers_that_it_holds(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    half = {k: v.half() for k, v in state.items()}
    import_official(_save(tmp_path / "a.pth", half), folder=tmp_path / "m")
    model = load_model(tmp_path / "m", device="cpu")
    rounded = {k: v.float() for k, v in half.items()}
    clips = _clips(SMALL)
    np.testing.assert_allclose(
        model.encode_clips(clips), _expected(clips, rounded, SMALL), atol=1e-5
    )


@pytest.mark.parametrize("form", ["downstream", "full"])
def test_without_text_tower_clips_are_embedded_and_texts_refused(
    form: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    pruned = official.random_state(SMALL, seed=0, text=False)
    state = pruned if form == "full" else official.downstream(pruned)
    head = {"mlp.0.weight": torch.zeros(16, 32), "mlp.0.bias": torch.zeros(16)}
    done = import_official(_save(tmp_path / "a.pth", {**state, **head}), folder=tmp_path / "m")
    assert (done.form, done.text_tower) == (form, "none")
    assert "backbone.transformer.*" in done.missing
    assert {"mlp.0.bias", "mlp.0.weight"} <= set(done.left_out)
    model = load_model(tmp_path / "m", device="cpu")
    clips = _clips(SMALL)
    np.testing.assert_allclose(
        model.encode_clips(clips), _expected(clips, pruned, SMALL), atol=1e-5
    )
    assert not model.has_text_tower
    for ask in (lambda: model.encode_text(TEXTS), lambda: model.score(clips, TEXTS)):
        with pytest.raises(InputError, match="held none; import-checkpoint --add-text-tower"):
            ask()
    if form == "downstream":
        assert "logit_scale" in done.missing
        assert any("CLIP's published factor of 100" in w for w in done.warnings)
        assert model.temperature == pytest.approx(0.01)


def test_a_text_tower_is_added_from_a_file(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    other = official.random_state(SMALL, seed=1)
    text = {
        k.removeprefix("backbone."): v
        for k, v in other.items()
        if k.startswith("backbone.") and not k.startswith("backbone.visual.")
    }
    _save(tmp_path / "text.pt", text)
    file = _save(tmp_path / "a.pth", official.downstream(state))
    done = import_official(file, folder=tmp_path / "m", text_tower=str(tmp_path / "text.pt"))
    assert done.text_tower.startswith("sha256:")
    model = load_model(tmp_path / "m", device="cpu")
    tokens = open_clip.SimpleTokenizer(context_length=SMALL.context)(TEXTS)
    expected = torch.stack([official.encode_tokens(t, other, SMALL) for t in tokens]).numpy()
    np.testing.assert_allclose(model.encode_text(TEXTS), expected, atol=1e-5)
    assert model.temperature == pytest.approx(np.exp(-4.6))
    with pytest.raises(InputError, match="a text tower of its own"):
        import_official(
            _save(tmp_path / "b.pth", state), folder=tmp_path / "n", text_tower="openai"
        )
    with pytest.raises(InputError, match="none of OpenAI's"):
        import_official(file, folder=tmp_path / "n", text_tower="openai")


def test_the_card_says_what_it_is(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    file = _save(tmp_path / "a.pth", state)
    import_official(file, folder=tmp_path / "m")
    card = json.loads((tmp_path / "m" / "model.json").read_text())
    assert "EmoCLIP authors" in card["imported"]["note"]
    assert card["imported"]["text_tower"] == "checkpoint"
    assert card["preprocessing"]["resize"]["antialias"] is False
    assert str(tmp_path) not in json.dumps(card)
    with pytest.raises(InputError, match="holds a model already"):
        import_official(file, folder=tmp_path / "m")
    import_official(file, folder=tmp_path / "m", overwrite=True)


def test_every_tensor_that_does_not_fit_is_listed_by_its_own_name(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    layer = "temporal.temporal_transformer.layers.0"
    broken = dict(state)
    del broken[f"{layer}.0.fn.norm.bias"]
    broken[f"{layer}.2.fn.norm.bias"] = torch.zeros(32)
    broken["backbone.visual.ln_post.gain"] = torch.zeros(3)
    broken["backbone.visual.ln_pre.weight"] = torch.ones(7)
    with pytest.raises(InputError) as caught:
        import_official(_save(tmp_path / "a.pth", broken), folder=tmp_path / "m")
    assert caught.value.faults == (
        "a.pth: tensor backbone.visual.ln_pre.weight must have shape (128,), got (7,)",
        f"a.pth: tensor {layer}.0.fn.norm.bias is missing",
        "a.pth: unexpected tensor backbone.visual.ln_post.gain",
        f"a.pth: unexpected tensor {layer}.2.fn.norm.bias",
    )
    assert not (tmp_path / "m").exists()


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"visual.conv1.weight": torch.zeros(2, 2)}, "tensor backbone.visual.conv1.weight is"),
        ({"a": torch.zeros(1), "b": 3}, "b must be a tensor, got int"),
        ([1, 2], "state dict of tensors, got list"),
        ({"a": _Evil()}, "can not be read"),
        ({"logit_scale": torch.tensor(float("nan"))}, "logit_scale holds values that are not"),
        ({"a": torch.zeros(1), "module.a": torch.zeros(1)}, "a stands there with and without"),
    ],
)
def test_what_is_no_such_checkpoint_is_refused(
    content: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=message):
        import_official(_save(tmp_path / "a.pth", content), folder=tmp_path / "m")
    assert "code was run" not in capsys.readouterr().out


def test_bytes_that_are_no_file_of_torch_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"\x00" * 100)
    (tmp_path / "b.pth").write_bytes(pickle.dumps(_Evil()))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(InputError, match="can not be read"):
            import_official(tmp_path / name, folder=tmp_path / "m")
    with pytest.raises(InputError, match="no such file"):
        import_official(tmp_path / "c.pth", folder=tmp_path / "m")


def test_the_command(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    file = _save(tmp_path / "a.pth", official.downstream(state))
    runner = CliRunner()
    output = str(tmp_path / "models" / "paper")
    done = runner.invoke(app, ["import-checkpoint", str(file), "--output", output, "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["form"], summary["text_tower"]) == ("downstream", "none")
    assert "missing: backbone.transformer.*" in done.stderr
    assert load_model(output, device="cpu").config.name == "paper"
    again = runner.invoke(app, ["import-checkpoint", str(file), "--output", output])
    assert again.exit_code == 2
    assert "holds a model already" in again.stderr


@pytest.mark.slow
def test_the_full_size_equals_the_published_forward_pass(tmp_path: Path) -> None:
    state = official.random_state(official.FULL, seed=0)
    done = import_official(_save(tmp_path / "a.pth", state), folder=tmp_path / "m")
    (tmp_path / "a.pth").unlink()
    assert done.config.faithful
    assert done.config.temporal == FAITHFUL_TEMPORAL
    assert done.config.tower.name == "ViT-B-32-quickgelu"
    n_temporal = sum(v.numel() for k, v in state.items() if k.startswith("temporal."))
    assert round(n_temporal / 1e6, 1) == 68.7  # instead of 6.8, had the widths not been swapped
    model = load_model(tmp_path / "m", device="cpu")
    clips = _clips(official.FULL, (4, 2))
    np.testing.assert_allclose(
        model.encode_clips(clips), _expected(clips, state, official.FULL), atol=1e-5
    )

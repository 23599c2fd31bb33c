"""8-bit products against integers by hand; int8 towers against float32, and their refusals."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from emoclip_clinical import Embedder, InputError, load_model
from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.image_tower import ImageTower
from emoclip_clinical.core.int8_calibration import drawn_pictures, largest_values
from emoclip_clinical.core.int8_products import OPSET, product_rows, use_int8_products
from emoclip_clinical.core.int8_tower import Int8Tower
from emoclip_clinical.core.model import build_model

TEXT = {"context_length": 8, "width": 64, "heads": 1, "layers": 1}
VIT = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 64, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "coca": {
        "embed_dim": 64,
        "vision_cfg": {
            **VIT,
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "attn_pooler_heads": 1},
        "custom_text": True,
    },
    "resnet": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 32, "patch_size": None},
        "text_cfg": TEXT,
    },
    "timm": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "timm_model_name": "emoclip_small_convnet"}
        | {"timm_pool": "", "timm_proj": ""},
        "text_cfg": TEXT,
    },
}

MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])


def _config(kind: str) -> ModelConfig:
    tower = TowerConfig(name=kind, definition=TOWERS[kind], pretrained="none")
    return ModelConfig(name="small", tower=tower)


def _embedder(folder: Path, kind: str = "vit", **settings: Any) -> Embedder:
    config = _config(kind)
    save_checkpoint(folder, built=build_model(config, seed=0), config=config, card={})
    return load_model(folder, device="cpu", **settings)


def _pictures(n: int, *, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / norms


def _by_hand(rows: np.ndarray, weights: np.ndarray, largest_values: np.ndarray) -> np.ndarray:
    rows, weights = rows.astype(float), weights.astype(float)
    middle = np.median(largest_values)
    for k, largest in enumerate(largest_values):
        balance = np.float32(np.sqrt(max(largest, middle) / abs(weights[k]).max()))
        rows[:, k] /= balance
        weights[k] *= balance
    out = np.zeros((len(rows), weights.shape[1]))
    for i, row in enumerate(rows):
        row_scale = max(abs(row).max() / 127, 1e-37)
        for j, column in enumerate(weights.T):
            column_scale = abs(column).max() / 64 or 1.0
            pairs = zip(row, column, strict=True)
            total = sum(
                round(float(x / row_scale)) * round(float(w / column_scale)) for x, w in pairs
            )
            out[i, j] = total * row_scale * column_scale
    return out


def _run(
    node: onnx.NodeProto,
    constants: dict[str, np.ndarray],
    x: np.ndarray,
    *,
    largest_values: np.ndarray,
) -> np.ndarray:
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "products",
        [helper.make_tensor_value_info("x", floats, ["n", x.shape[1]])],
        [helper.make_tensor_value_info("y", floats, ["n", "m"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    assert product_rows(network) == ["x"]
    use_int8_products(network, largest_values={"x": largest_values})
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    out: np.ndarray = session.run(None, {"x": x})[0]
    return out


def test_products_are_those_of_integers_by_hand() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 64)).astype(np.float32)
    weights = rng.normal(size=(64, 5)).astype(np.float32)
    x[1], weights[:, 2] = 0, 0
    x[3] *= 1e6
    largest_values = rng.exponential(size=64).astype(np.float32)
    expected = _by_hand(x, weights, largest_values)
    found = _run(MATMUL, {"w": weights}, x, largest_values=largest_values)
    unit = abs(expected).max(axis=1, keepdims=True) + 1e-30
    np.testing.assert_allclose(found / unit, expected / unit, atol=1e-6)
    assert not found[1].any()
    assert not found[:, 2].any()

    bias = rng.normal(size=5).astype(np.float32)
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    constants = {"w": np.ascontiguousarray(weights.T), "b": bias}
    biased = _run(gemm, constants, x, largest_values=largest_values)
    np.testing.assert_allclose(biased / unit, (expected + bias) / unit, atol=1e-6)


def test_the_largest_sums_that_there_can_be_are_not_clipped() -> None:
    # Where a processor keeps sums of pairs in 16 bits, full eight-bit weights would be.
    x = np.array([[3.0], [-3.0]], dtype=np.float32).repeat(256, axis=1)
    weights = np.array([[2.0, -2.0]], dtype=np.float32).repeat(256, axis=0)
    found = _run(MATMUL, {"w": weights}, x, largest_values=np.ones(256, dtype=np.float32))
    expected = 3 * 2 * 256 * np.array([[1, -1], [-1, 1]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_row_with_huge_values_costs_the_others_nothing() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 64)).astype(np.float32)
    weights = rng.normal(size=(64, 32)).astype(np.float32)
    usual = np.full(64, 3, dtype=np.float32)
    alone = _run(MATMUL, {"w": weights}, x[:3], largest_values=usual)
    x[3] *= 1000
    beside = _run(MATMUL, {"w": weights}, x, largest_values=usual)
    np.testing.assert_array_equal(beside[:3], alone)
    assert _cosines(beside, x @ weights).min() > 0.999


def test_a_column_with_huge_values_costs_little_where_it_is_known() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, 64)).astype(np.float32)
    weights = rng.normal(size=(64, 32)).astype(np.float32)
    x[:, 5] += 1000
    weights[5] /= 1000
    exact, known = x @ weights, abs(x).max(axis=0)
    balanced = _run(MATMUL, {"w": weights}, x, largest_values=known)
    unaware = _run(MATMUL, {"w": weights}, x, largest_values=np.ones_like(known))
    assert _cosines(unaware, exact).min() < 0.99
    assert _cosines(balanced, exact).min() > 0.9995


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_largest_values_are_those_of_the_network() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    pictures = torch.from_numpy(drawn_pictures(8)).float()
    file = io.BytesIO()
    torch.onnx.export(layers, (pictures[:2],), file, opset_version=OPSET, dynamo=False,
                      input_names=["x"], dynamic_axes={"x": {0: "n"}})  # fmt: skip
    network = onnx.load_from_string(file.getvalue())
    names = product_rows(network)
    found = largest_values(network, pictures.numpy(), names=names)
    with torch.no_grad():
        expected = [layers[:1](pictures), layers[:3](pictures)]
    for name, values in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[name], values.abs().amax(0), rtol=1e-5, atol=1e-3)


def test_drawn_pictures_use_all_grey_levels_and_are_smooth() -> None:
    pictures = drawn_pictures(64).astype(float)
    assert pictures.shape == (16, 3, 64, 64)
    np.testing.assert_array_equal(pictures.min(axis=(1, 2, 3)), 0)
    np.testing.assert_array_equal(pictures.max(axis=(1, 2, 3)), 255)
    neighbours = abs(np.diff(pictures, axis=3)).mean()
    across = abs(pictures[..., :32] - pictures[..., 32:]).mean()
    assert neighbours < across / 3


@pytest.mark.parametrize("kind", TOWERS)
def test_towers_agree_with_float32(kind: str, tmp_path: Path) -> None:
    exact = _embedder(tmp_path, kind)
    pictures = _pictures(9, side=exact.image_size_pixels)
    expected = exact.encode_prepared(pictures)
    found = exact.variant(precision="int8").encode_prepared(pictures)
    assert found.dtype == np.float32
    assert not np.array_equal(found, expected)
    assert _cosines(found, expected).min() > 0.999
    # Making the variant leaves the model as it was.
    np.testing.assert_array_equal(exact.encode_prepared(pictures), expected)


def test_a_picture_keeps_its_bits_in_other_batches_and_threads(tmp_path: Path) -> None:
    fast = _embedder(tmp_path, precision="int8")
    pictures = _pictures(21)
    expected = fast.encode_prepared(pictures)
    order = np.random.default_rng(1).permutation(21)
    parts = np.split(pictures[order], [1, 4, 13])
    with ThreadPoolExecutor(2) as pool:
        found = np.concatenate(list(pool.map(fast.encode_prepared, parts)))
    np.testing.assert_array_equal(found, expected[order])
    again = load_model(tmp_path, device="cpu").variant(precision="int8")
    np.testing.assert_array_equal(again.encode_prepared(pictures), expected)


def test_only_the_image_tower_is_int8(tmp_path: Path) -> None:
    exact = _embedder(tmp_path)
    fast = exact.variant(precision="int8")
    assert (exact.precision, fast.precision) == ("float32", "int8")
    np.testing.assert_array_equal(exact.encode_text(["a smile"]), fast.encode_text(["a smile"]))
    vectors, valid = exact.encode_prepared(_pictures(4))[None], np.ones((1, 4), dtype=bool)
    np.testing.assert_array_equal(
        exact.encode_sequences(vectors, valid), fast.encode_sequences(vectors, valid)
    )
    assert fast.variant(precision="int8") is fast
    assert fast.encode_prepared(_pictures(0)).shape == (0, 64)


def test_what_can_not_be_is_refused(tmp_path: Path) -> None:
    exact = _embedder(tmp_path)
    with pytest.raises(InputError, match=r"torch\.compile has no part in precision int8"):
        exact.variant(precision="int8", compiled=True)
    with pytest.raises(InputError, match="was loaded in int8: load it again for float32"):
        load_model(tmp_path, device="cpu", precision="int8").variant(precision="float32")
    built = build_model(_config("vit"), seed=0)
    with pytest.raises(InputError, match="int8 is for a CPU, but the model is on cuda:0"):
        ImageTower(
            built.model,
            preprocessing=built.preprocessing,
            device=torch.device("cuda:0"),
            precision="int8",
            batch_frames=1,
        )


class _Untraceable(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return torch.linalg.svdvals(pictures)


def test_towers_that_it_does_not_suit_are_refused() -> None:
    pictures = torch.rand(4, 3, 8, 8)
    with pytest.raises(InputError, match="this image tower has none"):
        Int8Tower(nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()), pictures=pictures)
    with pytest.raises(InputError, match="torch can write as ONNX"):
        Int8Tower(_Untraceable(), pictures=pictures)

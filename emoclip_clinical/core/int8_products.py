"""Let the matrix products of an ONNX network compute with 8-bit integers.

A product of rows with constant weights becomes one of integers, whose exact result is scaled back.
Weights get one scale a column and keep seven bits, so that no processor's 16-bit sums of two
products overflow. Each row gets a scale of its own: what else is in the batch changes no bit of
it, and a token with huge values costs the others no accuracy (Dettmers et al. 2022, arXiv
2208.07339, call it vector-wise). Channels with huge values are balanced against their weights.
Everything else stays in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18
"""Of the networks that come in: the first in which ReduceMax takes its axes as an input."""

LARGEST_WEIGHT = 64
_LARGEST_VALUE = 127
_MIDDLE = 128
# ONNX Runtime's own operators; this one multiplies integers and scales the sums.
_RUNTIME = "com.microsoft"
_LAST_AXIS, _ONE, _ZERO_POINT, _STEP, _TINY = (
    f"int8_{name}" for name in ("last_axis", "one", "zero_point", "step", "tiny")
)


@dataclass(frozen=True)
class _Product:
    rows: str
    weights: np.ndarray
    bias: str | None
    output: str


def product_rows(network: onnx.ModelProto) -> list[str]:
    """Return the names of the rows that go into the products `use_int8_products` changes."""
    constants = _constants(network)
    found = (_product(node, constants) for node in network.graph.node)
    return list(dict.fromkeys(product.rows for product in found if product is not None))


def use_int8_products(network: onnx.ModelProto, *, largest_values: Mapping[str, np.ndarray]) -> int:
    """Change a network in place.

    Parameters
    ----------
    network : ModelProto
        In opset `OPSET`, in float32, with its weights.
    largest_values : mapping of str to ndarray of shape (k,)
        For each of `product_rows`, the largest absolute value of each column. A column of large
        values is made smaller and its weights larger in proportion, so that both lose as little
        as the other (Xiao et al. 2023, arXiv 2211.10438, with their alpha of 0.5).

    Returns
    -------
    int
        How many products were changed.
    """
    graph = network.graph
    constants = _constants(network)
    products = [_product(node, constants) for node in graph.node]
    balances = _balances([p for p in products if p is not None], largest_values)
    nodes: list[onnx.NodeProto] = []
    tensors = list(_common_tensors())
    seen: set[str] = set()
    for number, (node, product) in enumerate(zip(graph.node, products, strict=True)):
        if product is None:
            nodes.append(node)
            continue
        balance = balances[product.rows]
        if product.rows not in seen:
            # Queries, keys and values are products of the same rows.
            seen.add(product.rows)
            nodes += _integer_rows(product.rows)
            tensors.append(numpy_helper.from_array(1 / balance, _balance(product.rows)))
        nodes += _integer_product(product, number=number)
        tensors += _integer_weights(product.weights * balance[:, None], number=number)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in [*graph.initializer, *tensors] if t.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    network.opset_import.append(helper.make_opsetid(_RUNTIME, 1))
    return sum(product is not None for product in products)


def _balances(
    products: Sequence[_Product], largest_values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return, for each rows, what its columns are divided by and their weights multiplied with."""
    weights: dict[str, np.ndarray] = {}
    for product in products:
        largest = np.abs(product.weights).max(axis=1)
        weights[product.rows] = np.maximum(largest, weights.get(product.rows, 0.0))
    balances = {}
    for rows, largest in weights.items():
        values = largest_values[rows]
        # What was silent there may speak up later, and must not be blown up then.
        values = np.maximum(values, np.median(values))
        sound = (values > 0) & (largest > 0)
        ratio = np.divide(values, largest, out=np.ones_like(values), where=sound)
        balances[rows] = np.sqrt(ratio).astype(np.float32)
    return balances


def _constants(network: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in network.graph.initializer}


def _product(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> _Product | None:
    """Read a product of something with a constant matrix; None for any other node."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants:
        return None
    weights = numpy_helper.to_array(constants[node.input[1]])
    if weights.ndim != 2 or weights.dtype != np.float32:
        return None
    if node.op_type == "MatMul":
        return _Product(node.input[0], weights, None, node.output[0])
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if (given.get("alpha", 1.0), given.get("beta", 1.0), given.get("transA", 0)) != (1.0, 1.0, 0):
        return None
    bias = node.input[2] if len(node.input) > 2 else None
    return _Product(
        node.input[0], weights.T if given.get("transB", 0) else weights, bias, node.output[0]
    )


def _common_tensors() -> Iterator[onnx.TensorProto]:
    values: dict[str, np.ndarray] = {
        _LAST_AXIS: np.array([-1], dtype=np.int64),
        _ONE: np.array(1, dtype=np.float32),
        _ZERO_POINT: np.array(_MIDDLE, dtype=np.uint8),
        _STEP: np.array(1 / _LARGEST_VALUE, dtype=np.float32),
        # A row of zeros has a scale, too.
        _TINY: np.array(1e-30, dtype=np.float32),
    }
    for name, value in values.items():
        yield numpy_helper.from_array(value, name)


def _integer_rows(rows: str) -> list[onnx.NodeProto]:
    """Turn rows into integers 1 to 255, with 128 for zero, and a scale for each."""
    balanced, shape, flat, integers = (
        f"{rows}_int8_{step}" for step in ("balanced", "shape", "flat", "integers")
    )
    high, low, other, largest, steps, count, middles = (
        f"{rows}_int8_{step}"
        for step in ("high", "low", "other", "largest", "steps", "count", "middles")
    )
    # Passes over all values cost most: two that only look, and one that rounds by each row's own
    # step, which asks for rows in a matrix.
    return [
        helper.make_node("Mul", [rows, _balance(rows)], [balanced]),
        helper.make_node("ReduceMax", [balanced, _LAST_AXIS], [high], keepdims=1),
        helper.make_node("ReduceMin", [balanced, _LAST_AXIS], [low], keepdims=1),
        helper.make_node("Neg", [low], [other]),
        helper.make_node("Max", [high, other, _TINY], [largest]),
        helper.make_node("Mul", [largest, _STEP], [_scales(rows)]),
        helper.make_node("Reshape", [_scales(rows), _LAST_AXIS], [steps]),
        helper.make_node("Shape", [steps], [count]),
        helper.make_node("Expand", [_ZERO_POINT, count], [middles]),
        helper.make_node("Flatten", [balanced], [flat], axis=-1),
        helper.make_node("QuantizeLinear", [flat, steps, middles], [integers], axis=0),
        helper.make_node("Shape", [balanced], [shape]),
        helper.make_node("Reshape", [integers, shape], [_integers(rows)]),
    ]


def _integer_product(product: _Product, *, number: int) -> list[onnx.NodeProto]:
    weights, scales = _weight_names(number)
    sums = f"{product.output}_int8_sums"
    unbiased = product.output if product.bias is None else f"{product.output}_int8_unbiased"
    nodes = [
        helper.make_node(
            "MatMulIntegerToFloat",
            [_integers(product.rows), weights, _ONE, scales, _ZERO_POINT],
            [sums],
            domain=_RUNTIME,
        ),
        helper.make_node("Mul", [sums, _scales(product.rows)], [unbiased]),
    ]
    if product.bias is not None:
        nodes.append(helper.make_node("Add", [unbiased, product.bias], [product.output]))
    return nodes


def _integer_weights(weights: np.ndarray, *, number: int) -> list[onnx.TensorProto]:
    largest = np.abs(weights).max(axis=0)
    scales = np.where(largest > 0, largest / LARGEST_WEIGHT, 1.0).astype(np.float32)
    integers = np.rint(weights / scales).astype(np.int8)
    integers_name, scales_name = _weight_names(number)
    return [
        numpy_helper.from_array(integers, integers_name),
        numpy_helper.from_array(scales, scales_name),
    ]


def _weight_names(number: int) -> tuple[str, str]:
    return f"int8_weights_{number}", f"int8_weight_scales_{number}"


def _integers(rows: str) -> str:
    return f"{rows}_int8"


def _scales(rows: str) -> str:
    return f"{rows}_int8_scales"


def _balance(rows: str) -> str:
    return f"{rows}_int8_balance"

"""How large the values inside an image tower become, on drawn pictures that are always the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch.nn import functional

from emoclip_clinical.core.threads import usable_cores

_N_PICTURES = 16
_GRAINS = (2, 7, 28, 112)
_PICTURES_AT_ONCE = 4


def drawn_pictures(side_pixels: int) -> np.ndarray:
    """Draw coloured clouds, in which coarse structure is stronger than fine, as in photographs.

    A study's own frames would fit better, but shards and later runs see other ones.

    Parameters
    ----------
    side_pixels : int
        Side s.

    Returns
    -------
    uint8 ndarray of shape (16, 3, s, s)
        From black to white, each.
    """
    rng = np.random.default_rng(0)
    pictures = np.zeros((_N_PICTURES, 3, side_pixels, side_pixels))
    for grain in _GRAINS:
        noise = torch.from_numpy(rng.normal(size=(_N_PICTURES, 3, grain, grain)))
        smooth = functional.interpolate(noise, size=(side_pixels, side_pixels), mode="bilinear")
        pictures += smooth.numpy() * _GRAINS[0] / grain
    low, high = pictures.min(axis=(1, 2, 3)), pictures.max(axis=(1, 2, 3))
    scaled = (pictures.T - low) / (high - low)
    drawn: np.ndarray = np.rint(255 * scaled.T).astype(np.uint8)
    return drawn


def largest_values(
    network: onnx.ModelProto, pictures: np.ndarray, *, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the largest absolute value of each column of what is named.

    Parameters
    ----------
    network : ModelProto
        With one input.
    pictures : float32 ndarray of shape (n, 3, s, s)
        What goes in.
    names : sequence of str
        Values in the network, of shape (..., k_i).

    Returns
    -------
    dict
        For each name, a float32 ndarray of shape (k_i,).
    """
    outputs = network.graph.output
    n_before = len(outputs)
    # A copy would hold all weights once more.
    outputs.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    content = network.SerializeToString()
    del outputs[n_before:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Nor another one, in the order in which many pictures would be fastest.
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    del content

    def of_part(start: int) -> list[np.ndarray]:
        part = pictures[start : start + _PICTURES_AT_ONCE]
        found = session.run(list(names), {network.graph.input[0].name: part})
        return [np.abs(values).reshape(-1, values.shape[-1]).max(axis=0) for values in found]

    with ThreadPoolExecutor(usable_cores()) as threads:
        parts = list(threads.map(of_part, range(0, len(pictures), _PICTURES_AT_ONCE)))
    return {
        name: np.maximum.reduce(of_parts)
        for name, of_parts in zip(names, zip(*parts, strict=True), strict=True)
    }

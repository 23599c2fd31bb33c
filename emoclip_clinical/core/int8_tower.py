"""An image tower whose matrix products compute with 8-bit integers, by ONNX Runtime on a CPU."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from emoclip_clinical.core.int8_calibration import largest_values
from emoclip_clinical.core.int8_products import OPSET, product_rows, use_int8_products
from emoclip_clinical.records import InputError

_INPUT, _OUTPUT = "pictures", "vectors"
# What these need between two layers stays in a core's own cache.
_PICTURES_AT_ONCE = 8


class Int8Tower:
    """Frame vectors of normalised pictures, each in the thread that asks.

    Parameters
    ----------
    encode_frames : Module
        Maps float32 pictures of shape (n, 3, s, s) to vectors of shape (n, d), on the CPU.
    pictures : Tensor of shape (m, 3, s, s)
        What is to be expected, two at least: how the range of eight bits is shared out among the
        values of a layer follows from them.

    Raises
    ------
    InputError
        If the tower can not be translated, or holds no product of matrices.
    """

    def __init__(self, encode_frames: nn.Module, *, pictures: Tensor) -> None:
        network = _network(encode_frames, pictures[:2])
        rows = product_rows(network)
        if not rows:
            raise InputError(
                "precision int8 is for towers with matrix products, and this image tower has "
                "none: use float32"
            )
        use_int8_products(
            network, largest_values=largest_values(network, pictures.numpy(), names=rows)
        )
        options = onnxruntime.SessionOptions()
        # Threads with a batch each do not wait for one another; see `each_thread_alone`.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            network.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """Encode float32 pictures (n, 3, s, s) as float32 vectors (n, d), not normalised."""
        parts = [
            self._session.run([_OUTPUT], {_INPUT: part.contiguous().numpy()})[0]
            for part in pictures.split(_PICTURES_AT_ONCE)
        ]
        return torch.from_numpy(np.concatenate(parts))


def _network(encode_frames: nn.Module, pictures: Tensor) -> onnx.ModelProto:
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            # Both are for developers: traced shapes, and the exporter's age (the newer one needs
            # a package more).
            warnings.simplefilter("ignore")
            torch.onnx.export(
                encode_frames,
                (pictures,),
                file,  # type: ignore[arg-type]  # the newer exporter's signature
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                dynamic_axes={_INPUT: {0: "n"}, _OUTPUT: {0: "n"}},
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:
        # It fails in as many ways as there are towers.
        raise InputError(
            "precision int8 needs an image tower that torch can write as ONNX, and this one it "
            f"can not ({type(error).__name__}): use float32"
        ) from error
    network: onnx.ModelProto = onnx.load_from_string(file.getvalue())
    return network

"""The image tower in use: prepared pictures in, frame vectors out, in the precision asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from emoclip_clinical.core.model import EmoCLIP
from emoclip_clinical.core.preprocessing import Preprocessing, normalise
from emoclip_clinical.core.vision_blocks import (
    in_plain_operations,
    with_part,
    without_unused_tokens,
)
from emoclip_clinical.records import InputError

if TYPE_CHECKING:
    from emoclip_clinical.core.int8_tower import Int8Tower

PRECISIONS = ("float32", "bfloat16", "int8")


class ImageTower:
    """What turns pictures into vectors on one device.

    Parameters
    ----------
    model : EmoCLIP
        On its device, in float32; its image tower is turned to bfloat16 where that is asked for.
    preprocessing : Preprocessing
        How a picture becomes the tower's input.
    device : torch.device
        Where the model is.
    precision : str
        One of `PRECISIONS`.
    batch_frames : int
        Pictures that go through at once.

    Raises
    ------
    InputError
        If the device does not have the precision, or the tower can not compute in it.
    """

    def __init__(
        self,
        model: EmoCLIP,
        *,
        preprocessing: Preprocessing,
        device: torch.device,
        precision: str,
        batch_frames: int,
    ) -> None:
        _check_precision(precision, device)
        self.precision = precision
        self._model = model
        self._preprocessing = preprocessing
        self._device = device
        self._batch_frames = batch_frames
        # The temporal part and the text tower cost next to nothing, and stay exact.
        if precision == "bfloat16":
            _visual(model).to(torch.bfloat16)
        self._vectors = self._computation()

    def variant(self, *, precision: str, compiled: bool) -> ImageTower:
        """Return the same tower, computing in another way; see `Embedder.variant`."""
        if precision == self.precision and not compiled:
            return self
        _check_precision(precision, self._device)
        if precision != self.precision and self.precision != "float32":
            raise InputError(
                f"the model was loaded in {self.precision}: load it again for {precision}"
            )
        twin = copy.copy(self)
        twin.precision = precision
        if precision == "int8":
            if compiled:
                raise InputError("torch.compile has no part in precision int8: leave it off")
            twin._vectors = self._int8
            return twin
        visual = copy.deepcopy(_visual(self._model))
        visual.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)
        twin._model = _with_visual(self._model, visual)
        twin._vectors = twin._computation(compiled=compiled)
        return twin

    def encode(self, prepared: np.ndarray) -> np.ndarray:
        """Encode prepared pictures; see `Embedder.encode_prepared`."""
        # Pinned memory lets a GPU copy while it computes; the one wait is at the end.
        on_gpu = self._device.type == "cuda"
        out = torch.empty((len(prepared), self._model.width), pin_memory=on_gpu)
        with torch.inference_mode():
            for start in range(0, len(prepared), self._batch_frames):
                batch = torch.from_numpy(prepared[start : start + self._batch_frames])
                batch = batch.pin_memory() if on_gpu else batch
                pictures = normalise(
                    batch.to(self._device, non_blocking=on_gpu), self._preprocessing
                )
                vectors = self._vectors(pictures)
                out[start : start + len(batch)].copy_(vectors, non_blocking=on_gpu)
            if on_gpu:
                torch.cuda.current_stream(self._device).synchronize()
        encoded: np.ndarray = out.numpy()
        return encoded

    def _computation(self, *, compiled: bool = False) -> Callable[[Tensor], Tensor]:
        if self.precision == "int8":
            return self._int8
        visual = without_unused_tokens(_visual(self._model))
        if compiled:
            # Batches come in one size, and shapes that are known make faster code.
            visual.compile(dynamic=False)
        encode_frames = _with_visual(self._model, visual).encode_frames
        if self.precision == "float32":
            return encode_frames
        return lambda pictures: encode_frames(pictures.to(torch.bfloat16))

    @cached_property
    def _int8(self) -> Int8Tower:
        """Made once, however often the variant is asked for: it takes seconds."""
        # Most runs do without, and need not wait for its packages.
        from emoclip_clinical.core.int8_calibration import drawn_pictures
        from emoclip_clinical.core.int8_tower import Int8Tower

        # Attention that is asked for gradients takes the way that can be written down as ONNX.
        visual = copy.deepcopy(_visual(self._model)).requires_grad_(True)
        alone = _with_visual(self._model, in_plain_operations(visual))
        drawn = torch.from_numpy(drawn_pictures(self._preprocessing.image_size_pixels))
        return Int8Tower(_FramesOnly(alone.clip), pictures=normalise(drawn, self._preprocessing))


class _FramesOnly(nn.Module):
    """`EmoCLIP.encode_frames` as a module's whole work."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pictures: Tensor) -> Tensor:
        out: Tensor = self.clip.encode_image(pictures, normalize=False)  # type: ignore[operator]
        return out


def _visual(model: EmoCLIP) -> nn.Module:
    visual = model.clip.visual
    assert isinstance(visual, nn.Module)
    return visual


def _with_visual(model: EmoCLIP, visual: nn.Module) -> EmoCLIP:
    """Return a model that shares every part with another one but the image tower."""
    return with_part(model, "clip", with_part(model.clip, "visual", visual))


def _check_precision(precision: str, device: torch.device) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"precision must be float32, bfloat16 or int8, got {precision!r}")
    if device.type != "cuda":
        return
    if precision == "int8":
        raise InputError(
            f"precision int8 is for a CPU, but the model is on {device}: choose float32 or "
            "bfloat16, or the device cpu"
        )
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("precision bfloat16 was asked for, but this GPU does not have it")

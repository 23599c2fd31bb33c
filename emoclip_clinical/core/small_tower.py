"""A convolutional image tower small enough to train on two cores in a minute.

It is registered with timm, so an open_clip configuration can name it::

    vision_cfg: {image_size: 64, timm_model_name: emoclip_small_convnet, timm_pool: "",
                 timm_proj: ""}

The last map is flattened, not averaged: where on the face something moves is the signal.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn

CHANNELS = (16, 32, 64, 64)
IMAGE_SIZE_PIXELS = 64


class SmallConvNet(nn.Module):
    """Four stride-2 convolutions, flattened, projected and batch-normalised.

    Parameters
    ----------
    num_classes : int
        Width of the output.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in CHANNELS:
            layers += [
                nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            before = channels
        side = IMAGE_SIZE_PIXELS // 2 ** len(CHANNELS)
        self.features = nn.Sequential(*layers)
        self.project = nn.Linear(before * side * side, num_classes, bias=False)
        self.norm = nn.BatchNorm1d(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape (n, 3, 64, 64) to (n, num_classes)."""
        out: Tensor = self.norm(self.project(torch.flatten(self.features(images), 1)))
        return out


@register_model
def emoclip_small_convnet(pretrained: bool = False, **kwargs: Any) -> SmallConvNet:
    """Make the tower by timm's conventions; there are no pretrained weights."""
    return SmallConvNet(num_classes=int(kwargs["num_classes"]))

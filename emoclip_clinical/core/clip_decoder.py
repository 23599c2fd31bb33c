"""decord, without NVIDIA's libraries.

decord2 loads every library of the nvidia wheels that it finds, with its symbols visible to all that
is loaded later. One of them, NVBLAS, offers BLAS under the usual names: PyTorch, imported after it,
multiplies matrices by NVBLAS and crashes where that finds no library of its own to hand them to.
Our decord reads on the processor and needs none of them; without them it takes 350 MB less. PyTorch
is imported first in any case (https://github.com/dmlc/decord/issues/293).
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch  # noqa: F401 (before decord)


def _load() -> ModuleType:
    before = {"nvidia": sys.modules["nvidia"]} if "nvidia" in sys.modules else {}
    # What decord then finds is that there is no such package.
    sys.modules["nvidia"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("decord")
    finally:
        del sys.modules["nvidia"]
        sys.modules.update(before)


decord = _load()

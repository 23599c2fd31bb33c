"""EmoCLIP for clinical interviews: from videos and ratings to an honest estimate of symptoms.

``import emoclip_clinical`` loads neither torch nor a video decoder; `load_model` does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emoclip_clinical.records import InputError

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder, load_model

# onnxruntime sends figures about its use to its makers unless told not to before it is loaded.
# Nothing that this package does is told to anyone.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
__all__ = ["Embedder", "InputError", "__version__", "load_model"]


def __getattr__(name: str) -> object:
    if name in {"Embedder", "load_model"}:
        from emoclip_clinical.core import embedder

        return getattr(embedder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

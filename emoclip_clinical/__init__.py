"""EmoCLIP for clinical interviews: from videos and ratings to an honest estimate of symptoms.

``import emoclip_clinical`` loads neither torch nor a video decoder; `load_model` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoclip_clinical.records import InputError

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder, load_model

__version__ = "0.1.0"
__all__ = ["Embedder", "InputError", "__version__", "load_model"]


def __getattr__(name: str) -> object:
    if name in {"Embedder", "load_model"}:
        from emoclip_clinical.core import embedder

        return getattr(embedder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

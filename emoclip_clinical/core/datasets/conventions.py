"""In which order data sets number their classes, and by which names they call them."""

from __future__ import annotations

LABEL_ORDERS: dict[str, tuple[str, ...]] = {
    "mafw_emoclip": (
        "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise",
        "contempt", "anxiety", "helplessness", "disappointment",
    ),
    "mafw_dfer_clip": (
        "happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear",
        "contempt", "anxiety", "helplessness", "disappointment",
    ),
    "seven": ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    "crema_d": ("anger", "disgust", "fear", "happiness", "neutral", "sadness"),
    "ravdess": (
        "neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise",
    ),
}  # fmt: skip
"""Conventions by name. The two of MAFW number the same eleven classes differently: EmoCLIP's
loader and DFER-CLIP's lists. `seven` is that of DFEW (which counts from 1) and of the peers'
lists of DFEW, FERV39K and AFEW (which count from 0)."""

LAYOUT_ORDERS: dict[str, str] = {
    "mafw_official": "mafw_emoclip",
    "mafw_folds": "mafw_emoclip",
    "dfew": "seven",
    "ferv39k": "seven",
    "afew": "seven",
    "crema_d": "crema_d",
    "ravdess": "ravdess",
}
"""The convention of each layout that has one of its own."""

_SPELLINGS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}


def class_name(text: str) -> str:
    """Return the project's name of an emotion: `Happy` and `happiness` are `happiness`."""
    plain = text.strip().lower()
    return _SPELLINGS.get(plain, plain)


def label_order(layout: str, chosen: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the classes of a source in the order of their numbers.

    Parameters
    ----------
    layout : str
        Of a `ClipSource`.
    chosen : str, tuple of str or None
        A convention's name, the names themselves, or the layout's own order.

    Returns
    -------
    tuple of str
        Empty where neither the layout nor the user names an order. Names of the user's own are
        kept as they are.
    """
    if isinstance(chosen, tuple):
        return chosen
    name = chosen or LAYOUT_ORDERS.get(layout)
    return LABEL_ORDERS[name] if name else ()


def known_labels(order: tuple[str, ...]) -> dict[str, str]:
    """Map every spelling's project name to the class as `order` calls it."""
    return {class_name(c): c for c in order}

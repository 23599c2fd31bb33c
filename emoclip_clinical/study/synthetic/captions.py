"""Captions of the synthetic clips: a sentence of context, and one that says what the face does.

A caption never names an emotion. Classes are scored by `class_prompts`, which says what the face
of each class does in wordings that no caption has, made of words that captions do have: a text
tower that is trained from scratch can not read words that it has never seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoclip_clinical.records import PromptSet

from .actions import INDEX
from .expressions import COMPOUNDS

Phrase = tuple[tuple[str, ...], tuple[str, ...]]

PHRASES: dict[str, Phrase] = {
    "brow_inner_raise": (("raised", "lifted"), ("inner brows", "inner eyebrows")),
    "brow_outer_raise": (("raised", "lifted", "arched"), ("outer brows", "outer eyebrows")),
    "brow_lower": (("lowered", "furrowed", "knitted", "frowning"), ("brows", "eyebrows")),
    "lid_raise": (("wide", "widened", "staring"), ("eyes",)),
    "lid_close": (("narrowed", "drooping", "heavy"), ("eyelids", "lids")),
    "cheek_raise": (("raised", "lifted", "bunched"), ("cheeks",)),
    "nose_wrinkle": (("wrinkled", "crinkled"), ("nose",)),
    "upper_lip_raise": (("raised", "curled", "lifted"), ("upper lip",)),
    "lip_corner_pull": (("upturned", "smiling", "raised"), ("mouth corners", "lip corners")),
    "smirk": (("crooked", "lopsided", "uneven"), ("mouth", "lips")),
    "lip_corner_depress": (
        ("downturned", "sagging", "lowered"),
        ("mouth corners", "lip corners"),
    ),
    "lip_stretch": (("stretched", "tense", "widened"), ("mouth", "lips")),
    "lip_press": (("pressed", "tight", "thin"), ("lips",)),
    "jaw_drop": (("open", "dropped", "opened"), ("jaw", "mouth")),
    "gaze_right": (("sideways", "averted"), ("gaze", "eyes")),
    "gaze_down": (("downcast", "lowered"), ("gaze", "eyes")),
    "gaze_up": (("upcast", "lifted"), ("gaze", "eyes")),
    "head_pitch_degrees": (("bowed", "sunken"), ("head",)),
    "head_roll_degrees": (("tilted", "slanted"), ("head",)),
}
"""For each action its adjectives and its nouns."""

CALM: Phrase = (
    ("calm", "relaxed", "still", "resting"),
    ("face", "mouth", "brows", "eyes", "gaze", "cheeks"),
)
"""Words for a face that does nothing."""

_WHO = ("A person", "Someone", "A student", "A neighbour", "A visitor", "A guest", "A teacher",
        "A colleague", "A patient", "A cook", "A friend", "A traveller")  # fmt: skip
_DOES = ("talks", "speaks", "chats", "answers a question", "tells a story",
         "listens to a story", "waits for news", "thinks")  # fmt: skip
_ABOUT = ("about dinner", "about the weather", "about a journey", "about work", "about a film",
          "about the weekend", "about a letter", "about the garden")  # fmt: skip
_WHERE = ("in a kitchen", "in an office", "at home", "in a clinic", "at a table", "in a garden",
          "by a window", "in a room")  # fmt: skip

_CLEAR = 0.3
"""Intensity from which an action is described."""
_SLIGHT, _STRONG = 0.5, 0.85
_CLEAR_DEGREES = 6.0

_PROMPTS: dict[str, tuple[str, ...]] = {
    "anger": (
        "A face with frowning eyebrows, with staring eyes and with thin lips.",
        "A face with knitted brows, with wide eyes and with tight lips.",
        "A face with lowered brows, with widened eyes and with pressed lips.",
    ),
    "disgust": (
        "A face with a crinkled nose, with a curled upper lip and with furrowed brows.",
        "A face with a wrinkled nose, with a raised upper lip and with narrowed lids.",
        "A face with a lifted upper lip, with a wrinkled nose and with heavy eyelids.",
    ),
    "fear": (
        "A face with staring eyes, with a stretched mouth and with lifted inner eyebrows.",
        "A face with wide eyes, with tense lips and with raised inner brows.",
        "A face with widened eyes, with stretched lips, with raised inner brows and with "
        "raised outer brows.",
    ),
    "happiness": (
        "A face with smiling lip corners and with bunched cheeks.",
        "A face with upturned mouth corners and with lifted cheeks.",
        "A face with raised cheeks and with upturned lip corners.",
    ),
    "neutral": (
        "A face with resting brows, with a still mouth and with a calm gaze.",
        "A face with relaxed cheeks, with calm eyes and with resting brows.",
        "A face with a relaxed mouth, with still eyes and with a calm gaze.",
    ),
    "sadness": (
        "A face with sagging mouth corners, with lifted inner brows and with drooping lids.",
        "A face with downturned lip corners, with raised inner eyebrows and with heavy lids.",
        "A face with raised inner brows, with sagging lip corners and with drooping eyelids.",
    ),
    "surprise": (
        "A face with a dropped jaw, with arched outer eyebrows, with lifted inner eyebrows and "
        "with wide eyes.",
        "A face with an open mouth, with raised outer brows, with raised inner brows and with "
        "widened eyes.",
        "A face with lifted outer brows, with raised inner brows and with a dropped mouth.",
    ),
    "contempt": (
        "A face with lopsided lips and with an uneven mouth.",
        "A face with a lopsided mouth and with crooked lips.",
        "A face with a crooked mouth and with a tilted head.",
    ),
    "anxiety": (
        "A face with averted eyes, with tense lips, with furrowed brows and with raised inner "
        "brows.",
        "A face with a sideways gaze, with stretched lips and with pressed lips.",
        "A face with tight lips, with a tense mouth, with lifted inner brows and with a "
        "sideways gaze.",
    ),
    "helplessness": (
        "A face with lifted inner brows, with an open mouth, with a slanted head and with upcast "
        "eyes.",
        "A face with a tilted head, with an upcast gaze and with raised inner eyebrows.",
        "A face with lifted eyes, with raised inner brows and with an opened mouth.",
    ),
    "disappointment": (
        "A face with a downcast gaze, with a bowed head, with tight lips and with sagging mouth "
        "corners.",
        "A face with lowered eyes, with pressed lips and with drooping lids.",
        "A face with downcast eyes, with thin lips, with downturned lip corners and with a "
        "bowed head.",
    ),
}


def write_caption(apex: NDArray[np.float32], *, rng: np.random.Generator) -> str:
    """Write a caption for a face.

    Parameters
    ----------
    apex : ndarray of shape (n_actions,)
        What the face does; only this is described.
    rng : numpy.random.Generator
        Chooses among wordings, and the context, which says nothing of the face.

    Returns
    -------
    str
        Two sentences, each with its full stop.
    """
    return f"{write_context(rng=rng)} {write_expression(apex, rng=rng)}"


def write_context(*, rng: np.random.Generator) -> str:
    """Write a sentence on who is doing what; it is independent of the face."""
    who, does, about, where = (
        options[rng.integers(len(options))] for options in (_WHO, _DOES, _ABOUT, _WHERE)
    )
    does = f"{does} {about}" if does in _DOES[:3] else does
    return f"{who} {does} {where}."


def visible_actions(apex: NDArray[np.float32]) -> dict[str, float]:
    """Return the actions that are strong enough to be described, with their intensity.

    Parameters
    ----------
    apex : ndarray of shape (n_actions,)

    Returns
    -------
    dict of str to float
        Keys of `PHRASES`; the side of one-sided actions is dropped, and a turn of 10 degrees
        counts as an intensity of 0.7.
    """
    seen = {}
    for name in PHRASES:
        if name == "gaze_up":
            value = -float(apex[INDEX["gaze_down"]])
        elif name == "gaze_down":
            value = float(apex[INDEX[name]])
        else:
            value = abs(float(apex[INDEX[name]]))
        if name.endswith("degrees"):
            value = value * 0.07 if value >= _CLEAR_DEGREES else 0.0
            if name == "head_pitch_degrees" and apex[INDEX[name]] < 0:
                value = 0.0
        if value >= _CLEAR:
            seen[name] = value
    return seen


def write_expression(apex: NDArray[np.float32], *, rng: np.random.Generator) -> str:
    """Write a sentence on what the face does, in one of several forms and wordings.

    Parameters
    ----------
    apex : ndarray of shape (n_actions,)
    rng : numpy.random.Generator

    Returns
    -------
    str
        One sentence; the actions stand in random order.
    """
    parts = _parts(visible_actions(apex), rng=rng)
    form = rng.integers(3)
    if form == 0:
        return f"{_sentence([f'the {adjective} {noun}' for adjective, noun in parts])}."
    if form == 1:
        said = [f"the {noun} {_be(noun)} {adjective}" for adjective, noun in parts]
        return f"{_sentence(said)}."
    said = [f"{_article(adjective, noun)}{adjective} {noun}" for adjective, noun in parts]
    return f"A face with {_listed(said)}."


def _parts(seen: dict[str, float], *, rng: np.random.Generator) -> list[tuple[str, str]]:
    if not seen:
        chosen = rng.permutation(len(CALM[1]))[: rng.integers(2, 4)]
        return [(CALM[0][rng.integers(len(CALM[0]))], CALM[1][noun]) for noun in chosen]
    names = list(seen)
    parts = []
    for place in rng.permutation(len(names)):
        adjectives, nouns = PHRASES[names[place]]
        adjective = adjectives[rng.integers(len(adjectives))]
        strength, chance = seen[names[place]], rng.random()
        if strength < _SLIGHT and chance < 0.5:
            adjective = f"slightly {adjective}"
        elif strength > _STRONG and chance < 0.25:
            adjective = f"strongly {adjective}"
        parts.append((adjective, nouns[rng.integers(len(nouns))]))
    return parts


def _plural(noun: str) -> bool:
    return noun.endswith("s")


def _be(noun: str) -> str:
    return "are" if _plural(noun) else "is"


def _article(adjective: str, noun: str) -> str:
    if _plural(noun):
        return ""
    return "an " if adjective[0] in "aeiou" else "a "


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sentence(parts: list[str]) -> str:
    text = _listed(parts)
    return text[0].upper() + text[1:]


def class_prompts() -> PromptSet:
    """Return descriptions of the eleven classes for zero-shot scoring, with the compounds.

    Returns
    -------
    PromptSet
        Named ``synthetic``. Every word occurs in captions; no sentence does, since captions
        never repeat "with".
    """
    return PromptSet(
        name="synthetic",
        classes=_PROMPTS,
        compounds=dict(COMPOUNDS),
        language="en",
        author="emoclip-clinical, written by hand for the synthetic study",
        date="2026-11-23",
    )

"""Emotions as patterns of actions, and how an expression comes and goes.

The patterns follow common descriptions of facial expressions in terms of action units (Ekman,
Friesen & Hager, Facial Action Coding System, 2002, for the first seven and contempt). Those of
anxiety, helplessness and disappointment are this project's own simplification: they serve a
drawn cohort and make no claim about real faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .actions import HEAD, INDEX, N_ACTIONS, SIGNED, action_vector, clip_actions

PATTERNS: dict[str, dict[str, float]] = {
    "anger": {"brow_lower": 0.95, "lid_raise": 0.55, "lip_press": 0.8},
    "disgust": {"nose_wrinkle": 0.9, "upper_lip_raise": 0.85, "brow_lower": 0.35,
                "lid_close": 0.25},
    "fear": {"brow_inner_raise": 0.75, "brow_outer_raise": 0.4, "lid_raise": 0.9,
             "lip_stretch": 0.9, "jaw_drop": 0.3},
    "happiness": {"lip_corner_pull": 0.9, "cheek_raise": 0.75, "jaw_drop": 0.2},
    "neutral": {},
    "sadness": {"brow_inner_raise": 0.85, "lip_corner_depress": 0.85, "lid_close": 0.35},
    "surprise": {"brow_inner_raise": 0.85, "brow_outer_raise": 0.95, "lid_raise": 0.6,
                 "jaw_drop": 0.85},
    "contempt": {"smirk": 0.9, "head_roll_degrees": 5.0, "lid_close": 0.15},
    "anxiety": {"brow_inner_raise": 0.6, "brow_lower": 0.45, "lip_stretch": 0.6,
                "lip_press": 0.55, "gaze_right": 0.8},
    "helplessness": {"brow_inner_raise": 0.85, "jaw_drop": 0.35, "gaze_down": -0.8,
                     "head_roll_degrees": 10.0},
    "disappointment": {"lip_press": 0.6, "lip_corner_depress": 0.5, "gaze_down": 0.9,
                       "lid_close": 0.4, "head_pitch_degrees": 9.0},
}  # fmt: skip
"""For each emotion its actions at the apex; angles in degrees. The order is that of MAFW."""

EMOTIONS = tuple(PATTERNS)
"""The eleven single classes."""

COMPOUNDS: dict[str, tuple[str, str]] = {
    "fear_surprise": ("fear", "surprise"),
    "happiness_surprise": ("happiness", "surprise"),
    "anger_disgust": ("anger", "disgust"),
    "sadness_disappointment": ("sadness", "disappointment"),
    "anger_surprise": ("anger", "surprise"),
    "sadness_helplessness": ("sadness", "helplessness"),
    "disgust_contempt": ("disgust", "contempt"),
    "fear_anxiety": ("fear", "anxiety"),
}
"""Blends of two emotions that occur in the synthetic clips."""

_ONE_SIDED = ("smirk", "gaze_right", "head_roll_degrees")
"""Actions whose side carries no meaning and is drawn at random."""

_SPREAD = 0.12
"""Standard deviation of one action's intensity within a class."""


@dataclass(frozen=True)
class Expression:
    """One expression at its apex, and how it comes and goes.

    Attributes
    ----------
    label : str
        An emotion or a compound.
    apex : ndarray of shape (n_actions,)
        Actions at the height of the expression.
    onset_seconds, hold_seconds, offset_seconds : float
        Time to the apex, at the apex, and back.
    """

    label: str
    apex: NDArray[np.float32]
    onset_seconds: float
    hold_seconds: float
    offset_seconds: float

    @property
    def seconds(self) -> float:
        """Length of the whole expression, seconds."""
        return self.onset_seconds + self.hold_seconds + self.offset_seconds

    def curve(self, seconds: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the share of the apex that is reached at each time.

        Parameters
        ----------
        seconds : ndarray of shape (n,)
            Times since the expression began; it is 0 before and after.

        Returns
        -------
        ndarray of shape (n,), float32
            0 to 1: a raised-cosine rise, a hold and a raised-cosine fall.
        """
        rise = np.clip(seconds / self.onset_seconds, 0, 1)
        left = (seconds - self.onset_seconds - self.hold_seconds) / self.offset_seconds
        fall = np.clip(1 - left, 0, 1)
        level = np.minimum(rise, fall)
        eased: NDArray[np.float32] = ((1 - np.cos(np.pi * level)) / 2).astype(np.float32)
        return eased


def draw_apex(
    label: str, *, rng: np.random.Generator, amplitude: float = 1.0
) -> NDArray[np.float32]:
    """Draw one person's version of an emotion or of a compound, at its apex.

    Parameters
    ----------
    label : str
        A member of `EMOTIONS` or of `COMPOUNDS`.
    rng : numpy.random.Generator
    amplitude : float
        Factor on all intensities.

    Returns
    -------
    ndarray of shape (n_actions,), float32
        Each action of the pattern varies in strength, sometimes one is left out, sometimes a
        weak one that does not belong is there, and the head is held a little askew.
    """
    pattern = _blend(COMPOUNDS[label]) if label in COMPOUNDS else PATTERNS[label]
    apex = np.zeros(N_ACTIONS)
    for name, strength in pattern.items():
        scale = 10.0 if name in HEAD else 1.0
        drawn = strength + np.sign(strength) * scale * rng.normal(0, _SPREAD)
        apex[INDEX[name]] = drawn if drawn * strength > 0 else 0.0
    for name in _ONE_SIDED:
        apex[INDEX[name]] *= rng.choice((-1.0, 1.0))
    if len(pattern) > 2 and rng.random() < 0.12:
        apex[INDEX[list(pattern)[rng.integers(len(pattern))]]] *= 0.25
    apex *= amplitude * rng.uniform(0.75, 1.1)
    if rng.random() < 0.25:
        stray = [n for n in INDEX if n not in (*HEAD, *SIGNED, "lid_close")]
        apex[INDEX[stray[rng.integers(len(stray))]]] += rng.uniform(0.05, 0.2)
    apex[[INDEX[name] for name in HEAD]] += rng.normal(0, (3.0, 2.0, 2.0))
    apex[[INDEX["gaze_right"], INDEX["gaze_down"]]] += rng.normal(0, 0.12, 2)
    return clip_actions(apex)


def _blend(parts: tuple[str, str]) -> dict[str, float]:
    """Mix two patterns: shared actions at their mean, the others at four fifths."""
    first, second = (PATTERNS[part] for part in parts)
    blend = {}
    for name in dict.fromkeys((*first, *second)):
        if name in first and name in second:
            blend[name] = (first[name] + second[name]) / 2
        else:
            blend[name] = 0.8 * (first[name] if name in first else second[name])
    return blend


def draw_expression(label: str, *, rng: np.random.Generator, amplitude: float = 1.0) -> Expression:
    """Draw an expression with its apex and its course in time.

    Parameters
    ----------
    label : str
        A member of `EMOTIONS` or of `COMPOUNDS`.
    rng : numpy.random.Generator
    amplitude : float
        Factor on the apex.

    Returns
    -------
    Expression
        Onset 0.25 to 0.7 s, hold 0.8 to 2 s, offset 0.4 to 1 s.
    """
    return Expression(
        label=label,
        apex=draw_apex(label, rng=rng, amplitude=amplitude),
        onset_seconds=float(rng.uniform(0.25, 0.7)),
        hold_seconds=float(rng.uniform(0.8, 2.0)),
        offset_seconds=float(rng.uniform(0.4, 1.0)),
    )


def rest_pose(*, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw how a person's face is held at rest.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_actions,), float32
        Small intensities and angles that add to every expression.
    """
    rest = action_vector()
    for name, spread in (("brow_inner_raise", 0.06), ("brow_lower", 0.06), ("lid_close", 0.06),
                         ("lip_corner_pull", 0.06), ("lip_corner_depress", 0.06)):  # fmt: skip
        rest[INDEX[name]] = abs(rng.normal(0, spread))
    rest[[INDEX[name] for name in HEAD]] = rng.normal(0, (2.0, 1.5, 1.5))
    return rest

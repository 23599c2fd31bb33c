"""An interview: a minute of one person's face, more or less expressive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .actions import INDEX, N_ACTIONS, clip_actions
from .appearance import Identity, Scene
from .config import SyntheticConfig
from .expressions import EMOTIONS, draw_expression, rest_pose
from .faces import render_stream
from .movement import blinks, head_motion, talk

AMPLITUDE_RANGE = (0.25, 1.1)
"""Factor on the intensity of all expressions."""

RATE_RANGE_PER_MINUTE = (3.0, 18.0)
"""Mean number of expressions a minute."""

VARIETY_RANGE = (1.5, 10.0)
"""Effective number of emotions shown, the exponential of the entropy of their frequencies."""

_SHOWN = tuple(emotion for emotion in EMOTIONS if emotion != "neutral")


@dataclass(frozen=True)
class Expressivity:
    """How expressive a person is in an interview.

    Attributes
    ----------
    amplitude : float
        Factor on the intensity of expressions.
    rate_per_minute : float
        Mean number of expressions a minute.
    variety : float
        Effective number of emotions among them, 1 to 10.
    """

    amplitude: float
    rate_per_minute: float
    variety: float


def expressivity_from_latent(latent: Mapping[str, float]) -> Expressivity:
    """Turn standard normal latent values into amplitude, rate and variety.

    Each value's normal probability is spread over the module's ranges, so that in the
    population all three are uniform.

    Parameters
    ----------
    latent : mapping of str to float
        ``amplitude``, ``rate`` and ``variety``.

    Returns
    -------
    Expressivity
    """

    def within(name: str, limits: tuple[float, float]) -> float:
        return limits[0] + float(ndtr(latent[name])) * (limits[1] - limits[0])

    return Expressivity(
        amplitude=within("amplitude", AMPLITUDE_RANGE),
        rate_per_minute=within("rate", RATE_RANGE_PER_MINUTE),
        variety=within("variety", VARIETY_RANGE),
    )


def emotion_frequencies(variety: float, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how often a person shows each emotion other than neutral.

    Parameters
    ----------
    variety : float
        Effective number of emotions (exponential of the entropy), above 1 and at most 10.
    rng : numpy.random.Generator
        Decides which emotions are the frequent ones.

    Returns
    -------
    ndarray of shape (10,)
        Sums to 1: a geometric series in random order, with the wanted entropy.
    """
    ranks = np.arange(len(_SHOWN))
    low, high = 1e-6, 1.0
    for _ in range(50):
        ratio = (low + high) / 2
        share = ratio**ranks / (ratio**ranks).sum()
        effective = np.exp(-(share * np.log(np.maximum(share, 1e-300))).sum())
        low, high = (ratio, high) if effective < variety else (low, ratio)
    return np.asarray(rng.permutation(share), dtype=np.float64)


def interview_actions(
    expressivity: Expressivity,
    *,
    duration_seconds: float,
    frames_per_second: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Draw the movements of one interview.

    Parameters
    ----------
    expressivity : Expressivity
    duration_seconds : float
    frames_per_second : float
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_frames, n_actions), float32
        Expressions come one after another with exponential pauses, over a resting face that
        talks, blinks and moves its head whatever the expressivity.
    """
    seconds = np.arange(round(duration_seconds * frames_per_second)) / frames_per_second
    actions = rest_pose(rng=rng) + head_motion(seconds, rng=rng)
    jaw, lid = INDEX["jaw_drop"], INDEX["lid_close"]
    actions[:, jaw] += talk(
        seconds, rng=rng, share=rng.uniform(0.35, 0.65), strength=rng.uniform(0.2, 0.35)
    )
    actions += _expressions(expressivity, seconds, rng=rng)
    closure = blinks(seconds, rng=rng, per_minute=rng.uniform(10, 20))
    actions[:, lid] = np.maximum(actions[:, lid], closure)
    return clip_actions(actions)


def _expressions(
    expressivity: Expressivity, seconds: NDArray[np.float64], *, rng: np.random.Generator
) -> NDArray[np.float32]:
    shown = np.zeros((len(seconds), N_ACTIONS), dtype=np.float32)
    frequencies = emotion_frequencies(expressivity.variety, rng=rng)
    cycle = 60.0 / expressivity.rate_per_minute
    end = seconds[-1] if len(seconds) else 0.0
    time = rng.uniform(0, cycle)
    while time < end:
        expression = draw_expression(
            _SHOWN[rng.choice(len(_SHOWN), p=frequencies)],
            rng=rng,
            amplitude=expressivity.amplitude,
        )
        shown += expression.curve(seconds - time)[:, None] * expression.apex
        # Expressions do not overlap, so the pause makes up what is left of the mean cycle.
        time += expression.seconds + rng.exponential(max(cycle - expression.seconds, 0.15))
    return shown


def render_interview(
    expressivity: Expressivity,
    *,
    identity: Identity,
    scene: Scene,
    config: SyntheticConfig,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.uint8]]:
    """Draw an interview and yield its frames in small groups.

    Parameters
    ----------
    expressivity : Expressivity
    identity : Identity
    scene : Scene
    config : SyntheticConfig
        For length, frame rate and size.
    rng : numpy.random.Generator

    Yields
    ------
    ndarray of shape (n, size, size, 3), uint8
        Red, green and blue.
    """
    actions = interview_actions(
        expressivity,
        duration_seconds=config.interview_seconds,
        frames_per_second=config.interview_frames_per_second,
        rng=rng,
    )
    yield from render_stream(
        actions, identity=identity, scene=scene, rng=rng, size_pixels=config.size_pixels
    )

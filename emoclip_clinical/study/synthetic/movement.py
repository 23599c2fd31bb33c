"""Movements that carry no emotion: talk, blinks, and a head that never quite stands still.

All of them are drawn without regard to the trait and to the expression.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .actions import HEAD, INDEX, N_ACTIONS

_BLINK_SECONDS = 0.32
_HEAD_DEGREES = (2.6, 1.8, 1.6)  # standard deviations of yaw, pitch and roll


def head_motion(seconds: NDArray[np.floating], *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return slow, smooth turns of the head.

    Parameters
    ----------
    seconds : ndarray of shape (n_frames,)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n_frames, n_actions), float32
        A sum of four slow waves (0.05 to 0.5 Hz) for each angle, degrees.
    """
    actions = np.zeros((len(seconds), N_ACTIONS), dtype=np.float32)
    for name, spread in zip(HEAD, _HEAD_DEGREES, strict=True):
        hertz, phase = rng.uniform(0.05, 0.5, 4), rng.uniform(0, 2 * np.pi, 4)
        waves = np.sin(2 * np.pi * hertz * seconds[:, None] + phase)
        actions[:, INDEX[name]] = waves.sum(axis=1) * spread / np.sqrt(2)
    return actions


def blinks(
    seconds: NDArray[np.floating], *, rng: np.random.Generator, per_minute: float
) -> NDArray[np.float32]:
    """Return closures of the lids that come at random times.

    Parameters
    ----------
    seconds : ndarray of shape (n_frames,)
        Increasing times.
    rng : numpy.random.Generator
    per_minute : float
        Mean number of blinks a minute.

    Returns
    -------
    ndarray of shape (n_frames,), float32
        Closure from 0 to 1; a blink lasts about a third of a second.
    """
    closure = np.zeros(len(seconds), dtype=np.float32)
    time, end = float(seconds[0]), float(seconds[-1])
    while True:
        time += _BLINK_SECONDS + rng.exponential(60.0 / per_minute)
        if time > end:
            return closure
        distance = np.abs(seconds - time) / (_BLINK_SECONDS / 2)
        closure = np.maximum(closure, np.clip(1.4 * (1 - distance), 0, 1)).astype(np.float32)


def talk(
    seconds: NDArray[np.floating], *, rng: np.random.Generator, share: float, strength: float
) -> NDArray[np.float32]:
    """Return the jaw of a person who talks in bouts.

    Parameters
    ----------
    seconds : ndarray of shape (n_frames,)
        Increasing times.
    rng : numpy.random.Generator
    share : float
        Share of the time spent talking.
    strength : float
        Widest opening of the jaw while talking.

    Returns
    -------
    ndarray of shape (n_frames,), float32
        Opening of the jaw: syllables at 2.5 to 4 Hz with changing strength.
    """
    speaking = np.zeros(len(seconds))
    time, end = float(seconds[0]) - rng.uniform(0, 4), float(seconds[-1])
    while time < end:
        bout = rng.uniform(2.0, 6.0)
        inside = (seconds >= time) & (seconds < time + bout)
        speaking[inside] = 1.0
        time += bout + rng.uniform(0.5, 1.5) * bout * (1 - share) / share
    hertz = rng.uniform(2.5, 4.0)
    syllables = np.abs(np.sin(np.pi * hertz * seconds + rng.uniform(0, np.pi)))
    stress = 0.65 + 0.35 * np.sin(2 * np.pi * 0.7 * seconds + rng.uniform(0, 2 * np.pi))
    opening: NDArray[np.float32] = (strength * speaking * syllables * stress).astype(np.float32)
    return opening

"""Short clips of one person making one expression, with a caption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .actions import INDEX, clip_actions
from .appearance import draw_identity, draw_scene
from .captions import write_caption
from .config import SyntheticConfig
from .expressions import COMPOUNDS, EMOTIONS, draw_expression, rest_pose
from .faces import render_faces
from .movement import blinks, head_motion, talk
from .seeds import Stream, generator

SPLITS = ("train", "validation", "test")

_OFF_CENTRE_SECONDS = 0.35
"""How far from the middle of a clip the middle of its expression may lie."""


@dataclass(frozen=True)
class ClipPlan:
    """One clip before it is drawn.

    Attributes
    ----------
    split : str
        ``train``, ``validation`` or ``test``.
    number : int
        Place of the clip within its split, from 0.
    person : int
        Number of the person within the split; people of different splits are different.
    label : str
        Emotion or compound.
    """

    split: str
    number: int
    person: int
    label: str

    @property
    def name(self) -> str:
        """Name of the clip's file, without its ending."""
        return f"{self.split}-{self.number:05d}"

    @property
    def group(self) -> str:
        """Name of the person."""
        return f"{self.split}-person-{self.person:04d}"


@dataclass(frozen=True)
class Clip:
    """One drawn clip.

    Attributes
    ----------
    frames : ndarray of shape (n_frames, size, size, 3), uint8
    caption : str
        A context sentence and an expression sentence.
    """

    frames: NDArray[np.uint8]
    caption: str


def plan_clips(config: SyntheticConfig) -> list[ClipPlan]:
    """Decide which person shows what in each clip.

    Parameters
    ----------
    config : SyntheticConfig

    Returns
    -------
    list of ClipPlan
        Within each split emotions are as equally frequent as can be, the compounds likewise.
    """
    sizes = (
        (config.n_training_clips, config.n_training_people),
        (config.n_validation_clips, config.n_validation_people),
        (config.n_test_clips, config.n_test_people),
    )
    plans = []
    for number, (split, (n_clips, n_people)) in enumerate(zip(SPLITS, sizes, strict=True)):
        rng = generator(config.seed, Stream.PLAN, number)
        n_compound = round(n_clips * config.compound_share)
        labels = _repeated(EMOTIONS, n_clips - n_compound) + _repeated(COMPOUNDS, n_compound)
        order = rng.permutation(n_clips)
        people = rng.permutation(np.arange(n_clips) % n_people)
        plans += [
            ClipPlan(split=split, number=i, person=int(people[i]), label=labels[order[i]])
            for i in range(n_clips)
        ]
    return plans


def _repeated(names: tuple[str, ...] | dict[str, tuple[str, str]], count: int) -> list[str]:
    names = tuple(names)
    return [names[i % len(names)] for i in range(count)]


def clip_actions_over_time(
    label: str, *, config: SyntheticConfig, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the movements of one clip.

    Parameters
    ----------
    label : str
        Emotion or compound.
    config : SyntheticConfig
        For the clip's length and frame rate.
    rng : numpy.random.Generator

    Returns
    -------
    actions : ndarray of shape (n_frames, n_actions), float32
    apex : ndarray of shape (n_actions,), float32
        The expression at its height, which the caption describes.
    """
    seconds = np.arange(config.frames_per_clip) / config.clip_frames_per_second
    expression = draw_expression(label, rng=rng)
    # The apex lies near the middle, as when a clip is cut around an expression; onset and
    # offset may be cut off.
    middle = config.clip_seconds / 2 + rng.uniform(-1, 1) * _OFF_CENTRE_SECONDS
    start = middle - expression.onset_seconds - expression.hold_seconds / 2
    course = expression.curve(seconds - start)
    actions = rest_pose(rng=rng) + course[:, None] * expression.apex + head_motion(seconds, rng=rng)
    jaw, lid = INDEX["jaw_drop"], INDEX["lid_close"]
    if rng.random() < 0.4:
        actions[:, jaw] += talk(seconds, rng=rng, share=0.6, strength=rng.uniform(0.15, 0.35))
    actions[:, lid] = np.maximum(actions[:, lid], blinks(seconds, rng=rng, per_minute=14))
    return clip_actions(actions), expression.apex


def draw_clip(plan: ClipPlan, *, config: SyntheticConfig) -> Clip:
    """Draw one clip; the same plan and settings always give the same frames and caption.

    Parameters
    ----------
    plan : ClipPlan
    config : SyntheticConfig

    Returns
    -------
    Clip
    """
    split = SPLITS.index(plan.split)
    identity = draw_identity(generator(config.seed, Stream.CLIP_PERSON, split, plan.person))
    rng = generator(config.seed, Stream.CLIP, split, plan.number)
    scene = draw_scene(rng)
    actions, apex = clip_actions_over_time(plan.label, config=config, rng=rng)
    caption = write_caption(apex, rng=rng)
    frames = render_faces(
        actions, identity=identity, scene=scene, rng=rng, size_pixels=config.size_pixels
    )
    return Clip(frames=frames, caption=caption)

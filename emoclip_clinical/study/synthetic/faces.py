"""Draw faces that move: actions in, frames out.

Everything is drawn for a run of frames at once with soft masks made of signed distances; no
pictures, models or fonts are needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from emoclip_clinical.records import InputError

from .actions import INDEX, N_ACTIONS
from .appearance import Identity, Scene
from .canvas import Canvas, Plane, Pose
from .drawing_eyes import draw_brow, draw_eye, draw_frown_lines, draw_glasses
from .drawing_head import draw_hair_front, draw_head, draw_surroundings, light_head
from .drawing_mouth import draw_beard, draw_cheeks, draw_mouth, draw_nose

CHUNK_FRAMES = 64
"""Frames drawn at once: fewer cost calls, more cost cache misses."""

_TURN_SHIFT = 0.42  # units that the features move for a turn of one radian


def render_faces(
    actions: NDArray[np.float32],
    *,
    identity: Identity,
    scene: Scene,
    rng: np.random.Generator,
    size_pixels: int = 64,
) -> NDArray[np.uint8]:
    """Draw one person making the given movements.

    Parameters
    ----------
    actions : ndarray of shape (n_frames, n_actions)
        Columns as in `actions.ACTIONS`, each in its range.
    identity : Identity
    scene : Scene
    rng : numpy.random.Generator
        For the camera's noise alone.
    size_pixels : int
        Width and height of the frames.

    Returns
    -------
    ndarray of shape (n_frames, size_pixels, size_pixels, 3), uint8
        Red, green and blue.

    Raises
    ------
    InputError
        Where the actions have another shape or are not finite.
    """
    chunks = list(
        render_stream(actions, identity=identity, scene=scene, rng=rng, size_pixels=size_pixels)
    )
    if not chunks:
        return np.zeros((0, size_pixels, size_pixels, 3), dtype=np.uint8)
    return np.concatenate(chunks)


def render_stream(
    actions: NDArray[np.float32],
    *,
    identity: Identity,
    scene: Scene,
    rng: np.random.Generator,
    size_pixels: int = 64,
) -> Iterator[NDArray[np.uint8]]:
    """Draw as `render_faces` does, and yield at most `CHUNK_FRAMES` frames at a time.

    Parameters
    ----------
    actions, identity, scene, rng, size_pixels
        As in `render_faces`.

    Yields
    ------
    ndarray of shape (n, size_pixels, size_pixels, 3), uint8

    Raises
    ------
    InputError
        Where the actions have another shape or are not finite.
    """
    if actions.ndim != 2 or actions.shape[1] != N_ACTIONS:
        raise InputError(f"actions must have shape (n_frames, {N_ACTIONS}), got {actions.shape}")
    if not np.isfinite(actions).all():
        raise InputError("actions must be finite numbers")
    for start in range(0, len(actions), CHUNK_FRAMES):
        yield _draw(
            actions[start : start + CHUNK_FRAMES].astype(np.float32),
            identity=identity,
            scene=scene,
            rng=rng,
            size_pixels=size_pixels,
        )


def _draw(
    actions: NDArray[np.float32],
    *,
    identity: Identity,
    scene: Scene,
    rng: np.random.Generator,
    size_pixels: int,
) -> NDArray[np.uint8]:
    move = {name: actions[:, column, None, None] for name, column in INDEX.items()}
    canvas = Canvas(_pose(move, scene=scene, size_pixels=size_pixels), size_pixels=size_pixels)
    draw_surroundings(canvas, identity=identity, scene=scene)
    skull = draw_head(canvas, move, identity=identity)
    draw_beard(canvas, move, identity=identity)
    draw_cheeks(canvas, move, identity=identity)
    draw_nose(canvas, move, identity=identity)
    draw_mouth(canvas, move, identity=identity)
    draw_frown_lines(canvas, move, identity=identity)
    for side in (-1, 1):
        draw_eye(canvas, move, identity=identity, side=side)
        draw_brow(canvas, move, identity=identity, side=side)
    if identity.glasses:
        draw_glasses(canvas, identity=identity)
    draw_hair_front(canvas, identity=identity)
    light_head(canvas, skull, scene=scene, rng=rng)
    return canvas.finish()


def _pose(move: dict[str, Plane], *, scene: Scene, size_pixels: int) -> Pose:
    yaw, pitch, roll = (
        np.deg2rad(move[f"head_{turn}_degrees"]).astype(np.float32)
        for turn in ("yaw", "pitch", "roll")
    )
    unit = np.float32(scene.head_share * size_pixels / 2)
    return Pose(
        centre_x=np.float32(scene.centre_x * size_pixels) + unit * np.float32(0.12) * np.sin(yaw),
        centre_y=np.float32(scene.centre_y * size_pixels) + unit * np.float32(0.2) * np.sin(pitch),
        unit_pixels=np.full_like(roll, unit),
        roll=roll,
        shift_x=np.float32(_TURN_SHIFT) * np.sin(yaw),
        shift_y=np.float32(_TURN_SHIFT) * np.sin(pitch),
    )

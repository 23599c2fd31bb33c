"""Eyes, brows, the lines of a frown and of raised brows, and glasses."""

from __future__ import annotations

import numpy as np

from .appearance import Identity
from .canvas import Canvas, Plane, darker, mixed

_WHITE = (246.0, 244.0, 240.0)
_PUPIL = (16.0, 14.0, 16.0)


def _place(identity: Identity, *, side: int) -> tuple[Plane, Plane]:
    one = np.ones((1, 1, 1), dtype=np.float32)
    return one * np.float32(side * identity.eye_distance), one * np.float32(identity.eye_height)


def draw_eye(canvas: Canvas, move: dict[str, Plane], *, identity: Identity, side: int) -> None:
    """Paint one eye: white, iris, pupil, glint, lids; `side` is -1 (viewer's left) or 1."""
    at_x, at_y = _place(identity, side=side)
    patch = canvas.patch(at_x, at_y, width=0.27, height=0.25)
    x = patch.x
    y = patch.y + np.float32(side * identity.eye_tilt) * x
    closed = np.clip(move["lid_close"], 0, 1)
    opening = np.float32(identity.eye_opening)
    upper = opening * (1 + np.float32(0.75) * move["lid_raise"]) * (1 - closed)
    upper = upper - opening * np.float32(0.55) * closed
    lower = opening * (
        np.float32(0.72)
        + np.float32(0.22) * move["lid_raise"]
        - np.float32(0.5) * np.maximum(move["cheek_raise"], np.float32(0.6) * move["nose_wrinkle"])
    )
    t = x / np.float32(identity.eye_width)
    bow = np.maximum(1 - t * t, np.float32(-1.5))
    lid_top, lid_bottom = -upper * bow, lower * bow
    inside = canvas.soft(np.maximum(lid_top - y, y - lid_bottom)) * canvas.soft(
        np.abs(x) - np.float32(identity.eye_width)
    )
    _draw_socket(canvas, move, identity=identity, side=side)
    canvas.paint(patch, inside, _WHITE)
    gaze_x = x - np.float32(0.06) * move["gaze_right"]
    gaze_y = y - np.float32(0.05) * move["gaze_down"]
    radius = np.sqrt(gaze_x * gaze_x + gaze_y * gaze_y)
    canvas.paint(patch, inside * canvas.soft(radius - np.float32(0.085)), identity.iris)
    canvas.paint(patch, inside * canvas.soft(radius - np.float32(0.042)), _PUPIL)
    glint_x, glint_y = gaze_x + np.float32(0.03), gaze_y + np.float32(0.035)
    glint: Plane = np.sqrt(glint_x * glint_x + glint_y * glint_y) - np.float32(0.02)
    canvas.paint(patch, inside * canvas.soft(glint), (255.0, 255.0, 255.0))
    across = canvas.soft(np.abs(x) - np.float32(identity.eye_width * 1.06))
    lash = canvas.soft(np.abs(y - lid_top) - np.float32(0.022)) * across
    canvas.paint(patch, lash, darker(identity.skin, factor=0.28))
    rim = canvas.soft(np.abs(y - lid_bottom) - np.float32(0.008)) * across
    canvas.paint(patch, rim * np.float32(0.45), darker(identity.skin, factor=0.5))


def _draw_socket(canvas: Canvas, move: dict[str, Plane], *, identity: Identity, side: int) -> None:
    """Shade the crease above the lid and the pouch that a raised cheek makes."""
    at_x, at_y = _place(identity, side=side)
    patch = canvas.patch(at_x, at_y, width=0.27, height=0.25)
    t = patch.x / np.float32(identity.eye_width)
    bow = np.maximum(1 - t * t, 0)
    shade = darker(identity.skin, factor=0.72)
    crease = patch.y + np.float32(identity.eye_opening * 1.75) * bow
    canvas.paint(
        patch,
        canvas.soft(np.abs(crease) - np.float32(0.014)) * np.minimum(bow * 3, 1) * np.float32(0.6),
        shade,
    )
    pouch = patch.y - np.float32(0.13) * np.maximum(1 - t * t * np.float32(0.7), 0)
    fold = canvas.soft(np.abs(pouch) - np.float32(0.018)) * np.minimum(bow * 3, 1)
    canvas.paint(patch, fold * move["cheek_raise"] * np.float32(0.8), shade)


def draw_brow(canvas: Canvas, move: dict[str, Plane], *, identity: Identity, side: int) -> None:
    """Paint one brow; raising and lowering move its inner, middle and outer part apart."""
    at_x, at_y = _place(identity, side=side)
    inner, outer, down = move["brow_inner_raise"], move["brow_outer_raise"], move["brow_lower"]
    patch = canvas.patch(at_x, at_y - np.float32(identity.brow_height), width=0.32, height=0.34)
    knit = np.float32(0.055) * down
    # t runs from -1 at the inner end to 1 at the outer end, on either side of the face
    t = (patch.x * side + knit) / np.float32(0.235)
    at_inner = np.float32(0.02) - np.float32(0.17) * inner + np.float32(0.13) * down
    at_middle = np.float32(-identity.brow_arch) - np.float32(0.08) * (inner + outer)
    at_middle = at_middle + np.float32(0.075) * down
    at_outer = np.float32(0.025) - np.float32(0.16) * outer + np.float32(0.015) * down
    half = np.float32(0.5)
    slope = (at_outer - at_inner) * half
    bend = (at_outer + at_inner) * half - at_middle
    middle = at_middle + slope * t + bend * t * t
    thickness = np.float32(identity.brow_thickness) * (np.float32(1.05) - np.float32(0.35) * t)
    beyond_end: Plane = (np.abs(t) - 1) * np.float32(0.235)
    beyond_edge: Plane = (np.abs(patch.y - middle) - thickness).astype(np.float32, copy=False)
    mask = canvas.soft(beyond_edge) * canvas.soft(beyond_end)
    colour = mixed(identity.hair, darker(identity.skin, factor=0.35), share=0.45)
    canvas.paint(patch, mask * np.float32(0.92), colour)


def draw_frown_lines(canvas: Canvas, move: dict[str, Plane], *, identity: Identity) -> None:
    """Paint furrows between lowered brows and across the forehead over raised ones."""
    zero = np.zeros((1, 1, 1), dtype=np.float32)
    shade = darker(identity.skin, factor=0.62)
    top = zero + np.float32(identity.eye_height - identity.brow_height + 0.04)
    between = canvas.patch(zero, top, width=0.12, height=0.14)
    furrow = np.maximum(
        np.abs(np.abs(between.x) - np.float32(0.055)) - np.float32(0.013),
        np.abs(between.y) - np.float32(0.11),
    )
    canvas.paint(between, canvas.soft(furrow) * move["brow_lower"] * np.float32(0.85), shade)
    forehead = canvas.patch(zero, top - np.float32(0.26), width=0.42, height=0.14)
    raised = np.maximum(move["brow_inner_raise"], move["brow_outer_raise"])
    lines = np.maximum(
        np.abs(np.abs(forehead.y) - np.float32(0.05)) - np.float32(0.012),
        np.abs(forehead.x) - (np.float32(0.14) + np.float32(0.22) * move["brow_outer_raise"]),
    )
    canvas.paint(forehead, canvas.soft(lines) * raised * np.float32(0.5), shade)


def draw_glasses(canvas: Canvas, *, identity: Identity) -> None:
    """Paint thin round glasses."""
    frame = (44.0, 40.0, 46.0)
    for side in (-1, 1):
        at_x, at_y = _place(identity, side=side)
        patch = canvas.patch(at_x, at_y + np.float32(0.02), width=0.3, height=0.28)
        ring = np.abs(np.sqrt(patch.x * patch.x + patch.y * patch.y) - np.float32(0.245))
        canvas.paint(patch, canvas.soft(ring - np.float32(0.014)) * np.float32(0.85), frame)
    zero = np.zeros((1, 1, 1), dtype=np.float32)
    bridge = canvas.patch(zero, zero + np.float32(identity.eye_height), width=0.12, height=0.06)
    bar = np.maximum(
        np.abs(bridge.y) - np.float32(0.014),
        np.abs(bridge.x) - np.float32(identity.eye_distance - 0.24),
    )
    canvas.paint(bridge, canvas.soft(bar) * np.float32(0.85), frame)

"""Nose, cheeks, mouth and beard."""

from __future__ import annotations

import numpy as np

from .appearance import Identity
from .canvas import Canvas, Plane, darker, mixed

_ZERO = np.zeros((1, 1, 1), dtype=np.float32)
_INSIDE = (78.0, 26.0, 30.0)
_TEETH = (244.0, 240.0, 230.0)
_TONGUE = (196.0, 92.0, 96.0)


def draw_beard(canvas: Canvas, move: dict[str, Plane], *, identity: Identity) -> None:
    """Paint a beard along the jaw, for those who have one."""
    if identity.beard == 0:
        return
    patch = canvas.patch(_ZERO, _ZERO + np.float32(0.6), width=0.95, height=0.55)
    x, y = patch.x, patch.y + np.float32(0.6)
    chin = 1 + np.float32(0.09) * move["jaw_drop"]
    width = np.float32(identity.head_width * (1 - identity.jaw_taper * 0.6))
    outer = (np.sqrt((x / width) ** 2 + (y / chin) ** 2) - 1) * width
    inner = np.float32(0.3) + np.float32(0.12) * np.cos(x * 7) - y
    canvas.paint(
        patch,
        canvas.soft(np.maximum(outer, inner)) * np.float32(identity.beard),
        mixed(identity.hair, identity.skin, share=0.25),
    )


def draw_cheeks(canvas: Canvas, move: dict[str, Plane], *, identity: Identity) -> None:
    """Paint blush, freckles, and the fold from nose to mouth that smiles and sneers deepen."""
    pull, sneer = move["lip_corner_pull"], np.maximum(move["upper_lip_raise"], move["nose_wrinkle"])
    rosy = mixed(identity.skin, (224.0, 92.0, 84.0), share=0.5)
    for side in (-1, 1):
        at = _ZERO + np.float32(side * 0.44)
        patch = canvas.patch(
            at, np.float32(0.2) - np.float32(0.05) * move["cheek_raise"], width=0.26, height=0.24
        )
        radius = np.sqrt(patch.x * patch.x + patch.y * patch.y * np.float32(1.5))
        glow = np.maximum(1 - radius / np.float32(0.24), 0)
        depth = np.float32(identity.blush) + np.float32(0.45) * move["cheek_raise"]
        canvas.paint(patch, glow * depth, rosy)
        if identity.freckles:
            dots = np.cos(patch.x * 42) * np.cos(patch.y * 42) - np.float32(0.6)
            canvas.paint(
                patch,
                np.clip(dots * 2, 0, 1) * np.minimum(glow * 3, 1) * np.float32(0.35),
                darker(identity.skin, factor=0.6),
            )
        _draw_fold(canvas, np.maximum(pull, sneer), identity=identity, side=side)


def _draw_fold(canvas: Canvas, depth: Plane, *, identity: Identity, side: int) -> None:
    at_x, at_y = _ZERO + np.float32(side * 0.26), _ZERO + np.float32(0.36)
    patch = canvas.patch(at_x, at_y, width=0.16, height=0.16)
    curve = patch.x * side - np.float32(0.45) * patch.y
    mask = canvas.soft(np.abs(curve) - np.float32(0.016)) * canvas.soft(
        np.abs(patch.y) - np.float32(0.13)
    )
    canvas.paint(patch, mask * depth * np.float32(0.6), darker(identity.skin, factor=0.68))


def draw_nose(canvas: Canvas, move: dict[str, Plane], *, identity: Identity) -> None:
    """Paint bridge, tip, nostrils and the wrinkles across the bridge."""
    wrinkle = move["nose_wrinkle"]
    tip_y = np.float32(identity.eye_height + identity.nose_length) - np.float32(0.06) * wrinkle
    half = np.float32(identity.nose_width) * (1 + np.float32(0.25) * wrinkle)
    patch = canvas.patch(canvas.pose.shift_x * np.float32(0.35), tip_y, width=0.24, height=0.14)
    shade = darker(identity.skin, factor=0.72)
    under = np.abs(patch.y - np.float32(0.05) * (1 - (patch.x / half) ** 2)) - np.float32(0.018)
    under = np.maximum(under, np.abs(patch.x) - half)
    canvas.paint(patch, canvas.soft(under) * np.float32(0.8), shade)
    nostril = np.hypot((np.abs(patch.x) - half * np.float32(0.55)), patch.y - np.float32(0.02))
    canvas.paint(
        patch, canvas.soft(nostril - np.float32(0.026)), darker(identity.skin, factor=0.42)
    )
    shine = np.hypot(patch.x, patch.y + np.float32(0.03)) - np.float32(0.045)
    canvas.paint(
        patch, canvas.soft(shine) * np.float32(0.3), mixed(identity.skin, _TEETH, share=0.7)
    )
    bridge = canvas.patch(
        canvas.pose.shift_x * np.float32(0.15),
        _ZERO + np.float32(identity.eye_height + 0.06),
        width=0.14,
        height=0.14,
    )
    creases = np.abs(np.abs(bridge.y) - np.float32(0.045)) - np.float32(0.016)
    creases = np.maximum(creases, np.abs(bridge.x) - np.float32(0.1))
    canvas.paint(bridge, canvas.soft(creases) * wrinkle * np.float32(0.85), shade)


def draw_mouth(canvas: Canvas, move: dict[str, Plane], *, identity: Identity) -> None:
    """Paint the lips and, between them, teeth and tongue.

    The mouth is a band around a curve from corner to corner: pulling raises the corners,
    depressing lowers them, stretching moves them apart, the jaw opens the band, pressing thins
    the lips, and a raised upper lip uncovers the teeth.
    """
    pull, sad, jaw = move["lip_corner_pull"], move["lip_corner_depress"], move["jaw_drop"]
    press, sneer, stretch = move["lip_press"], move["upper_lip_raise"], move["lip_stretch"]
    place = np.float32(identity.mouth_height) + np.float32(0.05) * jaw
    patch = canvas.patch(_ZERO, place, width=0.48, height=0.44)
    half = np.float32(identity.mouth_width) * (
        1 + np.float32(0.38) * pull + np.float32(0.42) * stretch - np.float32(0.16) * jaw
    )
    t = np.clip(patch.x / half, np.float32(-1.4), np.float32(1.4))
    square = t * t
    bow = np.maximum(1 - square, 0)
    smirk = move["smirk"]
    one_side = np.maximum(t * np.sign(smirk), 0) * np.abs(smirk)
    corner = np.float32(-0.15) * pull + np.float32(0.14) * sad + np.float32(0.03) * stretch
    middle = np.float32(0.05) * pull * (1 - jaw) - np.float32(0.045) * sad
    spine = middle + (corner - middle) * square - np.float32(0.2) * one_side * one_side
    lift = np.float32(0.075) * sneer + np.float32(0.02) * pull
    drop = np.float32(0.3) * jaw + np.float32(0.03) * sneer + np.float32(0.05) * stretch
    lip = np.float32(identity.lip_thickness) * (1 - np.float32(0.72) * press)
    round_bow = np.sqrt(bow)
    top = spine - lift * bow
    bottom = spine + drop * round_bow
    inside_width = canvas.soft(np.abs(patch.x) - half)
    lips = np.maximum(
        top - lip * (np.float32(0.85) * round_bow + np.float32(0.08)) - patch.y,
        patch.y - bottom - lip * (np.float32(1.1) * round_bow + np.float32(0.08)),
    )
    canvas.paint(patch, canvas.soft(lips) * inside_width, identity.lips)
    hole = canvas.soft(np.maximum(top - patch.y, patch.y - bottom)) * inside_width
    gap = np.minimum((lift + drop) * 12, 1)
    canvas.paint(patch, hole * gap, _INSIDE)
    tongue = np.hypot(patch.x * np.float32(0.7), patch.y - bottom + np.float32(0.01))
    canvas.paint(patch, hole * gap * canvas.soft(tongue - np.float32(0.1)), _TONGUE)
    teeth = hole * gap * canvas.soft(patch.y - top - np.float32(0.075) * bow - np.float32(0.01))
    canvas.paint(patch, teeth, _TEETH)
    line = np.abs(patch.y - (top + bottom) / 2) - np.float32(0.012) - np.float32(0.012) * press
    seam = canvas.soft(line) * inside_width * (1 - gap)
    canvas.paint(patch, seam, darker(identity.lips, factor=0.42))

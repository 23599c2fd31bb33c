"""Background, clothes, hair, head and light."""

from __future__ import annotations

import numpy as np

from .appearance import Hair, Identity, Scene
from .canvas import Canvas, Patch, Plane, darker

_BACK_HAIR: dict[Hair, tuple[float, float, float]] = {
    "fringe": (1.1, 0.98, -0.08),
    "side": (1.08, 0.98, -0.1),
    "short": (1.06, 0.96, -0.14),
    "long": (1.2, 1.1, 0.0),
    "bob": (1.24, 1.06, -0.02),
    "bun": (1.07, 0.98, -0.1),
    "curly": (1.28, 1.06, -0.16),
}
"""Half width as a share of the head's, half height and vertical place of the hair behind it."""


_NOISE_SHIFT = 32  # pixels


def draw_surroundings(canvas: Canvas, *, identity: Identity, scene: Scene) -> None:
    """Paint background, hair behind the head, neck and clothes."""
    slope = np.linspace(-0.5, 0.5, canvas.size_pixels, dtype=np.float32)[None, :, None]
    for plane, value in zip(canvas.colour, scene.background, strict=True):
        plane[:] = np.float32(value) * (1 + np.float32(scene.background_slope) * slope)
    whole = canvas.everything()
    _draw_back_hair(canvas, whole, identity=identity)
    lower = _rows_below(canvas, 0.7)
    neck = np.abs(lower.x) - np.float32(0.36 * identity.head_width / 0.8)
    canvas.paint(lower, canvas.soft(neck), darker(identity.skin, factor=0.8))
    collar = np.float32(1.0) + np.float32(0.25) * lower.x * lower.x - lower.y
    canvas.paint(lower, canvas.soft(collar), identity.clothes)


def _rows_below(canvas: Canvas, height: float) -> Patch:
    rows = np.nonzero((canvas.y > height).any(axis=(0, 2)))[0]
    start = int(rows[0]) if len(rows) else canvas.size_pixels - 1
    window = (slice(None), slice(start, None), slice(None))
    return Patch(window=window, x=canvas.x[window], y=canvas.y[window])


def _draw_back_hair(canvas: Canvas, whole: Patch, *, identity: Identity) -> None:
    if identity.hair_style not in _BACK_HAIR:
        return
    width, height, centre = _BACK_HAIR[identity.hair_style]
    half_width = np.float32(width * identity.head_width)
    x = np.abs(whole.x)
    distance = _ellipse(x, whole.y - np.float32(centre), half_width, np.float32(height))
    if identity.hair_style in ("long", "bob"):
        end = np.float32(1.3 if identity.hair_style == "long" else 0.62)
        hanging = np.maximum(x - half_width, np.maximum(-whole.y, whole.y - end))
        distance = np.minimum(distance, hanging)
    if identity.hair_style == "bun":
        bun = np.hypot(whole.x, whole.y + np.float32(1.02)) - np.float32(0.26)
        distance = np.minimum(distance, bun)
    canvas.paint(whole, canvas.soft(distance), darker(identity.hair, factor=0.82))


def draw_head(canvas: Canvas, move: dict[str, Plane], *, identity: Identity) -> Plane:
    """Paint ears and head.

    Returns
    -------
    ndarray of shape (n_frames, size, size)
        How far out on the head a pixel lies: 0 in the middle, 1 on the outline.
    """
    whole = canvas.everything()
    chin = 1 + np.float32(0.09) * move["jaw_drop"]
    width = np.float32(identity.head_width)
    for side in (-1, 1):
        # a turning head moves its ears less than its features
        at_x = side * width - np.float32(0.7) * canvas.pose.shift_x
        ear = canvas.patch(at_x, np.float32(0.06) - canvas.pose.shift_y, width=0.12, height=0.21)
        ear_shape = _ellipse(ear.x, ear.y, np.float32(0.1), np.float32(0.19))
        canvas.paint(ear, canvas.soft(ear_shape), darker(identity.skin, factor=0.9))
    below = np.maximum(whole.y, 0)
    taper = 1 - np.float32(identity.jaw_taper) * below * below
    across = whole.x / (width * np.maximum(taper, np.float32(0.3)))
    up = whole.y / np.where(whole.y > 0, chin, np.float32(0.98))
    radius = np.sqrt(across * across + up * up)
    canvas.paint(whole, canvas.soft((radius - 1) * width), identity.skin)
    return radius


def draw_hair_front(canvas: Canvas, *, identity: Identity) -> None:
    """Paint the hair that lies over the forehead; the bald have none."""
    style = identity.hair_style
    if style == "bald":
        return
    width = np.float32(identity.head_width)
    top = canvas.patch(-canvas.pose.shift_x, -0.7 - canvas.pose.shift_y, width=1.15, height=0.62)
    x, y = top.x, top.y - np.float32(0.7)
    turned = x - np.float32(0.5) * canvas.pose.shift_x
    line = np.float32(identity.hairline) + _hairline(style, turned)
    line = line + np.float32(0.5) * canvas.pose.shift_y
    skull = _ellipse(x, y, width * np.float32(1.05), np.float32(1.05))
    inside = np.maximum(skull, y - line)
    canvas.paint(top, canvas.soft(inside), identity.hair)


def _hairline(style: Hair, x: Plane) -> Plane:
    """Height of the hair's edge above the hairline in the middle, units; down is positive."""
    square = x * x
    if style == "fringe":
        return np.float32(0.16) + np.float32(0.04) * np.cos(x * 14) + square * np.float32(0.35)
    if style == "side":
        return np.float32(0.08) - np.float32(0.28) * x + square * np.float32(0.55)
    if style == "curly":
        return np.float32(0.05) + np.float32(0.05) * np.cos(x * 18) + square * np.float32(0.7)
    if style in ("long", "bob"):
        return square * np.float32(1.25) - np.float32(0.04)
    return square * np.float32(0.62)


def light_head(canvas: Canvas, radius: Plane, *, scene: Scene, rng: np.random.Generator) -> None:
    """Round the head off, add light from one side, exposure, warmth and the camera's noise."""
    angle = np.deg2rad(scene.light_degrees)
    slope = np.float32(scene.light_strength) * (
        np.float32(np.cos(angle)) * canvas.x + np.float32(np.sin(angle)) * canvas.y
    )
    rim = np.maximum(np.minimum(radius, 1) - np.float32(0.55), 0)
    factor = np.float32(scene.exposure) * (1 + slope - np.float32(0.5) * rim * rim)
    noise = _camera_noise(canvas, rng=rng) * np.float32(scene.noise_sd)
    for plane, tint in zip(canvas.colour, (1 + scene.warmth, 1.0, 1 - scene.warmth), strict=True):
        plane *= factor * np.float32(tint)
        plane += noise


def _camera_noise(canvas: Canvas, *, rng: np.random.Generator) -> Plane:
    """Return white noise, the same field shifted at random for each frame: drawing is slow."""
    size = canvas.size_pixels
    field = rng.standard_normal((size + _NOISE_SHIFT, size + _NOISE_SHIFT), dtype=np.float32)
    rows, columns = rng.integers(0, _NOISE_SHIFT, (2, canvas.n_frames))
    return np.stack([field[r : r + size, c : c + size] for r, c in zip(rows, columns, strict=True)])


def _ellipse(x: Plane, y: Plane, half_width: np.float32, half_height: np.float32) -> Plane:
    """Return an approximate signed distance from an ellipse, exact at the smaller axis."""
    across, up = x / half_width, y / half_height
    distance: Plane = (np.sqrt(across * across + up * up) - 1) * min(half_width, half_height)
    return distance

"""Who is drawn, and by which camera: everything visible that is not expression.

None of it ever depends on an emotion or on a subject's trait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Hair = Literal["bald", "short", "fringe", "side", "long", "bob", "bun", "curly"]
HAIR_STYLES: tuple[Hair, ...] = ("bald", "short", "fringe", "side", "long", "bob", "bun", "curly")
HAIR_WEIGHTS = (0.06, 0.2, 0.12, 0.16, 0.16, 0.12, 0.09, 0.09)

SKIN_TONES = np.array(
    [
        [246, 217, 194],
        [238, 196, 166],
        [226, 176, 140],
        [205, 150, 112],
        [172, 118, 82],
        [134, 88, 60],
        [98, 64, 46],
    ],
    dtype=np.float32,
)
HAIR_COLOURS = np.array(
    [[30, 26, 26], [62, 42, 32], [104, 68, 42], [158, 106, 58], [212, 176, 106], [168, 72, 40],
     [176, 174, 172]],
    dtype=np.float32,
)  # fmt: skip
IRIS_COLOURS = np.array(
    [[74, 46, 28], [96, 66, 34], [70, 104, 76], [72, 110, 150], [96, 104, 112]], dtype=np.float32
)

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Identity:
    """One drawn person. Lengths are in units of half the height of the head.

    Colours are red, green and blue from 0 to 255.
    """

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    hair_style: Hair
    head_width: float
    jaw_taper: float
    hairline: float
    eye_distance: float
    eye_height: float
    eye_width: float
    eye_opening: float
    eye_tilt: float
    brow_height: float
    brow_arch: float
    brow_thickness: float
    nose_length: float
    nose_width: float
    mouth_height: float
    mouth_width: float
    lip_thickness: float
    blush: float
    beard: float
    glasses: bool
    freckles: bool


@dataclass(frozen=True)
class Scene:
    """Camera and light of one recording.

    Attributes
    ----------
    background : tuple of 3 floats
        Red, green and blue, 0 to 255.
    background_slope : float
        Change of the background's brightness from top to bottom, as a share.
    centre_x, centre_y : float
        Where the head stands, as a share of the picture's size.
    head_share : float
        Height of the head at rest, as a share of the picture's height.
    light_degrees, light_strength : float
        From where the light comes, and the change of brightness across the head as a share.
    exposure, warmth : float
        Factor on brightness; shift from blue to red as a share.
    noise_sd : float
        Standard deviation of the camera's brightness noise, grey levels.
    """

    background: Colour
    background_slope: float
    centre_x: float
    centre_y: float
    head_share: float
    light_degrees: float
    light_strength: float
    exposure: float
    warmth: float
    noise_sd: float


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (float(v) for v in np.clip(values, 0, 255))
    return red, green, blue


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw a person at random.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Identity
    """
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    below = int(tone)
    skin = SKIN_TONES[below] + (tone - below) * (SKIN_TONES[below + 1] - SKIN_TONES[below])
    skin = skin + rng.normal(0, 4, 3)
    hair = HAIR_COLOURS[rng.choice(7, p=[0.2, 0.24, 0.2, 0.12, 0.1, 0.06, 0.08])]
    lips = 0.62 * skin + 0.38 * np.array([188, 52, 62]) + rng.normal(0, 6, 3)
    style = HAIR_STYLES[rng.choice(len(HAIR_STYLES), p=HAIR_WEIGHTS)]
    bearded = style in ("bald", "short", "side", "curly") and rng.random() < 0.3
    return Identity(
        skin=_colour(skin),
        hair=_colour(hair + rng.normal(0, 7, 3)),
        iris=_colour(IRIS_COLOURS[rng.integers(len(IRIS_COLOURS))] + rng.normal(0, 6, 3)),
        lips=_colour(lips),
        clothes=_colour(rng.uniform(40, 225, 3)),
        hair_style=style,
        head_width=float(rng.uniform(0.74, 0.86)),
        jaw_taper=float(rng.uniform(0.06, 0.24)),
        hairline=float(rng.uniform(-0.72, -0.6)),
        eye_distance=float(rng.uniform(0.3, 0.36)),
        eye_height=float(rng.uniform(-0.16, -0.09)),
        eye_width=float(rng.uniform(0.155, 0.19)),
        eye_opening=float(rng.uniform(0.085, 0.105)),
        eye_tilt=float(rng.uniform(-0.08, 0.08)),
        brow_height=float(rng.uniform(0.2, 0.25)),
        brow_arch=float(rng.uniform(0.015, 0.05)),
        brow_thickness=float(rng.uniform(0.026, 0.046)),
        nose_length=float(rng.uniform(0.28, 0.36)),
        nose_width=float(rng.uniform(0.1, 0.145)),
        mouth_height=float(rng.uniform(0.5, 0.56)),
        mouth_width=float(rng.uniform(0.24, 0.29)),
        lip_thickness=float(rng.uniform(0.045, 0.07)),
        blush=float(rng.uniform(0.0, 0.22)),
        beard=float(rng.uniform(0.45, 0.85)) if bearded else 0.0,
        glasses=bool(rng.random() < 0.2),
        freckles=bool(rng.random() < 0.15),
    )


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a recording's camera and light at random.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Scene
    """
    return Scene(
        background=_colour(rng.uniform(90, 225) + rng.normal(0, 18, 3)),
        background_slope=float(rng.uniform(-0.15, 0.15)),
        centre_x=float(rng.uniform(0.48, 0.52)),
        centre_y=float(rng.uniform(0.5, 0.54)),
        head_share=float(rng.uniform(0.82, 0.9)),
        light_degrees=float(rng.uniform(0, 360)),
        light_strength=float(rng.uniform(0.0, 0.2)),
        exposure=float(rng.uniform(0.88, 1.1)),
        warmth=float(rng.uniform(-0.05, 0.05)),
        noise_sd=float(rng.uniform(1.0, 4.0)),
    )

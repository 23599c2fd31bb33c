"""The movements that a drawn face can make, after the units of the Facial Action Coding System.

A face at rest is a vector of zeros. Intensities run from 0 (absent) to 1 (as strong as drawn
faces get), except those listed in `SIGNED`, which run from -1 to 1, and the head's angles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoclip_clinical.records import InputError

ACTIONS = (
    "brow_inner_raise",  # action unit 1
    "brow_outer_raise",  # 2
    "brow_lower",  # 4
    "lid_raise",  # 5
    "lid_close",  # 43; a blink is 1 for an instant
    "cheek_raise",  # 6
    "nose_wrinkle",  # 9
    "upper_lip_raise",  # 10
    "lip_corner_pull",  # 12
    "smirk",  # 14 on one side; the sign is the side
    "lip_corner_depress",  # 15
    "lip_stretch",  # 20
    "lip_press",  # 24
    "jaw_drop",  # 26
    "gaze_right",  # 61 and 62, as the viewer sees it
    "gaze_down",  # 63 and 64
    "head_yaw_degrees",  # to the viewer's right
    "head_pitch_degrees",  # downwards
    "head_roll_degrees",  # clockwise as the viewer sees it
)
"""Names of the columns of every array of actions, in order."""

SIGNED = ("smirk", "gaze_right", "gaze_down")
"""Intensities that run from -1 to 1."""

HEAD = ("head_yaw_degrees", "head_pitch_degrees", "head_roll_degrees")
"""Angles in degrees, drawn faithfully between about -25 and 25."""

MAXIMUM_HEAD_DEGREES = 25.0

INDEX = {name: column for column, name in enumerate(ACTIONS)}
"""Column of each action."""

N_ACTIONS = len(ACTIONS)

_LOW = np.array(
    [
        -MAXIMUM_HEAD_DEGREES if name in HEAD else -1.0 if name in SIGNED else 0.0
        for name in ACTIONS
    ],
    dtype=np.float32,
)
_HIGH = np.array(
    [MAXIMUM_HEAD_DEGREES if name in HEAD else 1.0 for name in ACTIONS], dtype=np.float32
)


def action_vector(**intensities: float) -> NDArray[np.float32]:
    """Return one face's actions; what is not named stays at rest.

    Parameters
    ----------
    **intensities : float
        Names from `ACTIONS` with their intensities (angles in degrees).

    Returns
    -------
    ndarray of shape (n_actions,), float32

    Raises
    ------
    InputError
        Where a name is not an action or a number lies outside its range.

    Examples
    --------
    >>> float(action_vector(jaw_drop=0.5)[INDEX["jaw_drop"]])
    0.5
    """
    faults = [
        f"action must be one of {', '.join(ACTIONS)}, got {name!r}"
        for name in intensities
        if name not in INDEX
    ]
    faults += [
        f"action {name!r} must lie between {_LOW[INDEX[name]]:g} and {_HIGH[INDEX[name]]:g}, "
        f"got {value!r}"
        for name, value in intensities.items()
        if name in INDEX and not _LOW[INDEX[name]] <= value <= _HIGH[INDEX[name]]
    ]
    if faults:
        raise InputError(faults)
    vector = np.zeros(N_ACTIONS, dtype=np.float32)
    for name, value in intensities.items():
        vector[INDEX[name]] = value
    return vector


def clip_actions(actions: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return actions held within their ranges.

    Parameters
    ----------
    actions : ndarray of shape (..., n_actions)

    Returns
    -------
    ndarray of the same shape, float32
    """
    held: NDArray[np.float32] = np.clip(actions, _LOW, _HIGH).astype(np.float32)
    return held

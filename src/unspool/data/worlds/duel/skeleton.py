"""The body: a side-view skeleton of 21 joints moved by 16 angles, with limits and forward kinematics.

Angles are in degrees and relative to the parent bone. Positive bends towards the side the fighter faces, except knees,
which bend backwards. Lengths are in body heights. Picture coordinates: x to the right, y DOWN.
The near limbs are the lead arm and leg, the far ones (suffix `_far`) are drawn behind the torso.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ANGLES = (
    "lean", "spine", "neck", "head",
    "shoulder", "elbow", "wrist", "shoulder_far", "elbow_far", "wrist_far",
    "hip", "knee", "ankle", "hip_far", "knee_far", "ankle_far",
)  # fmt: skip
_ARM = ((-70.0, 180.0), (0.0, 150.0), (-50.0, 50.0))
_LEG = ((-45.0, 130.0), (0.0, 150.0), (-60.0, 40.0))
LIMITS = np.array([(-115.0, 60.0), (-30.0, 45.0), (-40.0, 40.0), (-30.0, 30.0), *_ARM, *_ARM, *_LEG, *_LEG], np.float32)

JOINTS = (
    "pelvis", "waist", "chest", "neck", "head",
    "shoulder", "elbow", "wrist", "hand", "shoulder_far", "elbow_far", "wrist_far", "hand_far",
    "hip", "knee", "ankle", "toe", "hip_far", "knee_far", "ankle_far", "toe_far",
)  # fmt: skip
JOINT = {name: index for index, name in enumerate(JOINTS)}

# How thick the body is around each joint, in body heights: what touches the floor and what a blow can touch.
RADII = np.array(
    [0.07, 0.07, 0.06, 0.05, 0.085]
    + [0.05, 0.04, 0.035, 0.045] * 2
    + [0.06, 0.05, 0.04, 0.035] * 2,
    np.float32,
)  # fmt: skip

_PELVIS_TO_WAIST, _WAIST_TO_CHEST, _CHEST_TO_NECK, _NECK_TO_HEAD = 0.13, 0.155, 0.05, 0.075
_UPPER_ARM, _FOREARM, _HAND = 0.16, 0.15, 0.035
_THIGH, _SHIN, _FOOT = 0.24, 0.235, 0.085
_SHOULDER_OUT, _HIP_OUT = 0.022, 0.018  # near and far limbs hang a little apart, so that both are seen


def joint_positions(angles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Forward kinematics: angles (16, ...) in degrees -> offsets from the pelvis (21, 2, ...) in body heights.

    The fighter faces right; y is down. Written as plain sums along each chain, never as a matrix product: the result
    for one fighter must not depend, to the last bit, on how many others are computed beside it.
    """
    a = angles * np.float32(np.pi / 180)
    tilt = np.empty((16, *a.shape[1:]), np.float32)  # absolute bone angles; trunk from up, limbs from down
    tilt[0] = a[0]
    np.add(tilt[0], a[1], out=tilt[1])
    np.add(tilt[1], a[2], out=tilt[2])
    np.add(tilt[2], a[3], out=tilt[3])
    for base in (4, 7):
        np.subtract(a[base], tilt[1], out=tilt[base])
        np.add(tilt[base], a[base + 1], out=tilt[base + 1])
        np.add(tilt[base + 1], a[base + 2], out=tilt[base + 2])
    for base in (10, 13):
        np.subtract(a[base], tilt[0], out=tilt[base])
        np.subtract(tilt[base], a[base + 1], out=tilt[base + 1])
        np.add(tilt[base + 1], a[base + 2] + np.float32(np.pi / 2), out=tilt[base + 2])
    way = np.stack([np.sin(tilt), np.cos(tilt)], axis=1)  # (16, 2, ...)
    way[:4, 1] *= -1

    out = np.zeros((len(JOINTS), 2, *a.shape[1:]), np.float32)
    out[1] = way[0] * np.float32(_PELVIS_TO_WAIST)
    out[2] = out[1] + way[1] * np.float32(_WAIST_TO_CHEST)
    out[3] = out[2] + way[2] * np.float32(_CHEST_TO_NECK)
    out[4] = out[3] + way[3] * np.float32(_NECK_TO_HEAD)
    across = np.stack([-way[1, 1], way[1, 0]])  # perpendicular to the chest, to the front
    hips = np.stack([-way[0, 1], way[0, 0]])
    for base, bone, sign in ((5, 4, -1), (9, 7, 1)):
        out[base] = out[2] + across * np.float32(sign * _SHOULDER_OUT)
        out[base + 1] = out[base] + way[bone] * np.float32(_UPPER_ARM)
        out[base + 2] = out[base + 1] + way[bone + 1] * np.float32(_FOREARM)
        out[base + 3] = out[base + 2] + way[bone + 2] * np.float32(_HAND)
    for base, bone, sign in ((13, 10, 1), (17, 13, -1)):
        out[base] = hips * np.float32(sign * _HIP_OUT)
        out[base + 1] = out[base] + way[bone] * np.float32(_THIGH)
        out[base + 2] = out[base + 1] + way[bone + 1] * np.float32(_SHIN)
        out[base + 3] = out[base + 2] + way[bone + 2] * np.float32(_FOOT)
    return out

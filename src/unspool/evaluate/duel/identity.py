"""Who is who along a video: joints that were read left to right in every frame, followed from frame to frame.

Two clues, and the order of least cost over the WHOLE video (Viterbi, 1967, with two states: as in the picture, or crossed).
Between frames, a body moves little. Within a frame, its cloth has the colour that it has elsewhere in this video; which
colours those are is found here, not told. Travel alone loses two who pass behind each other for good; colour alone is blind
where one hides the other.

N videos, T frames, F = 2 fighters, J joints; places in picture units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unspool.data.worlds.duel import JOINTS

Floats = NDArray[np.float32]

_TRUNK = [JOINTS.index(name) for name in ("pelvis", "waist", "chest")]
_FAR = 4 / 64  # travel counts up to that, picture units: a joint that was misread has not gone anywhere
_COLOUR = 10 / 64  # picture units that a full difference of colour counts: some frames of it outweigh a jump
_APART = 10 / 64  # pelvises that far apart: neither trunk hides the other
_ROUNDS = 3


def cloth(videos: NDArray[np.uint8], joints: Floats) -> Floats:
    """The colour of each trunk, (N, T, F, 3) in [0, 1]. Videos (N, T, H, W, 3), joints (N, T, F, J, 2)."""
    count, frames, high, wide, _ = videos.shape
    at = joints[..., _TRUNK, :]
    x, y = (np.clip((at[..., axis] * side).astype(int), 0, side - 1) for axis, side in ((0, wide), (1, high)))
    n, t = np.ogrid[:count, :frames]
    return (videos[n[..., None, None], t[..., None, None], y, x].mean(3) / 255).astype(np.float32)


def follow(joints: Floats, colours: Floats) -> NDArray[np.bool_]:
    """Joints (N, T, F, J, 2), left to right in each frame, and colours (N, T, F, 3) -> (N, T): where the order of the picture
    must be turned round, so that fighter 0 is the one who is on the left when the two first stand apart."""
    videos = np.arange(len(joints))
    travel = np.stack([_travel(joints[:, :-1], joints[:, 1:]), _travel(joints[:, :-1], joints[:, 1:, ::-1])], -1)
    apart = _apart(joints)
    first = apart.argmax(1)
    known = colours[videos, first]
    for _ in range(_ROUNDS):
        strange = np.stack([_strange(colours, known), _strange(colours[:, :, ::-1], known)], -1)
        crossed = _cheapest(strange, travel)
        own = np.where(crossed[..., None, None], colours[:, :, ::-1], colours)
        known = (own * apart[..., None, None]).sum(1) / apart.sum(1)[:, None, None]
    return crossed ^ crossed[videos, first, None]


def begins_right(joints: Floats) -> NDArray[np.bool_]:
    """Whole fights (N, T, F, J, 2) in any steady order -> (N,): whether fighter 0 is on the RIGHT when the two first stand
    apart. For a truth in the order of a world: turn these round, and it is in the order of `follow`."""
    first = np.arange(len(joints)), _apart(joints).argmax(1)
    return joints[*first, 0, 0, 0] > joints[*first, 1, 0, 0]


def _apart(joints: Floats) -> NDArray[np.bool_]:
    """(N, T): the frames in which the pelvises are well apart; at least one of every video, the widest."""
    gap = np.abs(joints[:, :, 0, 0, 0] - joints[:, :, 1, 0, 0])
    return gap >= np.minimum(_APART, gap.max(1, keepdims=True))


def _travel(a: Floats, b: Floats) -> Floats:
    """(N, T): mean way of a joint from a to b, each at most _FAR."""
    return np.minimum(np.linalg.norm(a - b, axis=-1), _FAR).mean((2, 3))


def _strange(colours: Floats, known: Floats) -> Floats:
    """(N, T): how badly colours (N, T, F, 3) fit the known ones (N, F, 3)."""
    return np.abs(colours - known[:, None]).mean((2, 3)) * _COLOUR


def _cheapest(within: Floats, between: Floats) -> NDArray[np.bool_]:
    """within (N, T, 2): cost of each order in each frame. between (N, T - 1, 2): cost of keeping and of changing it."""
    count, frames, _ = within.shape
    cost, came = within[:, 0], np.zeros((count, frames, 2), bool)
    for t in range(1, frames):
        keep, change = cost + between[:, t - 1, :1], cost[:, ::-1] + between[:, t - 1, 1:]
        came[:, t] = change < keep
        cost = within[:, t] + np.minimum(keep, change)
    state = np.zeros((count, frames), bool)
    state[:, -1] = cost[:, 1] < cost[:, 0]
    for t in range(frames - 1, 0, -1):
        changed = came[np.arange(count), t, state[:, t].astype(int)]
        state[:, t - 1] = state[:, t] ^ changed
    return state

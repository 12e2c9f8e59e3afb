"""Walks worth filming: agents go from place to place by the shortest way, turn round, come back, and never stare at a wall."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..hashing import bits, uniform
from .layout import CELLS, Layout

ACTIONS = ("stay", "ahead", "left", "right", "ahead left", "ahead right")
PACE, TURN, RADIUS = 0.12, float(np.radians(7.5)), 0.2  # cells and radians a frame; how near a wall one can come
_RETURN = 0.35  # share of goals that are a place seen before
_FAR = np.int32(1 << 20)
_SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))


class Walk(NamedTuple):
    """poses: (B, T, 3) float32, x, y in cells and heading in radians. actions: (B, T) int64, what was done AFTER each frame."""

    poses: NDArray[np.float32]
    actions: NDArray[np.int64]


def move(layout: Layout, pose: NDArray[np.float32], action: NDArray[np.int64]) -> NDArray[np.float32]:
    """Poses (B, 3) one frame later. Walls stop the way into them and let the rest slide along."""
    turn = np.isin(action, (3, 5)).astype(np.float32) - np.isin(action, (2, 4)).astype(np.float32)
    heading = (pose[:, 2] + turn * np.float32(TURN)) % np.float32(2 * np.pi)
    pace = np.isin(action, (1, 4, 5)).astype(np.float32) * np.float32(PACE)
    x, y = pose[:, 0], pose[:, 1]
    for_x = x + pace * np.cos(heading)
    x = np.where(_free(layout, for_x, y), for_x, x)
    for_y = y + pace * np.sin(heading)
    y = np.where(_free(layout, x, for_y), for_y, y)
    return np.stack([x, y, heading], 1).astype(np.float32)


def walk(
    layout: Layout, keys: NDArray[np.uint64], frames: int, at: int = 0, again: NDArray[np.uint64] | None = None
) -> Walk:
    """`frames` frames of the walks with these keys (B,) through these plans; at frame `at` all choose another goal, by the keys
    `again` from then on."""
    everyone = np.arange(len(keys))
    cells = bits(keys[:, None], 30, np.arange(CELLS * CELLS)).reshape(-1, CELLS, CELLS)
    start = np.where(layout.solid, 0, cells | np.uint64(1)).reshape(len(keys), -1).argmax(1)
    pose = np.stack([start % CELLS + 0.5, start // CELLS + 0.5, uniform(keys, 31) * 2 * np.pi], 1).astype(np.float32)
    been = np.zeros_like(layout.solid)
    ways, goals = np.zeros_like(layout.room, np.int32), np.zeros(len(keys), np.int64)
    poses, actions = np.empty((len(keys), frames, 3), np.float32), np.empty((len(keys), frames), np.int64)
    turns = np.zeros(len(keys), np.int64)
    for t in range(frames):
        x, y = np.floor(pose[:, 0]).astype(np.int64), np.floor(pose[:, 1]).astype(np.int64)
        been[everyone, y, x] = True
        if again is not None and t == at:
            keys, ways = again, np.zeros_like(ways)
        there = np.flatnonzero(ways[everyone, y, x] == 0)
        if len(there):
            goals[there] = _goals(layout.solid[there], been[there], keys[there], turns[there])
            ways[there] = distances(layout.solid[there], goals[there])
            turns[there] += 1
        action = _towards(ways, pose, x, y)
        poses[:, t], actions[:, t] = pose, action
        pose = move(layout, pose, action)
    return Walk(poses, actions)


def distances(solid: NDArray[np.bool_], goal: NDArray[np.int64]) -> NDArray[np.int32]:
    """(B, CELLS, CELLS) steps from each free cell to the goal's cell (B,)."""
    far = np.full(solid.shape, _FAR)
    far.reshape(len(far), -1)[np.arange(len(far)), goal] = 0
    while True:
        near = far.copy()
        for axis in (1, 2):
            for way in (1, -1):
                near = np.minimum(near, np.roll(far, way, axis) + 1)  # the outer walls are solid: nothing comes round
        near = np.where(solid, _FAR, near)
        if (near == far).all():
            return far
        far = near


def _goals(
    solid: NDArray[np.bool_], been: NDArray[np.bool_], keys: NDArray[np.uint64], turn: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The next goals (B,): any free cell, or one that was seen before."""
    luck = bits(keys[:, None], 32, np.arange(CELLS * CELLS), turn[:, None]) | np.uint64(1)
    back = uniform(keys, 33, turn) < _RETURN
    among = ~solid & (been | ~back[:, None, None])
    return np.where(among.reshape(len(keys), -1), luck, 0).argmax(1)


def _towards(
    ways: NDArray[np.int32], pose: NDArray[np.float32], x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Turn to the neighbouring cell that is nearest to the goal, go ahead once it lies before one."""
    everyone = np.arange(len(pose))
    steps = np.stack([ways[everyone, y + dy, x + dx] for dy, dx in _SIDES], 1)
    dy, dx = np.array(_SIDES)[steps.argmin(1)].T
    wanted = np.arctan2(y + dy + 0.5 - pose[:, 1], x + dx + 0.5 - pose[:, 0])
    off = (wanted - pose[:, 2] + np.pi) % (2 * np.pi) - np.pi
    turn = np.where(off > TURN / 2, 2, np.where(off < -TURN / 2, 1, 0))  # none, left, right
    wide = np.abs(off) > np.radians(35)
    return np.where(turn == 0, 1, np.where(wide, turn + 1, turn + 3))


def _free(layout: Layout, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(B,) whether one can stand there, RADIUS from any wall."""
    plan = np.arange(len(x))
    corners = [(np.floor(y + a), np.floor(x + b)) for a in (-RADIUS, RADIUS) for b in (-RADIUS, RADIUS)]
    return ~np.any([layout.solid[plan, v.astype(np.int64), u.astype(np.int64)] for v, u in corners], 0)

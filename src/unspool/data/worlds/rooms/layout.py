"""Floor plans: three by three rooms of random sizes, joined by doors, each with walls and a floor of its own."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..hashing import bits, uniform
from .textures import FLOORS, PICTURES, WALLS

ACROSS = 3  # rooms
CELLS = 13  # of a side, the outer walls included
_WIDTHS = tuple(w for w in product(range(2, 6), repeat=ACROSS) if sum(w) == CELLS - 1 - ACROSS)
_DOOR, _PILLAR, _PICTURE = 0.4, 0.6, 0.25  # shares: doors beyond those that join all rooms; rooms with a pillar; hung faces


class Layout(NamedTuple):
    """A batch of floor plans, cells indexed [row y, column x].

    solid: (B, CELLS, CELLS) bool. room: (B, CELLS, CELLS) number of the room of a free cell, doors counting to the room left
    of or above them. wall, floor: (B, 9) textures of the rooms. picture: (B, CELLS, CELLS, 4) texture that hangs on a face of a
    solid cell (west, east, north, south), -1 for none.
    """

    solid: NDArray[np.bool_]
    room: NDArray[np.int64]
    wall: NDArray[np.int64]
    floor: NDArray[np.int64]
    picture: NDArray[np.int64]


def layouts(keys: NDArray[np.uint64]) -> Layout:
    """The plans with these keys (B,); every choice is a function of its key."""
    solid = np.ones((len(keys), CELLS, CELLS), bool)
    room = np.zeros((len(keys), CELLS, CELLS), np.int64)
    for plan, rooms, key in zip(solid, room, keys, strict=True):
        _draw(plan, rooms, key)
    wall = _distinct(keys, 20, len(WALLS)) + WALLS.start
    floor = _distinct(keys, 21, len(FLOORS)) + FLOORS.start
    faces = np.arange(CELLS * CELLS * 4)
    hangs = uniform(keys[:, None], 22, faces) < _PICTURE
    which = (bits(keys[:, None], 23, faces) % np.uint64(len(PICTURES))).astype(np.int64) + PICTURES.start
    return Layout(solid, room, wall, floor, np.where(hangs, which, -1).reshape(-1, CELLS, CELLS, 4))


def _draw(solid: NDArray[np.bool_], room: NDArray[np.int64], key: np.uint64) -> None:
    """One plan, in place: rooms, then doors along a random tree and some more, then pillars."""
    pick = bits(np.asarray(key), np.arange(2)) % np.uint64(len(_WIDTHS))
    xs, ys = (np.cumsum([1, *(w + 1 for w in _WIDTHS[int(i)])]) for i in pick)
    for r, (j, i) in enumerate(product(range(ACROSS), repeat=2)):
        inside = (slice(ys[j], ys[j + 1] - 1), slice(xs[i], xs[i + 1] - 1))
        solid[inside], room[inside] = False, r
        if min(ys[j + 1] - ys[j], xs[i + 1] - xs[i]) > 3 and uniform(np.asarray(key), 2, r) < _PILLAR:
            at = [int(low + 1 + bits(np.asarray(key), 3 + axis, r) % np.uint64(high - low - 3))
                  for axis, (low, high) in enumerate(((ys[j], ys[j + 1]), (xs[i], xs[i + 1])))]  # fmt: skip
            solid[at[0], at[1]] = True
    places = product(range(ACROSS), range(ACROSS), range(2))
    doors = [(j * ACROSS + i, axis) for j, i, axis in places if (j, i)[axis] < ACROSS - 1]
    joined = list(range(ACROSS**2))
    for n in np.argsort(bits(np.asarray(key), 5, np.arange(len(doors)))):
        one, axis = doors[n]
        other = one + (ACROSS, 1)[axis]
        if joined[one] == joined[other] and uniform(np.asarray(key), 6, int(n)) >= _DOOR:
            continue
        joined = [joined[one] if group == joined[other] else group for group in joined]
        j, i = divmod(one, ACROSS)
        low, high = ((xs[i], xs[i + 1]), (ys[j], ys[j + 1]))[axis]
        along = int(low + bits(np.asarray(key), 7, int(n)) % np.uint64(high - low - 1))
        cell = ((ys[j + 1] - 1, along), (along, xs[i + 1] - 1))[axis]
        solid[cell], room[cell] = False, one


def _distinct(keys: NDArray[np.uint64], counter: int, count: int) -> NDArray[np.int64]:
    """(B, 9) numbers below `count`, no two of a plan the same."""
    return np.argsort(bits(keys[:, None], counter, np.arange(count)), 1)[:, : ACROSS**2]

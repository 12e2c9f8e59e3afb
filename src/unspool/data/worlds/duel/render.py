"""Pictures from states: every limb a shaded capsule, drawn in a small patch around it, for all frames at once.

Painter's algorithm over (fighter, limb) slots; within a slot all frames are independent, so a slot is one vectorised
blend. Patches are taken from padded canvases through a strided view: whole rows are copied, no index arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .scenes import draw_scenes
from .simulation import floor_of, height_of
from .skeleton import JOINT
from .splits import COLOURS
from .state import Trajectory

Floats = NDArray[np.float32]

_CHUNK = 64  # frames drawn together: their patches fit the cache
_TINTS = {
    "red": (214, 40, 44), "blue": (36, 82, 220), "green": (30, 152, 62), "yellow": (240, 204, 36),
    "purple": (140, 48, 176), "orange": (244, 124, 24), "cyan": (32, 192, 208), "white": (240, 240, 240),
}  # fmt: skip
CLOTH = np.array([_TINTS[name] for name in COLOURS], np.float32)
_SKIN = np.array((236, 190, 156), np.float32)
_NEAR, _TRUNK, _FAR = 1.08, 0.92, 0.62  # brightness by depth
_LIGHT = (-0.45, -0.9)  # towards the light, picture units


class _Limb(NamedTuple):
    a: str
    b: str
    radius: float  # body heights
    longest: float  # body heights, distance of a and b at most
    skin: float  # share of skin colour
    depth: float


def _limbs(suffix: str, depth: float) -> tuple[list[_Limb], list[_Limb]]:
    """(leg, arm) of one side, in drawing order."""
    leg = [
        _Limb("ankle" + suffix, "toe" + suffix, 0.036, 0.085, 0.0, depth * 0.62),
        _Limb("knee" + suffix, "ankle" + suffix, 0.044, 0.235, 0.0, depth * 0.94),
        _Limb("hip" + suffix, "knee" + suffix, 0.058, 0.24, 0.0, depth),
    ]
    arm = [
        _Limb("shoulder" + suffix, "elbow" + suffix, 0.045, 0.16, 0.0, depth),
        _Limb("elbow" + suffix, "wrist" + suffix, 0.041, 0.15, 0.0, depth * 1.06),
        _Limb("hand" + suffix, "hand" + suffix, 0.048, 0.0, 0.85, depth),
    ]
    return leg, arm


_FAR_LEG, _FAR_ARM = _limbs("_far", _FAR)
_NEAR_LEG, _NEAR_ARM = _limbs("", _NEAR)
_LIMBS = [
    *_FAR_ARM, *_FAR_LEG,
    _Limb("neck", "head", 0.042, 0.08, 0.9, 0.85),
    _Limb("pelvis", "waist", 0.072, 0.13, 0.0, _TRUNK * 0.9),
    _Limb("waist", "chest", 0.080, 0.155, 0.0, _TRUNK),
    _Limb("head", "head", 0.088, 0.0, 0.9, 1.0),
    *_NEAR_LEG, *_NEAR_ARM,
]  # fmt: skip


def render(trajectory: Trajectory, size: int, clutter: float) -> NDArray[np.uint8]:
    """Pictures (B, T, size, size, 3) uint8."""
    batch, frames, fighters = trajectory.x.shape
    out = np.empty((batch * frames, size, size, 3), np.uint8)
    scenes = draw_scenes(trajectory.background[:, 0], trajectory.scene[:, 0], size, clutter)
    joints = trajectory.joints.reshape(batch * frames, fighters, -1, 2) * np.float32(size)
    colours = trajectory.colours.reshape(batch * frames, fighters)
    episode = np.repeat(np.arange(batch), frames)
    for begin in range(0, len(out), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        canvas = _Canvas(scenes[episode[part]], size)
        for fighter in reversed(range(fighters)):
            _shadow(canvas, joints[part, fighter], fighter, fighters)
        for fighter in reversed(range(fighters)):
            _body(canvas, joints[part, fighter], CLOTH[colours[part, fighter]], height_of(fighters))
        canvas.develop(out[part])
    return out.reshape(batch, frames, size, size, 3)


class _Canvas:
    """(n, 3, size, size) float pictures inside a margin that lets patches overhang the edge."""

    def __init__(self, scenes: Floats, size: int) -> None:
        self.size, self.pad = size, size // 4 + 4
        side = size + 2 * self.pad
        self.data = np.zeros((len(scenes), 3, side, side), np.float32)
        self.data[:, :, self.pad : -self.pad, self.pad : -self.pad] = scenes
        self.rows = np.arange(len(scenes))

    def windows(self, high: int, wide: int) -> Floats:
        """View (n, side - high + 1, side - wide + 1, 3, high, wide) of all patches of one shape."""
        n, plane, row, item = self.data.strides
        count, _, side, _ = self.data.shape
        shape = (count, side - high + 1, side - wide + 1, 3, high, wide)
        return as_strided(self.data, shape, (n, row, item, plane, row, item))

    def blend(self, x0: Floats, y0: Floats, cover: Floats, paint: Floats | np.float32) -> None:
        """Lay `paint` (n, 3, high, wide) over the patches with corners (x0, y0) (n,) as far as `cover` says."""
        high, wide = cover.shape[-2:]
        windows = self.windows(high, wide)
        side = self.size + 2 * self.pad
        y = np.clip(y0.astype(np.int64) + self.pad, 0, side - high)
        x = np.clip(x0.astype(np.int64) + self.pad, 0, side - wide)
        patch = windows[self.rows, y, x]
        change = paint - patch
        change *= cover[:, None]
        patch += change
        windows[self.rows, y, x] = patch

    def develop(self, out: NDArray[np.uint8]) -> None:
        """Write the pictures, rounded, into `out` (n, size, size, 3)."""
        inner = self.data[:, :, self.pad : -self.pad, self.pad : -self.pad]
        inner += np.float32(0.5)
        np.clip(inner, 0, 255, out=inner)
        for channel in range(3):
            out[..., channel] = inner[:, channel]


def _body(canvas: _Canvas, joints: Floats, cloth: Floats, height: float) -> None:
    """One fighter in every picture: joints (n, J, 2) in pixels, cloth (n, 3)."""
    unit = height * canvas.size
    for limb in _LIMBS:
        colour = (cloth * np.float32(1 - limb.skin) + _SKIN * np.float32(limb.skin)) * np.float32(limb.depth)
        a, b = joints[:, JOINT[limb.a]], joints[:, JOINT[limb.b]]
        _capsule(canvas, a, b, np.float32(limb.radius * unit), limb.longest * unit, colour)


def _capsule(canvas: _Canvas, a: Floats, b: Floats, radius: np.float32, longest: float, colour: Floats) -> None:
    """A rod with round ends from a to b (n, 2), lit from above; anti-aliased over one pixel."""
    side = int(np.ceil(longest + 2 * radius + 2.5))
    centre = (a + b) * np.float32(0.5)
    corner = np.floor(centre - np.float32(side / 2 - 0.5))
    grid = np.arange(side, dtype=np.float32) + np.float32(0.5)
    x = (corner[:, 0] - a[:, 0])[:, None, None] + grid[None, None, :]  # (n, 1, side)
    y = (corner[:, 1] - a[:, 1])[:, None, None] + grid[None, :, None]  # (n, side, 1)
    if longest > 0:
        d = b - a
        scaled = d / np.maximum((d * d).sum(axis=1, keepdims=True), np.float32(1e-6))
        t = x * scaled[:, 0, None, None] + y * scaled[:, 1, None, None]
        np.maximum(t, np.float32(0), out=t)
        np.minimum(t, np.float32(1), out=t)
        dx, dy = t * d[:, 0, None, None], t
        dy *= d[:, 1, None, None]
        np.subtract(x, dx, out=dx)
        np.subtract(y, dy, out=dy)
    else:
        shape = (len(a), side, side)
        dx, dy = np.broadcast_to(x, shape), np.broadcast_to(y, shape)
    shade = dx * np.float32(0.22 * _LIGHT[0] / radius)
    shade += dy * np.float32(0.22 * _LIGHT[1] / radius)
    shade += np.float32(1)
    cover = dx * dx
    cover += dy * dy
    np.sqrt(cover, out=cover)
    np.subtract(radius + np.float32(0.5), cover, out=cover)
    np.maximum(cover, np.float32(0), out=cover)
    np.minimum(cover, np.float32(1), out=cover)
    canvas.blend(corner[:, 0], corner[:, 1], cover, shade[:, None] * colour[:, :, None, None])


def _shadow(canvas: _Canvas, joints: Floats, fighter: int, fighters: int) -> None:
    """A soft dark ellipse on the floor under the body, fainter and wider the higher it leaps."""
    size, unit = canvas.size, np.float32(height_of(fighters) * canvas.size)
    floor = floor_of(fighters)[fighter] * np.float32(size)
    left, right = joints[..., 0].min(axis=1), joints[..., 0].max(axis=1)
    aloft = np.clip((floor - joints[..., 1].max(axis=1)) / unit - np.float32(0.03), 0, 1)
    wide = (right - left) * np.float32(0.42) + np.float32(0.06) * unit
    high = np.float32(0.055) * unit
    width, depth = int(np.ceil(1.1 * unit)), int(np.ceil(2.2 * high)) + 1
    corner_x = np.floor((left + right) * np.float32(0.5) - np.float32(width / 2 - 0.5))
    corner_y = np.floor(floor - np.float32(depth / 2 - 0.5)) + np.zeros_like(corner_x)
    x = (corner_x - (left + right) * np.float32(0.5))[:, None, None] + np.arange(width, dtype=np.float32) + 0.5
    y = (corner_y - floor)[:, None, None] + (np.arange(depth, dtype=np.float32) + 0.5)[:, None]
    cover = 1 - (x / wide[:, None, None]) ** 2 - (y / high) ** 2
    np.clip(cover, 0, 1, out=cover)
    cover *= (np.float32(0.62) - np.float32(1.2) * aloft)[:, None, None].clip(0.1)
    canvas.blend(corner_x, corner_y, cover.astype(np.float32), np.float32(0.0))

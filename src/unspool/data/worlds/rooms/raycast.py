"""Pictures by ray casting: one ray a column, walked from grid line to grid line (Amanatides and Woo, "A fast voxel traversal
algorithm for ray tracing", 1987); walls, floor and signs are then looked up in one atlas, ready shaded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layout import CELLS, Layout
from .textures import BINS, FARTHEST, TEXELS, atlas

FIELD = float(np.tan(np.radians(37.5)))  # half of the field of view of 75 degrees
WALL_FACES = CELLS**2 * 4
FACES = WALL_FACES + CELLS**2
_BLOCK = 32  # views drawn at once, so that their pixels fit into the cache
_SKY = 235 | 238 << 8 | 242 << 16


class Hit(NamedTuple):
    """What each column of each view (V, W) looks at. far: distance along the view's axis, in cells; texture; across: 0 .. 1
    along the wall's face; face: number of that face, 4 * cell + (west, east, north, south)."""

    far: NDArray[np.float32]
    texture: NDArray[np.int32]
    across: NDArray[np.float32]
    face: NDArray[np.int32]


class Seen(NamedTuple):
    """What each pixel of each view shows, (B, T, H, W). surface: TEXELS**2 * face + TEXELS * row + column of a texel, where
    floors are the faces from WALL_FACES on, one a cell; -1 for the sky. far: distance along the view's axis, in cells."""

    surface: NDArray[np.int32]
    far: NDArray[np.float32]


def render(layout: Layout, poses: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """Views (B, T, size, size, 3) uint8 from poses (B, T, 3): x and y in cells, heading in radians from east to south."""
    batch, frames = poses.shape[:2]
    plans = np.repeat(np.arange(batch), frames)
    flat = poses.reshape(-1, 3).astype(np.float32)
    out = np.empty((len(flat), size, size), np.uint32)
    for start in range(0, len(flat), _BLOCK):
        views = slice(start, start + _BLOCK)
        out[views] = _draw(layout, plans[views], flat[views], size)
    return out.view(np.uint8).reshape(batch, frames, size, size, 4)[..., :3]


def surfaces(layout: Layout, poses: NDArray[np.float32], size: int) -> Seen:
    """Which texel each pixel of `render` shows, and from how far."""
    batch, frames = poses.shape[:2]
    plan, pose = np.repeat(np.arange(batch), frames), poses.reshape(-1, 3).astype(np.float32)
    rays = _rays(pose, size)
    hit = cast(layout, plan, pose[:, :2], rays)
    below = size - size // 2
    surface, far = np.full((len(pose), size, size), -1, np.int32), np.full((len(pose), size, size), np.inf, np.float32)
    ground, cell, texel = _ground(pose, rays, below, size)
    surface[:, size - below :] = (WALL_FACES + cell) * TEXELS**2 + texel
    far[:, size - below :] = ground[:, None]
    row, seen = _rows(hit.far, size)
    column = (hit.across * np.float32(TEXELS)).astype(np.int32)
    np.copyto(surface, (hit.face * TEXELS**2 + column)[:, None] + row * TEXELS, where=seen)
    np.copyto(far, hit.far[:, None], where=seen)
    return Seen(surface.reshape(batch, frames, size, size), far.reshape(batch, frames, size, size))


def _draw(layout: Layout, plan: NDArray[np.int64], pose: NDArray[np.float32], size: int) -> NDArray[np.uint32]:
    """(V, size, size) packed colours: floor and sky by row, walls over them by column."""
    rays = _rays(pose, size)
    hit = cast(layout, plan, pose[:, :2], rays)
    out = np.empty((len(pose), size, size), np.uint32)
    below = size - size // 2
    out[:, : size - below] = _SKY
    out[:, size - below :] = _floor(layout, plan, pose, rays, below, size)
    row, seen = _rows(hit.far, size)
    base = _page(hit.far) + hit.texture * TEXELS**2 + (hit.across * np.float32(TEXELS)).astype(np.int32)
    np.copyto(out, atlas().reshape(-1).take((base[:, None] + row * TEXELS), mode="clip"), where=seen)
    return out


def _rays(pose: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """(V, 2, W), a ray a column, of length 1 along the view's axis."""
    side = np.float32(FIELD) * ((np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1)
    ahead, right = _axes(pose[:, 2])
    return ahead[:, :, None] + right[:, :, None] * side


def _rows(far: NDArray[np.float32], size: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(V, H, W): row of the texel that each pixel shows of walls at distances `far` (V, W), and whether it shows the wall."""
    row = np.arange(size, dtype=np.float32)[:, None] + np.float32(0.5 - size / 2)
    scale = np.float32(2 * FIELD / size) * far  # cells a pixel
    height = row * scale[:, None] + np.float32(0.5)  # 0 at the wall's top, 1 at its foot
    texel = np.floor(height * np.float32(TEXELS)).astype(np.int32)
    return texel, (texel >= 0) & (texel < TEXELS)


def _floor(
    layout: Layout, plan: NDArray[np.int64], pose: NDArray[np.float32], rays: NDArray[np.float32], rows: int, size: int
) -> NDArray[np.uint32]:
    """(V, rows, W): the lower half of the views."""
    far, cell, texel = _ground(pose, rays, rows, size)
    floors = np.take_along_axis(layout.floor[plan], layout.room[plan].reshape(len(plan), -1), 1).astype(np.int32).reshape(-1)
    own = (np.arange(len(plan), dtype=np.int32) * CELLS**2)[:, None, None]
    texture = floors.take(own + cell, mode="clip")  # beyond the walls nobody looks
    return atlas().reshape(-1).take(_page(far)[:, None] + texture * TEXELS**2 + texel, mode="clip")


def _ground(
    pose: NDArray[np.float32], rays: NDArray[np.float32], rows: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Distances (rows,), cells and texels (V, rows, W) of the floor. The eye is half a cell high, so a row lies at one
    distance."""
    row = np.arange(rows, dtype=np.float32) + np.float32(0.5 + size // 2 - size / 2)
    far = np.float32(0.5) / (row * np.float32(2 * FIELD / size))
    x, y = (pose[:, a, None, None] + far[:, None] * rays[:, a, None] for a in (0, 1))
    column, line = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    u, v = ((x - column) * np.float32(TEXELS)).astype(np.int32), ((y - line) * np.float32(TEXELS)).astype(np.int32)
    return far, line * CELLS + column, v * TEXELS + u


def cast(layout: Layout, plan: NDArray[np.int64], at: NDArray[np.float32], rays: NDArray[np.float32]) -> Hit:
    """Walk the rays (V, 2, W) of views at (V, 2) to the first solid cell of their plans (V,)."""
    views, _, width = rays.shape
    solid, base = layout.solid.reshape(-1), (plan * CELLS**2)[:, None]
    cell = np.floor(at).astype(np.int64)[:, :, None].repeat(width, 2)
    step = np.where(rays < 0, -1, 1)
    with np.errstate(divide="ignore"):
        delta = np.abs(1 / rays)  # along the ray, from one line of the grid to the next; infinite along the grid
    first = np.where(rays < 0, at[:, :, None] - cell, cell + 1 - at[:, :, None])
    next_ = np.where(first > 0, first, np.float32(1e-9)) * delta
    axis = np.zeros((views, width), np.int64)
    open_ = np.ones((views, width), bool)
    for _ in range(3 * CELLS):
        axis = np.where(open_, (next_[:, 1] < next_[:, 0]).astype(np.int64), axis)
        for a in (0, 1):
            moves = open_ & (axis == a)
            cell[:, a] += step[:, a] * moves
            np.add(next_[:, a], delta[:, a], out=next_[:, a], where=moves)
        open_ = open_ & ~solid.take(base + cell[:, 1] * CELLS + cell[:, 0], mode="clip")
        if not open_.any():
            break
    along = axis[:, None]
    way = np.take_along_axis(step, along, 1)[:, 0]
    far = (np.take_along_axis(next_, along, 1) - np.take_along_axis(delta, along, 1))[:, 0].astype(np.float32)
    place = np.take_along_axis(at[:, :, None] + far[:, None] * rays, 1 - along, 1)[:, 0]
    across = np.clip(place - np.floor(place), 0, np.float32(1 - 1e-6)).astype(np.float32)
    inside = cell[:, 1] * CELLS + cell[:, 0]
    before = inside - way * np.where(axis == 0, 1, CELLS)
    room = layout.room.reshape(-1).take(base + before, mode="clip")
    wall = layout.wall.reshape(-1).take((plan * layout.wall.shape[1])[:, None] + room)
    face = inside * 4 + 2 * axis + (way < 0)
    picture = layout.picture.reshape(-1).take(base * 4 + face, mode="clip")
    texture = np.where(picture < 0, wall, picture).astype(np.int32)
    return Hit(np.maximum(far, np.float32(0.02)), texture, across, face.astype(np.int32))


def _axes(heading: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors ahead and to the right, (V, 2) each."""
    cos, sin = np.cos(heading), np.sin(heading)
    return np.stack([cos, sin], 1), np.stack([-sin, cos], 1)


def _page(far: NDArray[np.float32]) -> NDArray[np.int32]:
    """Where the atlas of a distance begins."""
    seen = np.minimum(far * np.float32(BINS / FARTHEST), np.float32(BINS - 1)).astype(np.int32)
    return seen * (atlas().size // BINS)

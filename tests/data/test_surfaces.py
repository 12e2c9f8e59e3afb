"""`surfaces` says what `render` draws: its texels have the colours of the picture, and lie where the rays end."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.data.worlds import Rooms
from unspool.data.worlds.rooms.layout import CELLS
from unspool.data.worlds.rooms.raycast import FIELD, WALL_FACES, render, surfaces
from unspool.data.worlds.rooms.textures import BINS, FARTHEST, TEXELS, atlas

OUTWARDS = np.array([-1, 1, -CELLS, CELLS])  # from a solid cell, through its faces west, east, north, south


@pytest.fixture(scope="module")
def episode():
    episode = Rooms().episodes(np.arange(6), 200)
    return episode._replace(walk=episode.walk._replace(poses=episode.walk.poses[:, ::10]))


@pytest.mark.parametrize("size", [32, 64])
def test_the_colours_of_the_texels_are_the_picture(episode, size: int) -> None:
    layout, poses = episode.layout, episode.walk.poses
    surface, far = surfaces(layout, poses, size)
    face, texel = np.divmod(surface, TEXELS**2)
    floor, plan = face >= WALL_FACES, np.arange(len(surface))[:, None, None, None]
    cell = np.where(floor, face - WALL_FACES, face // 4)
    room = layout.room.reshape(-1, CELLS**2)[plan, np.where(floor, cell, cell + OUTWARDS[face % 4])]
    picture = layout.picture.reshape(-1, CELLS**2 * 4)[plan, np.where(floor, 0, face)]
    texture = np.where(floor, layout.floor[plan, room], np.where(picture < 0, layout.wall[plan, room], picture))
    page = np.minimum(np.minimum(far, 1e3) * BINS / FARTHEST, BINS - 1).astype(int)
    word = atlas().reshape(BINS, -1, TEXELS**2)[page, texture, texel]
    colour = np.stack([word & 255, word >> 8 & 255, word >> 16], -1)
    colour[surface < 0] = (235, 238, 242)
    # distances that are told apart begin where float32 and float64 differ: a handful of pixels
    assert (render(layout, poses, size) == colour).all(-1).mean() > 0.9999
    assert 0.1 < (surface < 0).mean() < 0.5 and 0.1 < floor.mean() < 0.5


def test_texels_lie_where_the_rays_end(episode) -> None:
    """In space: x and y of the ray's end, and its height, are those of the texel, to a texel's size."""
    size, poses = 32, episode.walk.poses
    surface, far = surfaces(episode.layout, poses, size)
    sides = FIELD * ((np.arange(size) + 0.5) * 2 / size - 1)
    x, y, heading = (poses[..., k, None, None].astype(float) for k in range(3))
    seen = surface >= 0
    length = np.where(seen, far, 0)
    east = x + length * (np.cos(heading) - sides * np.sin(heading))
    south = y + length * (np.sin(heading) + sides * np.cos(heading))
    down = 0.5 + length * sides[:, None]  # 0 at the top of the walls, 1 on the floor
    face, texel = np.divmod(surface, TEXELS**2)
    row, column = (place / TEXELS for place in np.divmod(texel, TEXELS))
    wall, floor = seen & (face < WALL_FACES), face >= WALL_FACES
    line, place = np.divmod(np.where(floor, face - WALL_FACES, face // 4), CELLS)
    side = face % 4
    for at, texels in ((east, place + np.where(side < 2, side, column)), (south, line + np.where(side < 2, column, side - 2))):
        assert (np.abs(at - texels - np.where(np.abs(at - texels) > 1e-3, 0.5 / TEXELS, 0))[wall] < 0.5 / TEXELS + 1e-3).all()
    assert (np.abs(down - row - 0.5 / TEXELS)[wall] < 0.5 / TEXELS + 1e-3).all()
    for at, texels in ((east, place + column), (south, line + row), (down, 1 - 0.5 / TEXELS)):
        assert (np.abs(at - texels - 0.5 / TEXELS)[floor] < 0.5 / TEXELS + 1e-3).all()

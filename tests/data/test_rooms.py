"""The world `rooms`: exact, worth filming, drawn as the slow ray caster draws it, and unseen plans are never trained on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from unspool.data import open_source
from unspool.data.clips import gaps
from unspool.data.worlds import Rooms
from unspool.data.worlds.rooms import layout as plans
from unspool.data.worlds.rooms import raycast, textures, walk
from unspool.errors import UserError


@pytest.fixture(scope="module")
def episode():
    return Rooms().episodes(np.arange(24), 400)


def test_clips_are_functions_of_their_index_alone() -> None:
    world = Rooms(size=32)
    whole = world(np.array([5, 2, 9]), 12, seed=3).frames
    assert whole.shape == (3, 12, 32, 32, 3) and whole.dtype == np.uint8
    assert np.array_equal(world(np.array([9]), 7, seed=3).frames[0], whole[2, :7])
    assert not np.array_equal(world(np.array([9]), 12, seed=4).frames[0], whole[2])


def test_an_anchor_stands_in_front() -> None:
    """Its frame lies up to `reach` frames before the clip in the same walk."""
    world, indices = Rooms(size=32), np.arange(16)
    clips = world(indices, 10, anchor=1, reach=20).frames
    walks = world.render(world.episodes(world.seeds(indices), 30))
    assert np.array_equal(clips[:, 1:], walks[:, 20:])
    begins = 20 - gaps(indices, 0, 20)
    assert len(set(begins)) > 4 and np.array_equal(clips[:, 0], walks[np.arange(16), begins])


def test_unseen_plans_are_never_trained_on() -> None:
    """Eight plans: `seen` walks through some of them in other ways, `unseen` through others."""
    found: dict[str, Any] = {}
    for split in ("train", "seen", "unseen"):
        episodes = Rooms(plans=8, split=split).episodes(np.arange(100), 5)
        found[split] = {plan.tobytes() for plan in episodes.layout.solid}, {p.tobytes() for p in episodes.walk.poses}
    assert len(found["train"][0]) == 8 and found["seen"][0] <= found["train"][0]
    assert not found["unseen"][0] & found["train"][0]
    assert not found["seen"][1] & found["train"][1]


def test_every_room_can_be_reached(episode) -> None:
    solid, room = episode.layout.solid, episode.layout.room
    edge = np.ones((plans.CELLS, plans.CELLS), bool)
    edge[1:-1, 1:-1] = False
    assert solid[:, edge].all()
    far = walk.distances(solid, (~solid).reshape(len(solid), -1).argmax(1))
    assert (far[~solid] < 200).all()
    for plan in range(len(solid)):
        assert set(room[plan][~solid[plan]]) == set(range(9))
        assert len(set(episode.layout.wall[plan])) == len(set(episode.layout.floor[plan])) == 9


def test_actions_lead_from_pose_to_pose_and_never_into_a_wall(episode) -> None:
    poses, actions = episode.walk
    for t in range(poses.shape[1] - 1):
        assert np.array_equal(walk.move(episode.layout, poses[:, t], actions[:, t]), poses[:, t + 1])
    x, y = np.floor(poses[..., 0]).astype(int), np.floor(poses[..., 1]).astype(int)
    assert not episode.layout.solid[np.arange(len(poses))[:, None], y, x].any()


def test_walks_explore_and_come_back(episode) -> None:
    """Per walk of 400 frames: rooms entered, and cells that are entered again after 60 frames elsewhere."""
    poses = episode.walk.poses
    x, y = np.floor(poses[..., 0]).astype(int), np.floor(poses[..., 1]).astype(int)
    rooms = episode.layout.room[np.arange(len(poses))[:, None], y, x]
    assert np.mean([len(set(r)) for r in rooms]) > 4
    cells, again = y * plans.CELLS + x, 0
    for track in cells:
        last: dict[int, int] = {}
        for t, cell in enumerate(track):
            again += cell in last and t - last[cell] > 60
            last[int(cell)] = t
    assert again > 2 * len(poses)
    turning = np.isin(episode.walk.actions, (2, 3)).mean()
    assert 0.05 < turning < 0.5, "most frames go somewhere"


def test_views_are_worth_filming(episode) -> None:
    views = Rooms(size=32).render(episode._replace(walk=walk.Walk(*(leaf[:, ::10] for leaf in episode.walk))))
    spread = views.astype(np.float32).std((2, 3)).mean(-1)
    assert (spread < 15).mean() < 0.01, "near-uniform views"


def crossings(solid: np.ndarray, at: tuple[float, float], ray: tuple[float, float]) -> tuple[float, int, int, int]:
    """(distance, axis, row, column) of the nearest face of a solid cell that the ray meets, by trying all of them."""
    best = (math.inf, 0, 0, 0)
    for row, column in zip(*np.nonzero(solid), strict=True):
        for axis, cell in enumerate((int(column), int(row))):
            if ray[axis] == 0:
                continue
            line = cell + (ray[axis] < 0)
            far = (line - at[axis]) / ray[axis]
            other = at[1 - axis] + far * ray[1 - axis] - (int(row), int(column))[axis]
            if far > 0 and 0 <= other <= 1:
                best = min(best, (far, axis, int(row), int(column)))
    return best


def test_drawn_as_the_slow_ray_caster_draws(episode) -> None:
    """Every wall pixel of some views: nearest face of all, its texture at that place, as it looks from that distance."""
    size, atlas = 32, textures.atlas()
    poses = episode.walk.poses[:6, 37:38]
    fast = raycast.render(plans.Layout._make(leaf[:6] for leaf in episode.layout), poses, size)
    wrong = pixels = 0
    for plan in range(6):
        x, y, heading = (float(v) for v in poses[plan, 0])
        for column in range(size):
            side = raycast.FIELD * ((column + 0.5) * 2 / size - 1)
            ray = (math.cos(heading) - side * math.sin(heading), math.sin(heading) + side * math.cos(heading))
            far, axis, row, col = crossings(episode.layout.solid[plan], (x, y), ray)
            place = (y + far * ray[1], x + far * ray[0])[axis]
            way = 1 if ray[axis] > 0 else -1
            before = (row, col - way) if axis == 0 else (row - way, col)
            texture = episode.layout.picture[plan, row, col, 2 * axis + (way < 0)]
            if texture < 0:
                texture = episode.layout.wall[plan, episode.layout.room[plan][before]]
            page = atlas[min(int(far * textures.BINS / textures.FARTHEST), textures.BINS - 1), texture]
            for line in range(size):
                height = (line + 0.5 - size / 2) * far * 2 * raycast.FIELD / size + 0.5
                if 0 <= height < 1:
                    word = int(page[int(height * textures.TEXELS), int((place % 1) * textures.TEXELS)])
                    colour = [word & 255, word >> 8 & 255, word >> 16]
                    pixels += 1
                    wrong += fast[plan, 0, line, column].tolist() != colour
    assert pixels > 1000
    assert wrong < 0.005 * pixels, f"{wrong} of {pixels}: float32 may fall on the other side of a texel's edge, no more"


def test_rays_along_the_grid_hit_like_any_other(episode) -> None:
    """East, south, west, north from the middle of a cell: exact zeros in the rays, the distance to the wall straight ahead."""
    solid = episode.layout.solid
    at = episode.walk.poses[:, 0, :2].copy()  # walks begin in the middle of a cell
    rays = np.array([(1, 0, -1, 0), (0, 1, 0, -1)], np.float32)[None].repeat(len(at), 0)
    with np.errstate(all="raise", divide="ignore"):
        hit = raycast.cast(episode.layout, np.arange(len(at)), at, rays)
    for b, (x, y) in enumerate(at.astype(int)):
        for way, (dx, dy) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1))):
            cells = next(n for n in range(1, plans.CELLS) if solid[b, y + n * dy, x + n * dx])
            assert hit.far[b, way] == pytest.approx(cells - 0.5)


def test_it_is_a_world_like_any_other() -> None:
    world = open_source("rooms:plans=5", 32, "test")
    assert world == Rooms(size=32, plans=5, split="unseen")
    with pytest.raises(UserError, match="did you mean 'plans'"):
        open_source("rooms:plan=5", 32)


@pytest.mark.parametrize("options", [{"size": 48}, {"plans": 0}, {"split": "test"}])
def test_what_it_cannot_do(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r": (set|use) "):
        Rooms(**options)

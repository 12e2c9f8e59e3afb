"""Scenes move as the world moves, come back exactly, and revisits are those that a slow search finds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from unspool.data.worlds import Rooms
from unspool.data.worlds.rooms import walk
from unspool.data.worlds.rooms.raycast import Seen, render
from unspool.errors import UserError
from unspool.evaluate.memory.scenes import HALF, Scene, around, reasoning, retrieval, sights
from unspool.evaluate.memory.sights import PATCHES, absences, patches, revisits


def slow_revisits(seen: Seen, context: int) -> np.ndarray:
    """Pixel by pixel: all frames that show its patch, and the longest time between two of them from the context's last on."""
    surface, far = seen
    shows: dict[tuple[int, int, int], list[tuple[int, float]]] = {}
    for (t, y, x), texel in np.ndenumerate(surface):
        face, row, column = texel // 256, texel // 16 % 16, texel % 16
        if texel >= 0:
            shows.setdefault((face, row // 4, column // 4), []).append((t, float(far[t, y, x])))
    gaps = np.zeros((len(surface) - context, *surface.shape[1:]), int)
    for (t, y, x), texel in np.ndenumerate(surface[context:]):
        if texel < 0:
            continue
        seen_at = shows[texel // 256, texel // 16 % 16 // 4, texel % 16 // 4]
        before = [frame for frame, _ in seen_at if frame < context]
        if not before:
            continue
        distance = np.mean([d for frame, d in seen_at if frame == before[-1]])
        if 0.5 <= far[context + t, y, x] / distance <= 2:
            frames = sorted({before[-1], *(frame for frame, _ in seen_at if context <= frame <= context + t)})
            gaps[t, y, x] = max(b - a for a, b in pairwise(frames))
    return gaps


@pytest.mark.parametrize("make", [retrieval, reasoning])
def test_revisits_are_those_of_the_slow_search(make: Any) -> None:
    for scene in make(2, window=10, windows=4, seed=3):
        seen = Seen(*(part[:, ::4, ::2] for part in sights(scene)))  # the slow search is slow
        found = revisits(seen, scene.context)
        assert np.array_equal(found, slow_revisits(seen, scene.context))
        assert len(np.unique(found)) > 5 and (found > 10).any()


def test_gaps_by_hand() -> None:
    """One pixel. Patch 7 is seen at 0, and comes back at 4 and 5; patch 8 was never seen; 9 stays; 7 comes back once more."""
    patch = np.array([7, 9, 9, 9, 7, 7, 8, 9, 8, 7], np.int32)[:, None, None]
    assert absences(patch, 4)[:, 0, 0].tolist() == [4, 4, 0, 4, 0, 4]
    texels = np.array([7, 9, 9, 9, 7, 7, -1], np.int32)[:, None, None] * 256
    far = np.array([1, 1, 1, 1, 1.9, 2.1, np.inf], np.float32)[:, None, None]
    assert revisits(Seen(texels, far), 4)[:, 0, 0].tolist() == [4, 0, 0], "from too far, and the sky"


def test_patches_are_a_quarter_of_a_face() -> None:
    texels = np.arange(3 * 256, dtype=np.int32)
    found = patches(texels)
    assert np.array_equal(np.bincount(found), np.full(3 * 16, 16))
    assert patches(np.array([-1], np.int32)) == PATCHES
    assert len(set(found.reshape(3, 16, 16)[1, 4:8, 8:12].ravel())) == 1


@pytest.mark.parametrize(("make", "windows"), [(retrieval, 1), (retrieval, 2), (retrieval, 8), (reasoning, 4)])
def test_they_move_as_the_world_moves(make: Any, windows: int) -> None:
    for scene in make(4, window=16, windows=windows, size=64):
        frames, poses, actions, layout, context = scene
        assert frames.dtype == np.uint8 and frames.shape == (len(poses), 64, 64, 3) and context == 16 * windows < len(frames)
        assert actions.dtype == np.float32 and not actions[0].any() and (actions[1:].sum(1) == 1).all()
        for t in range(1, len(poses)):
            moved = walk.move(layout, poses[t - 1 : t], actions[t : t + 1].argmax(1))
            assert np.array_equal(moved[0], poses[t])
        assert np.array_equal(render(layout, poses[None], 64)[0], frames)


@pytest.mark.parametrize("windows", [2, 3, 4, 8])
def test_the_same_way_is_gone_again_and_looks_the_same(windows: int) -> None:
    for scene in retrieval(8, window=15, windows=windows):  # odd and even contexts
        back = len(scene.frames) - scene.context - HALF
        assert back >= 1 and scene.context >= 2 * back + HALF
        again, first = scene.frames[-back - 1 :], scene.frames[: back + 1]
        assert (again == first).all(-1).mean() > 0.98
        assert np.abs(scene.poses[-back - 1 :, :2] - scene.poses[: back + 1, :2]).max() < 1e-3
        assert np.array_equal(scene.actions[-back:], scene.actions[1 : back + 1])


def test_a_short_context_turns_away_and_back() -> None:
    for scene in retrieval(4, window=16, windows=1):
        assert (scene.frames[15:] == scene.frames[15::-1]).all(-1).mean() > 0.98
        assert np.ptp(scene.poses[:, :2], 0).max() == 0


@pytest.mark.parametrize("window", [1, 16, 30])
def test_a_turn_in_place_ends_as_it_began(window: int) -> None:
    """All to one side: nothing is retraced, and a whole turn later each frame of the context is there again."""
    if window == 1:
        with pytest.raises(UserError, match="ask for 2 frames or more"):
            around(1, window=window)
        return
    for scene in around(6, window=window):
        assert scene.context == window and len(scene.frames) == window + 2 * HALF
        assert (scene.frames[2 * HALF :] == scene.frames[:window]).all(-1).mean() > 0.98
        assert np.ptp(scene.poses[:, :2], 0).max() == 0 and (scene.actions[1:] == scene.actions[1]).all()
        gap = revisits(sights(scene), scene.context)
        field = 2 * np.degrees(np.arctan(0.7673)) / 7.5  # frames that a point stays in view
        assert np.median(gap[gap > field]) == pytest.approx(2 * HALF - field, abs=2) and gap.max() <= 2 * HALF
        assert (gap[-1] > field).mean() > 0.3
    assert len({scene.actions[1].tobytes() for scene in around(4, window=window)}) == 2, "to either side"


def test_what_comes_back_was_long_out_of_sight() -> None:
    """A share of all pixels comes back after about as many windows as were asked for; in a walk on, at least 5 %."""
    for windows, share in ((2, 0.2), (4, 0.3), (8, 0.2)):
        gaps = np.concatenate([revisits(sights(s), s.context).ravel() for s in retrieval(24, window=16, windows=windows)])
        assert (gaps >= 16 * windows / 2).mean() > share
    for scene in reasoning(8, window=16, windows=4):
        assert (revisits(sights(scene), scene.context) > 16).mean() >= 0.05


def test_a_function_of_the_seed_alone() -> None:
    def same(a: Scene, b: Scene) -> bool:
        return np.array_equal(a.frames, b.frames) and np.array_equal(a.poses, b.poses)

    for make in (retrieval, reasoning):
        three, one = make(3, window=8, windows=4, seed=5), make(1, window=8, windows=4, seed=5)
        assert same(three[0], one[0]) and not same(three[0], three[1])
        assert not same(three[0], make(1, window=8, windows=4, seed=6)[0])


def test_plans_are_those_that_training_never_shows() -> None:
    world = Rooms(split="unseen")
    plans = world.episodes(world.seeds(np.arange(64), seed=0), 1).layout
    known = {plan.tobytes() for plan in plans.solid}
    assert {scene.layout.solid[0].tobytes() for scene in retrieval(16, window=16, windows=4)} <= known


@pytest.mark.parametrize(
    "options", [{"scenes": 0}, {"window": 0}, {"windows": 0}, {"window": 1, "windows": 1}, {"size": 48}], ids=str
)
def test_what_cannot_be_walked(options: dict[str, Any]) -> None:
    asked = {"scenes": 1, "window": 8, "windows": 2, **options}
    for make in (retrieval, reasoning):
        with pytest.raises(UserError, match=r": (ask|set) "):
            make(asked.pop("scenes", 0), **asked)


def test_a_context_has_frames_before_and_after_it() -> None:
    for context in (0, 3):
        with pytest.raises(UserError, match="give 1 to 2"):
            absences(np.zeros((3, 2, 2), np.int32), context)

"""A sign that was seen once is found again by who remembers, and by chance by who does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unspool.data.worlds.rooms.raycast import surfaces
from unspool.errors import UserError
from unspool.evaluate.memory.needle import Needle, find, needles, wilson
from unspool.evaluate.memory.renderers import frozen, memoryless, oracle
from unspool.evaluate.memory.scenes import Scene

LENGTHS = (32, 96)


@pytest.fixture(scope="module")
def hidden() -> tuple[Needle, ...]:
    return sum((needles(40, haystack=length, seed=7) for length in LENGTHS), ())


def grey(scene: Scene) -> np.ndarray:
    return np.full_like(oracle(scene), 128)


def test_who_remembers_finds_them_all_and_who_does_not_by_chance(hidden) -> None:
    for found in find(hidden, oracle):
        assert found.share.value == 1 and found.share.low > 0.9 and found.chance == 0.25 and found.needles == 40
    for renderer in (memoryless(16), frozen, grey):
        rows = find(hidden, renderer)
        assert [row.haystack for row in rows] == list(LENGTHS)
        for row in rows:
            assert row.share.low < row.chance < row.share.high, f"{row}"


def test_a_memory_longer_than_the_haystack_finds_it(hidden) -> None:
    short, long = find(hidden, memoryless(80))
    assert short.share.value == 1 and long.share.low < long.chance < long.share.high


def test_the_sign_is_seen_once_then_not_for_the_whole_haystack(hidden) -> None:
    for needle in hidden[::10]:
        scene = needle.scene
        face = surfaces(scene.layout, scene.poses[None], 32).surface[0] // 256
        (wall,) = set(face[scene.context :][needle.sign])
        at = np.flatnonzero((face == wall).any((1, 2)))
        before, after = at[at < scene.context], at[at >= scene.context]
        assert (np.diff(before) == 1).all() and after[0] - before[-1] > needle.haystack
        assert needle.sign.sum((1, 2)).max() >= 20
        assert np.array_equal(oracle(scene), scene.frames[scene.context :])
        for other in needle.others:
            differs = (other != oracle(scene)).any(-1)
            assert differs[needle.sign].any() and not differs[face[scene.context :] != wall].any()


def test_ties_and_the_wrong_sign_are_not_found(hidden) -> None:
    needle = hidden[0]
    assert find([needle], lambda scene: needle.others[1])[0].share.value == 0
    twins = needle._replace(others=needle.others[:1] * 0 + oracle(needle.scene))
    assert find([twins], oracle)[0] == (needle.haystack, 1, wilson(0, 1), 0.5)


def test_intervals_of_shares_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for hits, trials in ((0, 8), (3, 8), (24, 24), (50, 200)):
        wanted = stats.binomtest(hits, trials).proportion_ci(method="wilson")
        assert wilson(hits, trials) == pytest.approx((hits / trials, wanted.low, wanted.high))


def test_a_function_of_the_seed_alone(hidden) -> None:
    again = needles(2, haystack=LENGTHS[0], seed=7)
    for a, b in zip(again, hidden, strict=False):
        assert np.array_equal(a.scene.frames, b.scene.frames) and np.array_equal(a.others, b.others)
    assert not np.array_equal(again[0].scene.frames, again[1].scene.frames)


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"haystack": 1}, {"haystack": 2}, {"alternatives": 0}, {"alternatives": 48}], ids=str
)
def test_what_cannot_be_hidden(options: dict[str, Any]) -> None:
    asked = {"count": 1, "haystack": 24, **options}
    with pytest.raises(UserError, match=r": (ask|take) "):
        needles(asked.pop("count"), **asked)


def test_no_needles_and_no_frames(hidden) -> None:
    with pytest.raises(UserError, match="no needles"):
        find([], oracle)
    with pytest.raises(UserError, match="must make uint8 frames"):
        find(hidden[:1], lambda scene: oracle(scene)[:-1])

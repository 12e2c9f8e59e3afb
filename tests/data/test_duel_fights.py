"""The fights of `duel`: bodies within their limits, blows that land, motion without end, and pictures that show it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from unspool.data.worlds import Duel
from unspool.data.worlds.duel import JOINTS, LIMITS, MOVES, Trajectory
from unspool.data.worlds.duel.moves import MOVE, SCRIPT, STRIKES
from unspool.data.worlds.duel.skeleton import JOINT, RADII

BODY = [("head", "head"), ("neck", "chest"), ("chest", "waist"), ("waist", "pelvis")] + [
    (a + side, b + side) for side in ("", "_far") for a, b in (("hip", "knee"), ("knee", "ankle"))
]


@pytest.fixture(scope="module")
def fights() -> Trajectory:
    """24 fights of 2000 frames, more than a minute each."""
    return Duel().simulate(np.arange(24), 2000)


def cut(track: Trajectory, fights: slice, frames: slice) -> Trajectory:
    return Trajectory._make(leaf[fights, frames] for leaf in track)


# ---------------------------------------------------------------------------------------------- the fight


def test_bodies_keep_their_limits_and_their_bones(fights: Trajectory) -> None:
    assert len(JOINTS) >= 14 and fights.joints.shape[2:] == (2, len(JOINTS), 2)
    assert (fights.angles >= LIMITS[:, 0]).all() and (fights.angles <= LIMITS[:, 1]).all()
    front = np.abs(fights.turn) == 1  # while turning, the body is seen foreshortened
    for a, b in (("hip", "knee"), ("knee_far", "ankle_far"), ("shoulder", "elbow"), ("waist", "chest")):
        bone = fights.joints[..., JOINT[a], :] - fights.joints[..., JOINT[b], :]
        length = np.linalg.norm(bone, axis=-1)[front]
        assert length.max() - length.min() < 1e-5
    # a limit would be idle if nothing came near it
    assert (fights.angles.max(axis=(0, 1, 2)) - fights.angles.min(axis=(0, 1, 2)) > 10).all()


@pytest.mark.parametrize("fighters", [1, 2, 3, 4])
def test_nobody_leaves_the_picture_or_the_floor(fighters: int) -> None:
    track = Duel(fighters=fighters).simulate(np.arange(16), 600)
    x, y = np.moveaxis(track.joints, -1, 0)
    assert x.min() > 0.02 and x.max() < 0.98 and y.min() > 0.0 and y.max() < 0.95
    low = y.max(axis=(1, 3))  # (B, F): the lowest point of each fight lies on the fighter's own lane
    assert np.ptp(low, axis=0).max() < 0.03
    tall = np.quantile(np.ptp(y, axis=-1), 0.9)
    assert 0.38 < tall < 0.65
    share = np.mean([(x.mean(axis=-1) < 0.5).mean(), (x.mean(axis=-1) > 0.5).mean()])
    assert 0.4 < share < 0.6, "fights huddle on one side"


def test_those_who_stand_keep_apart(fights: Trajectory) -> None:
    floor = fights.joints[..., 1].max(axis=-1)
    stand = (floor.max(axis=(0, 1)) - floor < 0.02) & ~np.isin(fights.move, [MOVE[m] for m in ("fall", "lie", "get up")])
    gap = np.abs(fights.x[..., 0] - fights.x[..., 1])[stand.all(axis=-1)]
    assert (gap < 0.15).mean() < 0.05 and (gap < 0.4).mean() > 0.5, "or they would never meet"


def test_every_move_is_used(fights: Trajectory) -> None:
    begun = fights.move[:, 1:][fights.phase[:, 1:] == 0]
    share = np.bincount(begun, minlength=len(MOVES)) / len(begun)
    assert len(MOVES) >= 24 and share.min() > 0.004 and share.max() < 0.2
    assert fights.move.dtype == np.int64 and not np.isin(begun, [MOVE["idle"]]).mean() > 0.1


def from_body(point: np.ndarray, joints: np.ndarray) -> float:
    """From a point to the surface of a body, picture units, one bone after the other; `joints` (J, 2)."""
    gaps = []
    for a, b in ((JOINT[a], JOINT[b]) for a, b in BODY):
        t = np.linspace(0, 1, 33)[:, None]
        rod = joints[a] * (1 - t) + joints[b] * t
        gaps.append(np.linalg.norm(rod - point, axis=1).min() - 0.6 * (RADII[a] + RADII[b]) / 2)
    return float(min(gaps))


def test_blows_land_where_they_touch(fights: Trajectory) -> None:
    b, t, v = np.nonzero(fights.struck[:, 1:] >= 0)
    t = t + 1
    f = fights.struck[b, t, v]
    assert len(b) > 500
    clean = fights.struck[b, t, f] < 0  # whoever was hit in the same frame reels already
    for i in np.flatnonzero(clean)[:400]:
        move = fights.move[b[i], t[i], f[i]]
        begin, end = SCRIPT.blow[move, :2]
        assert MOVES[move] in STRIKES and begin <= fights.phase[b[i], t[i], f[i]] <= end
        assert fights.landed[b[i], t[i], f[i]]
        fist = fights.joints[b[i], t[i], f[i], SCRIPT.joint[move]]
        assert from_body(fist, fights.joints[b[i], t[i], v[i]]) < 0.04
    parried, after = fights.parried[b, t, v], fights.move[b, t, v]
    assert np.isin(after[parried], [MOVE["block high"], MOVE["block low"]]).all() and parried.any()
    assert np.isin(after[~parried], [MOVE["stagger high"], MOVE["stagger low"], MOVE["fall"]]).all()
    # and whoever holds a fist inside another's chest has hit
    begin, end = SCRIPT.blow[fights.move, 0], SCRIPT.blow[fights.move, 1]
    miss = (SCRIPT.joint[fights.move] >= 0) & (fights.phase >= begin) & (fights.phase <= end) & ~fights.landed
    down = np.isin(fights.move, [MOVE["fall"], MOVE["lie"], MOVE["get up"]])
    miss &= ~down[..., ::-1] & (fights.struck < 0)
    b, t, f = np.nonzero(miss)
    assert len(b) > 500
    for i in range(0, len(b), max(1, len(b) // 400)):
        fist = fights.joints[b[i], t[i], f[i], SCRIPT.joint[fights.move[b[i], t[i], f[i]]]]
        assert from_body(fist, fights.joints[b[i], t[i], 1 - f[i]]) > 0.0


def test_each_strike_hits_and_misses(fights: Trajectory) -> None:
    over = (fights.phase[:, 1:] == 0) & (fights.move[:, :-1] != fights.move[:, 1:])
    for name in STRIKES:
        landed = fights.landed[:, :-1][over & (fights.move[:, :-1] == MOVE[name])]
        assert len(landed) > 50 and 0.1 < landed.mean() < 0.9, name


def test_the_fallen_rise_and_the_fight_goes_on(fights: Trajectory) -> None:
    following = {(MOVES[a], MOVES[b]) for a, b in zip(*(_begun(fights)), strict=True)}
    assert {b for a, b in following if a == "fall"} == {"lie"} and {b for a, b in following if a == "lie"} == {"get up"}
    assert {a for a, b in following if b == "fall"} > set(STRIKES)
    down = np.isin(fights.move, [MOVE["fall"], MOVE["lie"]])
    assert 0.05 < down.mean() < 0.25
    up = (~down).reshape(24, 20, 100, 2).mean(axis=2)
    assert up.min() > 0.1, "someone stayed down for good"
    assert (fights.health > 0).all() and (fights.health <= 1).all()


def _begun(track: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    fresh = track.phase[:, 1:] == 0
    return track.move[:, :-1][fresh], track.move[:, 1:][fresh]


def test_motion_is_lively_and_stationary(fights: Trajectory) -> None:
    speed = np.abs(np.diff(fights.joints, axis=1)).sum(axis=-1).mean(axis=(2, 3)) * 64  # (B, T - 1) pixels a frame
    segments = speed[:, :1900].reshape(24, 19, 100).mean(axis=(0, 2))
    assert segments.min() > 1.0
    assert np.abs(segments / segments.mean() - 1).max() < 0.15
    assert abs(segments[:9].mean() / segments[-9:].mean() - 1) < 0.04
    assert speed[:, :1995].reshape(24, -1, 15).mean(axis=-1).min() > 0.15, "half a second without motion"
    hand = fights.joints[:, 5:, :, JOINT["hand"]] - fights.joints[:, :-5, :, JOINT["hand"]]
    assert np.median(np.linalg.norm(hand, axis=-1)) * 64 > 3  # pixels in five frames


def test_speed_is_speed() -> None:
    slow, fast = (Duel(speed=speed).simulate(np.arange(32), 300).joints for speed in (0.5, 1.0))
    assert 1.6 < np.abs(np.diff(fast, axis=1)).mean() / np.abs(np.diff(slow, axis=1)).mean() < 2.4


# ---------------------------------------------------------------------------------------------- pictures


def test_fighters_are_drawn_where_they_are_in_their_colours() -> None:
    from unspool.data.worlds.duel.render import CLOTH

    world = Duel()
    track = world.simulate(np.arange(200), 5)
    video = world.render(track).astype(np.float64)
    knee = (track.joints[:, :, 0, JOINT["knee"]] * 64).astype(int)  # the nearest fighter's near knee: little hides it
    b, t = np.indices(knee.shape[:2])
    seen, cloth = video[b, t, knee[..., 1], knee[..., 0]], CLOTH[track.colours[..., 0]]
    alike = (seen * cloth).sum(-1) / (np.linalg.norm(seen, axis=-1) * np.linalg.norm(cloth, axis=-1))
    behind = np.linalg.norm(track.joints[:, :, 1] - track.joints[:, :, :1, JOINT["knee"]], axis=-1).min(axis=-1) < 0.04
    assert (alike > 0.97).mean() > 0.85 and (alike > 0.97)[behind].mean() > 0.85 and behind.sum() > 30


@pytest.mark.parametrize("split", ["train", "seen", "unseen"])
def test_only_fighters_move(split: str) -> None:
    """The camera stands still: a pixel far from every joint in two frames is the same in both."""
    world = Duel(split=split)  # type: ignore[arg-type]
    track = world.simulate(np.arange(6), 12)
    video = world.render(track).astype(int)
    centre = (np.arange(64) + 0.5) / 64
    gx = centre[None, None, None, :] - track.joints[..., 0].reshape(6, 12, -1)[..., None]
    gy = centre[None, None, None, :] - track.joints[..., 1].reshape(6, 12, -1)[..., None]
    far = np.stack([(gx[:, :, j, None, :] ** 2 + gy[:, :, j, :, None] ** 2) > 0.2**2 for j in range(gx.shape[2])])
    far = np.min(far, axis=0)
    still = far[:, 1:] & far[:, :-1]
    still[:, :, 49:] = False  # the floor, where the shadow of one who leaps lies far below him
    assert still.mean() > 0.2
    change = np.abs(np.diff(video, axis=1)).max(axis=-1)
    assert change[still].max() == 0 and change[~still].mean() > 3


def test_pictures_move_as_much_as_the_fighters_do(fights: Trajectory) -> None:
    video = Duel().render(cut(fights, slice(0, 4), slice(0, 400))).astype(np.int16)
    energy = np.abs(np.diff(video, axis=1)).mean(axis=(2, 3, 4))
    assert energy.mean() > 2.0 and (energy > 0.1 * energy.mean()).mean() > 0.95


def test_clutter_fills_the_background_and_nothing_else() -> None:
    worlds = [Duel(clutter=clutter) for clutter in (0.0, 0.5, 1.0)]
    track = worlds[0].simulate(np.arange(40), 1)
    bare, some, full = (world.render(track).astype(int) for world in worlds)
    assert (bare != some).any(axis=-1).mean() > 0.01
    assert np.array_equal(track.joints, worlds[2].simulate(np.arange(40), 1).joints) and (some != full).any()


def test_sizes_show_the_same_scene() -> None:
    small, large = (Duel(size=size)(np.arange(8), 3).frames.astype(float) for size in (64, 128))
    halved = large.reshape(8, 3, 64, 2, 64, 2, 3).mean(axis=(3, 5))
    assert np.abs(halved - small).mean() < 4


def test_thousands_of_frames_a_second() -> None:
    """Processor time of one thread, so that a busy machine does not matter; bench/worlds.py says how many."""
    world = Duel()
    world(np.arange(4), 4)
    begin = time.process_time()
    world(np.arange(32), 32)
    assert 32 * 32 / (time.process_time() - begin) > 1000

"""The world `duel`: exact, restartable, held out cleanly, described in words."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from unspool.data.clips import gaps
from unspool.data.worlds import Duel
from unspool.data.worlds.duel import BACKGROUNDS, COLOURS, MOVES, DuelState, Trajectory, vocabulary
from unspool.data.worlds.duel.moves import MOVE, REACTIONS
from unspool.errors import UserError

EVERY_SPLIT = ("train", "seen", "unseen")


def cut(track: Trajectory, fights: slice, frames: slice) -> Trajectory:
    return Trajectory._make(leaf[fights, frames] for leaf in track)


def same(a: Trajectory | DuelState, b: Trajectory | DuelState) -> bool:
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize("fighters", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_clip_depends_on_its_index_alone(fighters: int, size: int) -> None:
    world = Duel(size=size, fighters=fighters)  # type: ignore[arg-type]
    many = world(np.array([7, 3, 2**40, 0, 11]), 12, seed=5).frames
    assert many.shape == (5, 12, size, size, 3) and many.dtype == np.uint8
    for row, index in ((1, 3), (2, 2**40)):
        alone = world(np.array([index]), 7, seed=5).frames
        np.testing.assert_array_equal(alone[0], many[row, :7])
    assert (world(np.array([3]), 7, seed=6).frames != many[1:2, :7]).any()


def test_an_anchor_lies_further_back_in_the_same_fight() -> None:
    world, indices = Duel(size=32), np.arange(12)
    clips = world(indices, 6, seed=5, anchor=2, reach=20).frames
    whole, back = world(indices, 26, seed=5).frames, gaps(indices, 5, 20)
    assert 0 < (back > 0).sum() < 12 and len(np.unique(back)) > 5
    assert clips.shape[1] == 2 + 6
    for clip, fight, gap in zip(clips, whole, back, strict=True):
        np.testing.assert_array_equal(clip[:2], fight[20 - gap : 22 - gap])
        np.testing.assert_array_equal(clip[2:], fight[20:])
    np.testing.assert_array_equal(world(indices[3:4], 6, seed=5, anchor=2, reach=20).frames[0], clips[3])


def test_gaps_are_none_in_a_quarter_and_uniform_in_the_rest() -> None:
    back = gaps(np.arange(20_000), 1, 9)
    share = np.bincount(back, minlength=10) / len(back)
    assert len(share) == 10
    np.testing.assert_allclose(share, [0.325] + [0.075] * 9, atol=0.01)
    assert not gaps(np.arange(50), 1, 0).any()


@pytest.mark.parametrize("fighters", [1, 2, 4])
def test_restarting_with_the_same_seeds_reproduces_the_fight(fighters: int) -> None:
    world = Duel(fighters=fighters)
    seeds = np.array([4, 9, -2, 2**60])
    whole = world.simulate(seeds, 90)
    for t in (0, 17, 53):
        before = whole.at(t)
        assert same(world.simulate(seeds, 90 - t - 1, start=before), cut(whole, slice(None), slice(t + 1, None)))
        assert same(before, whole.at(t)), "the start was written to"


def test_new_seeds_are_other_futures_of_the_same_moment() -> None:
    world = Duel()
    moment = world.simulate(np.array([3]), 30).at(29)
    many = type(moment)._make(np.repeat(leaf, 64, axis=0) for leaf in moment)
    futures = world.simulate(np.arange(64), 60, start=many)
    assert (futures.colours == futures.colours[:1]).all() and (futures.scene == futures.scene[:1]).all()
    spread = futures.joints.std(axis=0).mean(axis=(1, 2, 3))
    assert spread[0] < 1e-3 < 0.03 < spread[-1]
    assert len({move.tobytes() for move in futures.move}) > 50


def test_a_longer_burn_in_is_only_more_of_the_same() -> None:
    """Moves of the first ten frames are spread as those a minute later: clips begin in mid-fight."""
    track = Duel().simulate(np.arange(800), 10)
    late = Duel().simulate(np.arange(800, 832), 1000)
    early, later = (np.bincount(t.move.ravel(), minlength=len(MOVES)) / t.move.size for t in (track, late))
    assert np.abs(early - later).sum() / 2 < 0.10
    assert abs(np.abs(np.diff(track.joints, axis=1)).mean() / np.abs(np.diff(late.joints, axis=1)).mean() - 1) < 0.1


# ---------------------------------------------------------------------------------------------- held out


@pytest.mark.parametrize("split", EVERY_SPLIT)
@pytest.mark.parametrize("fighters", [2, 4])
def test_nothing_held_out_leaks(split: str, fighters: int) -> None:
    world = Duel(split=split, fighters=fighters)  # type: ignore[arg-type]
    held = world.combinations("unseen")
    track = world.simulate(world.seeds(np.arange(200)), 150)
    places = {BACKGROUNDS[i] for i in np.unique(track.background)}
    rows = [{frozenset(COLOURS[c] for c in pair) for pair in combinations(row, 2)} for row in track.colours[:, 0]]
    chosen = track.reply_to >= 0
    replies = {(MOVES[a], MOVES[b]) for a, b in zip(track.reply_to[chosen], track.move[chosen], strict=True)}
    assert not any(own in REACTIONS for _, own in replies)
    if split == "unseen":
        assert places == set(held.backgrounds) and all(row & held.colours for row in rows)
        assert held.replies <= replies
    else:
        allowed = world.combinations()
        assert places == set(allowed.backgrounds) and not places & set(held.backgrounds)
        assert set().union(*rows) == allowed.colours and not allowed.colours & held.colours
        assert replies <= allowed.replies and not allowed.replies & held.replies


def test_unseen_clips_hold_unseen_replies() -> None:
    world = Duel(split="unseen")
    held = {(MOVE[a], MOVE[b]) for a, b in world.combinations().replies}
    track = world.simulate(world.seeds(np.arange(150)), 150)
    clips = [{*zip(a.ravel(), b.ravel(), strict=True)} for a, b in zip(track.reply_to, track.move, strict=True)]
    assert np.mean([bool(clip & held) for clip in clips]) > 0.75


def test_a_reply_answers_what_the_other_was_doing() -> None:
    """The recorded pairs are the real ones, or the leak test above would prove nothing."""
    fights = Duel().simulate(np.arange(24), 600)
    b, t, f = np.nonzero((fights.phase[:, 1:] == 0) & (fights.reply_to[:, 1:] >= 0))
    assert len(b) > 1000
    np.testing.assert_array_equal(fights.reply_to[b, t + 1, f], fights.move[b, t, fights.target[b, t + 1, f]])
    fresh = np.diff(fights.phase, axis=1) < 0
    assert (fights.phase[:, 1:][fresh] == 0).all(), "a move began without a record"


def test_splits_share_no_randomness() -> None:
    tracks = [Duel(split=split).simulate(np.arange(20), 5) for split in EVERY_SPLIT]  # type: ignore[arg-type]
    for a, b in combinations(tracks, 2):
        assert not any(np.array_equal(x, y) for x, y in zip(a.scene, b.scene, strict=True))
    keys = [set(Duel(split=split)._keys(np.arange(-5000, 5000)).tolist()) for split in EVERY_SPLIT]  # type: ignore[arg-type]
    assert all(len(key) == 10_000 for key in keys) and not keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2]


# ---------------------------------------------------------------------------------------------- words and manners


def test_captions_say_who_does_what() -> None:
    world = Duel(fighters=3)
    track = world.simulate(np.arange(20), 60)
    captions = world.captions(track)
    assert len(captions) == 20 and all(len(row) == 60 for row in captions)
    words = {word.strip(",") for row in captions for caption in row for word in caption.split()}
    assert words <= set(vocabulary()) and {"kicks", "falls"} <= words
    for caption, colours in zip(captions[0], track.colours[0], strict=True):
        assert [part.split()[0] for part in caption.split(", ")] == [COLOURS[c] for c in colours]


@pytest.mark.parametrize(
    "wrong",
    [{"size": 48}, {"fighters": 0}, {"fighters": 5}, {"clutter": 1.5}, {"clutter": float("nan")}, {"speed": 0},
     {"split": "test"}],
)  # fmt: skip
def test_bad_options_are_named(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).rstrip("s")) as caught:
        Duel(**wrong)
    assert "\n" not in str(caught.value)


def test_bad_calls_are_named() -> None:
    world = Duel()
    start = world.simulate(np.arange(2), 1).at(0)
    for call in (
        lambda: world.simulate(np.arange(2), 0),
        lambda: world.simulate(np.zeros((2, 2), np.int64), 1),
        lambda: world.simulate(np.zeros(0, np.int64), 1),
        lambda: world.simulate(np.arange(3), 1, start=start),
        lambda: Duel(fighters=3).simulate(np.arange(2), 1, start=start),
    ):
        with pytest.raises(UserError):
            call()

"""Moves that were said against moves that are seen: right on real video, no more than chance under the prompts of others."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.data.worlds.duel import COLOURS, MOVES, VERBS, Duel, Trajectory, parse
from unspool.errors import UserError
from unspool.evaluate.duel.identity import begins_right
from unspool.evaluate.duel.obeyed import Obeyed, by_move, obeyed, segments
from unspool.evaluate.duel.reader import Reading, load_reader

FIGHTS, FRAMES = 6, 90


@pytest.fixture(scope="module")
def world() -> Duel:
    return Duel(split="seen")


@pytest.fixture(scope="module")
def track(world: Duel) -> Trajectory:
    return world.simulate(np.arange(FIGHTS), FRAMES)


def truth(track: Trajectory) -> Reading:
    """What a perfect reader would say."""
    order = np.where(begins_right(track.joints)[:, None], [1, 0], [0, 1])
    rows = np.arange(FIGHTS)[:, None, None], np.arange(FRAMES)[None, :, None], order[:, None]
    chances = np.eye(len(MOVES), dtype=np.float32)[track.move[rows]]
    return Reading(track.joints[rows], chances, np.ones(track.joints[rows].shape[:-1], np.float32))


def test_captions_can_be_parsed_back(world: Duel, track: Trajectory) -> None:
    for b, row in enumerate(world.captions(track)):
        for t, caption in enumerate(row):
            want = [(COLOURS[c], MOVES[m]) for c, m in zip(track.colours[b, t], track.move[b, t], strict=True)]
            assert parse(caption) == want
    assert len(set(VERBS.values())) == len(MOVES)
    for odd in ("red", "red flies", "pink kicks", "", "red kicks,"):
        with pytest.raises(UserError, match="says nothing of duel"):
            parse(odd)


def test_exact_state_is_what_its_captions_say(world: Duel, track: Trajectory) -> None:
    """All of it under its own captions, in whichever order fighters are named; of no more than chance under others'."""
    videos, captions = world.render(track), np.array(world.captions(track))
    turned = np.array([[", ".join(reversed(c.split(", "))) for c in row] for row in captions])
    assert obeyed(videos, truth(track), captions).right.all() and obeyed(videos, truth(track), turned).hit.all()
    other = obeyed(videos, truth(track), np.roll(captions, 1, 0))
    assert other.right.mean() < 0.25


def test_the_reader_agrees_with_the_captions(world: Duel, track: Trajectory) -> None:
    videos, captions = world.render(track), np.array(world.captions(track))
    reading = load_reader()(videos)
    own = obeyed(videos, reading, captions)
    assert own.right.mean() > 0.85
    others = [obeyed(videos, reading, np.roll(captions, by, 0)) for by in range(1, FIGHTS)]
    rows = segments(own.right, np.concatenate([other.right for other in others]), world.fps, 1)
    assert [(row.begin, row.end) for row in rows] == [(0, 1), (1, 2), (2, 3)]
    for row in rows:
        assert row.gain.low > 0.5 and row.right.low <= row.right.value <= row.right.high and row.shuffled.value < 0.3
        assert row.gain.value == pytest.approx(row.right.value - row.shuffled.value)
    moves = by_move(own, others)
    assert sum(count for _, count, _, _ in moves) == FIGHTS * FRAMES * 2
    mean = sum(count * right for _, count, right, _ in moves) / (FIGHTS * FRAMES * 2)
    assert mean == pytest.approx(own.right.mean())


def test_what_cannot_be_judged(world: Duel, track: Trajectory) -> None:
    videos, captions = world.render(track), np.array(world.captions(track))
    with pytest.raises(UserError, match="names 1 fighters"):
        obeyed(videos, truth(track), np.full_like(captions, "red kicks"))
    mixed = captions.copy()
    mixed[0, 5:] = captions[1, 5:]
    with pytest.raises(UserError, match="colours that the prompts name change"):
        obeyed(videos, truth(track), mixed)
    judged = Obeyed(np.ones((3, 4)), np.zeros((3, 4, 2), int), np.ones((3, 4, 2), bool))
    for right, others in ((judged.right[:1], judged.right[:1]), (judged.right, judged.right[:2])):
        with pytest.raises(UserError, match="at least 2 videos"):
            segments(right, others, 1)

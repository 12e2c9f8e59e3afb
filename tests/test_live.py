"""The engine of `play` and of environments: steered rollouts that are wound back, forked, and of bounded memory."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from unspool import sampling
from unspool.errors import UserError
from unspool.live import Player
from unspool.openings import Opening
from unspool.rollout import begin, stream
from unspool.schedule import Staircase
from unspool.snapshot import load_rollout, save_rollout
from unspool.system import System
from unspool.testing.steered import NAMES, filmed, steered

SCHEDULES = {
    "frame by frame": Staircase(2),
    "chunks": Staircase(2, 3),
    "progressive": Staircase(4, 1, Fraction(1, 4)),
    "overlap": Staircase(2, 2, redo=2),
}
WALK = [1, 1, 2, 0, 1, 2, 2, 1, 0, 1]


def opening(clip: int = 0) -> Opening:
    clips = filmed()
    assert clips.actions is not None
    return Opening(clips.frames[clip], 15.0, f"clip {clip}", clips.actions[clip], NAMES)


def played(system: System, actions: list[int], seed: int = 3) -> np.ndarray:
    player = Player(system, opening(), seed=seed)
    return np.concatenate([player.step(action) for action in actions])


@pytest.fixture(params=SCHEDULES)
def system(request: pytest.FixtureRequest) -> System:
    return steered(SCHEDULES[request.param])


def test_stepping_is_one_stream_whose_actions_are_known_beforehand() -> None:
    """Where nothing is in flight beyond a chunk, steps are the plain loop over the same actions."""
    for schedule in (SCHEDULES["frame by frame"], SCHEDULES["chunks"], SCHEDULES["overlap"]):
        system, start = steered(schedule), opening()
        assert start.actions is not None
        rows = np.concatenate([start.actions, np.repeat(np.eye(3, dtype=np.float32)[WALK], schedule.chunk, 0)])
        told = torch.from_numpy(rows)
        latents = system.codec.encode(torch.from_numpy(start.frames)[None].movedim(-1, -3).float() / 127.5 - 1, {})[0]
        plan = schedule.plan()
        rollout = begin(system.model, latents, seed=3, redo=plan.redo, control=told[None, :4])
        made = stream(
            system.model, system.blend, plan, rollout, frames=len(WALK) * schedule.chunk,
            controls=lambda at, n, told=told: told[at[:, None] + torch.arange(n)],
        )  # fmt: skip
        want = np.concatenate([sampling.to_pixels(chunk.frames[0]) for chunk in made])
        assert np.array_equal(played(system, WALK), want)


def test_what_follows_hangs_on_the_action(system: System) -> None:
    one, other = played(system, [1] * 6), played(system, [1, 1, 2, 2, 2, 2])
    hop = system.schedule.plan().hop
    assert np.array_equal(one[: 2 * hop], other[: 2 * hop])
    assert np.abs(one[2 * hop :].astype(int) - other[2 * hop :]).mean() > 1


def test_wound_back_the_same_actions_lead_to_the_same_frames(system: System) -> None:
    player = Player(system, opening(), seed=3)
    first = [player.step(action) for action in WALK]
    assert player.behind == 10 and player.now.at == 4 + 10 * player.frames_per_step
    assert np.array_equal(player.rewind(6), first[3][-1]) and (player.behind, player.ahead) == (4, 6)
    assert np.array_equal(player.rewind(-2), first[5][-1]), "forward again"
    player.rewind(2)
    again = [player.step(action) for action in WALK[4:]]
    assert np.array_equal(np.concatenate(again), np.concatenate(first[4:])) and player.ahead == 0
    with pytest.raises(UserError, match="of 11 steps back, 10 are kept"):
        player.rewind(11)


def test_forks_share_the_past_and_differ_after(system: System) -> None:
    player = Player(system, opening(), seed=3)
    for action in WALK[:4]:
        player.step(action)
    place = player.now
    one = np.concatenate([player.step(1) for _ in range(4)])
    player.rewind(4)
    player.fork(seed=9)
    assert np.array_equal(player.now.picture, place.picture) and player.behind == 4 and player.ahead == 0
    other = np.concatenate([player.step(1) for _ in range(4)])
    assert np.abs(one.astype(int) - other).mean() > 1
    player.load(place)
    assert np.array_equal(np.concatenate([player.step(1) for _ in range(4)]), one), "a moment is a value"


def test_a_moment_on_disk_goes_on_bit_for_bit(tmp_path, system: System) -> None:
    player = Player(system, opening(), seed=3)
    for action in WALK[:4]:
        player.step(action)
    place = player.now
    want = np.concatenate([player.step(action) for action in WALK[4:]])
    save_rollout(tmp_path / "here", place.rollout, system.model)
    player.load(place._replace(rollout=load_rollout(tmp_path / "here", system.model).rollout))
    assert np.array_equal(np.concatenate([player.step(action) for action in WALK[4:]]), want)


@pytest.mark.parametrize(("most", "steps"), [(10**9, 2000), (20, 200)])
def test_two_thousand_steps_take_no_more_memory_than_a_few(most: int, steps: int) -> None:
    player = Player(steered(Staircase(1)), opening(), most=most, budget=400_000)
    seen = []
    for n in range(steps):
        player.step(n % 3)
        seen.append((player.bytes, len(player._kept)))
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for m in player._kept for t in tensors(m.rollout)}
    assert max(count for _, count in seen) <= most
    assert max(size for size, _ in seen) <= 400_000 and sum(held.values()) <= player.bytes
    assert len({count for _, count in seen[steps // 4 :]}) == 1 and player.behind >= 19
    assert player.now.at == 4 + steps


def tensors(rollout):
    from unspool.store import flatten

    return flatten(rollout._asdict()).values()


def test_a_model_without_actions_is_played_too() -> None:
    system = steered(controls=0)
    player = Player(system, opening())
    shown = player.step()
    player.rewind(1)
    assert np.array_equal(player.step(), shown)
    with pytest.raises(UserError, match="takes no actions"):
        player.step(1)


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (None, "an action is missing: give a number of 0 to 2"),
        (3, "3 is no action here: give a number of 0 to 2, or a name of stay, ahead, left"),
        (-1, "-1 is no action"),
        (1.5, "1.5 is no action"),
        ("ahaed", "there is no action 'ahaed'; did you mean 'ahead'"),
        (True, "True is no action"),
    ],
)
def test_an_action_that_is_none_is_refused_and_nothing_moves(action: object, why: str) -> None:
    player = Player(steered(), opening())
    before = player.now
    with pytest.raises(UserError, match=why):
        player.step(action)
    assert player.now is before


def test_actions_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(UserError, match="takes actions of 4 numbers, and these have 3"):
        Player(steered(controls=4), opening())
    with pytest.raises(UserError, match="takes actions of 3 numbers, and nobody says what they are"):
        Player(steered(), opening()._replace(actions=None))

"""A world model as an environment of gymnasium: the checker passes, episodes end, agents act in it."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import stable_baselines3
from gymnasium.utils.env_checker import check_env

from unspool.data import open_world
from unspool.env import WorldModel
from unspool.errors import UserError
from unspool.schedule import Staircase
from unspool.testing.steered import filmed, steered


def world(**options) -> WorldModel:
    return WorldModel(steered(options.pop("schedule", Staircase(1))), filmed(), **options)


def test_the_checker_of_gymnasium_passes() -> None:
    continuous = filmed()
    assert continuous.actions is not None
    continuous = continuous._replace(actions=continuous.actions * 0.7 - 0.2)
    for env in (world(), WorldModel(steered(), continuous), world(schedule=Staircase(2, 3))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*not within the bounds.*|.*spec.*|.*image.*|.*we recommend.*")
            check_env(env, skip_render_check=False)


def test_spaces_are_those_of_the_data() -> None:
    env = world()
    assert env.action_space == gymnasium.spaces.Discrete(3)
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    clips = filmed()
    assert clips.actions is not None
    ranged = WorldModel(steered(), clips._replace(actions=clips.actions * 4 - 1)).action_space
    assert isinstance(ranged, gymnasium.spaces.Box) and ranged.low.tolist() == [-1] * 3 and ranged.high.tolist() == [3] * 3


def test_an_episode_is_a_function_of_its_seed_and_actions_and_ends_at_its_budget() -> None:
    env = world(frames=5)
    runs = []
    for seed in (1, 1, 2):
        first, told = env.reset(seed=seed, options={"clip": 1})
        assert np.array_equal(first, filmed().frames[1, 1]) and told["clip"] == 1
        steps = [env.step(n % 3) for n in range(5)]
        assert [truncated for _, _, _, truncated, _ in steps] == [False] * 4 + [True]
        assert all(reward == 0 and not terminated for _, reward, terminated, _, _ in steps)
        assert np.array_equal(env.render(), steps[-1][0])
        runs.append(np.stack([shown for shown, *_ in steps]))
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


def test_a_chunk_holds_its_action_and_is_told_whole() -> None:
    env = world(schedule=Staircase(1, 3), frames=5)
    env.reset(seed=1)
    shown, _, _, truncated, told = env.step(1)
    assert env.frames_per_step == 3 and told["frames"].shape == (3, 8, 8, 3) and np.array_equal(told["frames"][-1], shown)
    assert not truncated and env.step(1)[3], "six frames are more than five"


def test_a_moment_that_was_saved_is_gone_back_to() -> None:
    env = world()
    env.reset(seed=4)
    env.step(1)
    place = env.save()
    tried = {action: np.stack([env.step(action)[0] for _ in range(3)]) for action in (0, 1, 2) if env.load(place) is None}
    env.load(place)
    assert np.array_equal(np.stack([env.step(2)[0] for _ in range(3)]), tried[2])
    assert not np.array_equal(tried[1], tried[2])


@pytest.mark.parametrize("clip", ["x", None, 1.5, -1, 1 << 63])
def test_a_clip_that_is_none_is_refused(clip: object) -> None:
    with pytest.raises(UserError, match="the number of a clip"):
        world().reset(options={"clip": clip})


def test_what_is_no_moment_of_this_model_is_refused() -> None:
    env = world()
    env.reset(seed=1)
    with pytest.raises(UserError, match="not from NoneType"):
        env.load(None)  # type: ignore[arg-type]
    here = env.save()
    state = {**here.rollout.state, "blocks": {}}
    with pytest.raises(UserError, match="another model"):
        env.load(here._replace(rollout=here.rollout._replace(state=state)))


def test_what_cannot_be_acted_in_is_refused() -> None:
    with pytest.raises(UserError, match="takes no actions"):
        WorldModel(steered(controls=0), filmed())
    with pytest.raises(UserError, match="takes actions of 4 numbers, and these have 3"):
        WorldModel(steered(controls=4), filmed())
    with pytest.raises(UserError, match="7 is no action"):
        world().step(7)
    with pytest.raises(UserError, match="at least one frame"):
        world(frames=0)


def test_a_world_names_what_one_may_do() -> None:
    from unspool import recipes
    from unspool.testing.tools import scale_weights

    system = recipes.find("frame-by-frame")(size="nano", resolution=32, components=0, controls=6)
    scale_weights(system.model, 0.05).requires_grad_(False)
    env = WorldModel(system, open_world("rooms", 32, "unseen"), frames=4)
    env.reset(seed=1)
    assert np.array_equal(env.step("ahead left")[0], env.render()) and env.metadata["render_fps"] == 15


def test_an_agent_of_a_library_runs_a_thousand_steps() -> None:
    env = world(frames=100)
    agent = stable_baselines3.DQN("MlpPolicy", env, learning_starts=100, buffer_size=500, seed=0, device="cpu").learn(1000)
    assert agent.num_timesteps == 1000
    assert len({picture.tobytes() for picture in agent.replay_buffer.observations}) > 400, "of 500 that are kept"


def test_an_agent_of_ones_own_runs_a_thousand_steps() -> None:
    env, seen = world(frames=100), set()
    env.action_space.seed(1)
    for n in range(1000):
        if n % 100 == 0:
            env.reset(seed=n)
        picture, _, _, truncated, _ = env.step(env.action_space.sample())
        assert picture.dtype == np.uint8 and truncated == (n % 100 == 99)
        seen.add(picture.tobytes())
    assert len(seen) > 900

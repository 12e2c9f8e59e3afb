"""Worlds to film: each gives the same film whatever was run before, its poses mean what they say, and mistakes are told."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from unspool.data.record import SIMULATORS, Simulator, open_simulator
from unspool.errors import UserError

PACKAGES = {
    "vizdoom": "vizdoom",
    "memory-maze": "memory_maze",
    "crafter": "crafter",
    "miniworld": "miniworld",
    "atari:Pong": "ale_py",
}
WALKS = ("vizdoom", "memory-maze", "miniworld")


class Counter(gymnasium.Env):
    """A fake: pictures that tell the seed, the last action and the time, of which there are ten."""

    action_space: Any = gymnasium.spaces.Discrete(3, start=5)
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def __init__(self, actions: Any = None, colour: bool = True) -> None:
        self.action_space, self.colour = actions or self.action_space, colour

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.luck = 0, int(self.np_random.integers(256))
        return self._show(0), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.time += 1
        return self._show(action), 0.5, self.time == 10, False, {}

    def _show(self, action: Any) -> np.ndarray:
        seen = np.full((8, 8, 3), 0, np.uint8)
        seen[:] = self.luck, int(np.sum(action)) % 256, self.time
        return seen if self.colour else seen[..., :1]


class Painted(Counter):
    """One that renders, larger than what it observes."""

    metadata: Any = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> Any:
        return np.full((48, 64, 3), self.time, np.uint8)


@pytest.fixture(autouse=True, scope="module")
def fakes() -> Iterator[None]:
    box = gymnasium.spaces.Box(np.float32([-1, -np.inf]), np.float32([3, np.inf]))
    gymnasium.register("Counter-v0", Counter)
    gymnasium.register("Painted-v0", Painted)
    gymnasium.register("Steered-v0", Counter, kwargs={"actions": box})
    gymnasium.register("Many-v0", Counter, kwargs={"actions": gymnasium.spaces.MultiDiscrete([2, 2])})
    gymnasium.register("Grey-v0", Counter, kwargs={"colour": False})
    yield
    for name in ("Counter-v0", "Painted-v0", "Steered-v0", "Many-v0", "Grey-v0"):
        del gymnasium.registry[name]


def _need(package: str) -> None:
    """Skip without it. It is looked for, not imported: the adapter must say first that there is no screen."""
    if not importlib.util.find_spec(package):
        pytest.skip(f"{package} is not installed")


def opened(world: str) -> Simulator:
    _need(PACKAGES.get(world, "gymnasium"))
    try:
        return open_simulator(world, 64)
    except UserError as error:
        if "EGL" in str(error):
            pytest.skip(str(error))
        raise


def film(simulator: Simulator, seed: int, layout: int, frames: int = 40) -> str:
    """All that is seen in an episode under always the same actions, as a hash. Views stay what they were as later ones come."""
    rng, views = np.random.default_rng(0), [simulator.reset(seed, layout)]
    told = []
    for _ in range(frames):
        told.append(views[-1].frame.tobytes())
        if views[-1].done:
            break
        views.append(simulator.step(simulator.draw(rng)))
    assert [view.frame.tobytes() for view in views[: len(told)]] == told, "a frame was drawn over"
    seen = hashlib.sha256(b"".join(told))
    for view in views:
        assert view.frame.dtype == np.uint8 and view.frame.ndim == 3 and view.frame.shape[2] == 3
        seen.update(repr([None if v is None else np.asarray(v).tolist() for v in view[1:]]).encode())
    if simulator.map is not None:
        seen.update(np.asarray(simulator.map).tobytes())
    return seen.hexdigest()


@pytest.mark.parametrize("world", [*PACKAGES, "gym:Counter-v0", "gym:Steered-v0"])
def test_an_episode_depends_on_its_seed_and_layout_alone(world: str) -> None:
    simulator = opened(world)
    first, other = film(simulator, 1, 0), film(simulator, 2, 0)
    if simulator.layouts != 1:
        assert film(simulator, 1, 33) != first
    assert film(simulator, 1, 0) == first != other
    simulator.close()
    if world.startswith("gym:"):
        return  # fakes of this process
    again = f"import runpy; t = runpy.run_path({__file__!r}); print(t['film'](t['opened']({world!r}), 1, 0))"
    done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True)
    assert done.stdout.split()[-1:] == [first], done.stderr


@pytest.mark.parametrize("world", WALKS)
def test_ahead_is_where_one_looks_and_left_makes_the_heading_grow(world: str) -> None:
    simulator = opened(world)
    ids = {name: i for i, name in enumerate(simulator.actions)}
    view, walked, turned = simulator.reset(4, 3), 0, 0
    for turn in range(60):
        before = view.pose
        view = simulator.step(ids["left"])
        assert before is not None and view.pose is not None and view.free is not None
        angle = (view.pose[2] - before[2] + np.pi) % (2 * np.pi) - np.pi
        turned += 0 < angle < 0.3
        if turn % 10 or view.free[1] < 12:
            continue
        for _ in range(4):  # to gain speed and lose the turn
            view = simulator.step(ids["ahead"])
        before, free = view.pose, view.free
        for _ in range(4):
            view = simulator.step(ids["ahead"])
        off = view.pose[:2] - before[:2]
        if np.hypot(*off) > 0.1:
            way = np.array([np.cos(before[2]), np.sin(before[2])])
            assert off @ way > 0.95 * np.hypot(*off)
            assert free[1] - view.free[1] < 6, "steps ahead are counted in steps"
            walked += 1
    simulator.close()
    assert walked and turned > 55


@pytest.mark.parametrize("world", WALKS)
def test_one_is_stopped_where_the_way_ahead_is_not_free(world: str) -> None:
    simulator = opened(world)
    ahead, stopped = simulator.actions.index("ahead"), 0
    for seed in range(2):
        view, fastest = simulator.reset(seed, 0), 0.0
        for _ in range(150):
            before = view
            view = simulator.step(ahead)
            fastest = max(fastest, float(np.hypot(*(view.pose - before.pose)[:2])))
            if view.free[1] < 1 and before.free[1] < 1:
                break
        if view.free[1] < 1:
            for _ in range(5):
                before, view = view, simulator.step(ahead)
            way = np.array([np.cos(before.pose[2]), np.sin(before.pose[2])])
            assert abs((view.pose - before.pose)[:2] @ way) < 0.9 * fastest, "walks on through a wall"
            stopped += 1
    assert stopped
    simulator.close()


def test_levels_of_vizdoom_all_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Their walls and starting places come from the game's own files; nothing is left where one calls."""
    _need("vizdoom")
    monkeypatch.chdir(tmp_path)
    simulator = open_simulator("vizdoom:tics=3", 64)
    for layout in (31, 32, 67):
        view = simulator.reset(0, layout)
        assert view.frame.shape == (120, 160, 3)
        low, high = simulator.map.reshape(-1, 2).min(0), simulator.map.reshape(-1, 2).max(0)
        assert (low < view.pose[:2]).all() and (view.pose[:2] < high).all()
    simulator.close()
    assert simulator.layouts == 68 and not list(tmp_path.iterdir())


def test_a_maze_shows_its_walls_and_balls_on_its_map() -> None:
    simulator = opened("memory-maze")
    view = simulator.reset(0, 5)
    assert sorted(simulator.map[simulator.map > 1]) == [2, 3, 4] and (simulator.map == 0).any()
    x, y = view.pose[:2].astype(int)
    assert simulator.map[y, x] > 0, "one stands in the free"
    plan, other = simulator.map, simulator.reset(1, 5)
    assert np.array_equal(simulator.map, plan) and not np.array_equal(other.pose, view.pose)
    simulator.close()


def test_any_gymnasium_environment() -> None:
    counter = open_simulator("gym:Counter-v0", 64)
    assert counter.actions == ("0", "1", "2")
    counter.reset(3, 0)
    views = [counter.step(2) for _ in range(10)]
    assert views[0].frame[0, 0, 1] == 7, "actions are counted from where the environment counts"
    assert [view.done for view in views] == [False] * 9 + [True] and views[0].reward == 0.5
    painted = open_simulator("gym:Painted-v0", 64)
    assert painted.reset(0, 0).frame.shape == (48, 64, 3) and painted.fps == 12
    steered = open_simulator("gym:Steered-v0", 64)
    drawn = np.stack([steered.draw(np.random.default_rng(n)) for n in range(50)])
    assert steered.actions == () and drawn[:, 0].max() > 1.5 and np.abs(drawn[:, 1]).max() <= 1


@pytest.mark.parametrize(
    ("world", "told"),
    [
        ("vizdom", "did you mean 'vizdoom'"),
        ("?", "there are: vizdoom"),
        ("vizdoom:tic=3", "did you mean 'tics'"),
        ("vizdoom:tics=x", "needs a whole number"),
        ("vizdoom:tics=0", "use 1 to 10"),
        ("memory-maze:cells=10", "9, 11, 13 or 15"),
        ("memory-maze:hz=7", "divisor of 200"),
        ("crafter:x=1", "options: none"),
        ("miniworld:task=Mase", "did you mean 'Maze'"),
        ("atari:Pnog", "did you mean 'atari:Pong'"),
        ("atari", "atari:Pong"),
        ("gym:Nowhere-v0", "Gymnasium cannot make 'Nowhere-v0'"),
        ("gym:no_such_package:A-v0", "needs a package that is missing"),
        ("gym:Many-v0", "MultiDiscrete actions"),
        ("gym", "name an environment"),
    ],
)
def test_mistakes_are_told_with_the_remedy(world: str, told: str) -> None:
    name = world.partition(":")[0]
    _need({**PACKAGES, "atari": "ale_py"}.get(name, "gymnasium"))
    with pytest.raises(UserError, match=told) as caught:
        open_simulator(world, 64)
    assert "\n" not in str(caught.value)


def test_grey_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="no colour picture"):
        open_simulator("gym:Grey-v0", 64).reset(0, 0)


@pytest.mark.parametrize("name", SIMULATORS)
def test_a_missing_package_is_told_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"memory-maze": "memory_maze", "atari": "ale_py", "gym": "gymnasium"}.get(name, name)
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"unspool.data.record.{name.replace('-', '_')}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install 'unspool\[{name}\]'"):
        open_simulator(f"{name}:Pong" if name in ("atari", "gym") else name, 64)

"""MiniWorld: plain rooms and mazes in 3D, with things in them, drawn anew for every layout."""

from __future__ import annotations

import contextlib
import difflib
import io
import os

os.environ.setdefault("PYGLET_HEADLESS", "1")  # draw without a screen; read once, when pyglet is imported

import gymnasium
import numpy as np
from miniworld import envs
from miniworld.params import DEFAULT_PARAMS

from unspool.data.record.simulator import View
from unspool.errors import UserError

TURN = 7.5  # degrees a frame: half of what is common, for a film


class MiniWorld:
    """See `Simulator`. A layout is a floor plan with what lies in it, a seed where one stands in it at first.

    task: one of those of `miniworld.envs`, such as Maze, FourRooms or PickupObjects. Positions are in metres. map: (N, 4)
    float32, the walls from (x, y) to (x, y). done: the task is solved. Raises UserError for another task.
    """

    fps = 15.0
    layouts = None
    closed = ()

    def __init__(self, size: int, task: str = "Maze") -> None:
        if task not in envs.__all__:
            near = difflib.get_close_matches(task, envs.__all__, n=1, cutoff=0.4)
            raise UserError(f"miniworld has no task {task!r}; {f'did you mean {near[0]!r}?' if near else 'use Maze'}")
        params = DEFAULT_PARAMS.copy()
        params.set("turn_step", TURN)
        with contextlib.redirect_stdout(io.StringIO()):  # it tells how finely it draws
            self._env = getattr(envs, task)(obs_width=size, obs_height=size, params=params)
        self._env.max_episode_steps = float("inf")
        names = ("left", "right", "ahead", "back", "pick up", "drop", "toggle", "stay")
        space = self._env.action_space
        assert isinstance(space, gymnasium.spaces.Discrete)
        self.actions, self.map = names[: int(space.n)], np.zeros((0, 4), np.float32)

    def reset(self, seed: int, layout: int) -> View:
        self._env.reset(seed=layout)
        self._env.np_random = np.random.default_rng(seed)
        self._env.entities.remove(self._env.agent)
        self._env.place_agent()
        self.map = self._env.wall_segs[:, :, [0, 2]].reshape(-1, 4).astype(np.float32)
        self.map *= np.array([1, -1, 1, -1], np.float32)
        return self._view(self._env.render_obs())

    def step(self, action: int | np.ndarray) -> View:
        frame, reward, ended, cut, _ = self._env.step(int(action))
        return self._view(frame)._replace(reward=float(reward), done=bool(ended or cut))

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.actions)))

    def close(self) -> None:
        self._env.close()

    def _view(self, frame: np.ndarray) -> View:
        x, _, z = self._env.agent.pos
        heading = self._env.agent.dir
        free = self._free(x, -z, heading + np.array([[np.pi / 2], [0], [-np.pi / 2]]))
        return View(frame, np.array([x, -z, heading]), free=free)

    def _free(self, x: float, y: float, headings: np.ndarray) -> np.ndarray:
        """(3,) steps to the walls in these directions (3, 1)."""
        (x1, y1, x2, y2), across, along = self.map.T, np.cos(headings), np.sin(headings)
        with np.errstate(divide="ignore", invalid="ignore"):
            turn = across * (y2 - y1) - along * (x2 - x1)
            far = ((x1 - x) * (y2 - y1) - (y1 - y) * (x2 - x1)) / turn
            where = ((x1 - x) * along - (y1 - y) * across) / turn
        hits = (far > 0) & (where >= 0) & (where <= 1)
        far = np.min(far, 1, where=hits, initial=100) - self._env.agent.radius
        return np.maximum(far, 0) / self._env.max_forward_step

"""Memory Maze: mazes with coloured balls in them, drawn anew for every layout, for those who study memory."""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")  # draw without a screen; read once, when MuJoCo is imported

import numpy as np

from unspool.data.record.simulator import View
from unspool.errors import UserError

logging.getLogger("absl").setLevel(logging.ERROR)  # it warns of each episode that the ball begins at rest

PACE = 0.93  # cells a second, once the ball rolls
_CELLS = (9, 11, 13, 15)
_RADIUS = 0.1  # cells: how near to a wall the ball comes
_GRAIN = 0.02  # cells: how exactly the distance to a wall is told


class MemoryMaze:
    """See `Simulator`. A layout is a maze with its walls' colours and its balls, a seed where one stands in it at first.

    cells: of a side, 9, 11, 13 or 15. hz: frames a second. Positions are in cells. map: (cells, cells) float32, [y, x], 0 for
    a wall, 1 for a free cell, 2 and more for the balls. done: time is up. Raises UserError for other cells or hz.
    """

    actions = ("stay", "ahead", "left", "right", "ahead left", "ahead right")
    layouts = None
    closed = ()

    def __init__(self, size: int, cells: int = 9, hz: int = 10) -> None:
        if cells not in _CELLS:
            raise UserError(f"memory-maze: there is none of {cells} cells a side; use 9, 11, 13 or 15")
        if hz < 1 or 200 % hz:
            raise UserError(f"memory-maze: hz is {hz}; use a divisor of 200, such as 4, 10, 20 or 40")
        self.fps, self._pace = float(hz), PACE / hz
        self.map: np.ndarray | None = None
        self._env = getattr(_tasks(), f"memory_maze_{cells}x{cells}")(
            seed=0, control_freq=hz, camera_resolution=size, target_color_in_image=False, global_observables=True
        )
        self._env.add_extra_hook("initialize_episode_mjcf", self._place)
        self._seed = 0

    def reset(self, seed: int, layout: int) -> View:
        """The maze is made again from its number alone, so that no episode before this one shows."""
        arena = self._env.task._maze_arena
        old = arena.maze
        arena._maze = type(old)(
            height=old.height, width=old.width, max_rooms=old.max_rooms, room_min_size=old.room_min_size,
            room_max_size=old.room_max_size, max_variations=old.max_variations, spawns_per_room=old.spawns_per_room,
            objects_per_room=old.objects_per_room, simplify=True, random_seed=1 + layout % (2**31 - 2),
        )  # fmt: skip
        self._env.random_state.seed(layout % 2**32)
        self._seed = seed
        step = self._env.reset()
        self.map = step.observation["maze_layout"].astype(np.float32)
        for ball, (x, y) in enumerate(step.observation["targets_pos"].astype(int)):
            self.map[y, x] = 2 + ball
        return self._view(step)

    def step(self, action: int | np.ndarray) -> View:
        return self._view(self._env.step(int(action)))

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.actions)))

    def close(self) -> None:
        self._env.close()

    def _place(self, random: np.random.RandomState) -> None:
        """The maze stands; what is drawn from here on is the seed's."""
        random.seed(self._seed % 2**32)

    def _view(self, step: Any) -> View:
        (x, y), (across, along) = step.observation["agent_pos"], step.observation["agent_dir"]
        heading = float(np.arctan2(along, across))
        return View(
            step.observation["image"],
            np.array([x, y, heading]),
            float(step.reward or 0),
            step.last(),
            self._free(x, y, heading + np.array([np.pi / 2, 0, -np.pi / 2])),
        )

    def _free(self, x: float, y: float, headings: np.ndarray) -> np.ndarray:
        """(3,) steps to the wall in these directions."""
        assert self.map is not None
        far = np.arange(0, len(self.map) * 1.5, _GRAIN)
        row, column = (np.floor(at + np.outer(way(headings), far)).astype(int) for at, way in ((y, np.sin), (x, np.cos)))
        inside = (row >= 0) & (column >= 0) & (row < len(self.map)) & (column < len(self.map))
        open_ = inside & (self.map.take(row * len(self.map) + column, mode="clip") > 0)
        return np.maximum(open_.argmin(1) * _GRAIN - _RADIUS, 0) / self._pace


def _tasks() -> ModuleType:
    """The package asks for Gymnasium by the name that it had before 2022."""
    import gymnasium.envs.registration

    old = {"gym": gymnasium, "gym.envs": gymnasium.envs, "gym.envs.registration": gymnasium.envs.registration}
    lent = {} if "gym" in sys.modules else old
    sys.modules.update(lent)
    try:
        from memory_maze import tasks
    except AttributeError as error:  # as PyOpenGL says that a library of the system is missing
        raise ImportError(f"OpenGL by {os.environ['MUJOCO_GL']}: {error}") from None
    finally:
        for name in lent:
            del sys.modules[name]
    return tasks

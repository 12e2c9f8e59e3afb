"""Crafter: a small world seen from above, with forests, caves, beasts and tools, drawn anew for every layout."""

from __future__ import annotations

import crafter
import numpy as np

from unspool.data.record.simulator import View


class _Env(crafter.Env):
    """The same game each time: it keeps its beasts in sets, whose order is one of memory addresses."""

    def _balance_chunk(self, chunk, objs):
        super()._balance_chunk(chunk, [obj for obj in self._world.objects if obj in objs])


class Crafter:
    """See `Simulator`. A layout is a world, a seed the luck of those who live in it.

    Pose: the cell one stands on, x to the right and y down, and where one looks. map: (64, 64) uint8, [x, y], the world at
    the beginning, what lies there and who stands there. done: the player has died.
    """

    fps = 10.0
    actions = ("stay", *crafter.constants.actions[1:])
    layouts = None
    closed = ()

    def __init__(self, size: int) -> None:
        self._size, self.map = size, None

    def reset(self, seed: int, layout: int) -> View:
        self._env = _Env(size=(self._size, self._size), length=0, seed=layout)
        self._env.reset()
        self._env._world.random.seed(seed % 2**32)
        self.map = self._env._sem_view().astype(np.uint8)
        return self._view(self._env.render())

    def step(self, action: int | np.ndarray) -> View:
        frame, reward, done, _ = self._env.step(int(action))
        return self._view(frame)._replace(reward=float(reward), done=bool(done))

    def draw(self, rng: np.random.Generator) -> int:
        """Mostly walking; never sleep, which is dark and long."""
        if rng.random() < 0.7:
            return int(rng.integers(1, 5))
        return int(rng.choice([n for n, name in enumerate(self.actions) if name != "sleep"]))

    def close(self) -> None:
        pass

    def _view(self, frame: np.ndarray) -> View:
        player = self._env._player
        return View(frame, np.array([*player.pos, np.arctan2(player.facing[1], player.facing[0])], float))

"""Any Gymnasium environment that shows itself in colour: `gym:MountainCar-v0`, `gym:package:Name-v0`."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # draw without a screen; read when an environment starts to draw
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

import gymnasium
import numpy as np

from unspool.data.record.simulator import View
from unspool.errors import UserError


class Gym:
    """See `Simulator`. What it renders is filmed, or what it observes where it cannot render.

    Poses and maps are nobody's business here, so that seed and layout are one: a seed is an episode. Discrete actions go by
    their numbers, continuous ones by nothing. done: the environment ended the episode, or cut it off. Raises UserError for an
    environment that is unknown, is not in colour, or has other actions.
    """

    layouts = 1
    closed = ()
    map = None

    def __init__(self, name: str, size: int, **options: Any) -> None:
        try:
            env: gymnasium.Env = gymnasium.make(name, disable_env_checker=True, **options)
            if "rgb_array" in (env.unwrapped.metadata or {}).get("render_modes", ()):
                env.close()
                env = gymnasium.make(name, disable_env_checker=True, render_mode="rgb_array", **options)
        except ModuleNotFoundError as error:
            raise UserError(f"gym:{name} needs a package that is missing; `pip install` what brings {error.name!r}") from None
        except (gymnasium.error.Error, ImportError) as error:
            told = " ".join(str(error).split())
            raise UserError(f"Gymnasium cannot make {name!r}: {told}; `gymnasium.pprint_registry()` lists all") from None
        self.env, self._space = env, env.action_space
        self.fps = float((env.unwrapped.metadata or {}).get("render_fps") or 30)
        if isinstance(self._space, gymnasium.spaces.Discrete):
            self.actions: tuple[str, ...] = tuple(str(n) for n in range(int(self._space.n)))
        elif isinstance(self._space, gymnasium.spaces.Box):
            self.actions = ()
            self._low, self._high = np.maximum(self._space.low, -1e3), np.minimum(self._space.high, 1e3)
            free = ~self._space.bounded_below | ~self._space.bounded_above
            self._low[free], self._high[free] = -1, 1
        else:
            kind = type(self._space).__name__
            raise UserError(f"{name!r} has {kind} actions; only Discrete and Box ones can be recorded, so wrap the environment")

    def reset(self, seed: int, layout: int) -> View:
        return self._view(self.env.reset(seed=seed % 2**31)[0])

    def step(self, action: int | np.ndarray) -> View:
        if isinstance(self._space, gymnasium.spaces.Discrete):
            given: Any = int(self._space.start) + int(action)
        else:
            given = np.asarray(action, self._space.dtype).reshape(self._space.shape)
        seen, reward, ended, cut, _ = self.env.step(given)
        return self._view(seen)._replace(reward=float(reward), done=bool(ended or cut))

    def draw(self, rng: np.random.Generator) -> int | np.ndarray:
        if self.actions:
            return int(rng.integers(len(self.actions)))
        return rng.uniform(self._low, self._high).astype(self._space.dtype)

    def close(self) -> None:
        self.env.close()

    def _view(self, seen: Any) -> View:
        frame = np.asarray(self.env.render() if self.env.render_mode == "rgb_array" else seen)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            name = self.env.spec.id if self.env.spec else "the environment"
            raise UserError(f"{name!r} shows no colour picture, (H, W, 3) uint8; give it the render mode 'rgb_array'")
        return View(frame)

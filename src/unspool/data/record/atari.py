"""Atari games in the Arcade Learning Environment, whose wheel brings the cartridges: `atari:Pong`. ALE is GPL-2.0."""

from __future__ import annotations

import difflib

import ale_py
import gymnasium
import numpy as np

from unspool.data.record.gym import Gym
from unspool.data.record.simulator import View
from unspool.errors import UserError

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
gymnasium.register_envs(ale_py)

_PICTURES = 4


class Atari(Gym):
    """See `Simulator`. One frame for four pictures of the game, 15 a second; what is pressed is what happens.

    A frame is the brighter of the last two pictures, as has been common since Mnih et al., "Human-level control through deep
    reinforcement learning", 2015: consoles draw some things in every other picture only.

    A seed is a number of frames that pass before the film begins, for a console knows no chance. done: the game is over.
    Raises UserError for an unknown game.
    """

    def __init__(self, game: str, size: int) -> None:
        games = sorted(name[4:-3] for name in gymnasium.registry if name.startswith("ALE/") and name.endswith("-v5"))
        if game not in games:
            near = difflib.get_close_matches(game, games, n=1, cutoff=0.4)
            meant = f"did you mean 'atari:{near[0]}'?" if near else "say one as in atari:Pong"
            raise UserError(f"there is no Atari game {game!r} among {len(games)}; {meant}")
        super().__init__(f"ALE/{game}-v5", size, frameskip=1, repeat_action_probability=0.0)
        self.fps = 60 / _PICTURES
        self.actions = tuple(_words(name) for name in self.env.unwrapped.get_action_meanings())  # type: ignore[attr-defined]

    def step(self, action: int | np.ndarray) -> View:
        before, view, reward = None, None, 0.0
        for _ in range(_PICTURES):
            before, view = view, super().step(action)
            reward += view.reward
            if view.done:
                break
        assert view
        return view._replace(frame=np.maximum(view.frame, (before or view).frame), reward=reward)

    def reset(self, seed: int, layout: int) -> View:
        view = super().reset(seed, layout)
        for _ in range(np.random.default_rng(seed).integers(30)):
            view = self.step(0)
        return view


def _words(name: str) -> str:
    """UPRIGHTFIRE: up right fire."""
    for word in ("UP", "DOWN", "LEFT", "RIGHT", "FIRE"):
        name = name.replace(word, f"{word.lower()} ")
    return name.strip().replace("NOOP", "stay")

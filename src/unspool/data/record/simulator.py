"""What a world must offer to be filmed. One adapter a file; `explore.py` walks through it and `recorder.py` films."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class View(NamedTuple):
    """What one moment shows. frame: (H, W, 3) uint8, of any size. pose: (x, y, heading in radians), or None where there is
    none; ahead is (cos heading, sin heading), and `left` makes heading grow. reward: of the step that led here. done: the
    episode cannot go on. free: (3,) how far one can go to the left, ahead and to the right, in steps of `ahead`; None: unknown.
    """

    frame: np.ndarray
    pose: np.ndarray | None = None
    reward: float = 0.0
    done: bool = False
    free: np.ndarray | None = None


class Simulator(Protocol):
    """A world that is stepped. The same (seed, layout) and actions give the same views, whatever was run before.

    fps: steps a second, so that a video plays at the speed of life. actions: names of the discrete actions, ("stay", "ahead",
    "left", "right", "ahead left", ...) as far as they mean that, so that an explorer knows how to walk; a world with
    continuous actions has none, and `draw` gives one of its actions. layouts: how many different maps it has, None without
    end, 1 where it cannot be told; closed: numbers of those that are not worth filming. map: of the present episode, an array
    of any shape, or None.
    """

    fps: float
    actions: tuple[str, ...]
    layouts: int | None
    closed: tuple[int, ...]
    map: np.ndarray | None

    def reset(self, seed: int, layout: int) -> View:
        """Begin an episode on a map."""
        ...

    def step(self, action: int | np.ndarray) -> View:
        """One action, held for one frame."""
        ...

    def draw(self, rng: np.random.Generator) -> int | np.ndarray:
        """An action at random, of those that make sense."""
        ...

    def close(self) -> None: ...

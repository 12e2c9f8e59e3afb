"""From schedule time to noise level: how large the steps of a descent are, and where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

Grid = Callable[[Tensor], Tensor]
"""time in [0, 1] -> level in [0, 1], rising, with both ends where they were."""


def linear(time: Tensor) -> Tensor:
    """level = time."""
    return time


def cosine(time: Tensor) -> Tensor:
    """level = sin^2(pi time / 2), the cosine grid of IADB's sampler (small steps near noise and near clean)."""
    return torch.sin(time * (math.pi / 2)) ** 2


@final
@dataclass(frozen=True)
class Shifted:
    """level = r t / (1 + (r - 1) t): a ratio r above 1 spends more of the descent near noise.

    The more tokens share a picture, the more noise it takes to hide it; `ratio` is the r that makes up for that (the timestep
    shift of PA-VDM, 2410.08151, and of rectified flow at high resolution, 2403.03206).
    """

    ratio: float = 1.0

    def __call__(self, time: Tensor) -> Tensor:
        return self.ratio * time / (self.ratio * time + (1 - time))  # both ends are exact in this form


@final
@dataclass(frozen=True)
class ByTokens:
    """The shift of a flight, which grows with it: `factor` times what its tokens ask for, those of a frame times its frames.

    It is no grid itself but has one for every flight, so that a rollout of more frames, or fewer, is shifted as it should be.
    """

    factor: float
    tokens: int
    base: int

    def over(self, frames: int) -> Shifted:
        """The grid of a flight of so many frames."""
        return Shifted(self.factor * ratio(self.tokens * frames, self.base))


def ratio(tokens: int, base: int) -> float:
    """sqrt(tokens / base): the shift of a flight of so many tokens, resolution times length, where `base` needs none.

    After 2403.03206 and the public code of Open-Sora, recalled and not read: the noise of a mean over as many tokens falls so.
    """
    return math.sqrt(tokens / base)


def inverse(grid: Grid, level: float) -> float:
    """The time at which a grid stands at this level, by halves."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if float(grid(torch.tensor(middle, dtype=torch.float64))) < level else (low, middle)
    return high

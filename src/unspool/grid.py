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


def ratio(tokens: int, base: int) -> float:
    """sqrt(tokens / base): the shift of a flight of so many tokens, resolution times length, where `base` needs none.

    After 2403.03206 and the public code of Open-Sora, recalled and not read: the noise of a mean over as many tokens falls so.
    """
    return math.sqrt(tokens / base)

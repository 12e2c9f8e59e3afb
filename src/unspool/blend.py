"""The path between clean frames and noise.

level (B, T) in [0, 1]: 0 clean, 1 noise; it broadcasts over (C, H, W). A velocity is d x / d level along the path.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from unspool.types import Levels, Video


def per_pixel(level: Levels) -> Tensor:
    """(B, T) -> (B, T, 1, 1, 1)."""
    return level[..., None, None, None]


class Blend(ABC):
    """x = a(level) * clean + b(level) * noise, with a(0) = b(1) = 1 and a(1) = b(0) = 0."""

    @abstractmethod
    def weights(self, level: Levels) -> tuple[Tensor, Tensor]:
        """(a, b) at these levels, (B, T, 1, 1, 1)."""

    @abstractmethod
    def slopes(self, level: Levels) -> tuple[Tensor, Tensor]:
        """(da/dlevel, db/dlevel), (B, T, 1, 1, 1)."""

    @abstractmethod
    def velocity(self, x: Video, clean: Video, level: Levels) -> Video:
        """The velocity at x on the path that ends in `clean`. Levels near 0 are clamped: see `floor`."""

    floor: float = 0.05
    """Below this level a clean prediction is divided by `floor` (the clamp of JiT, Li and He 2025)."""

    def blend(self, clean: Video, noise: Video, level: Levels) -> Video:
        """Frames (B, T, C, H, W) at these levels (B, T) of the path from `clean` to `noise`."""
        a, b = self.weights(level)
        return a * clean + b * noise

    def target(self, clean: Video, noise: Video, level: Levels) -> Video:
        """The velocity of the path from `clean` to `noise`: what a network is trained to predict."""
        da, db = self.slopes(level)
        return da * clean + db * noise

    def ends(self, x: Video, velocity: Video, level: Levels) -> tuple[Video, Video]:
        """(clean, noise): both ends of the path that passes x with this velocity."""
        a, b = self.weights(level)
        da, db = self.slopes(level)
        det = a * db - b * da
        return (db * x - b * velocity) / det, (a * velocity - da * x) / det

    def clean(self, x: Video, velocity: Video, level: Levels) -> Video:
        """The clean end of the path."""
        return self.ends(x, velocity, level)[0]

    def step(self, x: Video, velocity: Video, level: Levels, to: Levels) -> Video:
        """Move from `level` to `to` along the path: exact when the velocity is."""
        return self.blend(*self.ends(x, velocity, level), to)


@final
class AlphaBlend(Blend):
    """x = (1 - level) clean + level noise; velocity = noise - clean (IADB, Heitz et al. 2305.03486; rectified flow)."""

    def weights(self, level: Levels) -> tuple[Tensor, Tensor]:
        b = per_pixel(level)
        return 1 - b, b

    def slopes(self, level: Levels) -> tuple[Tensor, Tensor]:
        one = torch.ones_like(per_pixel(level))
        return -one, one

    def velocity(self, x: Video, clean: Video, level: Levels) -> Video:
        return (x - clean) / per_pixel(level).clamp(min=self.floor)

    def step(self, x: Video, velocity: Video, level: Levels, to: Levels) -> Video:
        return x + per_pixel(to - level) * velocity


@final
class Cosine(Blend):
    """x = cos(pi level / 2) clean + sin(pi level / 2) noise (the variance-preserving path of v-prediction, 2202.00512).

    The velocity here is d x / d level, pi / 2 times the customary v.
    """

    def weights(self, level: Levels) -> tuple[Tensor, Tensor]:
        angle = per_pixel(level) * (math.pi / 2)
        return angle.cos(), angle.sin()

    def slopes(self, level: Levels) -> tuple[Tensor, Tensor]:
        angle = per_pixel(level) * (math.pi / 2)
        return -angle.sin() * (math.pi / 2), angle.cos() * (math.pi / 2)

    def velocity(self, x: Video, clean: Video, level: Levels) -> Video:
        a, b = self.weights(level)
        da, db = self.slopes(level)
        return da * clean + db * (x - a * clean) / b.clamp(min=math.sin(self.floor * math.pi / 2))

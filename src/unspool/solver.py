"""Ordinary differential equation solvers: one step of a window of frames, each from its own level to its own next one.

A solver is a free function (velocity, blend, x, level, to) -> x: frames (B, F, C, H, W), levels (B, F) from and to. Columns
with level == to come back untouched.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from unspool.blend import Blend, per_pixel
from unspool.types import Levels, Video

VelocityFn = Callable[[Video, Levels], Video]
Solver = Callable[[VelocityFn, Blend, Video, Levels, Levels], Video]


def _moved(x: Video, new: Video, level: Levels, to: Levels) -> Video:
    return torch.where(per_pixel(level) == per_pixel(to), x, new)


def euler(velocity: VelocityFn, blend: Blend, x: Video, level: Levels, to: Levels) -> Video:
    """One evaluation a step. With the alpha blend: x + (to - level) velocity (IADB's algorithm); with the cosine path: DDIM."""
    return _moved(x, blend.step(x, velocity(x, level), level, to), level, to)


def midpoint(velocity: VelocityFn, blend: Blend, x: Video, level: Levels, to: Levels) -> Video:
    """Second order, two evaluations a step: the velocity halfway carries the whole step."""
    half = (level + to) / 2
    middle = blend.step(x, velocity(x, level), level, half)
    v = velocity(middle, half)
    # The midpoint's path is followed back to its ends and blended anew at `to`, starting from x's own ends at `level`.
    return _moved(x, x + blend.step(middle, v, half, to) - blend.step(middle, v, half, level), level, to)

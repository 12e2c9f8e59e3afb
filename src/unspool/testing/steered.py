"""A system that takes actions, so small that a thousand steps take seconds, and contexts for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unspool.blend import AlphaBlend, Blend
from unspool.codec import Pixels
from unspool.data.clips import Clips
from unspool.memory import Window
from unspool.model import VideoModel
from unspool.model.dit import VideoTransformer
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import Loss, System
from unspool.testing.tools import draw, scale_weights
from unspool.types import Clip

NAMES = ("stay", "ahead", "left")
SIZE = 8
"""Pixels of a picture's side."""


def steered(schedule: Staircase | None = None, *, controls: int = 3, window: int = 4, std: float = 0.3) -> System:
    """Two layers of width 16 over 2 x 2 tokens of pixels, weights scaled and without gradient, float32."""
    schedule = schedule or Staircase(2)
    memories = [[Window(16, 1, window)] for _ in range(2)]
    model = VideoTransformer((3, SIZE, SIZE), patch=4, width=16, memories=memories, chunk=schedule.chunk, controls=controls)
    scale_weights(model, std).float().requires_grad_(False)
    return System(model, Pixels(), AlphaBlend(), schedule, euler, nothing_to_learn, 6)


def nothing_to_learn(model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
    """The objective of a system that is only rolled out: no loss."""
    return iter(())


def filmed(clips: int = 2, frames: int = 4, controls: int = 3, key: int = 5) -> Clips:
    """Pictures of noise, and discrete actions as data has them: none led to the first frame."""
    pixels = (draw(key, shape=(clips, frames, SIZE, SIZE, 3)).clamp(-1, 1) * 127 + 128).to(torch.uint8).numpy()
    actions = np.eye(controls, dtype=np.float32)[np.arange(clips * frames).reshape(clips, frames) % controls]
    actions[:, 0] = 0
    return Clips(pixels, actions)

"""A video transformer so small that truths are checked in float64 within milliseconds, and frames for it."""

from __future__ import annotations

from typing import Any

import torch

from unspool.memory.window import Window
from unspool.model.dit import VideoTransformer
from unspool.testing.tools import draw, scale_weights
from unspool.types import Video

SHAPE = (1, 4, 4)
"""(C, H, W) of a frame."""


def nano(
    *, chunk: int = 2, window: int = 3, std: float = 0.25, dtype: torch.dtype = torch.float64, **options: Any
) -> VideoTransformer:
    """Two layers of width 16 over 2 x 2 tokens, weights scaled and without gradient; `options` go to VideoTransformer."""
    settings: dict[str, Any] = {
        "patch": 2,
        "width": 16,
        "depth": 2,
        "chunk": chunk,
        "memories": lambda: [Window(16, 1, window)],
    }
    return scale_weights(VideoTransformer(SHAPE, **settings | options), std).to(dtype).requires_grad_(False)


def video(frames: int, batch: int = 2, key: int = 1, dtype: torch.dtype = torch.float64) -> Video:
    """(batch <= 8, frames, *SHAPE) normal numbers; a longer video begins otherwise, a larger batch does not."""
    return draw(key, shape=(8, frames, *SHAPE))[:batch].to(dtype)

"""A video transformer so small that truths are checked in float64 within milliseconds, and frames for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from unspool.memory import Gist, Map, Memory, Window
from unspool.model.dit import VideoTransformer
from unspool.testing.tools import draw, scale_weights
from unspool.types import Video

SHAPE = (1, 4, 4)
"""(C, H, W) of a frame."""


def nano(
    *, chunk: int = 2, window: int = 3, std: float = 0.25, dtype: torch.dtype = torch.float64,
    depth: int = 2, gist: bool = False, held: Callable[[int], list[Memory]] | None = None,
    kind: type[VideoTransformer] = VideoTransformer, **options: Any,
) -> VideoTransformer:  # fmt: skip
    """`depth` layers of width 16 over 2 x 2 tokens, weights scaled and without gradient; `options` go to `kind`. gist: a third
    layer between them, of a window of 2 frames and a gist. held: makes the memories of each layer, of a width."""
    settings: dict[str, Any] = {
        "patch": 2,
        "width": 16,
        "chunk": chunk,
        "memories": [held(16) if held else [Window(16, 1, window)] for _ in range(depth)],
    }
    if gist:
        settings["memories"].insert(1, [Window(16, 1, 2), Gist(16, 1, (Map(2, 3),))])
    return scale_weights(kind(SHAPE, **settings | options), std).to(dtype).requires_grad_(False)


def video(frames: int, batch: int = 2, key: int = 1, dtype: torch.dtype = torch.float64) -> Video:
    """(batch <= 8, frames, *SHAPE) normal numbers; a longer video begins otherwise, a larger batch does not."""
    return draw(key, shape=(8, frames, *SHAPE))[:batch].to(dtype)

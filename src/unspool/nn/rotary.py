"""Rotary positions (Su et al., 2104.09864) over frame, row and column, without a maximal length.

Frame positions are ages inside the attention window, small integers whatever the length of the video: absolute angles in
float32 lose 3e-4 at frame 10 000. Tables are tiny, computed once for each shape and kept.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

BASE = 100.0
"""Longest wavelength 2 pi * 100 positions: windows hold tens of frames and grids tens of rows, not thousands of tokens."""


@lru_cache(maxsize=1024)
def table(
    first: int, frames: int, grid: tuple[int, int], dim: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(cos, sin), each (frames, rows * columns, dim / 2), for frames at positions first .. first + frames - 1.

    Half of the pairs of features turn with the frame, a quarter with the row and a quarter with the column.
    """
    with torch.inference_mode(False):  # the table outlives whoever asks first
        rows, columns = grid
        pairs = dim // 2
        space = pairs // 4
        share = (pairs - 2 * space, space, space)
        axes = (
            torch.arange(first, first + frames, dtype=torch.float64)[:, None, None].expand(frames, rows, columns),
            torch.arange(rows, dtype=torch.float64)[None, :, None].expand(frames, rows, columns),
            torch.arange(columns, dtype=torch.float64)[None, None, :].expand(frames, rows, columns),
        )
        angle = torch.cat([a[..., None] * BASE ** (-torch.arange(n) / n) for a, n in zip(axes, share, strict=True)], dim=-1)
        angle = angle.reshape(frames, rows * columns, pairs)
        return angle.cos().to(device, dtype), angle.sin().to(device, dtype)


def rotate(x: Tensor, first: int, grid: tuple[int, int]) -> Tensor:
    """Turn x (..., F, N, dim) by its positions; frame f stands at `first` + f."""
    cos, sin = table(first, x.shape[-3], grid, x.shape[-1], x.device, x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)

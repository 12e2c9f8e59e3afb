"""What each frame says of a video, without any weights: how much moves, how sharp it is, which colour it has.

Videos are uint8 (N, T, H, W, 3). All figures are in grey levels of 0..255, so 1 is one step of an 8-bit picture.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from unspool.errors import UserError

LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


class Curves(NamedTuple):
    """One figure per video and frame.

    motion: (N, T) mean absolute difference of grey to the frame before; NaN at frame 0. A frozen video has 0, white
        noise of deviation s adds up to 1.13 s: too little AND too much are faults, so it is read against real video.
    sharpness: (N, T) mean absolute Laplacian of grey. Blur lowers it, noise raises it.
    rgb: (N, T, 3) mean colour.
    """

    motion: np.ndarray
    sharpness: np.ndarray
    rgb: np.ndarray


def measure(videos: np.ndarray) -> Curves:
    """uint8 (N, T, H, W, 3), H and W >= 3. Raises UserError otherwise."""
    check(videos)
    found = [_measure_one(torch.from_numpy(np.ascontiguousarray(video))) for video in videos]
    return Curves(*(np.stack(parts) for parts in zip(*found, strict=True)))


def check(videos: np.ndarray) -> None:
    """Raises UserError unless this is uint8 (N >= 1, T >= 1, H >= 3, W >= 3, 3)."""
    if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise UserError(f"videos must be uint8 (N, T, H, W, 3), not {videos.dtype} {tuple(videos.shape)}")
    count, frames, height, width, _ = videos.shape
    if count < 1 or frames < 1 or min(height, width) < 3:
        raise UserError(f"videos of shape {tuple(videos.shape)} cannot be judged: give 1 or more of 3 x 3 px")


def _measure_one(video: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, H, W, 3) -> (T,), (T,), (T, 3). Frames go in blocks that stay in the cache."""
    motion, sharpness, rgb = [], [], []
    last = None
    for block in video.split(max(1, (1 << 18) // video[0].numel())):
        pixels = block.float()
        grey = pixels @ LUMA
        before = torch.cat([grey[:1] if last is None else last, grey[:-1]])
        last = grey[-1:].clone()
        motion.append((grey - before).abs_().mean((1, 2)))
        sharpness.append(_laplacian(grey).abs_().mean((1, 2)))
        rgb.append(pixels.mean((1, 2)))
    moved = torch.cat(motion).double()
    moved[0] = torch.nan
    return moved.numpy(), torch.cat(sharpness).double().numpy(), torch.cat(rgb).double().numpy()


def _laplacian(grey: torch.Tensor) -> torch.Tensor:
    """(T, H, W) -> (T, H - 2, W - 2): four neighbours minus four times the pixel."""
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return around - 4 * grey[:, 1:-1, 1:-1]

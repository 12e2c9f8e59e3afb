"""What each frame says of a video, without any weights: how much moves, how sharp it is, which colour it has.

Videos are uint8 (N, T, H, W, 3). All figures are in grey levels of 0..255, so 1 is one step of an 8-bit picture.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
import torch

from unspool.errors import UserError

LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


class Curves(NamedTuple):
    """One figure per video and frame.

    motion: (N, T) mean absolute difference of grey to the frame before; NaN where there is none, at frame 0 of a video
        without a context. A frozen video has 0, white noise of deviation s adds up to 1.13 s: too little AND too much are
        faults, so it is read against real video.
    sharpness: (N, T) mean absolute Laplacian of grey. Blur lowers it, noise raises it.
    rgb: (N, T, 3) mean colour.
    flicker: (N, T) mean absolute second difference of grey, what moves and at once moves back; NaN where two frames before
        are not known. A frozen video has none, so it is read beside motion.
    """

    motion: np.ndarray
    sharpness: np.ndarray
    rgb: np.ndarray
    flicker: np.ndarray


@final
class Meter:
    """The curves of one video that comes in blocks: `update(block)` for each, then `curves()`, whose leaves are (T, ...).

    before: uint8 (c, H, W, 3), the frames that it goes on from. Its first frame moves against the last of them.
    """

    def __init__(self, before: np.ndarray | None = None) -> None:
        self._last = torch.empty(0) if before is None else torch.from_numpy(before[-2:].copy()).float() @ LUMA
        self._parts: list[tuple[torch.Tensor, ...]] = []

    def update(self, block: np.ndarray) -> None:
        """uint8 (n, H, W, 3)."""
        frames = torch.from_numpy(np.ascontiguousarray(block))
        for part in frames.split(max(1, (1 << 18) // frames[0].numel())):  # what stays in the cache
            pixels = part.float()
            grey = pixels @ LUMA
            known = torch.cat([self._last, grey]) if len(self._last) else grey
            fresh, change = len(grey), known.diff(dim=0)
            motion = _behind(change.abs().mean((1, 2)), fresh)
            flicker = _behind(change.diff(dim=0).abs().mean((1, 2)), fresh)
            self._parts.append((motion, _laplacian(grey).abs_().mean((1, 2)), pixels.mean((1, 2)), flicker))
            self._last = known[-2:].clone()

    def curves(self) -> Curves:
        return Curves(*(torch.cat(parts).double().numpy() for parts in zip(*self._parts, strict=True)))


def measure(videos: np.ndarray) -> Curves:
    """uint8 (N, T, H, W, 3), H and W >= 3. Raises UserError otherwise."""
    check(videos)
    found = [_measure_one(video) for video in videos]
    return Curves(*(np.stack(parts) for parts in zip(*found, strict=True)))


def check(videos: np.ndarray) -> None:
    """Raises UserError unless this is uint8 (N >= 1, T >= 1, H >= 3, W >= 3, 3)."""
    if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise UserError(f"videos must be uint8 (N, T, H, W, 3), not {videos.dtype} {tuple(videos.shape)}")
    count, frames, height, width, _ = videos.shape
    if count < 1 or frames < 1 or min(height, width) < 3:
        raise UserError(f"videos of shape {tuple(videos.shape)} cannot be judged: give 1 or more of 3 x 3 px")


def _measure_one(video: np.ndarray) -> Curves:
    meter = Meter()
    meter.update(video)
    return meter.curves()


def _behind(figures: torch.Tensor, frames: int) -> torch.Tensor:
    """The last of these figures, `frames` of them, after as many NaN as are missing."""
    missing = max(0, frames - len(figures))
    return torch.cat([torch.full((missing,), torch.nan), figures[len(figures) + missing - frames :]])


def _laplacian(grey: torch.Tensor) -> torch.Tensor:
    """(T, H, W) -> (T, H - 2, W - 2): four neighbours minus four times the pixel."""
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return around - 4 * grey[:, 1:-1, 1:-1]

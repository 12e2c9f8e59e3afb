"""Repetition: the share of one-second windows that repeat an earlier one of the last minute of the same video."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
import torch

from unspool.errors import UserError
from unspool.evaluate.curves import check

WINDOW = 30  # frames
SIDE = 16  # pixels that a frame is averaged down to: what is shown counts, not the noise on it
REPEATS = 0.025  # real video calibrates: this share of its windows counts as repeated
LOOK_BACK = 1800  # frames, a minute: what comes back later than that is no loop
BLOCK = 128  # frames that are compared together
GREY = 128.0  # the middle of the scale
BEYOND = 1e12  # more than any two frames are apart
VISIBLE = 0.5  # grey levels: a threshold below that would ask for copies bit by bit


class Repetition(NamedTuple):
    """share: (N,) of the windows that have an earlier one, not overlapping them. real: (M,) the same of the real clips.

    threshold: distance, in grey levels, under which one window repeats another.
    """

    share: np.ndarray
    real: np.ndarray
    threshold: float


def repetition(videos: np.ndarray, real: np.ndarray, window: int = WINDOW) -> Repetition:
    """uint8 (N, T, H, W, 3) and real clips (M, T, H, W, 3) of the same length.

    A window's distance to another is the root mean square of their difference, colour and motion alike. A longer video
    has more chances to come near an earlier window, so real clips must be as long. Raises UserError otherwise, and for
    videos shorter than two windows.
    """
    if videos.shape[1:] != real.shape[1:]:
        raise UserError(f"real clips must have the shape of the videos, {videos.shape[1:]}, not {real.shape[1:]}")
    near, near_real = nearest(videos, window), nearest(real, window)
    threshold = threshold_of(near_real)
    return Repetition((near <= threshold).mean(1), (near_real <= threshold).mean(1), threshold)


def threshold_of(near_real: np.ndarray) -> float:
    """Distance under which one window repeats another, from what `nearest` gives of real video."""
    return max(float(np.quantile(near_real, REPEATS)), VISIBLE)


def nearest(videos: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """(N, T - 2 * window + 1): of each window that has an earlier one, the distance to the nearest of them."""
    check(videos)
    if window < 1 or videos.shape[1] < 2 * window:
        raise UserError(f"repetition needs two windows of {window} frames, {2 * window} frames, not {videos.shape[1]}")
    return np.stack([nearest_of(thumbnails(video), window) for video in videos])


def nearest_of(small: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """The same of thumbnails (T, D) of one video -> (T - 2 * window + 1,)."""
    stream = Nearest(window)
    for block in np.split(small, range(BLOCK, len(small), BLOCK)):
        stream.update(block)
    return stream.distances()


def thumbnails(video: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T, D) float32: frames averaged down to 16 x 16."""
    frames = torch.from_numpy(np.ascontiguousarray(video))
    small = [
        torch.nn.functional.adaptive_avg_pool2d(block.permute(0, 3, 1, 2).float(), SIDE).flatten(1)
        for block in frames.split(64)
    ]
    return torch.cat(small).numpy()


@final
class Nearest:
    """Distances of windows to the nearest earlier one, of a video whose thumbnails come in blocks: `update(block)`, then
    `distances()`. Only the last `look_back` frames are held, and a window."""

    def __init__(self, window: int = WINDOW, look_back: int = LOOK_BACK) -> None:
        self.window, self.look_back, self._seen = window, look_back, 0
        self._held = np.empty((0, 0), np.float32)
        self._found: list[np.ndarray] = []

    def update(self, block: np.ndarray) -> None:
        """(n, D)."""
        fresh = block - np.float32(GREY)  # smaller squares, so that little is lost to rounding
        held = np.concatenate([self._held, fresh]) if self._seen else fresh
        self._seen += len(fresh)
        starts = len(held) - self.window + 1 - len(fresh)  # the first window that the block completes
        if len(held) >= 2 * self.window:
            self._found.append(self._distances(held, max(starts, self.window)))
        self._held = held[-(self.look_back + self.window) :]

    def distances(self) -> np.ndarray:
        """(T - 2 * window + 1,) so far."""
        return np.concatenate(self._found) if self._found else np.empty(0)

    def _distances(self, held: np.ndarray, first: int) -> np.ndarray:
        """Of the windows of the held frames that begin at `first` or later, to any that ends before they begin."""
        window, rows = self.window, held[first:]
        squares = np.square(held, dtype=np.float64).sum(1)
        apart = squares[first:, None] + squares - 2.0 * (rows @ held.T)  # (R, B): each late frame against all
        # Column `lag` of a skewed view is the frame so many before: what lies before the first frame is never near.
        wide = np.pad(apart, ((0, 0), (len(rows), 0)), constant_values=np.inf)
        step, stride = wide.strides
        shape, corner = (len(rows), first + len(rows)), wide[0, first + len(rows) :]
        back = np.lib.stride_tricks.as_strided(corner, shape, (step + stride, -stride))
        sums = np.cumsum(np.where(np.isinf(back), BEYOND, back), 0)
        sums[window:] -= sums[:-window].copy()
        return np.sqrt(np.maximum(sums[window - 1 :, window:].min(1), 0) / (window * held.shape[1]))

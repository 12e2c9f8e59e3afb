"""Repetition: the share of one-second windows that repeat an earlier one of the same video."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from unspool.errors import UserError
from unspool.evaluate.curves import check

WINDOW = 30  # frames
SIDE = 16  # pixels that a frame is averaged down to: what is shown counts, not the noise on it
REPEATS = 0.025  # real video calibrates: this share of its windows counts as repeated
VISIBLE = 0.5  # grey levels: a threshold below that would ask for copies bit by bit


class Repetition(NamedTuple):
    """share: (N,) of the windows that have an earlier one not overlapping them. real: (M,) the same of the real clips.

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


def thumbnails(video: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T, D) float32: frames averaged down to 16 x 16."""
    frames = torch.from_numpy(np.ascontiguousarray(video))
    small = [
        torch.nn.functional.adaptive_avg_pool2d(block.permute(0, 3, 1, 2).float(), SIDE).flatten(1)
        for block in frames.split(64)
    ]
    return torch.cat(small).numpy()


def nearest_of(frames: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Thumbnails (T, D) -> (T - 2 * window + 1,). Lag by lag: a window's distance is a running sum down a diagonal."""
    frames = frames - frames.mean(0)  # differences of frames are exact near zero
    count, size = frames.shape
    products = frames @ frames.T
    squares = products.diagonal().astype(np.float64)
    best = np.full(count - 2 * window + 1, np.inf)
    for lag in range(window, count - window + 1):
        apart = squares[lag:] + squares[: count - lag] - 2.0 * products.diagonal(lag)
        total = np.cumsum(apart)
        total[window:] -= total[:-window].copy()
        later = best[lag - window :]  # window j against window j - lag, for j = lag and on
        np.minimum(later, total[window - 1 :], out=later)
    return np.sqrt(np.maximum(best, 0) / (window * size))

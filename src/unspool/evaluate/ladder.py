"""The ladder of corruptions: what a measure must tell from real video, said by trying it.

A rung is one fault of generated video, done to real video as far as its severity says, 0 < severity <= 1. A measure ranks a
rung if it moves away from what real video gives against real video as the fault grows, and ends beyond the band of that. The
lines of the table of `unspool eval` say which rungs they rank, see `lines.py`; a test tries those.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unspool.errors import UserError
from unspool.evaluate.curves import check
from unspool.evaluate.quality import gaussian

NOISE = 32.0  # grey levels, deviation
BLUR = 1 / 20  # of the shorter side, deviation: 3.2 pixels at 64
WINDOW = 16  # frames that are shuffled among themselves
TINT = (60.0, -30.0, 0.0)  # grey levels that the last frame has drifted in red, green, blue
LOOP = 60  # frames, two seconds; a quarter of a video that has no more than four times that
CUTS = 8  # jumps in a video

Corruption = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


class Rung(NamedTuple):
    """name, what it does at severity 1, and the function: uint8 (N, T, H, W, 3), severity, generator -> the same shape."""

    name: str
    does: str
    corruption: Corruption


def corrupt(rung: Rung, videos: np.ndarray, severity: float, seed: int = 0) -> np.ndarray:
    """uint8 (N, T, H, W, 3) -> a new array of that shape, the same for one seed.

    Raises UserError for other arrays and for severities outside (0, 1].
    """
    check(videos)
    if not 0 < severity <= 1:
        raise UserError(f"severity must be above 0 and at most 1, not {severity}")
    return rung.corruption(videos, severity, np.random.default_rng(seed))


def _noise(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    # Video by video: noise of a whole set in floats would take eight times its memory.
    def one(video: np.ndarray) -> np.ndarray:
        return _bytes(video + NOISE * severity * rng.standard_normal(video.shape, np.float32))

    return np.stack([one(video) for video in videos])


def _blur(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    height, width = videos.shape[2:4]
    sigma = BLUR * min(height, width) * severity

    def one(video: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(np.moveaxis(video, -1, 1).copy()).float() @ gaussian(width, sigma)
        blurred = (rows.transpose(-1, -2) @ gaussian(height, sigma)).permute(0, 3, 2, 1)
        return _bytes(blurred.numpy())

    return np.stack([one(video) for video in videos])


def _swap(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    order = _in_order(videos)
    pairs = order[:, : videos.shape[1] // 2 * 2].reshape(len(videos), -1, 2)
    chosen = rng.random(pairs.shape[:2]) < severity
    pairs[chosen] = pairs[chosen][:, ::-1]
    return _reordered(videos, order)


def _shuffle(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    order = _in_order(videos)
    for start in range(0, videos.shape[1], WINDOW):
        for row, chosen in zip(order[:, start : start + WINDOW], rng.random(len(videos)) < severity, strict=True):
            mixed = rng.permutation(row)  # drawn for every window, so that the others do not depend on severity
            row[:] = mixed if chosen else row
    return _reordered(videos, order)


def _freeze(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    last = max(round(videos.shape[1] * (1 - severity)), 1) - 1
    return videos[:, np.minimum(np.arange(videos.shape[1]), last)]


def _colour(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    drift = np.linspace(0, severity, videos.shape[1], dtype=np.float32)[:, None, None, None] * np.array(TINT, np.float32)
    return np.stack([_bytes(video + drift) for video in videos])


def _loop(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    frames = videos.shape[1]
    period = max(min(LOOP, frames // 4), 1)
    start = max(round(frames * (1 - severity)), period)
    at = np.arange(frames)
    return videos[:, np.where(at < start, at, start - period + (at - start) % period)]


def _collapse(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    return videos[np.where(np.arange(len(videos)) < round(severity * len(videos)), 0, np.arange(len(videos)))]


def _cut(videos: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    count = len(videos)
    if count < 3:
        raise UserError(f"cuts jump from one other video to the next: give 3 videos or more, not {count}")
    edges = np.linspace(0, videos.shape[1], max(round(CUTS * severity), 1) + 2).round().astype(int)
    cut, other = videos.copy(), 0
    for start, stop in pairwise(edges[1:]):
        # Another one than now, and never the video itself.
        other = int(rng.choice([step for step in range(1, count) if step != other]))
        cut[:, start:stop] = np.roll(videos[:, start:stop], other, 0)
    return cut


def _in_order(videos: np.ndarray) -> NDArray[np.int64]:
    """(N, T): the numbers of the frames."""
    return np.tile(np.arange(videos.shape[1]), (len(videos), 1))


def _reordered(videos: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.take_along_axis(videos, order[..., None, None, None], 1)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values.round(), 0, 255).astype(np.uint8)


RUNGS = (
    Rung("noise", "noise of 32 grey levels on all pixels", _noise),
    Rung("blur", "a Gaussian blur of a twentieth of the side", _blur),
    Rung("swap", "every two neighbour frames swapped", _swap),
    Rung("shuffle", "frames shuffled within windows of 16", _shuffle),
    Rung("freeze", "the first frame stands still", _freeze),
    Rung("colour", "the tint drifts by 60 grey levels to the end", _colour),
    Rung("loop", "two seconds repeat for ever", _loop),
    Rung("collapse", "all videos are one", _collapse),
    Rung("cut", "eight jumps into other videos", _cut),
)

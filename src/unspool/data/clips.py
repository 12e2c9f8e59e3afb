"""What a source of clips is, and how far apart the first frames of a clip may lie from the rest."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import torch

from unspool.noise import fold, uniform

Split = Literal["train", "seen", "unseen"]
SPLITS: tuple[Split, ...] = ("train", "seen", "unseen")
"""Of a world: what is trained on; new episodes of what is trained on; what training never shows."""


class ClipSource(Protocol):
    """Clips by global sample index: (B,) int64 -> (B, frames, H, W, 3) uint8, a pure function of (seed, index).

    anchor, reach: in front of each clip stand `anchor` frames more, those from up to `reach` frames before its first (see
    `gaps`): (B, anchor + frames, H, W, 3).
    """

    def __call__(self, indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> np.ndarray: ...


class World(ClipSource, Protocol):
    """A procedural source, without end."""

    @property
    def fps(self) -> int:
        """Frames a second of its clips."""
        ...


def gaps(indices: np.ndarray, seed: int, reach: int) -> np.ndarray:
    """(B,) how many frames before a clip its anchor begins: 0 in a quarter of the clips (then it is the clip's own beginning),
    else uniform in 0 .. reach."""
    key = fold(torch.tensor(seed), torch.as_tensor(np.asarray(indices), dtype=torch.int64))
    u = uniform(fold(key, 0x9A9), 1)[:, 0].double().numpy()
    return np.floor(np.maximum(0, (u - 0.25) / 0.75) * (reach + 1)).astype(np.int64)


def columns(indices: np.ndarray, frames: int, seed: int, anchor: int, reach: int) -> np.ndarray:
    """(B, anchor + frames) which frames of its episode a world shows in each clip; `frames + reach` is the longest it needs."""
    begins = reach - gaps(indices, seed, reach)
    clip = np.tile(reach + np.arange(frames), (len(begins), 1))
    return np.concatenate([begins[:, None] + np.arange(anchor), clip], 1)

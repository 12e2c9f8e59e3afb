"""What a clip is, what a source of clips is, and how far apart the first frames of a clip may lie from the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from unspool.noise import fold, uniform

Split = Literal["train", "seen", "unseen"]
SPLITS: tuple[Split, ...] = ("train", "seen", "unseen")
"""Of a world: what is trained on; new episodes of what is trained on; what training never shows."""


class Clips(NamedTuple):
    """A batch of clips of T frames, each behind A frames that its video began with.

    frames: (B, A + T, H, W, 3) uint8 pixels, or (B, A + T, C, H, W) float16 latents. actions: (B, A + T, K) float32, what led
    to each frame (one-hot for discrete actions; their mean where frames were left out), 0 where an episode begins. poses:
    (B, A + T, P) float32, NaN where unknown. text: (B, A + T) strings, the caption of each frame, "" where there is none; one
    of a whole episode is said of each of its frames. valid: (B, A + T) bool, False for frames that only fill up a short
    episode. None: the source has none of it; for `valid`, that all are.
    """

    frames: np.ndarray
    actions: np.ndarray | None = None
    poses: np.ndarray | None = None
    text: np.ndarray | None = None
    valid: np.ndarray | None = None

    def rows(self, rows: slice) -> Clips:
        """Some of the batch."""
        return Clips(*(None if leaf is None else leaf[rows] for leaf in self))  # type: ignore[arg-type]


@runtime_checkable
class Captioned(Protocol):
    """A source whose clips have text."""

    def wording(self) -> Iterable[str]:
        """Captions that hold every word that its clips can say, one of the longest among them; none where it says nothing."""
        ...


class ClipSource(Protocol):
    """Clips by global sample index: (B,) int64 -> `Clips` of B, a pure function of (seed, index).

    anchor, reach: in front of each clip stand `anchor` frames more, those from up to `reach` frames before its first (see
    `gaps`).
    """

    @property
    def fps(self) -> float | None:
        """Frames a second of its clips; None where nobody knows."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of discrete actions, one for each of the K numbers; () where nobody names them, or they are continuous."""
        ...

    def __call__(self, indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> Clips: ...


FILM = 64
"""Frames of whole episodes that are drawn at once."""


class World(ClipSource, Protocol):
    """A procedural source, without end."""

    @property
    def fps(self) -> int:
        """Frames a second of its clips."""
        ...

    def seeds(self, indices: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """The seeds (B,) of the global samples `indices` (B,)."""
        ...

    def actions(self, seeds: np.ndarray, frames: int) -> np.ndarray | None:
        """(B, frames, K) float32, what led to each frame of whole episodes; None where nobody acts."""
        ...

    def film(
        self, seeds: np.ndarray, frames: int, *, at: int = 0, again: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Whole episodes in blocks (B, n, H, W, 3) uint8, `FILM` frames at a time. again: (B,) other seeds, by which they go on
        from the state that those with `seeds` are in after `at` frames: the true distribution of futures."""
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

"""Shapes and units, said once.

Legend, everywhere: B batch, T frames of a clip, F frames of a flight (noisy frames under way), C channels, H height,
W width, N tokens of one frame, D features, G groups of a training pass.

- Video: (B, T, C, H, W) float, pixels or latents in [-1, 1].
- Levels: (B, T) float, noise level of each frame: 0 is clean, 1 is pure noise.
- Tokens: (B, F, N, D) float.
- Pixels on the way in and out of files are uint8 arrays (T, H, W, 3).
- State: nested dict of tensors, every leaf batch-first. Reserved leaves: "at" (B,) frames remembered, "seed" (B,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt, Interval
from torch import Tensor

# Settings with a range: what config.py checks, and what a reader of a signature is told.
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0)]
Shift = Annotated[float, Interval(ge=0.01, le=100)]
"""Of levels, see `grid.Shifted`: beyond these, all steps but one are at one end."""

Video = Tensor
Levels = Tensor
Tokens = Tensor
State = dict[str, Any]
Controls = Callable[[Tensor, int], Tensor]
"""(at (B,), frames) -> (B, frames, K): of so many absolute frames, the action that led to each and what is said of it."""


class Cond(NamedTuple):
    """What every layer is told about the frames it works on.

    emb: (B, F, D) level and control of each frame. grid: rows and columns of one frame's tokens. order: block index of each
    of the F frames; in one flight frame i sees frame j iff order[j] <= order[i]. first: position of frame 0 relative to the
    first frame that is not in the state yet. present: (B, F) bool, frames that exist, or None for all. text: (B, F, L, D), what
    is said of each frame as L tokens, or None where the model hears nothing.
    """

    emb: Tensor
    grid: tuple[int, int]
    order: tuple[int, ...]
    first: int = 0
    present: Tensor | None = None
    text: Tensor | None = None


class Known(NamedTuple):
    """Clean frames that a flight is told of although it makes them (again): its overlap with the chunk before, or two ends to
    fill between. frames (B, n, C, H, W) in [-1, 1]; position (B, n) int64: the column of the flight that each of them is, -1
    where there is none; level (B, n): context noise that they carry, None for none. In a training pass all have G behind B."""

    frames: Video
    position: Tensor
    level: Levels | None = None


class Clip(NamedTuple):
    """A batch of training clips. frames: (B, T, C, H, W) in [-1, 1]; control: (B, T, K) float, actions and behind them prompts,
    or None; first: (B, A, C, H, W), the frames that their videos began with, some time before, or None where the clips are the
    beginning; valid: (B, T) bool, the frames that count, or None for all."""

    frames: Video
    control: Tensor | None = None
    first: Video | None = None
    valid: Tensor | None = None

    def rows(self, which: slice | Tensor) -> Clip:
        """Those of the batch."""
        return Clip(*(None if leaf is None else leaf[which] for leaf in self))  # type: ignore[arg-type]

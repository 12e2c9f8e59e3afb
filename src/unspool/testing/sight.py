"""Who sees whom, said once and slowly: the mask that every attention path must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Frame(NamedTuple):
    """A frame of a training pass: group None for a clean one, else the group of a noisy one; at: its place in the clip;
    block: of a noisy one, within its flight; here: whether it exists."""

    group: int | None
    at: int
    block: int = 0
    here: bool = True


def two_streams(clean: int, starts: Sequence[int], order: Sequence[int], present: Tensor | None = None) -> list[Frame]:
    """All frames of a pass over `clean` clean frames and one flight, of blocks `order`, behind each of `starts`: clean ones
    first, then group by group. present (G, F) bool."""
    frames = [Frame(None, at) for at in range(clean)]
    for g, start in enumerate(starts):
        for f, block in enumerate(order):
            frames.append(Frame(g, start + f, block, True if present is None else bool(present[g, f])))
    return frames


def sees(mine: Frame, other: Frame, window: int, starts: Sequence[int]) -> bool:
    """ACDiT's rule (2412.07720) for any block size, with a window: a clean frame sees itself and the `window` clean ones before
    it; a noisy one the last `window` clean ones before its flight, and the blocks of its flight up to its own. No clean frame
    sees a noisy one, no flight sees another, and nobody sees what does not exist, but for itself."""
    if mine == other:
        return True
    if not other.here:
        return False
    if mine.group is None:
        return other.group is None and 0 < mine.at - other.at <= window
    if other.group is None:
        start = starts[mine.group]
        return start - window <= other.at < start
    return mine.group == other.group and other.block <= mine.block


def mask(frames: Sequence[Frame], window: int, starts: Sequence[int]) -> Tensor:
    """(L, L) bool, by frame."""
    return torch.tensor([[sees(mine, other, window, starts) for other in frames] for mine in frames])

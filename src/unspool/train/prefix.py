"""Levels of clips that begin clean: the loss of some clips falls on what comes late, behind a long past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.laws import Law
from unspool.types import Levels


@final
@dataclass(frozen=True)
class Prefixed:
    """A share of the clips begins with a clean prefix of half of what is learned, or longer; the rest follows `law`.

    Frames at level 0 carry no loss. Long-context training of Po et al. (2505.20171): p = 0.5, prefixes longer than half. Theirs
    puts clean frames where others are noisy; under teacher forcing, where the past is clean anyway, it says which frames are
    learned. chunk: frames that the prefix does not cut; at least one chunk is learned.
    """

    law: Law
    share: float = 0.5
    chunk: int = 1

    def __call__(self, key: Tensor, frames: int) -> Levels:
        level, u = self.law(key, frames), rng.uniform(rng.fold(key, 2), 2)
        chunks = -(-frames // self.chunk)
        half = (chunks + 1) // 2
        length = (half + (u[..., 1:] * (chunks - half)).long()).clamp(max=chunks - 1)
        column = torch.arange(frames, device=level.device) // self.chunk
        return level.where((column >= length) | (u[..., :1] >= self.share), 0.0)

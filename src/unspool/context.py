"""How clean frames enter a model. `Cached`: only through what the memories keep. `Tokens`: the last frames ride along too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import torch

from unspool.types import State, Video


class Context(Protocol):
    """Clean frames that stand, at level 0, in front of every flight."""

    @property
    def frames(self) -> int:
        """How many clean frames stand in front."""
        ...

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        """The empty state; shape is (C, H, W) of a frame."""
        ...

    def remember(self, clean: Video, state: State) -> State:
        """The state after these clean frames (B, T, C, H, W)."""
        ...


@final
@dataclass(frozen=True)
class Cached:
    """No frame rides along: the past enters through the memories alone, computed once (a key/value cache, a recurrence)."""

    frames: int = 0

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        return {}

    def remember(self, clean: Video, state: State) -> State:
        return {}


@final
@dataclass(frozen=True)
class Tokens:
    """The last `frames` clean frames stand in front of the flight as tokens at level 0, computed anew in each evaluation."""

    frames: int

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        last = torch.zeros(batch, self.frames, *shape, device=device, dtype=dtype)
        return {"last": last, "count": torch.zeros(batch, device=device, dtype=torch.int64)}

    def remember(self, clean: Video, state: State) -> State:
        last = torch.cat([state["last"], clean.to(state["last"])], 1)[:, clean.shape[1] :]
        return {"last": last, "count": (state["count"] + clean.shape[1]).clamp(max=self.frames)}

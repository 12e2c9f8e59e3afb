"""How clean frames enter a model. `Cached`: only through what the memories keep. `Tokens`: the last frames ride along as tokens
in front of the flight. `Channels`: they are channels of every frame's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import torch

from unspool.types import State, Video


class Context(Protocol):
    """The last clean frames of a video, kept in a state {"last": (B, n, C, H, W), "count": (B,)} where there are any."""

    @property
    def frames(self) -> int:
        """How many clean frames stand, at level 0, in front of every flight."""
        ...

    @property
    def beside(self) -> int:
        """How many clean frames are channels of every frame's input."""
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
    beside: int = 0

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        return {}

    def remember(self, clean: Video, state: State) -> State:
        return {}


@final
@dataclass(frozen=True)
class Tokens:
    """The last `frames` clean frames stand in front of the flight as tokens at level 0, computed anew in each evaluation."""

    frames: int
    beside: int = 0

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        return _empty(batch, self.frames, shape, device, dtype)

    def remember(self, clean: Video, state: State) -> State:
        return _rolled(clean, state)


@final
@dataclass(frozen=True)
class Channels:
    """The last `beside` clean frames are channels beside each frame: of a noisy frame those before its flight, of a clean frame
    those before itself; zeros where there are none (the local context of LGC-VD, 2306.02562, without its position masks)."""

    beside: int
    frames: int = 0

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        return _empty(batch, self.beside, shape, device, dtype)

    def remember(self, clean: Video, state: State) -> State:
        return _rolled(clean, state)


def _empty(batch: int, frames: int, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> State:
    last = torch.zeros(batch, frames, *shape, device=device, dtype=dtype)
    return {"last": last, "count": torch.zeros(batch, device=device, dtype=torch.int64)}


def _rolled(clean: Video, state: State) -> State:
    last = torch.cat([state["last"], clean.to(state["last"])], 1)[:, clean.shape[1] :]
    return {"last": last, "count": (state["count"] + clean.shape[1]).clamp(max=last.shape[1])}

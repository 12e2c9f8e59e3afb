"""Who is how noisy, when.

`Staircase` plans a rollout: a matrix of levels, rows are moments, columns are the frames of the flight. Time is schedule time:
one chunk's full descent from noise to clean takes 1; `grid` maps time to level. Levels in training are drawn by laws.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, final

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.grid import Grid, linear


class Plan(NamedTuple):
    """Levels of a rollout. warmup (R0, redo + W), loop (R, redo + W): consecutive rows are one solver step apart.

    `warmup` is walked once, `loop` for ever: after each walk the first `hop` columns beyond `redo` are clean, leave, and the
    rest moves up. `redo` leading columns are frames already shown that the method generates again; they are never emitted and
    fall back to loop[0] after each hop. exist: of each step of the warm-up, how many columns are in flight, `redo` among them;
    () for all.
    """

    warmup: Tensor
    loop: Tensor
    chunk: int
    hop: int
    redo: int = 0
    exist: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        """W: frames of the flight, without `redo`."""
        return self.loop.shape[1] - self.redo

    @property
    def evaluations(self) -> float:
        """Frame-forwards of the network per emitted frame in the loop, remembering not counted."""
        return (self.loop.shape[0] - 1) * self.loop.shape[1] / self.hop

    @property
    def entering(self) -> tuple[int, ...]:
        """Columns in flight at each step of the warm-up."""
        return self.exist or (self.loop.shape[1],) * (len(self.warmup) - 1)


MOST_FLIGHT = 4096
"""Frames under way at once."""


@final
@dataclass(frozen=True)
class Staircase:
    """Each chunk of frames trails the one before it by `lag`, in schedule time: one family for all rollouts.

    lag 1 = chunk by chunk, 1/K = progressive over K chunks (PA-VDM 2410.08151), 0 = full sequence (give `chunks`).
    steps: solver steps of one full descent. chunk: frames that share a level. chunks: chunks in flight, by default as few as
    keep one chunk leaving every lag * steps steps. grow: a chunk enters the warm-up when it enters the loop, lag * steps steps
    behind the one before; False: all are in flight as noise from the first step on.

    Raises UserError when lag * steps is not whole, or when no frame could ever leave.
    """

    steps: int = 8
    chunk: int = 1
    lag: float | Fraction = 1
    chunks: int | None = None
    grid: Grid = linear
    redo: int = 0
    grow: bool = False

    @property
    def stride(self) -> int:
        """m = lag * steps: steps between one chunk and the next, a whole number (floats fail at 1/49: snapped first)."""
        if not 0 <= self.lag <= 1:
            raise UserError(f"lag must be within 0 .. 1, not {self.lag}")
        exact = Fraction(self.lag).limit_denominator(10_000) * self.steps
        if exact.denominator != 1:
            near = sorted({Fraction(m, self.steps) for m in (math.floor(exact), math.ceil(exact))})
            raise UserError(
                f"lag * steps must be a whole number, but {self.lag} * {self.steps} = {float(exact):g}; "
                f"with {self.steps} steps the nearest lags are {' and '.join(map(str, near))}"
            )
        return int(exact)

    def plan(self) -> Plan:
        """The matrix of levels. Raises UserError for an impossible configuration."""
        if self.steps < 1 or self.chunk < 1 or self.redo < 0 or (self.chunks is not None and self.chunks < 1):
            raise UserError("steps, chunk and chunks must be at least 1, redo at least 0")
        if max(self.steps, self.chunk, self.chunks or 1) > 10_000:
            raise UserError("steps, chunk and chunks are at most 10000")
        steps, m = self.steps, self.stride
        if m == 0 and self.chunks is None:
            raise UserError("lag 0 denoises the whole flight together: say of how many chunks (chunks=K)")
        count = self.chunks if self.chunks is not None else -(-steps // m)
        if m * count >= steps:  # a chunk leaves every m rows
            warm_rows, first, loop_rows, hop = steps - m + 1, steps - m, m + 1, self.chunk
        else:  # the whole flight leaves
            warm_rows, first, loop_rows, hop = 1, 0, steps + (count - 1) * m + 1, count * self.chunk
        under_way = self.redo + self.chunk * count
        if under_way > MOST_FLIGHT:
            raise UserError(f"{under_way} frames are under way at once, {MOST_FLIGHT} at most; take fewer chunks")
        warmup = self._levels(range(warm_rows), count)
        loop = self._levels(range(first, first + loop_rows), count)
        return Plan(warmup, loop, self.chunk, hop, self.redo, self._entering(warm_rows - 1, count) if self.grow else ())

    def _entering(self, rows: int, count: int) -> tuple[int, ...]:
        """Columns in flight at each of the warm-up's steps: chunk k enters as high above its descent as the last one of the
        loop does, count * m ticks of the staircase."""
        m = self.stride
        chunks = (1 + (count * m - self.steps + r) // m for r in range(rows))
        return tuple(self.redo + self.chunk * max(1, min(count, n)) for n in chunks)

    def _levels(self, rows: range, count: int) -> Tensor:
        """Rows of levels, integer arithmetic until the division: time[k, r] = clamp(1 + k m / S - r / S, 0, 1)."""
        r = torch.tensor(list(rows))[:, None]
        k = torch.arange(count).repeat_interleave(self.chunk)[None]
        k = torch.cat([torch.zeros(1, self.redo, dtype=k.dtype), k], dim=1)
        ticks = (self.steps + k * self.stride - r).clamp(0, self.steps)
        level = self.grid(ticks.double() / self.steps)
        return level.float().where((ticks > 0) & (ticks < self.steps), (ticks / self.steps).float())

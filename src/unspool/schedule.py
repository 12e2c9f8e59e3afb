"""Who is how noisy, when.

`Staircase` plans a rollout: a matrix of levels, rows are moments, columns are the frames of the flight. Time is schedule time:
one chunk's full descent from noise to clean takes 1; `grid` maps time to level. Levels in training are drawn by laws.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, final

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.grid import ByTokens, Grid, linear


class Plan(NamedTuple):
    """Levels of a rollout. warmup (R0, redo + W), loop (R, redo + W): consecutive rows are one solver step apart.

    `warmup` is walked once, `loop` for ever: after each walk the first `hop` columns beyond `redo` are clean, leave, and the
    rest moves up. `redo` leading columns are frames already shown that the method generates again; they are never emitted and
    fall back to loop[0] after each hop. exist: of each step of the warm-up, how many columns are in flight, `redo` among them;
    () for all. queued: behind a context the flight begins full of it, as if it had always gone on, instead of by the warm-up.
    """

    warmup: Tensor
    loop: Tensor
    chunk: int
    hop: int
    redo: int = 0
    exist: tuple[int, ...] = ()
    queued: bool = False

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
MOST = 10_000
"""Steps of a descent, frames of a chunk, chunks."""


@final
@dataclass(frozen=True)
class Staircase:
    """Each chunk of frames trails the one before it by `lag`, in schedule time: one family for all rollouts.

    lag 1 = chunk by chunk, 1/K = progressive over K chunks (PA-VDM 2410.08151), 0 = full sequence (give `chunks`).
    steps: solver steps of one full descent. chunk: frames that share a level. chunks: chunks in flight, by default as few as
    keep one chunk leaving every lag * steps steps. grow: a chunk enters the warm-up when it enters the loop, lag * steps steps
    behind the one before; False: all are in flight as noise from the first step on. queued: see `Plan`.

    Raises UserError when lag * steps is not whole, or when no frame could ever leave.
    """

    steps: int = 8
    chunk: int = 1
    lag: float | Fraction = 1
    chunks: int | None = None
    grid: Grid | ByTokens = linear
    redo: int = 0
    grow: bool = False
    queued: bool = False

    @property
    def stride(self) -> int:
        """m = lag * steps: steps between one chunk and the next, a whole number (floats fail at 1/49: snapped first)."""
        if not 0 <= self.lag <= 1:
            raise UserError(f"lag must be within 0 .. 1, not {self.lag}")
        given = Fraction(self.lag)
        near = given.limit_denominator(MOST)
        lag = near if near and abs(near - given) < Fraction(1, 10**12) else given  # what is not 0 is never taken for 0
        if (lag * self.steps).denominator != 1:
            raise UserError(
                f"lag * steps must be a whole number, but {_brief(lag)} * {self.steps} = {float(lag * self.steps):g}; "
                f"{self._near(lag)}"
            )
        return int(lag * self.steps)

    def _near(self, lag: Fraction) -> str:
        """The lags that these steps allow, and the numbers of steps that this lag allows, nearest to what was asked for. Lag 0
        is another kind of rollout, offered where the number of chunks is given."""
        below = int(lag * self.steps)
        lags = [str(Fraction(m, self.steps)) for m in (below, below + 1) if m or self.chunks is not None]
        said = f"with {self.steps} steps {_listed('the nearest lag', lags)}"
        q = lag.denominator
        steps = [str(n) for n in (self.steps // q * q, (self.steps // q + 1) * q) if 0 < n <= MOST]
        return said + (f", with lag {_brief(lag)} {_listed('the nearest number of steps', steps)}" if steps else "")

    def plan(self) -> Plan:
        """The matrix of levels. Raises UserError for an impossible configuration."""
        if self.steps < 1 or self.chunk < 1 or self.redo < 0 or (self.chunks is not None and self.chunks < 1):
            raise UserError("steps, chunk and chunks must be at least 1, redo at least 0")
        if max(self.steps, self.chunk, self.chunks or 1) > MOST:
            raise UserError(f"steps, chunk and chunks are at most {MOST}")
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
        exist = self._entering(warm_rows - 1, count) if self.grow else ()
        return Plan(warmup, loop, self.chunk, hop, self.redo, exist, self.queued)

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
        grid = self.grid.over(k.shape[1]) if isinstance(self.grid, ByTokens) else self.grid
        level = grid(ticks.double() / self.steps)
        return level.float().where((ticks > 0) & (ticks < self.steps), (ticks / self.steps).float())


def _brief(lag: Fraction) -> str:
    """1/4, and 1e-09 where a fraction would be long."""
    return str(lag) if lag.denominator <= MOST else f"{float(lag):g}"


def _listed(what: str, values: Sequence[str]) -> str:
    """'the nearest lag is 1/4', 'the nearest lags are 1/4 and 3/8'."""
    if len(values) == 1:
        return f"{what} is {values[0]}"
    plural = what.replace("number", "numbers") if "number" in what else f"{what}s"
    return f"{plural} are {' and '.join(values)}"

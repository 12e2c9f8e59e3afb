"""Who is how noisy in training: a law draws a level for every frame of a clip, a pure function of the clip's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.grid import Grid, inverse, linear
from unspool.types import Levels


class Law(Protocol):
    """Law of the noise levels in training: keys (B,) and frames T -> Levels (B, T)."""

    def __call__(self, key: Tensor, frames: int) -> Levels: ...


@runtime_checkable
class Known(Law, Protocol):
    """A law of which it is known what it draws."""

    def draws(self, level: Levels, frames: int) -> bool:
        """Whether frames at these levels (F,) may stand side by side in a flight of `frames`, to rounding; F may be less, the
        first of a flight."""
        ...


SAME = 1e-4
"""Levels nearer than this are one."""


@final
@dataclass(frozen=True)
class Independent:
    """Every chunk of frames draws its own level, grid(u), u uniform in (0, 1) (Diffusion Forcing, 2407.01392).

    clean: probability that a frame is given clean (level 0); such frames carry no loss (FAR uses 0.1).
    least: no level is drawn below it. A network that predicts clean frames is asked for none below 1 / steps in use, and the
    loss of its velocity weighs such levels by 1 / level^2.
    """

    chunk: int = 1
    grid: Grid = linear
    clean: float = 0.0
    least: float = 0.0

    def __call__(self, key: Tensor, frames: int) -> Levels:
        count = -(-frames // self.chunk)
        u = rng.uniform(rng.fold(key, 0), count)
        level = self.least + (1 - self.least) * self.grid(u)
        level = level.where(rng.uniform(rng.fold(key, 1), count) >= self.clean, 0.0)
        return _each(level, self.chunk, frames)

    def draws(self, level: Levels, frames: int) -> bool:
        least = level[level > 0].min() if (level > 0).any() else 1.0
        return bool(_whole(level, self.chunk) and least >= self.least - SAME and (self.clean > 0 or (level > 0).all()))


@final
@dataclass(frozen=True)
class Together:
    """One level for all frames of a clip: full-sequence diffusion.

    clean: probability that a chunk is given clean instead (level 0, no loss), so that the model learns two levels side by side:
    after the masks of Open-Sora's pretraining, which PA-VDM (2410.08151) builds on without training.
    """

    chunk: int = 1
    clean: float = 0.0

    def __call__(self, key: Tensor, frames: int) -> Levels:
        level = rng.uniform(rng.fold(key, 0), 1).expand(*key.shape, frames)
        if not self.clean:
            return level
        given = rng.uniform(rng.fold(key, 1), -(-frames // self.chunk)) < self.clean
        return level.where(~_each(given, self.chunk, frames), 0.0)

    def draws(self, level: Levels, frames: int) -> bool:
        noisy = level[level > 0]
        apart = len(noisy) and noisy.max() - noisy.min() > SAME
        return not apart and (len(noisy) == len(level) or (self.clean > 0 and _whole(level, self.chunk)))


class Windows(NamedTuple):
    """Windows of a rolling rollout: level (B, T); present (B, T) bool, the frames in flight; opening (B,) bool, those of a
    rollout's beginning."""

    level: Levels
    present: Tensor
    opening: Tensor


class Place(NamedTuple):
    """Where a window stands in a rollout. late: chunks that were still missing in front of it, if it were full to its end, 0
    once a chunk is about to leave; held: chunks that are in flight."""

    late: int
    held: int


@final
@dataclass(frozen=True)
class Ramp:
    """The windows that a progressive rollout walks through: K chunks, evenly spaced from clean to noise (PA-VDM, 2410.08151).

    time[k] = (k + 1 - u + jitter * n) / K, in (0, 1), level = grid(time): u is how far the window is from its next shift, n one
    standard normal number for all of its chunks. stages: u is one of as many steps s / stages, 0 for any number in (0, 1).
    start, finish: probability of a window of the beginning, whose last chunks have not entered yet, and of the end, whose last
    chunks there never were; those hold 1 .. K chunks, as nothing has left before all are there, and these 1 .. K - 1. brief:
    that of a video shorter than the window, to which both happens: any chunks of it may be in flight alone. ahead: chunks that
    have not entered are in flight as noise (as in Rolling Diffusion, 2402.09470). The rollout is `Staircase(steps, chunk,
    lag=1/K, grow=not ahead)`.
    """

    chunk: int = 1
    stages: int = 0
    jitter: float = 0.4
    start: float = 0.0
    finish: float = 0.0
    ahead: bool = False
    grid: Grid = linear
    brief: float = 0.0

    def __call__(self, key: Tensor, frames: int) -> Levels:
        return self.windows(key, frames).level

    def windows(self, key: Tensor, frames: int) -> Windows:
        """Levels of T frames, and which of these are in flight. One chunk alone is always there."""
        count = -(-frames // self.chunk)
        u, kind, size = rng.uniform(rng.fold(key, 0), 3).unbind(-1)
        u = (u * self.stages).floor() / self.stages if self.stages else u
        opening = kind < self.start
        most = torch.where(opening, count, max(count - 1, 1))
        held = 1 + torch.minimum((size * most).floor(), most - 1)
        held = held.where(kind < self.start + self.finish, count)
        late = (count - held).where(opening, 0)
        brief = (kind >= self.start + self.finish) & (kind < self.start + self.finish + self.brief)
        missing = (size * (count - 1)).floor().clamp(max=max(count - 2, 0))
        most = (count - 1 - missing).clamp(min=1)
        some = 1 + torch.minimum((rng.uniform(rng.fold(key, 2), 1)[..., 0] * most).floor(), most - 1)
        late, held, opening = missing.where(brief, late), some.where(brief, held), opening | brief
        k = torch.arange(count, device=key.device) + late[..., None]
        common = self.jitter * rng.normal(rng.fold(key, 1), 1) - u[..., None]
        level = self.grid(((k + 1 + common) / count).clamp(0, 1))
        here = torch.arange(count, device=key.device) < held[..., None]
        if self.ahead:
            here, level = here | opening[..., None], level.where(here | ~opening[..., None], 1.0)
        return Windows(_each(level, self.chunk, frames), _each(here, self.chunk, frames), opening)

    def draws(self, level: Levels, frames: int) -> bool:
        return bool(self.places(level, frames))

    def places(self, level: Levels, frames: int) -> list[Place]:
        """Where these levels (F,), all that are in flight, may stand among the windows of a flight of `frames`; none where no
        such window is drawn. The common jitter is not counted: it smears what is there, and reaches nothing far."""
        count, chunks, held = -(-frames // self.chunk), level[:: self.chunk].double(), -(-len(level) // self.chunk)
        if held > count or not _whole(level, self.chunk):
            return []
        first, k, found = inverse(self.grid, float(chunks[0])), torch.arange(held), []
        for late in range(count):
            u = late + 1 - first * count
            here = self._drawn(late, held, count) and -SAME * count < u < 1 + SAME * count
            want = self.grid(((k + late + 1 - u) / count).clamp(0, 1).double())
            if here and (want - chunks).abs().max() < SAME:
                found.append(Place(late, held))
        return found

    def _drawn(self, late: int, held: int, count: int) -> bool:
        """Whether windows of so many chunks are drawn at all."""
        if self.ahead:  # those that are late stand there as noise
            return held == count and (late == 0 or self.start > 0)
        if held + late == count:
            return late == 0 or self.start > 0
        return held + late < count and (self.brief > 0 or (late == 0 and self.finish > 0))


@final
@dataclass(frozen=True)
class NonDecreasing:
    """A later frame is never cleaner: level = grid(s / levels), s a non-decreasing sequence of 1 .. levels by chunk.

    pivot: one chunk, any, draws its level uniformly, and both sides are uniform among all sequences that fit (AR-Diffusion,
    2503.07418, fills them from counts of monotone paths); False: uniform among all sequences at once, where frames in the
    middle rarely see either end.
    """

    chunk: int = 1
    levels: int = 1000
    pivot: bool = True
    grid: Grid = linear

    def __call__(self, key: Tensor, frames: int) -> Levels:
        count = -(-frames // self.chunk)
        whole = torch.full_like(key, count)
        s = self._around(key, count) if self.pivot else _paths(key, whole, self.levels, count, self.levels)
        return _each(self.grid((s + 1) / self.levels), self.chunk, frames)

    def draws(self, level: Levels, frames: int) -> bool:
        return bool(_whole(level, self.chunk) and (level > 0).all() and (level.diff() >= 0).all())

    def _around(self, key: Tensor, count: int) -> Tensor:
        """(B, count) of 0 .. levels - 1 around one chunk's."""
        u = rng.uniform(rng.fold(key, 0), 2)
        at, value = ((u[..., i] * n).long().clamp(max=n - 1) for i, n in enumerate((count, self.levels)))
        before = _paths(rng.fold(key, 1), at, value + 1, count, self.levels)
        after = _paths(rng.fold(key, 2), count - 1 - at, self.levels - value, count, self.levels) + value[..., None]
        k = torch.arange(count, device=key.device)
        after = after.gather(-1, (k - at[..., None] - 1).clamp(min=0))  # its first stands behind the pivot
        return before.where(k < at[..., None], value[..., None].where(k == at[..., None], after))


def _paths(key: Tensor, length: Tensor, values: Tensor | int, most: int, most_values: int) -> Tensor:
    """(B, most): the first `length` (B,) columns are uniform among the non-decreasing sequences of 0 .. values - 1.

    Such a sequence is a monotone path of `length` steps to the right and values - 1 up; there are binomial(length + values - 1,
    length) of them. Which of the steps go right is a subset, and the i-th of these minus i is the sequence's i-th value.
    """
    step = torch.arange(most + most_values - 1, device=key.device)
    draws = rng.uniform(key, len(step))
    last = (length + values - 1)[..., None]
    order = draws.where(step < last, 2.0).argsort(dim=-1)
    rank = torch.empty_like(order).scatter_(-1, order, step.expand_as(order))
    right = step.expand_as(order).where(rank < length[..., None], len(step)).sort(-1).values[..., :most]
    return right - torch.arange(most, device=key.device)


def _whole(level: Levels, chunk: int) -> bool:
    """Whether no chunk is torn: its frames (F,) share a level."""
    return torch.equal(level, _each(level[::chunk], chunk, len(level)))


def _each(values: Tensor, chunk: int, frames: int) -> Tensor:
    """(..., chunks) -> (..., frames)."""
    return values.repeat_interleave(chunk, dim=-1)[..., :frames]

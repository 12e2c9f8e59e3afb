"""What a network is asked to learn. An objective is a callable (model, blend, clip, key) that yields losses: one yield is one
backward, clip and step. key (B,) int64 is a pure function of (seed, global sample index): all randomness hangs on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import Blend, per_pixel
from unspool.errors import UserError
from unspool.model.video import VideoModel
from unspool.schedule import Independent, Law
from unspool.system import Loss
from unspool.types import Clip, Video


@final
@dataclass(frozen=True)
class TeacherForcing:
    """Every chunk of the clip is denoised at once, each behind the clean frames before it (ACDiT's two streams, 2412.07720).

    chunk: frames that are denoised together. first: clean frames in front of the first chunk. context_noise: history is
    noised to a level drawn from (0, context_noise) for each clip, and the model is told. substitute: share of clips whose
    history is, in a random share of its frames, the model's own one-step estimate (detached), noised anew: it learns to go on
    from its own errors (the cheapest self-rollout, after DIAMOND 2405.12399; targets stay the true frames).
    """

    chunk: int = 1
    first: int = 2
    context_noise: float = 0.0
    substitute: float = 0.0
    law: Law = field(default_factory=Independent)

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        starts = tuple(range(self.first, clip.frames.shape[1] - self.chunk + 1, self.chunk))
        if not starts:
            raise UserError(f"clips of {clip.frames.shape[1]} frames hold no chunk of {self.chunk} after {self.first}")
        history = clip.frames[:, : starts[-1]]
        if self.substitute:
            history = self._own_estimates(model, blend, clip, key, starts)
        level = _context_level(history, key, self.context_noise)
        noised = blend.blend(history, rng.normal(rng.fold(key, 3), *history.shape[1:]), level)
        told = level if self.context_noise else None
        yield _denoising(model, blend, clip, key, starts, self.chunk, self.law, noised, told)

    @torch.no_grad()
    def _own_estimates(
        self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor, starts: tuple[int, ...]
    ) -> Video:
        """The clip's history with some frames replaced by what the model makes of them from level 0.5 or more, in one step."""
        clean = clip.frames[:, : starts[-1]]
        made = starts[:-1]
        if not made:
            return clean
        columns = _columns(made, self.chunk, clean.device)
        target = clip.frames[:, columns]
        level = 0.5 + 0.5 * rng.uniform(rng.fold(key, 5), len(made), 1).expand(-1, -1, self.chunk)
        x = blend.blend(target, rng.normal(rng.fold(key, 6), *target.shape[1:]), level)
        velocity, _ = model(clean[:, : made[-1]], x, level, made, control=clip.control)
        own = torch.cat([clean[:, : self.first], blend.clean(x, velocity, level).flatten(1, 2)], 1)
        share = rng.uniform(rng.fold(key, 7), 1) * (rng.uniform(rng.fold(key, 8), 1) < self.substitute)
        swap = rng.uniform(rng.fold(key, 9), clean.shape[1]) < share
        return torch.where(per_pixel(swap), own[:, : clean.shape[1]], clean)


@final
@dataclass(frozen=True)
class DiffusionForcing:
    """One flight holds the whole clip behind `first` clean frames, every frame at a level of its own (2407.01392)."""

    first: int = 0
    law: Law = field(default_factory=Independent)

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        flight = clip.frames.shape[1] - self.first
        if flight < 1:
            raise UserError(f"clips of {clip.frames.shape[1]} frames hold no frame after the first {self.first}")
        yield _denoising(model, blend, clip, key, (self.first,), flight, self.law, clip.frames[:, : self.first], None)


def _denoising(
    model: VideoModel, blend: Blend, clip: Clip, key: Tensor, starts: tuple[int, ...], flight: int, law: Law,
    history: Video, history_level: Tensor | None,
) -> Loss:  # fmt: skip
    """Mean squared error of the velocity over the frames that carry noise."""
    target = clip.frames[:, _columns(starts, flight, clip.frames.device)]
    noise = rng.normal(rng.fold(key, 1), *target.shape[1:])
    level = law(rng.fold(key, 2), len(starts) * flight).unflatten(1, (len(starts), flight))
    x = blend.blend(target, noise, level)
    velocity, _ = model(history, x, level, starts, context_level=history_level, control=clip.control)
    error = (velocity.float() - blend.target(target, noise, level)).square().mean((-1, -2, -3))
    noisy = (level > 0).float()
    value = (error * noisy).sum() / noisy.sum().clamp(min=1)
    return Loss(value, {"loss": value.detach()})


def _context_level(history: Video, key: Tensor, most: float) -> Tensor:
    """(B, T): one level for the history of each clip."""
    return (most * rng.uniform(rng.fold(key, 4), 1)).expand(-1, history.shape[1])


def _columns(starts: tuple[int, ...], flight: int, device: torch.device) -> Tensor:
    """(G, F): the clip's frames in each group."""
    return torch.tensor(starts, device=device)[:, None] + torch.arange(flight, device=device)

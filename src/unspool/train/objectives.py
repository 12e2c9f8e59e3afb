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
from unspool.noise import FrameNoise
from unspool.rollout import begin, stream
from unspool.schedule import Independent, Law, Plan
from unspool.system import Loss
from unspool.types import Clip, Video


@final
@dataclass(frozen=True)
class TeacherForcing:
    """Every chunk of the clip is denoised at once, each behind the clean frames before it (ACDiT's two streams, 2412.07720).

    chunk: frames that are denoised together. first: clean frames in front of the first chunk. context_noise: history is
    noised to a level drawn from (0, context_noise) for each clip, and the model is told. resample: share of clips whose
    history is the model's own: the true frames are noised to `resample_level` and the model's own rollout, without gradient,
    takes them from there in `resample_steps`, each behind the frames that it has made before. It learns to go on from its own
    errors, and targets stay the true frames (after Resampling Forcing 2512.15702, from its description).
    """

    chunk: int = 1
    first: int = 2
    context_noise: float = 0.0
    resample: float = 0.0
    resample_level: float = 0.75
    resample_steps: int = 2
    law: Law = field(default_factory=Independent)

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        starts = tuple(range(self.first, clip.frames.shape[1] - self.chunk + 1, self.chunk))
        if not starts:
            raise UserError(f"clips of {clip.frames.shape[1]} frames hold no chunk of {self.chunk} after {self.first}")
        history = clip.frames[:, : starts[-1]]
        if self.resample and len(starts) > 1:
            own = rng.uniform(rng.fold(key, 5), 1) < self.resample
            history = torch.where(per_pixel(own), self._resampled(model, blend, clip, key, starts[-1]), history)
        level = _context_level(history, key, self.context_noise)
        noised = blend.blend(history, rng.normal(rng.fold(key, 3), *history.shape[1:]), level)
        told = level if self.context_noise else None
        yield _denoising(model, blend, clip, key, starts, self.chunk, self.law, noised, told)

    def _resampled(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor, end: int) -> Video:
        """The clip's frames up to `end`, those after `first` as the model makes them from a noised copy of themselves."""
        noise = FrameNoise(model.shape)

        def noised_truth(seed: Tensor, at: Tensor, frames: int, row: int = 0) -> Video:
            columns = at[:, None] + torch.arange(frames, device=at.device)
            truth = clip.frames[torch.arange(len(at), device=at.device)[:, None], columns]
            level = truth.new_full((1, 1), self.resample_level)
            return blend.blend(truth, noise(seed, at, frames, row).to(truth), level)

        rows = torch.linspace(self.resample_level, 0, self.resample_steps + 1)[:, None].expand(-1, self.chunk)
        plan = Plan(rows[:1], rows, self.chunk, self.chunk, top=self.resample_level)
        rollout = begin(model, clip.frames[:, : self.first], seed=rng.fold(key, 6))
        chunks = stream(model, blend, plan, rollout, source=noised_truth, frames=end - self.first)
        return torch.cat([clip.frames[:, : self.first], *(chunk.frames for chunk in chunks)], 1)


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

"""What a network is asked to learn. An objective is a callable (model, blend, clip, key) that yields losses: one yield is one
backward, clip and step. key (B,) int64 is a pure function of (seed, global sample index): all randomness hangs on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import Blend
from unspool.errors import UserError
from unspool.model.video import VideoModel
from unspool.noise import FrameNoise
from unspool.rollout import Rollout, stream
from unspool.schedule import Independent, Law, Plan
from unspool.system import Loss
from unspool.types import Clip, State, Video


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
            own = _rows(rng.uniform(rng.fold(key, 5), 1)[:, 0] < self.resample)
            if len(own):
                part = Clip(clip.frames[own], *(None if t is None else t[own] for t in clip[1:]))
                history = history.index_copy(0, own, self._resampled(model, blend, part, key[own], starts[-1]).to(history))
        level = _context_level(history, key, self.context_noise)
        noised = blend.blend(history, rng.normal(rng.fold(key, 3), *history.shape[1:]), level)
        told = level if self.context_noise else None
        yield _denoising(model, blend, clip, key, starts, self.chunk, self.law, noised, told)

    def _resampled(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor, end: int) -> Video:
        """The clip's frames up to `end`, those after `first` as the model makes them from a noised copy of themselves."""
        noise, row_of = FrameNoise(model.shape), torch.arange(len(key), device=key.device)[:, None]

        def told(at: Tensor, frames: int, what: Tensor) -> Tensor:
            return what[row_of, at[:, None] + torch.arange(frames, device=at.device)]

        def noised_truth(seed: Tensor, at: Tensor, frames: int, row: int = 0) -> Video:
            truth = told(at, frames, clip.frames)
            return blend.blend(truth, noise(seed, at, frames, row).to(truth), truth.new_full((1, 1), self.resample_level))

        rows = torch.linspace(self.resample_level, 0, self.resample_steps + 1)[:, None].expand(-1, self.chunk)
        plan = Plan(rows[:1], rows, self.chunk, self.chunk, top=self.resample_level)
        known = clip.frames[:, : self.first]
        control = None if clip.control is None else clip.control[:, : self.first]
        state = model.remember(known, _beginning(model, clip, rng.fold(key, 6)), control=control)
        controls = None if clip.control is None else partial(told, what=clip.control)
        rollout = Rollout(state, known[:, :0], known[:, :0], {})
        chunks = stream(model, blend, plan, rollout, source=noised_truth, controls=controls, frames=end - self.first)
        return torch.cat([known, *(chunk.frames for chunk in chunks)], 1)


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
    state = None if clip.first is None else _beginning(model, clip, key)
    velocity, _ = model(history, x, level, starts, state, context_level=history_level, control=clip.control)
    error = (velocity.float() - blend.target(target, noise, level)).square().mean((-1, -2, -3))
    noisy = (level > 0).float()
    value = (error * noisy).sum() / noisy.sum().clamp(min=1)
    return Loss(value, {"loss": value.detach()})


def _rows(chosen: Tensor) -> Tensor:
    """Indices of the rows where chosen (B,) is true; of all of them where there are shapes alone, when FLOPs are counted."""
    return torch.arange(len(chosen), device="meta") if chosen.is_meta else chosen.nonzero()[:, 0]


def _beginning(model: VideoModel, clip: Clip, seed: Tensor) -> State:
    """The state before the clip: empty but for what its video began with."""
    frames = clip.frames
    state = model.start(len(frames), seed=seed, device=frames.device, dtype=frames.dtype)
    return state if clip.first is None else model.anchored(clip.first, state)


def _context_level(history: Video, key: Tensor, most: float) -> Tensor:
    """(B, T): one level for the history of each clip."""
    return (most * rng.uniform(rng.fold(key, 4), 1)).expand(-1, history.shape[1])


def _columns(starts: tuple[int, ...], flight: int, device: torch.device) -> Tensor:
    """(G, F): the clip's frames in each group."""
    return torch.tensor(starts, device=device)[:, None] + torch.arange(flight, device=device)

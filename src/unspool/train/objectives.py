"""What a network is asked to learn. An objective is a callable (model, blend, clip, key) that yields losses: one yield is one
backward, clip and step. key (B,) int64 is a pure function of (seed, global sample index): all randomness hangs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import Blend
from unspool.errors import UserError
from unspool.laws import Independent, Law
from unspool.memory import Latents, noised, shifted
from unspool.model.video import VideoModel
from unspool.rollout import Rollout, by_frame, stream
from unspool.schedule import Staircase
from unspool.system import Loss
from unspool.types import Clip, Levels, State, Video

Target = Literal["velocity", "clean"]
"""What the error is taken of. That of the clean frame is `level` times that of the velocity (alpha blend): low levels, where a
velocity that is derived from a clean frame is wrong by the most, then count the least."""

Weigh = Callable[[Levels, Levels], Tensor]
"""(levels (B, P) of the frames before a flight, levels (B, F) of the flight) -> how much each of its frames counts, (B, F)."""


@final
@dataclass(frozen=True)
class MemoryNoise:
    """Memory tokens (`latents`) are looked at through noise of a level drawn from (0, most) for each clip, told to the model.

    In a share `forgotten` of the clips the level is 1: no memory at all. Other memories know nothing of it."""

    most: float = 0.0
    forgotten: float = 0.0

    def __call__(self, state: State, key: Tensor) -> State:
        u = rng.uniform(rng.fold(key, 20), 2)
        return noised(state, torch.where(u[:, 1] < self.forgotten, 1.0, self.most * u[:, 0]), rng.fold(key, 21))


@final
@dataclass(frozen=True)
class ByContext:
    """1 / (1 + strength * noise of what lies before), that noise a mean which fades by `decay` with each frame of distance:
    where the past is hidden the answer is anybody's guess, and its gradient mostly noise.

    After the context-aware loss weights of CARD (a diffusion model of text, 2026), reconstructed from a description; the
    formula is ours. A frame with nothing before it counts 1.
    """

    strength: float = 1.0
    decay: float = 0.5

    def __call__(self, before: Levels, level: Levels) -> Tensor:
        whole, past = torch.cat([before.to(level), level], 1), before.shape[1]
        age = torch.arange(whole.shape[1], device=level.device)[past:, None] - torch.arange(whole.shape[1], device=level.device)
        fade = (self.decay ** (age.clamp(min=1) - 1)).to(level) * (age > 0)
        hidden = whole @ (fade / fade.sum(1, keepdim=True).clamp(min=1e-12)).T
        return 1 / (1 + self.strength * hidden)


@final
@dataclass(frozen=True)
class TeacherForcing:
    """Every chunk of the clip is denoised at once, each behind the clean frames before it (ACDiT's two streams, 2412.07720).

    chunk: frames that are denoised together. first: clean frames in front of the first chunk. context_noise: history is
    noised to a level drawn from (0, context_noise) for each clip, and the model is told. memory_noise: what noises the memory
    itself. weigh: how much each frame counts, by the noise on what lies before it. alone: one chunk is learned in a pass, at a
    random place that all clips of the batch share, and what lies behind it is not looked at.
    """

    chunk: int = 1
    first: int = 2
    context_noise: float = 0.0
    law: Law = field(default_factory=Independent)
    loss: Target = "velocity"
    memory_noise: MemoryNoise | None = None
    weigh: Weigh | None = None
    alone: bool = False

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        starts = tuple(range(self.first, clip.frames.shape[1] - self.chunk + 1, self.chunk))
        if not starts:
            raise UserError(f"clips of {clip.frames.shape[1]} frames hold no chunk of {self.chunk} after {self.first}")
        if self.alone:  # where there are shapes alone, when FLOPs are counted, the middle one
            drawn = 0.5 if key.is_meta else float(rng.uniform(rng.fold(key[:1], 22), 1))
            starts = (starts[int(drawn * len(starts))],)
        history = clip.frames[:, : starts[-1]]
        level = _context_level(history, key, self.context_noise)
        noised = blend.blend(history, rng.normal(rng.fold(key, 3), *history.shape[1:]), level)
        state = before(model, clip, key)
        if self.memory_noise is not None:
            state = self.memory_noise(state or beginning(model, clip, key), key)
        told = level if self.context_noise else None
        yield _denoising(
            model, blend, clip, key, starts, self.chunk, self.law, self.loss, noised, state, told, self.weigh
        )


@final
@dataclass(frozen=True)
class OwnErrors:
    """Somewhere in the clip the model goes on by itself for `stages` chunks, without gradient; then it learns every true chunk
    from there on, behind what it has made so far: chunk 0 behind the truth, chunk k behind k chunks of its own.

    Its own chunks come from a rollout in `steps` steps (1: the mean of what may follow) and are drawn towards the truth by a
    share that is random in each clip, so that errors of every size occur and learning one clip never becomes guessing.

    Recursive alpha diffusion learns behind ONE such chunk, estimated in one step; more of them, the random place, the rollout
    and the random share are ours. docs/log.md tells what happens without them.
    """

    chunk: int = 1
    first: int = 2
    stages: int = 3
    steps: int = 1
    law: Law = field(default_factory=Independent)
    loss: Target = "velocity"

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        clip, key, state = self._entered(model, clip, key)
        plan = Staircase(self.steps, self.chunk).plan()
        rollout = Rollout({**state, "seed": rng.fold(key, 6)}, clip.frames[:, :0], clip.frames[:, :0], {})
        controls = None if clip.control is None else by_frame(clip.control, state["at"])
        made = stream(model, blend, plan, rollout, frames=self.stages * self.chunk, controls=controls)
        own = torch.cat([chunk.frames for chunk in made], 1)
        true = clip.frames[:, : own.shape[1]]
        share = rng.uniform(rng.fold(key, 7), 1)[..., None, None, None].to(true)
        own = true + share * (own.to(true) - true)
        starts = tuple(range(0, clip.frames.shape[1], self.chunk))
        yield _denoising(model, blend, clip, key, starts, self.chunk, self.law, self.loss, own, state, None)

    def _entered(self, model: VideoModel, clip: Clip, key: Tensor) -> tuple[Clip, Tensor, State]:
        """The part of each clip from a random place on, its key, and the state behind the true frames before; the order of the
        clips is another."""
        span = (self.stages + 1) * self.chunk
        places = clip.frames.shape[1] - self.first - span + 1
        if places < 1 or not self.stages:
            raise UserError(f"{self.stages} chunks of its own and one more need clips of {self.first + span} frames or longer")
        place = (self.first + rng.uniform(rng.fold(key, 5), 1)[:, 0] * places).long()
        order, states = [], []
        middle = self.first + places // 2  # where there are shapes alone, when FLOPs are counted
        for at in (middle,) if place.is_meta else range(self.first, self.first + places):
            rows = torch.arange(len(key), device=place.device) if place.is_meta else (place == at).nonzero()[:, 0]
            if len(rows):
                part = clip.rows(rows)._replace(frames=clip.frames[rows, :at])
                known = None if part.control is None else part.control[:, :at]
                order.append(rows)
                states.append(model.remember(part.frames, beginning(model, part, key[rows]), control=known))
        rows = torch.cat(order)
        columns = place[rows][:, None] + torch.arange(span, device=place.device)
        leaves = (clip.frames, clip.control, clip.valid)
        frames, control, valid = (None if leaf is None else leaf[rows[:, None], columns] for leaf in leaves)
        assert frames is not None
        return Clip(frames, control, valid=valid), key[rows], _joined(states)


@final
@dataclass(frozen=True)
class DiffusionForcing:
    """One flight holds the whole clip behind `first` clean frames, every frame at a level of its own (2407.01392). weigh: how
    much each frame counts, by the noise on what lies before it."""

    first: int = 0
    law: Law = field(default_factory=Independent)
    weigh: Weigh | None = None
    loss: Target = "velocity"

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        flight = clip.frames.shape[1] - self.first
        if flight < 1:
            raise UserError(f"clips of {clip.frames.shape[1]} frames hold no frame after the first {self.first}")
        state = before(model, clip, key)
        history = clip.frames[:, : self.first]
        yield _denoising(
            model, blend, clip, key, (self.first,), flight, self.law, self.loss, history, state, None, self.weigh
        )


def _denoising(
    model: VideoModel, blend: Blend, clip: Clip, key: Tensor, starts: tuple[int, ...], flight: int, law: Law,
    loss: Target, history: Video, state: State | None, history_level: Tensor | None, weigh: Weigh | None = None,
) -> Loss:  # fmt: skip
    """Mean squared error over the valid frames that carry noise; state: what lies before the clip and its
    history."""
    columns = columns_of(starts, flight, clip.frames.device)
    target = clip.frames[:, columns]
    noise = rng.normal(rng.fold(key, 1), *target.shape[1:])
    level = law(rng.fold(key, 2), len(starts) * flight).unflatten(1, (len(starts), flight))
    x = blend.blend(target, noise, level)
    velocity, _ = model(history, x, level, starts, state, context_level=history_level, control=clip.control)
    error = wrong_by(blend, loss, x, velocity.float(), target, noise, level).square().mean((-1, -2, -3))
    noisy = ((level > 0) if clip.valid is None else (level > 0) & clip.valid[:, columns]).float()
    if weigh is not None:
        before = level.new_zeros(history.shape[:2]) if history_level is None else history_level
        noisy = noisy * torch.stack([weigh(before[:, :s], level[:, g]) for g, s in enumerate(starts)], 1)
    value = (error * noisy).sum() / noisy.sum().clamp(min=1e-6)
    return Loss(value, {"loss": value.detach()}, weight=noisy.sum())


def wrong_by(
    blend: Blend, loss: Target, x: Video, velocity: Video, clean: Video, noise: Video, level: Levels
) -> Video:  # fmt: skip
    """The error of a velocity at x, which lies between `clean` and `noise`, or of the clean frame that it leads to."""
    if loss == "clean":
        return blend.clean(x, velocity, level) - clean
    return velocity - blend.target(clean, noise, level)


def _joined(states: list[State]) -> State:
    """States of parts of a batch as one."""
    first = states[0]
    return {
        name: torch.cat([state[name] for state in states]) if isinstance(leaf, Tensor) else _joined([s[name] for s in states])
        for name, leaf in first.items()
    }


def beginning(model: VideoModel, clip: Clip, seed: Tensor) -> State:
    """The state before the clip: empty but for what its video began with; where in it the segments of a memory begin is random,
    for in use they end at any distance from the frames that are made."""
    frames = clip.frames
    state = model.start(len(frames), seed=seed, device=frames.device, dtype=frames.dtype)
    state = shifted(state, rng.uniform(rng.fold(seed, 23), 1)[:, 0])
    return state if clip.first is None else model.anchored(clip.first, state)


def before(model: VideoModel, clip: Clip, seed: Tensor) -> State | None:
    """As `beginning`; None where that is the empty state: then nobody has to look."""
    segments = any(isinstance(part, Latents) and part.segment > 1 for part in model.modules())
    return beginning(model, clip, seed) if segments or clip.first is not None else None


def _context_level(history: Video, key: Tensor, most: float) -> Tensor:
    """(B, T): one level for the history of each clip."""
    return (most * rng.uniform(rng.fold(key, 4), 1)).expand(-1, history.shape[1])


def columns_of(starts: tuple[int, ...], flight: int, device: torch.device) -> Tensor:
    """(G, F): the clip's frames in each group."""
    return torch.tensor(starts, device=device)[:, None] + torch.arange(flight, device=device)

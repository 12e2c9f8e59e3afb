"""Learning in stages: a clip is walked chunk by chunk, each learned behind the model's own guess of the one before, with an
update after each stage (recursive alpha diffusion, 2024, after LGC-VD, 2306.02562):

    for k in range(stages):
        clean  = frames[k n : k n + overlap + n]                       # the true overlap, though it is given as made
        x      = blend(clean, noise, level)
        v      = model(x, level | known: the overlap as made, state: all that was made before)
        loss   = |v - velocity(clean, noise)|^2;  backward, step
        made   = detached one-step estimate of the clean chunk
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import AlphaBlend, Blend
from unspool.errors import UserError
from unspool.laws import Law, Together
from unspool.model.video import VideoModel
from unspool.system import Loss
from unspool.train.buffer import Buffer, Entry
from unspool.train.objectives import Target, beginning, wrong_by
from unspool.types import Clip, Known, State, Video

Estimate = Literal["truth", "blend", "noise"]


class Mix(NamedTuple):
    """What a clip is asked for, as shares: to go on behind the overlap, to begin from nothing, to fill between its ends, to
    make the frames around a random pair, one of which may be missing (LGC-VD: 0.45, 0.40, 0.05, 0.10)."""

    prediction: float = 1.0
    unconditional: float = 0.0
    interpolation: float = 0.0
    pair: float = 0.0


LGC_VD = Mix(0.45, 0.40, 0.05, 0.10)


class Stage(NamedTuple):
    """What one stage learns: the true chunk (B, F, ...), what is known of it, the frames (B, n, ...) that enter the state first
    and the noise level that these are told to carry, and the columns of the clip that all of this begins at."""

    clean: Video
    known: Known
    history: Video
    told: Tensor | None
    first: int


@final
@dataclass(frozen=True)
class Stages:
    """chunk: new frames of a stage; overlap: frames of the chunk before that it makes again; stages: chunks of a clip.

    estimate: what the next stage stands behind: the truth (teacher forcing), or the model's estimate of it, x - level v or
    noise - v (as published; of the alpha blend alone: its error does not shrink with the level). carry: the state goes on from
    stage to stage, as in use; False: each stage remembers the last chunk alone (as published). corrective: the target holds
    the true overlap; False: the overlap as it was made, so that nothing is to be mended. mix: tasks. context_noise: history
    and known frames are noised to a level from (0, context_noise), told to the model. absolute: the loss is |.| rather than
    its square, of `loss`. buffer: one more stage, behind real rollouts.
    """

    chunk: int = 6
    overlap: int = 2
    stages: int = 2
    estimate: Estimate = "blend"
    carry: bool = True
    corrective: bool = True
    mix: Mix = field(default_factory=Mix)
    context_noise: float = 0.0
    absolute: bool = False
    loss: Target = "velocity"
    law: Law = field(default_factory=Together)
    buffer: Buffer | None = None

    @property
    def flight(self) -> int:
        return self.overlap + self.chunk

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        self.check(blend, clip.frames.shape[1])
        state = empty = beginning(model, clip, key)
        task = _tasks(self.mix, rng.uniform(rng.fold(key, 8), 1)[:, 0])
        made = clip.frames[:, :0]
        for k in range(self.stages):
            own, first = rng.fold(key, 16 + k), k * self.chunk
            true = clip.frames[:, first : first + self.flight]
            if k and self.carry:  # behind something made, as in use; LGC-VD's code keeps the task
                task = torch.where(task == 1, 0, task)
            overlap = made[:, self.chunk :] if k else true[:, : self.overlap]
            clean, known = self._target(task, true, overlap), self._known(task, true, overlap, own)
            history = made[:, : self.chunk]
            stage = self._noised(blend, Stage(clean, known, history, None, first - history.shape[1]), own)
            loss, guess, after = self._learn(model, blend, stage, state if self.carry else empty, clip, own)
            yield loss._replace(logs={**loss.logs, f"stage_{k}": loss.value.detach()})
            made = true if self.estimate == "truth" else guess
            state = _detached(after)
        if self.buffer is not None and model.training:
            yield from self._behind_a_rollout(model, blend, clip, key, self.buffer)

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.buffer is None else self.buffer.state_dict()

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        if self.buffer is not None:
            self.buffer.load_state_dict(tensors)

    def _behind_a_rollout(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor, buffer: Buffer) -> Iterator[Loss]:
        """Roll out some of the clips; learn a chunk behind as many chunks of older rollouts, where these still track theirs."""
        buffer.put(model, blend, clip, key, self.chunk, self.overlap)
        entry: Entry = buffer.draw(len(key), rng.fold(key, 9))
        at, clip = entry.chunks * self.chunk, entry.clip
        own = rng.fold(key, 10)
        with torch.no_grad():
            before = at - self.chunk
            told = None if clip.control is None else clip.control[:, :before]
            state = model.remember(entry.remembered[:, :before], beginning(model, clip, own), control=told)
        task, true = torch.zeros_like(key), clip.frames[:, at : at + self.flight]
        overlap = entry.made[:, at : at + self.overlap]
        known = self._known(task, true, overlap, own)
        stage = Stage(self._target(task, true, overlap), known, entry.remembered[:, before:at], None, before)
        loss, _, _ = self._learn(model, blend, self._noised(blend, stage, own), state, clip, own, entry.weight)
        yield loss._replace(logs={"rollout": loss.value.detach(), "tracked": entry.weight.mean()})

    def _target(self, task: Tensor, true: Video, overlap: Video) -> Video:
        """The true chunk; not corrective: with the overlap as it was made, where the task is to go on behind it."""
        if self.corrective:
            return true
        made = torch.cat([overlap.to(true), true[:, self.overlap :]], 1)
        return torch.where((task == 0)[:, None, None, None, None], made, true)

    def _known(self, task: Tensor, true: Video, overlap: Video, key: Tensor) -> Known:
        """The `overlap` frames that each clip of the batch is told of, by its task."""
        n, last = self.overlap, self.flight - 1
        column = torch.arange(n, device=task.device).expand(len(task), -1)
        places = rng.uniform(rng.fold(key, 11), self.flight).argsort(1)[:, :n] - 1  # LGC-VD's: one may be missing
        ends = torch.where(column < (n + 1) // 2, column, last - (n - 1 - column))
        position = torch.stack([column, torch.full_like(column, -1), ends, places], 1)
        position = position[torch.arange(len(task), device=task.device), task]
        found = true[torch.arange(len(task), device=task.device)[:, None], position.clamp(min=0)]
        return Known(torch.where((task == 0)[:, None, None, None, None], overlap.to(found), found), position)

    def _noised(self, blend: Blend, stage: Stage, key: Tensor) -> Stage:
        if not self.context_noise:
            return stage
        level = self.context_noise * rng.uniform(rng.fold(key, 12), 1)
        both = torch.cat([stage.history, stage.known.frames.to(stage.history)], 1)
        levels = level.expand(-1, both.shape[1])
        both = blend.blend(both, rng.normal(rng.fold(key, 13), *both.shape[1:]), levels.to(both))
        count = stage.history.shape[1]
        known = stage.known._replace(frames=both[:, count:], level=levels[:, count:])
        return stage._replace(history=both[:, :count], told=levels[:, :count], known=known)

    def _learn(
        self, model: VideoModel, blend: Blend, stage: Stage, state: State, clip: Clip, key: Tensor, weight: Tensor | None = None
    ) -> tuple[Loss, Video, State]:
        """The loss, the detached estimate of the chunk and the state with the history in it. weight (B,): of each clip."""
        noise = rng.normal(rng.fold(key, 14), *stage.clean.shape[1:])
        level = self.law(rng.fold(key, 15), self.flight)
        x = blend.blend(stage.clean, noise, level)
        count = stage.history.shape[1]
        span = slice(stage.first, stage.first + count + self.flight)
        known = Known(*(None if leaf is None else leaf[:, None] for leaf in stage.known))  # type: ignore[arg-type]
        velocity, after = model(
            stage.history, x[:, None], level[:, None], (count,), state, context_level=stage.told, known=known,
            control=None if clip.control is None else clip.control[:, span],
        )  # fmt: skip
        velocity = velocity[:, 0].float()
        wrong = wrong_by(blend, self.loss, x, velocity, stage.clean, noise, level)
        error = (wrong.abs() if self.absolute else wrong.square()).mean((-1, -2, -3))
        counts = torch.ones_like(error) if clip.valid is None else clip.valid[:, span][:, count:].to(error)
        counts = counts if weight is None else counts * weight[:, None]
        value = (error * counts).sum() / counts.sum().clamp(min=1)
        guess = noise - velocity if self.estimate == "noise" else blend.clean(x, velocity, level)
        return Loss(value, {"loss": value.detach()}, weight=counts.sum()), guess.detach().to(x), after

    def check(self, blend: Blend, frames: int) -> None:
        """Raises UserError for clips of another length than the stages, and for settings that do not go together."""
        wanted = self.overlap + self.stages * self.chunk
        if frames != wanted:
            raise UserError(f"{self.stages} stages of {self.chunk} frames want clips of {wanted}, not {frames}")
        if self.buffer is not None and self.buffer.depth >= self.stages:
            raise UserError(f"a clip of {self.stages} stages holds no chunk behind {self.buffer.depth}; take fewer rollouts")
        if self.estimate == "noise" and not isinstance(blend, AlphaBlend):
            raise UserError("the estimate noise - v is of the alpha blend; use the estimate 'blend'")


def _tasks(mix: Mix, u: Tensor) -> Tensor:
    """(B,) of 0 prediction, 1 unconditional, 2 interpolation, 3 pair, by uniform numbers."""
    edges = torch.tensor(mix[:-1], device=u.device).cumsum(0)
    return (u[:, None] >= edges).sum(1)


def _detached(state: State) -> State:
    return {name: leaf.detach() if isinstance(leaf, Tensor) else _detached(leaf) for name, leaf in state.items()}

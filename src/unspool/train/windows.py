"""Training on the windows that a progressive rollout walks through, those of its beginning and of its end among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import Blend
from unspool.errors import UserError
from unspool.laws import Ramp
from unspool.laws import Windows as Drawn
from unspool.model.video import VideoModel
from unspool.system import Loss
from unspool.train.objectives import Target, before, wrong_by
from unspool.types import Clip, Video


@final
@dataclass(frozen=True)
class Windows:
    """One flight holds the whole clip behind `first` clean frames, at the levels of one window of `law` (PA-VDM, 2410.08151).

    Frames that have not entered yet, or never will, are not there; clean frames in front carry no loss. bare: share of the
    opening windows that nothing lies before: how a video begins from noise. As large a share of all windows as these are stands
    behind some of the clean frames, as a rollout from noise does until so many have left.
    """

    first: int = 0
    law: Ramp = field(default_factory=Ramp)
    bare: float = 0.0
    loss: Target = "velocity"

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        flight = clip.frames.shape[1] - self.first
        if flight < 1:
            raise UserError(f"clips of {clip.frames.shape[1]} frames hold no frame after the first {self.first}")
        drawn = self.law.windows(rng.fold(key, 2), flight)
        before = self.before(drawn.opening, key)
        errors, weights = [], []
        for first in sorted({self.first, *range(0, self.first, self.law.chunk)}, reverse=True):
            if key.is_meta:  # where there are shapes alone, when FLOPs are counted
                rows = torch.arange(len(key) if first == self.first else 0, device=key.device)
            else:
                rows = (before == first).nonzero()[:, 0]
            if len(rows):
                error, weight = self._error(model, blend, clip.rows(rows), key[rows], _window(drawn, rows), first)
                errors.append((error * weight).sum())
                weights.append(weight.sum())
        weight = torch.stack(weights).sum()
        value = torch.stack(errors).sum() / weight.clamp(min=1)
        yield Loss(value, {"loss": value.detach()}, weight=weight)

    def before(self, opening: Tensor, key: Tensor) -> Tensor:
        """(B,) int64: clean frames in front of each window, all, none, or the whole chunks that have left so far."""
        u = rng.uniform(rng.fold(key, 5), 1)[:, 0]
        begun = torch.where(opening & (u < self.bare), 0, self.first)
        parts, share = -(-self.first // self.law.chunk) - 1, self._begun
        if parts < 1 or not share:
            return begun
        some = (1 + (u / share * parts).floor()).long() * self.law.chunk
        return torch.where(~opening & (u < share), some, begun)

    @property
    def _begun(self) -> float:
        """Share of windows that nothing lies before."""
        return self.bare * (self.law.start + self.law.brief)

    def saw(self, level: Tensor, frames: int, before: int) -> bool:
        """Whether training shows windows at these levels (F,), of a flight of `frames`, behind so many clean frames."""
        places = self.law.places(level, frames)
        if not before and self.first:  # from nothing: until the first chunk leaves
            whole = any(place.late + place.held == -(-frames // self.law.chunk) and self.law.start for place in places)
            return bool(self.bare and places and (whole or self.law.brief))
        return bool(places) and (before >= self.first or self._begun > 0)

    def _error(
        self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor, drawn: Drawn, first: int
    ) -> tuple[Tensor, Tensor]:
        """Squared error and weight of each frame in flight, (B, F), behind `first` clean frames of the clip."""
        target: Video = clip.frames[:, self.first :]
        noise = rng.normal(rng.fold(key, 1), *target.shape[1:])
        x = blend.blend(target, noise, drawn.level)
        state = before(model, clip, key)
        control = None if clip.control is None else clip.control[:, self.first - first :]
        velocity, _ = model(
            clip.frames[:, self.first - first : self.first], x[:, None], drawn.level[:, None], (first,), state, control=control,
            present=drawn.present[:, None],
        )  # fmt: skip
        wrong = wrong_by(blend, self.loss, x, velocity[:, 0].float(), target, noise, drawn.level)
        error = wrong.square().mean((-1, -2, -3))
        weight = (drawn.level > 0) & drawn.present
        return error, (weight if clip.valid is None else weight & clip.valid[:, self.first :]).float()


def _window(drawn: Drawn, rows: Tensor) -> Drawn:
    return Drawn(*(leaf[rows] for leaf in drawn))

"""History guidance: away from what the model would make without its past (Diffusion Forcing Transformer, 2502.06764)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from unspool.blend import Blend
from unspool.errors import UserError
from unspool.model.dit import VideoTransformer
from unspool.model.video import Reader, VideoModel
from unspool.model.wrapper import RESERVED, Wrapper, inner_state, innermost, own_part
from unspool.noise import FrameNoise
from unspool.types import Known, Levels, State, Video


@final
class Guided(Wrapper):
    """velocity = without + weight (with - without), where `without` is told a past noised to `hidden`: 1 hides all of it, less
    leaves its outline (fractional history guidance). weight 1 is the model itself; each evaluation asks it twice.

    After 2502.06764, read second-hand: hidden frames are frames at a high level, which a model of mixed levels knows. Ours: the
    hidden past is a second state, written as the rollout goes on. Raises UserError for a model whose past does not enter
    through memories alone: no other is told the noise on it.
    """

    weight: float

    def __init__(self, model: VideoModel, blend: Blend, weight: float, hidden: float = 1.0) -> None:
        super().__init__(model)
        inner = innermost(model)
        if isinstance(inner, VideoTransformer) and (not inner.keeping or inner.context.frames or inner.context.beside):
            raise UserError("history guidance hides the past, which must enter through memories alone: diffusion-forcing can")
        self.blend, self.weight, self.hidden = blend, weight, hidden

    def extra_repr(self) -> str:
        return f"weight={self.weight:g}, hidden={self.hidden:g}"

    def evaluated(self, frames: int) -> int:
        return 2 * frames

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        inner = self.model.start(batch, seed=seed, device=device, dtype=dtype)
        return {**{name: inner[name] for name in RESERVED}, "with": own_part(inner), "without": own_part(inner)}

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        if not clean.shape[1]:
            return state
        noise = FrameNoise(self.shape)(state["seed"], state["at"], clean.shape[1], 2).to(clean)
        hidden = clean.new_full(clean.shape[:2], self.hidden)
        shown = self.model.remember(clean, inner_state(state, "with"), level=level, control=control)
        dark = self.model.remember(
            self.blend.blend(clean, noise, hidden), inner_state(state, "without"), level=hidden, control=control
        )
        return {**{name: shown[name] for name in RESERVED}, "with": own_part(shown), "without": own_part(dark)}

    def anchored(self, first: Video, state: State) -> State:
        return state  # no anchor stands beside such a model

    def recached(self, newest: Video, state: State, *, control: Tensor | None = None) -> State:
        return VideoModel.recached(self, newest, state, control=control)  # `remember` hides the past of the one, not the other

    def reader(self, state: State, known: Known | None = None) -> Reader:
        told = () if known is None else (known,)
        shown, dark = (self.model.reader(inner_state(state, name), *told) for name in ("with", "without"))

        def answer(x: Video, level: Levels, *, present: Tensor | None = None, control: Tensor | None = None) -> Video:
            without = dark(x, level, present=present, control=control)
            return without + self.weight * (shown(x, level, present=present, control=control) - without)

        return answer

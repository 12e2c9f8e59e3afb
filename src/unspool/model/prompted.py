"""Guidance by the prompt: away from what the model would make if nothing were said (classifier-free guidance, 2207.12598)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.model.video import Reader, VideoModel
from unspool.model.wrapper import RESERVED, Wrapper, inner_state, own_part
from unspool.types import Known, Levels, State, Video


@final
class Prompted(Wrapper):
    """velocity = prompted + (weight - 1) (prompted - empty), which is empty + weight (prompted - empty), and where weight is 1
    the model itself, bit for bit. Each evaluation asks it twice.

    `empty` never heard a word: neither of its flight nor of its past, which is a second state, written as the rollout goes on,
    for so the model was trained, with the prompts of whole clips left out. Actions stay in both. Raises UserError for a model
    that hears no prompt.
    """

    weight: float

    def __init__(self, model: VideoModel, weight: float) -> None:
        super().__init__(model)
        if not model.prompts:
            raise UserError("prompt guidance needs a model that hears prompts: one that was trained with --text captions")
        self.weight = weight

    def extra_repr(self) -> str:
        return f"weight={self.weight:g}"

    def evaluated(self, frames: int) -> int:
        return 2 * frames

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        inner = self.model.start(batch, seed=seed, device=device, dtype=dtype)
        return _both(inner, inner)

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        told = {"prompted": control, "empty": self._unsaid(control)}
        states = {name: inner_state(state, name) for name in told}
        return _both(*(self.model.remember(clean, states[name], level=level, control=c) for name, c in told.items()))

    def recached(self, newest: Video, state: State, *, control: Tensor | None = None) -> State:
        told = {"prompted": control, "empty": self._unsaid(control)}
        return _both(*(self.model.recached(newest, inner_state(state, name), control=c) for name, c in told.items()))

    def anchored(self, first: Video, state: State) -> State:
        return _both(*(self.model.anchored(first, inner_state(state, name)) for name in ("prompted", "empty")))

    def reader(self, state: State, known: Known | None = None) -> Reader:
        told = () if known is None else (known,)
        said, unsaid = (self.model.reader(inner_state(state, name), *told) for name in ("prompted", "empty"))

        def answer(x: Video, level: Levels, *, present: Tensor | None = None, control: Tensor | None = None) -> Video:
            prompted = said(x, level, present=present, control=control)
            empty = unsaid(x, level, present=present, control=self._unsaid(control))
            return prompted + (self.weight - 1) * (prompted - empty)

        return answer

    def _unsaid(self, control: Tensor | None) -> Tensor | None:
        """The control with its prompt taken out."""
        if control is None:
            return None
        return torch.cat([control[..., : self.controls], torch.zeros_like(control[..., self.controls :])], -1)


def _both(prompted: State, empty: State) -> State:
    return {**{name: prompted[name] for name in RESERVED}, "prompted": own_part(prompted), "empty": own_part(empty)}

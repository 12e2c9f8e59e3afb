"""A model around a model, with the same weights under the same names: checkpoints and training do not know that it is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unspool.model.video import Reader, VideoModel
from unspool.types import Known, Levels, State, Video

RESERVED = ("at", "seed")
"""Leaves of a state that stay the rollout's own, for the inner model as well."""


class Wrapper(VideoModel, ABC):
    """`reader` is what a leaf changes; all else is the inner model's, its training pass too."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model, self.shape, self.controls, self.prompts = model, model.shape, model.controls, model.prompts

    @abstractmethod
    def reader(self, state: State, known: Known | None = None) -> Reader: ...

    @abstractmethod
    def evaluated(self, frames: int) -> int:
        """Frames that the inner model computes to answer for a flight of so many: what an evaluation costs."""

    def seen(self, frames: int) -> int:
        """Noisy frames of a flight of so many that the inner model sees at once."""
        return frames

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        return self.model.start(batch, seed=seed, device=device, dtype=dtype)

    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        return self.reader(state, known)(x, level, present=present, control=control)

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        return self.model.remember(clean, state, level=level, control=control)

    def anchored(self, first: Video, state: State) -> State:
        return self.model.anchored(first, state)

    def recached(self, newest: Video, state: State, *, control: Tensor | None = None) -> State:
        return self.model.recached(newest, state, control=control)

    def forward(self, *given: Any, **told: Any) -> tuple[Video, State]:
        return self.model(*given, **told)

    def hidden_matrices(self) -> list[nn.Parameter]:
        return self.model.hidden_matrices()

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        return self.model.named_parameters(prefix, recurse, remove_duplicate)


def innermost(model: VideoModel) -> VideoModel:
    """The model that has the weights, whatever stands around it."""
    while isinstance(model, Wrapper):
        model = model.model
    return model


def seen_at_once(model: VideoModel, flight: int) -> int:
    """Noisy frames of such a flight that the model which has the weights sees at once."""
    while isinstance(model, Wrapper):
        flight, model = model.seen(flight), model.model
    return flight


def own_part(state: State) -> State:
    """The inner model's own part of its state."""
    return {name: leaf for name, leaf in state.items() if name not in RESERVED}


def inner_state(state: State, name: str) -> State:
    """The state of one of several inner models, of which each has its own part under a name."""
    return {**state[name], **{key: state[key] for key in RESERVED}}

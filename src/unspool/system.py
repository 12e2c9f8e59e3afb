"""What a recipe returns: a model and everything that trains it and rolls it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from unspool.blend import Blend
from unspool.codec import Codec
from unspool.model.video import VideoModel
from unspool.schedule import Staircase
from unspool.solver import Solver
from unspool.text import Text
from unspool.types import Clip


class Loss(NamedTuple):
    """value: a scalar with gradient, the mean of something; logs: detached scalars by name; of: which network it trains.
    weight: how much it was the mean of, so that parts of a batch add up to the whole; None: each clip counts alike."""

    value: Tensor
    logs: dict[str, Tensor]
    of: str = "model"
    weight: Tensor | float | None = None


@runtime_checkable
class Stateful(Protocol):
    """An objective that carries tensors from step to step: they are part of a checkpoint."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None: ...


class Objective(Protocol):
    """One yield = one backward, clip and step, as many of them whatever the clips. key (B,) int64: all randomness of a clip
    hangs on its key."""

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]: ...


@dataclass(frozen=True)
class System:
    """model, and how it is trained (objective, on clips of `frames`), rolled out (schedule, solver) and shown (codec).

    anchor, reach: a training clip comes with `anchor` frames from up to `reach` frames before it, as what its video began with;
    reach 0: clips are beginnings. drain: a rollout of so many frames ends with its last frame, rather than being cut off an
    endless one; see `stream`.
    """

    model: VideoModel
    codec: Codec
    blend: Blend
    schedule: Staircase
    solver: Solver
    objective: Objective
    frames: int
    anchor: int = 0
    reach: int = 0
    drain: bool = False

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and its rollouts."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def to(self, device: torch.device) -> System:
        """This system, with its weights moved there."""
        self.model.to(device)
        self.codec.to(device)
        return self

    @property
    def text(self) -> Text | None:
        """What its prompts are made of, None where it hears none."""
        return next((part for part in self.model.modules() if isinstance(part, Text)), None)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What a checkpoint holds: the model's parameters under their own names, the codec's behind `codec.`."""
        yield from self.model.named_parameters()
        yield from ((f"codec.{name}", p) for name, p in self.codec.named_parameters())

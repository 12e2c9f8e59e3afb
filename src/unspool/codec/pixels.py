"""The contract of a codec, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, final

import torch
from torch import nn

from unspool.types import State, Video


class Codec(Protocol):
    """Both ways stream: a state goes in and comes back, {} at the start. Chunked must equal one-shot."""

    def fit(self, video: Video) -> None:
        """Measure what the codec needs to know of the data on some frames, once, before training."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What is stored of it."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move to a device."""
        ...

    def encode(self, video: Video, state: State) -> tuple[Video, State]:
        """Video (B, T, 3, H, W) in [-1, 1] -> latents (B, T', C, H', W')."""
        ...

    def decode(self, latents: Video, state: State) -> tuple[Video, State]:
        """Latents (B, T', C, H', W') -> video (B, T, 3, H, W), about -1 .. 1."""
        ...


@final
class Pixels(nn.Module):
    """Latents are the pixels."""

    def fit(self, video: Video) -> None:
        pass

    def encode(self, video: Video, state: State) -> tuple[Video, State]:
        return video, state

    def decode(self, latents: Video, state: State) -> tuple[Video, State]:
        return latents, state

"""A trained codec that works frame by frame."""

from __future__ import annotations

from typing import final

from unspool.codec.layers import Autoencoder
from unspool.types import State, Video


@final
class Frames(Autoencoder):
    """Video (B, T, 3, H, W) <-> latents (B, T, channels, H / 8, W / 8), by convolutions within each frame.

    A convolution at full resolution costs more than all others together, and there is none: pixels are rearranged into
    channels first, which keeps decoding far faster than a rollout.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__(3, channels, width, depth, back=False)

    def groups(self, video: Video) -> Video:
        return video

    def encode(self, video: Video, state: State) -> tuple[Video, State]:
        return self.to_latents(video, {})[0], state

    def decode(self, latents: Video, state: State) -> tuple[Video, State]:
        return self.to_pictures(latents, {})[0], state

"""A trained codec that looks back in time and never ahead."""

from __future__ import annotations

from typing import final

import torch
from einops import rearrange

from unspool.codec.layers import STRIDE, Autoencoder
from unspool.types import State, Video


@final
class Causal(Autoencoder):
    """Video (B, 1 + n * time, 3, H, W) <-> latents (B, 1 + n, channels, H / 8, W / 8): the first frame alone, then groups.

    A group's frames are channels of one picture (the first frame stands there `time` times), and each block also sees what it
    saw of the group before. So the state of either way is one group's features, and streaming computes what one pass
    computes. Frames that do not fill a group wait in the encoder's state for those that do.
    """

    def __init__(self, channels: int, width: int, depth: int, time: int) -> None:
        super().__init__(3 * time, channels, width, depth, back=True)
        self.channels, self.time = channels, time

    def groups(self, video: Video) -> Video:
        return self._group(torch.cat([self._before(video), video], 1))[0]

    def encode(self, video: Video, state: State) -> tuple[Video, State]:
        """As many latents as groups are whole, perhaps none; `waiting` (B, 0 .. time - 1, 3, H, W) are frames of the next."""
        frames = torch.cat([state["waiting"] if state else self._before(video), video], 1)
        groups, waiting = self._group(frames)
        if not groups.shape[1]:
            batch, _, _, height, width = groups.shape
            none = video.new_empty(batch, 0, self.channels, height // STRIDE, width // STRIDE)
            return none, {**state, "waiting": waiting}
        latents, blocks = self.to_latents(groups, state.get("blocks", {}))
        return latents, {"blocks": blocks, "waiting": waiting}

    def decode(self, latents: Video, state: State) -> tuple[Video, State]:
        groups, blocks = self.to_pictures(latents, state)
        frames = rearrange(groups, "b t (k c) h w -> b (t k) c h w", k=self.time)
        return frames if state else frames[:, self.time - 1 :], blocks

    def _before(self, video: Video) -> Video:
        """What fills up the group of the first frame."""
        return video[:, :1].expand(-1, self.time - 1, -1, -1, -1)

    def _group(self, frames: Video) -> tuple[Video, Video]:
        """The groups that are whole, as pictures, and the frames that are left."""
        whole = frames.shape[1] // self.time * self.time
        return rearrange(frames[:, :whole], "b (t k) c h w -> b t (k c) h w", k=self.time), frames[:, whole:]

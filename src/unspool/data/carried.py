"""What a prepared set weighs before it is made: frames, tracks, the codec's weights, headers and the manifest's lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import NamedTuple

from torch import Tensor

from unspool.data.episodes import Episode
from unspool.data.shards import HEADER, Manifest, Member

_NAMED = 160  # bytes by which a tensor is described in a file, at most
_NUMBER = 4  # bytes of a number of actions and poses


def weights_bytes(weights: Mapping[str, Tensor]) -> int:
    """Of codec.safetensors."""
    return HEADER + sum(t.numel() * t.element_size() + _NAMED for t in weights.values())


class Scale(NamedTuple):
    """row: bytes of a frame with its actions and poses; head: of what there is once; shard: of frames in one file, about."""

    row: int
    head: int
    shard: int

    def of(self, episode: Episode, frames: float) -> float:
        """Bytes of an episode of so many frames, its line of the manifest with them."""
        line = Member(episode.name, episode.stamp, "00000.safetensors", 10**9, 10**9, episode.text, episode.split)
        return frames * self.row + len(json.dumps(line._asdict())) + 3

    def whole(self, episodes: float) -> float:
        """Bytes of a set whose episodes weigh so much together."""
        return self.head + episodes + HEADER * (1 + episodes // self.shard)


def scale(manifest: Manifest, frame: int, weights: Mapping[str, Tensor] | None, shard: int) -> Scale:
    """frame: bytes of a frame as it is stored; weights: of the codec, None where there is none.

    What an earlier call has learnt does not count, so that the same episodes fit at every call.
    """
    bare = replace(manifest, fps=1000.0, episodes=[], skipped=[entry for entry in manifest.skipped if not entry[1]])
    head = len(json.dumps(asdict(bare))) + (weights_bytes(weights) if weights else 0)
    return Scale(frame + _NUMBER * (manifest.actions + manifest.poses), head, shard)

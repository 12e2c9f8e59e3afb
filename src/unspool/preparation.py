"""The verb `data prepare`: settings as a user gives them, a codec by its model's name, shards out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unspool import hub, sampling, store
from unspool.codec import Codec, Pixels, load_codec, to_video
from unspool.codec.trained import find_codec, is_codec
from unspool.data.episodes import EpisodeSet
from unspool.data.how import Encoder, Preparation
from unspool.data.prepare import Progress, prepare
from unspool.data.shards import Manifest
from unspool.errors import UserError

SIZE = 64


def plan(
    size: int | None = None, fps: float | None = None, codec: str | None = None, max_mb: float | None = None,
    shard_mb: float = 64,
) -> Preparation:  # fmt: skip
    """codec: a model, whose size is the default then, or the run of a trained codec; None keeps pixels.

    Raises UserError for settings out of range or no such model.
    """
    if not 0.1 <= shard_mb <= 100_000 or (max_mb is not None and not 0.001 <= max_mb <= 1e9):
        raise UserError(f"shard-mb is 0.1 to 100000 and max-mb 0.001 to 1e9, not {shard_mb:g} and {max_mb}")
    encoder, at = _encoder(codec) if codec else (None, SIZE)
    most = None if max_mb is None else int(max_mb * 1e6)
    how = Preparation(at if size is None else size, fps, encoder, most, shard_bytes=int(shard_mb * 1e6))
    how.sample()  # refused before anything is written
    return how


def run(found: EpisodeSet, out: Path, how: Preparation, report: Callable[[Progress], None]) -> Manifest:
    """Prepare, with the codec's weights beside the shards. Raises UserError where no episode is usable."""
    if not found.episodes and not found.skipped:
        raise UserError(f"{found.root} holds no video and no episode; add some, or check the path")
    return prepare(found, out, how, report)


def _encoder(name: str) -> tuple[Encoder, int]:
    """The codec of a model or of a run that trained one, and its size in pixels."""
    codec, at, options = _codec(name)
    if isinstance(codec, Pixels):
        raise UserError(f"{name} works on pixels: leave --codec away")

    @torch.no_grad()
    def encode(frames: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        latents, state = codec.encode(to_video(frames)[None], state)
        return latents[0].to(torch.float16).numpy(), state

    weights = {key: p.detach().float() for key, p in codec.named_parameters()}
    return Encoder(encode, name, store.digest(weights), weights, options), at


def _codec(name: str) -> tuple[Codec, int, dict[str, Any] | None]:
    """A codec, its size in pixels and the options of a trained one."""
    if is_codec(name):
        told = store.read_json(find_codec(name) / "config.json")
        return load_codec(name), int(told["resolution"]), dict(told["codec"])
    checkpoint = hub.find(name)
    system = hub.load(checkpoint)
    return system.codec, sampling.picture_size(system)[0], checkpoint.config.get("codec")

"""The verb `data prepare`: settings as a user gives them, a codec by its model's name, shards out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from unspool import hub, sampling, store
from unspool.codec import Causal, Codec, Pixels, build_codec, load_codec
from unspool.codec.trained import find_codec, is_codec
from unspool.data.episodes import EpisodeSet
from unspool.data.prepare import Encoder, Preparation, Progress, prepare
from unspool.data.shards import CODEC, Manifest, Shards
from unspool.errors import UserError
from unspool.system import System
from unspool.train.loop import load_weights, to_video

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
    return Preparation(size or at, fps, encoder, most, shard_bytes=int(shard_mb * 1e6))


def run(found: EpisodeSet, out: Path, how: Preparation, report: Callable[[Progress], None]) -> Manifest:
    """Prepare, with the codec's weights beside the shards. Raises UserError where no episode is usable."""
    if not found.episodes and not found.skipped:
        raise UserError(f"{found.root} holds no video and no episode; add some, or check the path")
    return prepare(found, out, how, report)


def with_codec(system: System, data: Shards) -> System:
    """The system on the codec that its data was encoded with: its own kind with other weights, or one that was trained.

    Raises UserError where the model is of another shape, and for a codec that rollouts cannot go through.
    """
    told = data.manifest.settings["codec"]
    if told["options"]:
        codec = build_codec(told["options"], data.name)
        if isinstance(codec, Causal):
            raise UserError("a codec that joins frames cannot be rolled out through yet: prepare with --codec.kind frames")
        system = replace(system, codec=codec)
    tensors = store.load_tensors(data.root / CODEC)[0]
    names = {name: p.shape for name, p in system.codec.named_parameters()}
    if system.model.shape != data.shape or names != {name: t.shape for name, t in tensors.items()}:
        shape, mine = (" x ".join(map(str, s)) for s in (data.shape, system.model.shape))
        fix = f"choose --components {data.shape[0]}, --resolution {data.manifest.settings['size']} and the codec's own settings"
        raise UserError(f"{data.name} holds latents of {told['name']}, {shape}, and this model takes {mine}: {fix}")
    load_weights(cast(nn.Module, system.codec), tensors, data.root)
    return system


def check_codec(system: System, data: Shards) -> None:
    """Raises UserError where weights that were loaded into the system brought another codec than that of the data."""
    tensors = store.load_tensors(data.root / CODEC)[0]
    if not all(torch.equal(p.cpu(), tensors[name]) for name, p in system.codec.named_parameters()):
        raise UserError(f"{data.name} was encoded with another codec than these weights know; prepare it with theirs")


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

"""Which codec a model works behind: its recipe's, that of its data or of the weights it begins with, or one that is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, cast

import torch
from torch import nn

from unspool import store
from unspool.codec import Causal, Codec, Frames, build_codec, load_codec
from unspool.codec.layers import STRIDE
from unspool.data import ClipSource
from unspool.data.shards import CODEC, Shards
from unspool.errors import UserError
from unspool.system import System
from unspool.train.checkpoints import load_weights


def choose(system: System, named: str | None, begun: Mapping[str, Any] | None, data: ClipSource) -> System:
    """The system on its codec. named: the run of a trained one; begun: config.json of the checkpoint whose weights, the codec's
    among them, are loaded next.

    Raises UserError where the model is of another shape, and for a codec that rollouts cannot go through.
    """
    if is_encoded(data):
        if named:
            raise UserError(f"{cast(Shards, data).name} holds latents already: leave --codec away")
        return _of_data(system, cast(Shards, data))
    if begun and begun.get("codec"):
        return _behind(system, build_codec(begun["codec"], "the checkpoint"), "the checkpoint")
    return _behind(system, load_codec(named), named) if named else system


def is_encoded(data: ClipSource) -> bool:
    """Whether clips come as latents."""
    return isinstance(data, Shards) and data.manifest.settings["codec"] is not None


def check_codec(system: System, data: ClipSource) -> None:
    """Raises UserError where weights that were loaded into the system brought another codec than that of the data."""
    if not is_encoded(data):
        return
    shards = cast(Shards, data)
    tensors = store.load_tensors(shards.root / CODEC)[0]
    if not all(torch.equal(p.cpu(), tensors[name]) for name, p in system.codec.named_parameters()):
        raise UserError(f"{shards.name} was encoded with another codec than these weights know; prepare it with theirs")


def told_of(codec: Codec) -> dict[str, Any]:
    """What a checkpoint says of a codec that was trained apart, for the recipe does not know it."""
    return {"codec": asdict(codec.options)} if isinstance(codec, Frames | Causal) else {}


def _of_data(system: System, data: Shards) -> System:
    """On the codec that the data was encoded with: of the recipe's own kind with other weights, or one that was trained."""
    told = data.manifest.settings["codec"]
    if told["options"]:
        system = replace(system, codec=_rolls(build_codec(told["options"], data.name)))
    tensors = store.load_tensors(data.root / CODEC)[0]
    names = {name: p.shape for name, p in system.codec.named_parameters()}
    if system.model.shape != data.shape or names != {name: t.shape for name, t in tensors.items()}:
        size = data.manifest.settings["size"]
        raise _unfit(system, f"{data.name} holds latents of {told['name']}", data.shape, size)
    load_weights(cast(nn.Module, system.codec), tensors, data.root)
    return system


def _behind(system: System, codec: Frames | Causal, where: str) -> System:
    _, *size = system.model.shape
    side = STRIDE * size[0]
    shape = (codec.options.channels, *size)
    if system.model.shape != shape:
        raise _unfit(system, f"{where} makes latents", shape, side)
    return replace(system, codec=_rolls(codec))


def _rolls(codec: Frames | Causal) -> Frames | Causal:
    if isinstance(codec, Causal):
        raise UserError("a codec that joins frames cannot be rolled out through yet: train it with --codec.kind frames")
    return codec


def _unfit(system: System, what: str, shape: tuple[int, ...], size: int) -> UserError:
    wanted, mine = (" x ".join(map(str, s)) for s in (shape, system.model.shape))
    fix = f"choose --components {shape[0]}, --resolution {size} and the codec's own settings"
    return UserError(f"{what}, {wanted}, and this model takes {mine}: {fix}")

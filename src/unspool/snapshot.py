"""A rollout on disk: one safetensors file with everything that it goes on from, frames in flight included.

Resumed in another process it continues bit for bit, where model, device, threads and batch are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch

from unspool import store
from unspool.errors import UserError
from unspool.model.video import VideoModel
from unspool.rollout import Rollout
from unspool.types import State

KIND = "unspool.rollout/1"


class Saved(NamedTuple):
    """rollout, and what was noted beside it as text."""

    rollout: Rollout
    notes: dict[str, str]


def fingerprint(model: VideoModel) -> str:
    """A hash of all weights, their names and their types."""
    digest = sha256()
    for name, p in model.named_parameters():
        digest.update(f"{name} {tuple(p.shape)} {p.dtype};".encode())
        digest.update(p.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_rollout(path: Path, rollout: Rollout, model: VideoModel, notes: Mapping[str, str] | None = None) -> None:
    """Write a rollout of `model`, whole or not at all; `notes` travel with it. Raises UserError when it cannot be written."""
    parts = rollout._asdict()
    header = {
        "kind": KIND, "model": fingerprint(model), "hollow": json.dumps(_hollow(parts)), "notes": json.dumps(dict(notes or {})),
    }  # fmt: skip
    store.save_tensors(path, store.flatten(parts), header)


def notes_of(path: Path) -> dict[str, str]:
    """What was noted beside a rollout; nothing where the file is no rollout, which `load_rollout` says better."""
    header = store.load_tensors(path)[1]
    return json.loads(header.get("notes", "{}")) if header.get("kind") == KIND else {}


def load_rollout(path: Path, model: VideoModel) -> Saved:
    """Read what `save_rollout` wrote. Raises UserError when the file is not whole, not a rollout, or of another model."""
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    tensors, header = store.load_tensors(path, where)
    if header.get("kind") != KIND:
        raise UserError(f"{path} is not a saved rollout; give a file that --rollout-out or save_rollout wrote")
    if header["model"] != fingerprint(model):
        raise UserError(f"{path} is a rollout of another model or precision; load it with the model that it was saved with")
    if bad := [name for name, t in tensors.items() if not torch.isfinite(t).all()]:
        raise UserError(f"{path} holds values that are not finite ({bad[0]}); go on from an earlier one")
    parts = store.unflatten(tensors)
    for hollow in json.loads(header["hollow"]):
        branch = parts
        for step in hollow.split("."):
            branch = branch.setdefault(step, {})
    rollout = Rollout(**parts)
    seed, held = rollout.state["seed"], store.flatten(rollout.state)
    fresh = store.flatten(model.start(len(seed), seed=seed, device=where, dtype=rollout.window.dtype))
    odd = held.keys() ^ fresh.keys() or {name for name, leaf in fresh.items() if leaf.shape != held[name].shape}
    if odd:
        raise UserError(f"{path} was saved by another kind of model ({min(odd)} does not fit): begin anew")
    return Saved(rollout, json.loads(header["notes"]))


def _hollow(state: State, prefix: str = "") -> list[str]:
    """Dotted names of empty branches, which a list of tensors cannot tell of."""
    inner = {name: value for name, value in state.items() if isinstance(value, dict)}
    deeper = (path for name, value in inner.items() if value for path in _hollow(value, f"{prefix}{name}."))
    return [*(prefix + name for name, value in inner.items() if not value), *deeper]

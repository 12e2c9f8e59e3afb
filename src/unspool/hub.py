"""Models by name: from a folder, the shipped ones or the Hub, and back.

A checkpoint is a folder of config.json and model.safetensors:

    {"format": 1, "recipe": "chunk-by-chunk", "arguments": {"size": "tiny"}, "rollout": {"steps": 8}}

The system is rebuilt by calling the recipe with the arguments, then its weights are loaded. Nothing in a checkpoint is code,
and pickles are never opened.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unspool import config, recipes, store
from unspool.codec import build_codec
from unspool.codec.trained import SHIPPED, is_codec
from unspool.data.actions import Actions
from unspool.data.shards import MANIFEST
from unspool.errors import UserError
from unspool.system import System
from unspool.train.checkpoints import load_weights

FORMAT = 1
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Checkpoint(NamedTuple):
    """folder: where config.json and model.safetensors lie; config: the former; remote: whether the Hub sent it."""

    folder: Path
    config: dict[str, Any]
    remote: bool = False

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def digest(self) -> str:
        """Hash of recipe and arguments, which make the shapes of the model and its schedule."""
        named = {key: self.config.get(key) for key in ("recipe", "arguments", "rollout")}
        return sha256(dumps(named, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def actions(self) -> Actions | None:
        """What one may do, as the data had it that the model was trained on; None where the checkpoint does not say.

        Raises UserError for a checkpoint that is damaged there.
        """
        return Actions.read(self.config["actions"]) if self.config.get("actions") else None


def from_pretrained(where: str | Path, *, recipe: str | None = None, **arguments: Any) -> System:
    """The system of a checkpoint folder, a run folder, a shipped model's name or a Hub id, ready to roll out.

    recipe: another recipe over the same weights, of whose arguments it takes those that it shares; `arguments` override the
    checkpoint's. Weights may be stored in half precision; the model computes in float32.

    Raises UserError when there is no such model, or its files are not whole, not of this recipe, or not finite.
    """
    return load(find(where), recipe=recipe, **arguments)


def find(where: str | Path) -> Checkpoint:
    """The checkpoint that a user means. What exists here wins over a shipped name, that over the Hub."""
    path, name = Path(where), str(where)
    if path.is_file():
        kind = "a pickle, which can run code and is never opened" if path.suffix in _PICKLES else "a file"
        raise UserError(f"{path} is {kind}; give the folder of a checkpoint: config.json and model.safetensors")
    if path.is_dir():
        return _checkpoint(path / "checkpoints" / "last" if (path / "checkpoints").is_dir() else path)
    if (SHIPPED / name).is_dir() and name not in ("", ".", ".."):
        return _checkpoint(SHIPPED / name)
    if _HUB_ID.fullmatch(name) and not Path(name).parent.exists() and not name.endswith((*_PICKLES, ".safetensors")):
        return _checkpoint(_download(name), remote=True)
    near = difflib.get_close_matches(name, shipped(), n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}?" if near else f"shipped: {', '.join(shipped()) or 'none'}"
    raise UserError(f"there is no model {name!r}: neither a folder here nor a shipped model nor a Hub id (org/name); {meant}")


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/config.json") if not is_codec(path.parent))


def load(
    checkpoint: Checkpoint, *, recipe: str | None = None, device: torch.device | None = None, **arguments: Any
) -> System:
    """Rebuild a checkpoint's system on a device and load its weights; see `from_pretrained`."""
    settings = checkpoint.config
    named = recipe or settings["recipe"]
    if recipe is None and _brings_code(named, checkpoint):
        raise UserError(f"{checkpoint.folder} brings its own recipe, {named}; read it, then name your copy as recipe")
    given = dict(settings.get("arguments") or {})
    retired = given.keys() - {setting.name for setting in config.signature(recipes.find(named))}
    if retired and recipe is None:
        raise UserError(f"{checkpoint.folder} is of another version: recipe {named} has no setting {sorted(retired)[0]!r}")
    given = {name: value for name, value in given.items() if name not in retired}
    try:
        system = config.build(named, {**given, **arguments})
        system = config.rollout_options(settings.get("rollout") or {}).apply(system)
    except UserError as error:
        if recipe is not None or arguments:
            raise
        raise UserError(f"{checkpoint.folder / 'config.json'} cannot be built: {error}") from error
    if recipe is not None and not _brings_code(settings["recipe"], checkpoint):
        system = _trained_as(system, settings)
    if settings.get("codec"):  # one that was trained apart, see `unspool train codec`
        system = replace(system, codec=build_codec(settings["codec"], checkpoint.folder))
    load_weights(system, store.load_tensors(checkpoint.weights)[0], checkpoint.folder)
    system.model.eval().requires_grad_(False)
    return system if device is None else system.to(device)


def _trained_as(system: System, settings: Mapping[str, Any]) -> System:
    """The system with the training that its weights really had, where another recipe rolls them out: what they know is that."""
    try:
        own = config.build(settings["recipe"], settings.get("arguments") or {})
    except UserError:  # a recipe that is no longer there
        return system
    return replace(system, objective=own.objective, frames=own.frames)


def save_pretrained(system: System, folder: Path, settings: Mapping[str, Any], dtype: torch.dtype | None = None) -> Path:
    """Write config.json (recipe, arguments, ...) and model.safetensors into a folder that appears whole; gives the folder.

    dtype: of the weights on disk, such as torch.bfloat16; None keeps them. Other files of the folder are kept.
    """
    folder = Path(folder)
    if "recipe" not in settings:
        raise ValueError("settings must name the recipe and its arguments, else the system cannot be rebuilt")
    tensors = {name: p.to(dtype or p.dtype) for name, p in system.named_parameters()}
    store.save_tensors(folder / "model.safetensors", tensors)
    store.write_json(folder / "config.json", store.plain({"format": FORMAT, **settings}))
    return folder


def push_to_hub(folder: Path, repo_id: str, *, private: bool | None = None) -> str:
    """Upload a checkpoint folder, without training state, to the Hub under the user's own login; gives its address."""
    from huggingface_hub import HfApi

    checkpoint = find(folder)
    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    done = api.upload_folder(repo_id=repo_id, folder_path=checkpoint.folder.resolve(), ignore_patterns=["training_state/*"])
    return str(done.repo_url)


def _checkpoint(folder: Path, remote: bool = False) -> Checkpoint:
    if not folder.is_dir():
        raise UserError(f"{folder.parent.parent} has no checkpoint yet; train on, one is saved every --train.save_every steps")
    if not (folder / "config.json").is_file():
        old = [path.name for path in folder.iterdir() if path.suffix in _PICKLES]
        why = f"holds a pickle ({old[0]}), which can run code and is never opened" if old else "has no config.json"
        why = "holds prepared shards, no model" if (folder / MANIFEST).is_file() else why
        raise UserError(f"{folder} {why}; give the folder of a checkpoint: config.json and model.safetensors")
    settings = store.read_json(folder / "config.json")
    if is_codec(folder):
        raise UserError(f"{folder} is a trained codec, no model: `unspool data prepare --codec` makes latents with it")
    if not isinstance(settings, dict) or not isinstance(settings.get("recipe"), str):
        raise UserError(f"{folder} is a checkpoint of another kind: its config.json names no recipe of unspool")
    if settings.get("format", FORMAT) != FORMAT:
        raise UserError(f"{folder} has format {settings['format']}, this version reads {FORMAT}; install a newer unspool")
    if not isinstance(settings.get("arguments") or {}, dict) or not isinstance(settings.get("rollout") or {}, dict):
        raise UserError(f"{folder / 'config.json'} is damaged: arguments and rollout must be objects; copy it again")
    return Checkpoint(folder, settings, remote)


def _brings_code(recipe: str, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint wants a file run that came with it, in its folder or its run's: only its user may say that."""
    path, colon, _ = recipe.rpartition(":")
    folder = checkpoint.folder.resolve()
    root = folder.parents[1] if folder.parent.name == "checkpoints" else folder
    return bool(colon) and (checkpoint.remote or Path(path).resolve().is_relative_to(root))


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    wanted = ["config.json", "model.safetensors", "README.md"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # offline, no such repository, not allowed: the Hub's library has a class for each
        why = " ".join(str(error).split())[:160]
        raise UserError(f"{name!r} is neither a folder here nor a model that the Hub sends ({why}); check the name") from error

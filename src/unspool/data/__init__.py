"""Where clips come from: procedural worlds, folders of videos and prepared shards, behind one call."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from unspool.data.clips import Clips, ClipSource, World
from unspool.errors import UserError

__all__ = ["WORLDS", "ClipSource", "Clips", "World", "open_source", "open_world"]

WORLDS = ("duel", "rooms")


def open_source(
    data: str | Path,
    size: int,
    split: Literal["train", "test", "seen", "unseen"] = "train",
    on_progress: Callable[[int, int], None] | None = None,
    *,
    pad: bool = False,
) -> ClipSource:
    """A clip source by what a user types: `duel`, `duel:fighters=1,clutter=0`, or the path of a folder of videos or shards.

    A world's name wins over a folder of that name; `./duel` is the folder. split: a world tells apart what was seen in
    training and what was not, a folder only train and test; "test" is a world's "unseen", and both "seen" and "unseen"
    are a folder's "test". on_progress(done, total) is called after each video that a folder decodes. pad: see `Shards`.
    Raises UserError for an unknown world, option or folder.
    """
    if split not in ("train", "test", "seen", "unseen"):
        raise UserError(f"unknown split {split!r}: train, test, seen or unseen")
    name = str(data).partition(":")[0]
    if isinstance(data, str) and name in WORLDS:
        if Path(name).is_dir():
            warnings.warn(f"{name} is the world; the folder of that name here is ./{name}", stacklevel=2)
        return open_world(data, size, "unseen" if split == "test" else split)
    if isinstance(data, str) and not Path(data).exists() and "/" not in data:
        near = difflib.get_close_matches(name, WORLDS, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}?" if near else f"worlds: {', '.join(WORLDS)}"
        raise UserError(f"{data!r} is neither a folder here nor a world; {meant}")
    from unspool.data.shards import MANIFEST, open_shards

    side = "train" if split == "train" else "test"
    if (Path(data) / MANIFEST).is_file():
        return open_shards(Path(data), size, side, pad=pad)
    from unspool.data.folder import open_folder

    return open_folder(data, size, side, pad=pad, on_progress=on_progress)


def open_world(data: str, size: int, split: Literal["train", "seen", "unseen"] = "train") -> World:
    """A world by what a user types, `duel:speed=0.5`. Raises UserError for an unknown option, or one out of range."""
    name, _, options = data.partition(":")
    world = _world(name)
    chosen: dict[str, Any] = {"size": size, "split": split}
    made: World = world(**chosen, **read_options(data, options, world))
    return made


def _world(name: str) -> type:
    match name:
        case "duel":
            from unspool.data.worlds.duel import Duel

            return Duel
        case "rooms":
            from unspool.data.worlds.rooms import Rooms

            return Rooms
    raise UserError(f"there is no world {name!r}; there are: {', '.join(WORLDS)}")


def read_options(data: str, text: str, made: type) -> dict[str, Any]:
    """`fighters=1,speed=0.5` as keyword arguments of what is made. Raises UserError for an unknown one, or a wrong kind."""
    known = {name: type(p.default) for name, p in inspect.signature(made).parameters.items() if name not in ("size", "split")}
    options: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"options: {', '.join(sorted(known)) or 'none'}"
            raise UserError(f"{data!r} has an unknown option {key!r}; {meant}")
        try:
            options[key] = known[key](value)
        except ValueError:
            kind = "a whole number" if known[key] is int else "a number"
            raise UserError(f"{data!r}: {key} needs {kind}, as in {key}=1") from None
    return options

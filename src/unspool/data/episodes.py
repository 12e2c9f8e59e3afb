"""Recorded episodes, however they lie on disk: what every layout is read into, and what `prepare` makes shards of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np

from unspool.errors import UserError


class VideoInfo(NamedTuple):
    """frames: pictures in the file, counted; height, width: pixels as shown; fps: 0 where the file does not say; rotation:
    degrees by which the stored pictures are turned to be shown."""

    frames: int
    height: int
    width: int
    fps: float
    codec: str
    rotation: int = 0


class Frame(NamedTuple):
    """time: seconds on the file's clock (None where it has none); pixels(): (H, W, 3) uint8, converted when asked."""

    time: float | None
    pixels: Callable[[], np.ndarray]


Tracks = dict[str, np.ndarray]
"""What is known of an episode of T frames beside its pictures, by name. Per frame: "actions" (T,) int64 or (T, K) float32,
what was done AFTER each frame; "poses" (T, P) float32; "rewards" (T,) float32, what the step AFTER each frame gave; and "map",
of any shape, once an episode."""

MOST_ACTIONS = 4096
"""Discrete actions are numbered from 0, and each becomes a column: a number beyond this is a slip."""


@final
@dataclass(frozen=True)
class Episode:
    """One recorded run, read only when asked: all three functions raise UserError for what cannot be read.

    name: unique in its set, and the same wherever the set lies. stamp: changes when the content does (size and time of its
    file). info(): frames, sides and fps, without decoding. frames(size): its pictures in order, the centre square resampled to
    `size` pixels a side, or as stored for None. tracks(): see `Tracks`. text: a caption. split: where the set says it.
    """

    name: str
    stamp: str
    info: Callable[[], VideoInfo]
    frames: Callable[[int | None], Iterator[Frame]]
    tracks: Callable[[], Tracks] = dict
    text: str | None = None
    split: Literal["train", "test"] | None = None


@final
@dataclass(frozen=True)
class EpisodeSet:
    """The episodes under `root`, by name. layout: which reader found them. actions: names of discrete actions, where known.
    skipped: (name, reason) of what cannot be an episode."""

    root: Path
    layout: str
    episodes: tuple[Episode, ...]
    actions: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def check_tracks(tracks: Tracks, frames: int) -> None:
    """Raises UserError for tracks that do not fit `frames` frames, or that nothing can be learnt from."""
    for name, ranks in (("actions", (1, 2)), ("poses", (2,)), ("rewards", (1,))):
        track = tracks.get(name)
        if track is None:
            continue
        if track.ndim not in ranks or track.dtype.kind not in "biuf" or max(track.shape[1:], default=0) > MOST_ACTIONS:
            raise UserError(f"its {name} are {track.dtype} of shape {track.shape}; mend its {name}")
        if len(track) not in (frames, frames - (name == "actions")):
            raise UserError(f"it has {frames} frames and {len(track)} {name}; mend its {name}")
    actions = tracks.get("actions", np.zeros(0))
    if not np.isfinite(actions).all():
        raise UserError("it has actions that are not finite; mend its actions")
    if actions.ndim == 1 and actions.dtype.kind in "iu" and ((actions < 0) | (actions >= MOST_ACTIONS)).any():
        raise UserError(f"it has actions below 0 or above {MOST_ACTIONS - 1}; mend its actions")


def reason(error: UserError, path: Path) -> str:
    """Why an episode cannot be used, without the path of its file, which its name tells."""
    text = str(error).replace(str(path), "it")
    return text.partition(": ")[2] if text.startswith("cannot read ") else text


def shown(name: str) -> str:
    """A name as one line that every stream takes: line breaks, other controls and bytes that are no text are escaped."""
    return name if name.isprintable() else repr(name)[1:-1]


def listed(skipped: Iterable[tuple[str, str]], most: int = 10) -> str:
    """Names and reasons in one line, as many as one can read."""
    rows = [f"{shown(name)} ({why.split(';')[0]})" for name, why in skipped]
    return "; ".join([*rows[:most], *([f"and {len(rows) - most} more"] if len(rows) > most else [])])

"""What a rollout goes on from: the first frames of a file, a folder, shards or a world, and what led to them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from unspool.codec import to_pixels
from unspool.data import WORLDS, open_world
from unspool.data.episodes import Episode, Frame, check_tracks
from unspool.data.resample import Counted, at_rate, same_rate, tracks_at, width_of
from unspool.data.shards import MANIFEST, open_shards
from unspool.errors import NothingThere, UserError
from unspool.sampling import picture_size
from unspool.system import System

MOST_CONTEXT = 10_000


class Opening(NamedTuple):
    """frames: uint8 (T, H, W, 3); fps: of the video that they come from; name: which video that is; actions: (>= T, K) what
    led to each of its frames, and to those behind them as far as is known, None where nobody acts; names: of discrete ones."""

    frames: np.ndarray
    fps: float
    name: str
    actions: np.ndarray | None = None
    names: tuple[str, ...] = ()


def context_of(
    where: str, system: System, frames: int, *, split: str = "seen", clip: int = 0, fps: float | None = None, follow: int = 0
) -> Opening:
    """The context that a user means: the first frames of a video, of episode number `clip` of a folder, of a held-out one of
    shards, or of a world's held-out clip number `clip`, cut to a square and resampled to the model's resolution.

    fps: of what the model was trained on, to which a context of another rate is brought; None: unknown, it stays as it is.
    follow: frames behind the context whose actions are asked of a world; recordings give all that they have.
    Raises UserError when it cannot be read, is too short, or lies in shards of another rate; NothingThere for a clip that is
    beyond the last.
    """
    if not 1 <= frames <= MOST_CONTEXT or not 0 <= clip < 1 << 62:
        raise UserError(f"context-frames is 1 to {MOST_CONTEXT} and clip at least 0, not {frames} and {clip}")
    size = picture_size(system)[0]
    if where.partition(":")[0] in WORLDS:
        world = open_world(where, size, "unseen" if split == "unseen" else "seen")
        rate = _rate(world.fps, fps)
        chosen = np.round(np.arange(frames + follow) * world.fps / rate).astype(int)
        shown = world(np.array([clip]), int(chosen[frames - 1]) + 1).frames[0][chosen[:frames]]
        led = world.actions(world.seeds(np.array([clip])), int(chosen[-1]) + 1)
        told = None if led is None else tracks_at({"actions": led[0, 1:]}, chosen, led.shape[-1], 0)["actions"]
        return Opening(shown, rate, f"{where}, {split} clip {clip}", told, world.action_names)
    path = Path(where)
    if not path.exists() and (near := difflib.get_close_matches(where.partition(":")[0], WORLDS, n=1)):
        raise UserError(f"there is no file {where!r}; did you mean the world {near[0]!r}?")
    if (path / MANIFEST).is_file():
        return _of_shards(path, system, frames, size, clip, fps)
    if path.is_dir():
        return _of_episode(path, system, frames, size, clip, fps)
    from unspool.data.video import probe, read_frames, read_video

    has = probe(path).fps
    rate = _rate(has, fps)
    if rate == (has or 30.0):
        return Opening(read_video(path, frames=frames, size=size), rate, where)
    shown = _first(read_frames(path, size=size), frames, has, rate)
    if len(shown) < frames:
        raise UserError(f"{path} has {len(shown)} frames at the model's {rate:g} fps, {frames} are needed; give a longer video")
    return Opening(np.stack(shown), rate, where)


def _rate(has: float | None, wanted: float | None) -> float:
    """Frames a second of a context whose video has so many, for a model that wants so many."""
    if not has:
        return wanted or 30.0
    return has if wanted is None or same_rate(has, wanted) else wanted


def _first(video: Iterator[Frame], frames: int, has: float | None, rate: float) -> list[np.ndarray]:
    """Up to `frames` frames of a video, brought to `rate` where it has another."""
    if has and rate != has:
        fix = f"give a context of {rate:g} fps, as the model was trained on"
        video = (frame for _, frame in at_rate(enumerate(video), rate, fix))
    return [frame.pixels() for frame in islice(video, frames)]


def nothing(system: System, fps: float | None = None) -> Opening:
    """No context: what a model begins with that has learned to begin (`unconditional` of `alpha-context`, `lgc-vd`)."""
    return Opening(np.zeros((0, *picture_size(system), 3), np.uint8), fps or 30.0, "nothing")


def _of_episode(folder: Path, system: System, frames: int, size: int, clip: int, fps: float | None) -> Opening:
    """The first frames of episode number `clip` of a folder in any layout."""
    from unspool.data.layouts import open_episodes

    found = open_episodes(folder)
    _check_clip(folder, clip, len(found.episodes))
    chosen = found.episodes[clip]
    has = chosen.info().fps
    rate = _rate(has, fps)
    shown = _first(chosen.frames(size), frames, has, rate)
    _check_length(folder, chosen.name, len(shown), frames)
    told = _led(chosen, size, rate if has and rate != has else None, system.model.controls) if system.model.controls else None
    return Opening(np.stack(shown), rate, f"{folder}, {chosen.name}", told, found.actions)


def _led(episode: Episode, size: int, fps: float | None, width: int) -> np.ndarray | None:
    """What led to every frame of an episode, (T, K) float32 of K >= `width` numbers, None where nobody acts in it. fps: a rate
    that its frames are brought to, by their times; None: as they are."""
    said = episode.tracks()
    if "actions" not in said:
        return None
    counted = Counted(episode.frames(size))
    frames = at_rate(counted, fps, "give a context of the model's own rate") if fps else counted
    chosen = np.array([index for index, _ in frames])
    check_tracks(said, counted.count)
    return tracks_at(said, chosen, max(width, width_of(said["actions"])), 0)["actions"]


@torch.no_grad()
def _of_shards(folder: Path, system: System, frames: int, size: int, clip: int, fps: float | None) -> Opening:
    """The first frames of held-out episode number `clip` of prepared shards, of all where none is held out."""
    try:
        shards = open_shards(folder, size, "test")
    except NothingThere:
        shards = open_shards(folder, size, "train")
    _check_clip(folder, clip, len(shards.episodes))
    rate = _rate(shards.fps, fps)
    if shards.fps and rate != shards.fps:
        fix = f"prepare the videos again with --fps {rate:g}"
        raise UserError(f"{folder} has {shards.fps:g} frames a second, the model was trained on {rate:g}: {fix}")
    chosen = shards.episodes[clip]
    shown = shards.stretch(clip, 0, frames)
    _check_length(folder, chosen.name, len(shown), frames)
    if shown.dtype != np.uint8:
        shown = to_pixels(system.codec.decode(torch.from_numpy(shown)[None].float().to(system.device), {})[0])[0]
    told = shards.stretch(clip, 0, chosen.frames, "actions") if shards.manifest.actions else None
    return Opening(shown, rate, f"{folder}, {chosen.name}", told, shards.action_names)


def _check_clip(folder: Path, clip: int, count: int) -> None:
    if clip >= count:
        raise NothingThere(f"{folder} holds {count} videos; number {clip}, from 0, is not among them: choose another --clip")


def _check_length(folder: Path, name: str, have: int, need: int) -> None:
    if have < need:
        raise UserError(f"{name} of {folder} has {have} frames, {need} are needed; choose another --clip")

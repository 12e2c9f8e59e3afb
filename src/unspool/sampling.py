"""From context frames to videos on disk: what `sample`, `demo` and the samples of a training run have in common."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unspool import store
from unspool.data import WORLDS, open_world
from unspool.data.episodes import Frame
from unspool.data.resample import at_rate, same_rate
from unspool.data.shards import MANIFEST, open_shards
from unspool.errors import NothingThere, UserError
from unspool.interrupt import Interrupt
from unspool.prompts import Controls, Script, Telling, newest_of, said_anew, span, stretches
from unspool.rollout import Chunk, Rollout, begin, stream
from unspool.schedule import Plan
from unspool.system import System
from unspool.train.loop import to_video
from unspool.train.windows import Windows
from unspool.types import Video

MOST_FRAMES = 10_000_000  # 92 hours at 30 fps: more is a slip of the finger; a saved rollout goes on from there anyway
MOST_SEEDS = 1024
MOST_CONTEXT = 10_000


class Opening(NamedTuple):
    """frames: uint8 (T, H, W, 3); fps: of the video that they come from; name: which video that is."""

    frames: np.ndarray
    fps: float
    name: str


class Progress(NamedTuple):
    """frames: shown so far, of `total`; seconds since the first; bytes of the state that is carried on."""

    frames: int
    total: int
    seconds: float
    bytes: int


@dataclass
class Finished:
    """frames written, seconds taken, bytes of the state, where to go on from, and whether Ctrl-C ended it."""

    frames: int
    seconds: float
    bytes: int
    rollout: Rollout
    interrupted: bool


def context_of(
    where: str, system: System, frames: int, *, split: str = "seen", clip: int = 0, fps: float | None = None
) -> Opening:
    """The context that a user means: the first frames of a video, of episode number `clip` of a folder, of a held-out one of
    shards, or of a world's held-out clip number `clip`, cut to a square and resampled to the model's resolution.

    fps: of what the model was trained on, to which a context of another rate is brought; None: unknown, it stays as it is.
    Raises UserError when it cannot be read, is too short, or lies in shards of another rate.
    """
    if not 1 <= frames <= MOST_CONTEXT or not 0 <= clip < 1 << 62:
        raise UserError(f"context-frames is 1 to {MOST_CONTEXT} and clip at least 0, not {frames} and {clip}")
    size = picture_size(system)[0]
    if where.partition(":")[0] in WORLDS:
        world = open_world(where, size, "unseen" if split == "unseen" else "seen")
        rate = _rate(world.fps, fps)
        chosen = np.round(np.arange(max(1, frames)) * world.fps / rate).astype(int)
        return Opening(world(np.array([clip]), int(chosen[-1]) + 1).frames[0][chosen], rate, f"{where}, {split} clip {clip}")
    path = Path(where)
    if not path.exists() and (near := difflib.get_close_matches(where.partition(":")[0], WORLDS, n=1)):
        raise UserError(f"there is no file {where!r}; did you mean the world {near[0]!r}?")
    if (path / MANIFEST).is_file():
        return _of_shards(path, system, frames, size, clip, fps)
    if path.is_dir():
        return _of_episode(path, frames, size, clip, fps)
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


def _of_episode(folder: Path, frames: int, size: int, clip: int, fps: float | None) -> Opening:
    """The first frames of episode number `clip` of a folder in any layout."""
    from unspool.data.layouts import open_episodes

    episodes = open_episodes(folder).episodes
    _check_clip(folder, clip, len(episodes))
    chosen = episodes[clip]
    has = chosen.info().fps
    rate = _rate(has, fps)
    shown = _first(chosen.frames(size), frames, has, rate)
    _check_length(folder, chosen.name, len(shown), frames)
    return Opening(np.stack(shown), rate, f"{folder}, {chosen.name}")


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
        shown = to_pixels(system.codec.decode(torch.from_numpy(shown)[None].float(), {})[0])[0]
    return Opening(shown, rate, f"{folder}, {chosen.name}")


def _check_clip(folder: Path, clip: int, count: int) -> None:
    if clip >= count:
        raise UserError(f"{folder} holds {count} videos; number {clip}, from 0, is not among them: choose another --clip")


def _check_length(folder: Path, name: str, have: int, need: int) -> None:
    if have < need:
        raise UserError(f"{name} of {folder} has {have} frames, {need} are needed; choose another --clip")


@torch.no_grad()
def picture_size(system: System) -> tuple[int, int]:
    """(H, W) of the frames that the codec decodes to."""
    height, width = system.codec.decode(torch.zeros(1, 1, *system.model.shape), {})[0].shape[-2:]
    return height, width


def context_frames(system: System) -> int:
    """Frames of context that a rollout is begun behind where nobody says how many: two, or as many as the model needs."""
    in_front = system.objective.first if isinstance(system.objective, Windows) else 0
    return max(2, system.schedule.redo, in_front)


def start(
    system: System, context: np.ndarray, seeds: int, seed: int, actions: np.ndarray | None = None, script: Script | None = None
) -> Rollout:
    """`seeds` rollouts with seeds seed, seed + 1, ... that go on from the same context, uint8 (T, H, W, 3).

    actions: (>= T, K) what led to each frame, of a model that takes them. script: what is said of each frame, None for nothing.
    """
    control = controls_of(system, actions, script)
    if not -(1 << 62) <= seed < 1 << 62:
        raise UserError(f"a seed is a number of at most 62 bits, not {seed}")
    if not 1 <= seeds <= MOST_SEEDS:
        raise UserError(f"seeds is the number of futures, 1 to {MOST_SEEDS}, not {seeds}")
    if isinstance(task := system.objective, Windows) and len(context) < task.first and (len(context) or not task.bare):
        wanted = f"give {task.first} frames of context" + (", or 0 to begin from nothing" if task.bare else "")
        raise UserError(f"{task.first} clean frames stand in front of this model's window, not {len(context)}: {wanted}")
    latents, plan = latents_of(system, context, seeds), system.schedule.plan()
    told = None if control is None else control(torch.zeros(seeds, dtype=torch.int64), latents.shape[1])
    return begin(system.model, latents, seed=seed, redo=plan.redo, control=told)


@torch.no_grad()
def latents_of(system: System, context: np.ndarray, seeds: int) -> Video:
    """The context, uint8 (T, H, W, 3), as `seeds` rollouts are begun behind it."""
    if not len(context):
        return torch.zeros(seeds, 0, *system.model.shape)
    return system.codec.encode(to_video(context)[None].expand(seeds, -1, -1, -1, -1), {})[0]


def controls_of(system: System, actions: np.ndarray | None, script: Script | None = None) -> Controls | None:
    """Actions and, behind them, what is said, by absolute frame, as `stream` asks for them; nothing is said without a script.

    Raises UserError where the model takes no such actions, or none are given to one that does.
    """
    acted, prompts = _acted(system, actions), system.model.prompts
    if acted is None or not prompts:
        return script if acted is None else acted
    say: Controls = script or (lambda at, frames: torch.zeros(len(at), frames, prompts))

    def control(at: torch.Tensor, frames: int) -> torch.Tensor:
        return torch.cat([acted(at, frames), say(at, frames)], -1)

    return control


def _acted(system: System, actions: np.ndarray | None) -> Controls | None:
    """The actions (N, K) of a video by absolute frame; past their end the last one is held."""
    wanted = system.model.controls
    if actions is None and not wanted:
        return None
    if actions is None:
        raise UserError(f"this model takes actions of {wanted} numbers and is given none: use data that has them")
    if actions.shape[-1] != wanted:
        raise UserError(f"the model takes actions of {wanted} numbers, and the data's have {actions.shape[-1]}")
    known = torch.from_numpy(np.ascontiguousarray(actions, np.float32))

    def control(at: torch.Tensor, frames: int) -> torch.Tensor:
        return known[(at[:, None] + torch.arange(frames)).clamp(0, len(known) - 1)]

    return control


@torch.no_grad()
def futures(
    system: System, rollout: Rollout, frames: int, actions: np.ndarray | None = None, telling: Telling | None = None
) -> Iterator[tuple[np.ndarray, Rollout]]:
    """Chunk by chunk: frames as uint8 (B, n, H, W, 3), and the rollout to go on from, decoder included. actions: as in `start`;
    telling: what is said of the frames, and what becomes of the past when that changes.

    Raises UserError when `frames` is out of range or the model puts out values that are not finite.
    """
    check_frames(frames)
    decoder, now, plan = rollout.codec, rollout, system.schedule.plan()
    controls = controls_of(system, actions, telling and telling.script)
    keep = 0 if telling is None or telling.on == "keep" else span(system)
    newest = rollout.window[:, :0] if telling is None or telling.newest is None else telling.newest
    frame = first_shown(system, rollout)
    for number, stretch in enumerate(stretches(telling, frame, frames)):
        if number and telling and controls:
            now = said_anew(system, now, newest_of(newest, None, keep), controls, telling.script, frame)
        for chunk in _streamed(system, plan, now, stretch, controls):
            video, decoder = system.codec.decode(chunk.frames, decoder)
            if not torch.isfinite(video).all():
                raise UserError(f"the model broke at frame {frame}: values are not finite; use an earlier checkpoint")
            assert chunk.rollout is not None  # only a drained flight has none
            newest, now, frame = newest_of(newest, chunk.remembered, keep), chunk.rollout, frame + chunk.frames.shape[1]
            yield to_pixels(video), now._replace(codec=decoder)


def _streamed(system: System, plan: Plan, rollout: Rollout, frames: int, controls: Controls | None) -> Iterator[Chunk]:
    """So many frames, 0 for none."""
    if frames:
        yield from stream(system.model, system.blend, plan, rollout, frames=frames, solver=system.solver, controls=controls)


def first_shown(system: System, rollout: Rollout) -> int:
    """The absolute frame that a rollout shows next."""
    return int(rollout.state["at"][0]) + system.schedule.redo - rollout.pending.shape[1]


def check_frames(frames: int) -> None:
    """Raises UserError for a number of frames that is not positive or absurd."""
    if not 1 <= frames <= MOST_FRAMES:
        more = "; for more, go on from a saved rollout" if frames > MOST_FRAMES else ""
        raise UserError(f"frames is 1 to {MOST_FRAMES}, not {frames}{more}")


def to_pixels(video: Video) -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] -> uint8 (..., H, W, 3)."""
    return ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def write_futures(
    system: System,
    rollout: Rollout,
    frames: int,
    paths: Sequence[Path],
    *,
    fps: float,
    upscale: int = 1,
    facts: Mapping[str, Any],
    report: Callable[[Progress], None] | None = None,
    keep: list[np.ndarray] | None = None,
    telling: Telling | None = None,
) -> Finished:
    """Stream `frames` frames into one mp4 per rollout of the batch, each with a JSON beside it.

    Ctrl-C lets the chunk under way finish: the videos are then whole and shorter. keep: a list that takes each chunk's frames
    as well. telling: as in `futures`. Raises UserError when the videos cannot be written; nothing half-written stays behind.
    """
    from unspool.data.writer import VideoWriter, write_sidecar

    size = picture_size(system)
    shown, begun, now = 0, time.perf_counter(), rollout
    first = first_shown(system, rollout)
    outs: list[VideoWriter] = []
    with Interrupt() as stop, ExitStack() as stack:
        homes = {path.parent.absolute() for path in paths}
        made = {place for home in homes for place in (home, *home.parents) if not place.exists()}
        try:
            for home in homes:
                home.mkdir(parents=True, exist_ok=True)
            for path in paths:
                outs.append(stack.enter_context(VideoWriter(path, size=size, fps=fps, upscale=upscale)))
            chunks = futures(system, rollout, frames, telling=telling)
            while shown < frames and not stop:
                pictures, now = next(chunks)
                for out, video in zip(outs, pictures, strict=True):
                    out.write(video)
                if keep is not None:
                    keep.append(pictures)
                shown += pictures.shape[1]
                if report is not None:
                    report(Progress(shown, frames, time.perf_counter() - begun, store.size(now.state)))
        except (UserError, OSError) as error:
            for out in outs:
                out.discard()  # finished videos of an earlier call stay
            for place in sorted(made, reverse=True):  # from the inside out
                with suppress(OSError):  # something else is in it by now
                    place.rmdir()
            if isinstance(error, UserError):
                raise
            raise UserError(f"cannot write {paths[0].parent}: {error.strerror}; choose another folder") from error
    seconds = time.perf_counter() - begun
    done = Finished(shown, seconds, store.size(now.state), now, shown < frames)
    seeds = now.state["seed"].tolist()
    for path, seed in zip(paths, seeds, strict=True):
        timings = {"seconds": round(seconds, 3), "frames_per_second": round(shown / seconds, 2) if shown else None}
        told = {"seed": seed, "first_frame": first, "frames": shown, "fps": fps, "timings": timings, "state_bytes": done.bytes}
        if shown:
            write_sidecar(path, {**told, **facts})
    return done

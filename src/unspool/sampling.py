"""From context frames to videos on disk: what `sample`, `demo` and the samples of a training run have in common. Where context
frames come from stands in openings.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unspool import store
from unspool.codec import to_pixels, to_video
from unspool.errors import UserError
from unspool.interrupt import Interrupt
from unspool.model import VideoTransformer
from unspool.model.wrapper import innermost
from unspool.prompts import Script, Telling, newest_of, said_anew, span, stretches
from unspool.rollout import Rollout, opened, stream
from unspool.system import System
from unspool.train.stages import Stages
from unspool.train.windows import Windows
from unspool.types import Controls, Video

MOST_FRAMES = 10_000_000  # 92 hours at 30 fps: more is a slip of the finger; a saved rollout goes on from there anyway
MOST_SEEDS = 1024


class Progress(NamedTuple):
    """frames: shown so far, of `total`; seconds since the first; bytes of the state that is carried on."""

    frames: int
    total: int
    seconds: float
    bytes: int


@dataclass
class Finished:
    """frames written, seconds taken, bytes of the state, where to go on from (None once drained), whether Ctrl-C ended it."""

    frames: int
    seconds: float
    bytes: int
    rollout: Rollout | None
    interrupted: bool


@torch.no_grad()
def picture_size(system: System) -> tuple[int, int]:
    """(H, W) of the frames that the codec decodes to."""
    height, width = system.codec.decode(torch.zeros(1, 1, *system.model.shape, device=system.device), {})[0].shape[-2:]
    return height, width


def context_frames(system: System) -> int:
    """Frames of context that a rollout is begun behind where nobody says how many: two, or as many as the model needs."""
    return max(2, system.schedule.redo, in_front(system))


def in_front(system: System) -> int:
    """Clean frames that stand in front of every flight."""
    model = innermost(system.model)
    return model.context.frames if isinstance(model, VideoTransformer) else 0


def begins(system: System) -> bool:
    """Whether training ever showed the model the beginning of a video with nothing before it."""
    task = system.objective
    if isinstance(task, Windows):
        return task.bare > 0
    return task.mix.unconditional > 0 if isinstance(task, Stages) else not getattr(task, "first", 0)


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
    if len(context) < (need := in_front(system)) and (len(context) or not begins(system)):
        wanted = f"give {need} frames of context" + (", or 0 to begin from nothing" if begins(system) else "")
        raise UserError(f"{need} clean frames stand in front of this model's window, not {len(context)}: {wanted}")
    latents, plan = latents_of(system, context, seeds), system.schedule.plan()
    return opened(system.model, system.blend, plan, latents, seed=seed, controls=control, solver=system.solver)


@torch.no_grad()
def latents_of(system: System, context: np.ndarray, seeds: int) -> Video:
    """The context, uint8 (T, H, W, 3), as `seeds` rollouts are begun behind it."""
    if not len(context):
        return torch.zeros(seeds, 0, *system.model.shape, device=system.device)
    return system.codec.encode(to_video(context, system.device)[None].expand(seeds, -1, -1, -1, -1), {})[0]


def controls_of(
    system: System, actions: np.ndarray | None, script: Script | None = None, first: int = 0
) -> Controls | None:
    """Actions (N, K) of a video from its frame `first` on and, behind them, what is said, by absolute frame, as `stream` asks;
    past their end the last action is held, and nothing is said without a script.

    Raises UserError where the model takes none, or others, or none are given to one that does, or they are not finite.
    """
    acted, prompts = _acted(system, actions, first), system.model.prompts
    if acted is None or not prompts:
        return script if acted is None else acted
    say: Controls = script or (lambda at, frames: torch.zeros(len(at), frames, prompts, device=at.device))

    def control(at: torch.Tensor, frames: int) -> torch.Tensor:
        return torch.cat([acted(at, frames), say(at, frames)], -1)

    return control


def _acted(system: System, actions: np.ndarray | None, first: int) -> Controls | None:
    """The actions (N, K) of a video from its frame `first` on, by absolute frame; past their end the last one is held."""
    wanted = system.model.controls
    if actions is None and not wanted:
        return None
    if actions is None:
        raise UserError(f"this model takes actions of {wanted} numbers and is given none: use data that has them")
    if not wanted:
        raise UserError("this model takes no actions: leave them away, or train one with --controls K")
    if actions.shape[-1] != wanted:
        raise UserError(f"the model takes actions of {wanted} numbers, and the data's have {actions.shape[-1]}")
    if not len(actions) or not np.isfinite(actions).all():
        raise UserError("the actions are none, or some of them are not finite: leave that episode out")
    known = torch.from_numpy(np.ascontiguousarray(actions, np.float32)).to(system.device)

    def control(at: torch.Tensor, frames: int) -> torch.Tensor:
        return known[(at[:, None] - first + torch.arange(frames, device=at.device)).clamp(0, len(known) - 1)]

    return control


def futures(
    system: System, rollout: Rollout, frames: int, actions: np.ndarray | None = None, first: int = 0, *,
    telling: Telling | None = None,
) -> Iterator[tuple[np.ndarray, Rollout | None]]:  # fmt: skip
    """Chunk by chunk: frames as uint8 (B, n, H, W, 3), and the rollout to go on from, decoder included; None once a system that
    drains its rollouts begins to do so. actions: (N, K) what leads to the frames from absolute frame `first` on, as in `start`;
    past their end the last one is held. telling: what is said of the frames, and what becomes of the past when that changes.

    Raises UserError when `frames` is out of range or the model puts out values that are not finite.
    """
    check_frames(frames)
    controls = controls_of(system, actions, telling and telling.script, first)
    if telling is None or telling.on == "keep" or controls is None:
        yield from ((made, after) for made, after, _ in _decoded(system, rollout, frames, controls, system.drain))
        return
    now, keep, frame = rollout, span(system), first_shown(system, rollout)
    newest = rollout.window[:, :0] if telling.newest is None else telling.newest
    parts = stretches(telling, frame, frames)
    for number, stretch in enumerate(parts):
        if number:
            now = said_anew(system, now, newest_of(newest, None, keep), controls, telling.script, frame)
        for made, after, remembered in _decoded(system, now, stretch, controls, system.drain and number == len(parts) - 1):
            newest, now, frame = newest_of(newest, remembered, keep), after or now, frame + made.shape[1]
            yield made, after


def steered(
    system: System, rollout: Rollout, frames: int, controls: Controls | None
) -> Iterator[tuple[np.ndarray, Rollout]]:
    """`futures` without an end whose actions may depend on what was shown: controls are those of `stream`."""
    for made, after, _ in _decoded(system, rollout, frames, controls, drain=False):
        assert after is not None  # only a drained flight has none
        yield made, after


@torch.no_grad()
def _decoded(
    system: System, rollout: Rollout, frames: int, controls: Controls | None, drain: bool
) -> Iterator[tuple[np.ndarray, Rollout | None, Video | None]]:
    """So many frames, 0 for none: what is seen of each chunk, what to go on from, and what the state took in."""
    if not frames:
        return
    decoder, plan = rollout.codec, system.schedule.plan()
    for chunk in stream(
        system.model, system.blend, plan, rollout, frames=frames, solver=system.solver, controls=controls, drain=drain
    ):
        video, decoder = system.codec.decode(chunk.frames, decoder)
        if not torch.isfinite(video).all():
            raise UserError(f"the model broke at frame {int(chunk.at[0])}: values are not finite; use an earlier checkpoint")
        after = None if chunk.rollout is None else chunk.rollout._replace(codec=decoder)
        yield to_pixels(video), after, chunk.remembered


def first_shown(system: System, rollout: Rollout) -> int:
    """The absolute frame that a rollout shows next."""
    return int(rollout.state["at"][0]) + system.schedule.redo - rollout.pending.shape[1]


def check_frames(frames: int) -> None:
    """Raises UserError for a number of frames that is not positive or absurd."""
    if not 1 <= frames <= MOST_FRAMES:
        more = "; for more, go on from a saved rollout" if frames > MOST_FRAMES else ""
        raise UserError(f"frames is 1 to {MOST_FRAMES}, not {frames}{more}")


def write_futures(
    system: System,
    rollout: Rollout,
    frames: int,
    paths: Sequence[Path],
    *,
    fps: float,
    upscale: int = 1,
    facts: Mapping[str, Any],
    actions: np.ndarray | None = None,
    begins: int = 0,
    report: Callable[[Progress], None] | None = None,
    keep: list[np.ndarray] | None = None,
    telling: Telling | None = None,
) -> Finished:
    """Stream `frames` frames into one mp4 per rollout of the batch, each with a JSON beside it. actions, begins: what leads to
    the frames from absolute frame `begins` on, see `futures`.

    Ctrl-C lets the chunk under way finish: the videos are then whole and shorter. keep: a list that takes each chunk's frames
    as well. telling: as in `futures`. Raises UserError when the videos cannot be written; nothing half-written stays behind.
    """
    from unspool.data.writer import VideoWriter, write_sidecar

    size = picture_size(system)
    written, begun, held = 0, time.perf_counter(), store.size(rollout.state)
    after: Rollout | None = rollout
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
            chunks = futures(system, rollout, frames, actions, begins, telling=telling)
            while written < frames and not stop:
                pictures, after = next(chunks)
                held = held if after is None else store.size(after.state)
                for out, video in zip(outs, pictures, strict=True):
                    out.write(video)
                if keep is not None:
                    keep.append(pictures)
                written += pictures.shape[1]
                if report is not None:
                    report(Progress(written, frames, time.perf_counter() - begun, held))
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
    done = Finished(written, seconds, held, after, written < frames)
    seeds = rollout.state["seed"].tolist()
    for path, seed in zip(paths, seeds, strict=True):
        timings = {"seconds": round(seconds, 3), "frames_per_second": round(written / seconds, 2) if written else None}
        told = {"seed": seed, "first_frame": first, "frames": written, "fps": fps, "timings": timings}
        if written:
            write_sidecar(path, {**told, "state_bytes": done.bytes, **facts})
    return done

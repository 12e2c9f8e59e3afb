"""Futures of many contexts: `sample --clips N`, in one process or shared out among those that torchrun starts.

    OUT/clip-3/future-1.mp4, with a JSON beside it that is written last: what has one is whole and is not made again
    OUT/futures.json, when all of them are there
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unspool import sampling, store
from unspool.codec import to_pixels
from unspool.data.writer import VideoWriter, write_sidecar
from unspool.errors import UserError
from unspool.interrupt import Interrupt
from unspool.openings import Opening
from unspool.slots import Request, together
from unspool.system import System
from unspool.train.ranks import Ranks
from unspool.types import State

MOST = 100_000
"""Futures: more is a slip of the finger."""


class Task(NamedTuple):
    """One future: of which context, by which seed, and where it is written."""

    clip: int
    seed: int
    path: Path


def tasks_of(out: Path, clips: Sequence[int], seeds: Sequence[int]) -> list[Task]:
    """Every seed of every context. Raises UserError for none and for too many."""
    if not 1 <= len(clips) * len(seeds) <= MOST:
        raise UserError(f"{len(clips)} clips of {len(seeds)} seeds: ask for 1 to {MOST} futures")
    return [
        Task(clip, seed, out / f"clip-{clip}" / f"future-{k + 1}.mp4") for clip in clips for k, seed in enumerate(seeds)
    ]  # fmt: skip


def left_of(tasks: Sequence[Task], facts: Mapping[str, Any]) -> list[Task]:
    """Those that are not made yet. Raises UserError where another future lies in the place of one."""
    left = []
    for task in tasks:
        told = Path(f"{task.path}.json")
        if not told.is_file():
            left.append(task)
            continue
        found, wanted = store.read_json(told), {**facts, "seed": task.seed, "clip": task.clip}
        if odd := [name for name, value in wanted.items() if found.get(name) != store.plain(value)]:
            raise UserError(f"{task.path} is there already, with another {odd[0]}: choose another --out")
    return left


def make(
    system: System, tasks: Sequence[Task], context: Callable[[int], Opening], frames: int, facts: Mapping[str, Any], *,
    slots: int = 8, upscale: int = 1, report: Callable[[int, int], object] = lambda frames, futures: None,
) -> bool:  # fmt: skip
    """Make these futures, `slots` side by side, each streamed into its file; gives whether all are made. facts: for the JSON
    beside each. report(frames, futures): so many made so far.

    Ctrl-C lets the step under way finish; what is not whole then is thrown away, and made by the next call. Raises UserError
    as `sampling.start` does, and when the videos cannot be written.
    """
    opened: dict[int, tuple[VideoWriter, State, float, Opening]] = {}
    size = sampling.picture_size(system)
    done = whole = 0
    with Interrupt() as stop, torch.no_grad(), ExitStack() as stack:
        stack.callback(_discard, opened)
        for step in together(system, _requests(system, tasks, context, frames, size, upscale, opened), slots):
            out, decoder, begun, opening = opened[step.number]
            video, decoder = system.codec.decode(step.frames, decoder)
            if not torch.isfinite(video).all():
                raise UserError(f"{tasks[step.number].path}: values are not finite; use an earlier checkpoint")
            out.write(to_pixels(video)[0])
            opened[step.number] = (out, decoder, begun, opening)
            done += step.frames.shape[1]
            if step.last:
                task = tasks[step.number]
                out.close()
                del opened[step.number]
                timings = {"seconds": round(time.perf_counter() - begun, 3)}
                told = {**facts, "clip": task.clip, "seed": task.seed, "context": opening.name, "timings": timings}
                write_sidecar(task.path, told)
                whole += 1
            report(done, whole)
            if stop:
                break
    return whole == len(tasks)


def _discard(opened: Mapping[int, tuple[VideoWriter, State, float, Opening]]) -> None:
    """What is not whole, with the folders that nothing else is in."""
    for out, *_ in opened.values():
        out.discard()
        with suppress(OSError):
            out.path.parent.rmdir()


def _requests(
    system: System, tasks: Sequence[Task], context: Callable[[int], Opening], frames: int, size: tuple[int, int], upscale: int,
    opened: dict[int, tuple[VideoWriter, State, float, Opening]],
) -> Iterator[Request]:  # fmt: skip
    """Each as its turn comes, its file opened."""
    for number, task in enumerate(tasks):
        begun, opening = time.perf_counter(), context(task.clip)
        actions = opening.actions if system.model.controls else None
        rollout = sampling.start(system, opening.frames, 1, task.seed, actions)
        controls = sampling.controls_of(system, actions)
        task.path.parent.mkdir(parents=True, exist_ok=True)
        out = VideoWriter(task.path, size=size, fps=opening.fps, upscale=upscale)
        opened[number] = (out, rollout.codec, begun, opening)
        yield Request(rollout, frames, controls)


def merge(out: Path, tasks: Sequence[Task], ranks: Ranks) -> Path:
    """futures.json: what stands beside each of them, once all processes have made theirs."""
    told = [{"video": str(task.path.relative_to(out)), **json.loads(Path(f"{task.path}.json").read_text())} for task in tasks]
    store.write_json(out / "futures.json", {"futures": told, "processes": ranks.size})
    return out / "futures.json"

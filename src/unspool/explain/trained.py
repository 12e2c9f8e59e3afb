"""Whether the windows that a rollout walks through are among those that training draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from unspool.laws import Known
from unspool.model.baselines import Replaced
from unspool.model.video import VideoModel
from unspool.model.wrapper import Wrapper, innermost
from unspool.schedule import Plan
from unspool.system import System
from unspool.train.objectives import DiffusionForcing, TeacherForcing
from unspool.train.windows import Windows
from unspool.types import Levels

FURTHER = 2
"""Flights that a rollout is followed for: by then it repeats itself."""


WHEN = ("begins", "goes on", "ends")


class Seen(NamedTuple):
    """One evaluation. level: (F,) of the frames in flight; left: frames that left before it; when: part of the rollout."""

    level: Levels
    left: int
    when: str


def walked(plan: Plan, frames: int | None = None) -> Iterator[Seen]:
    """The evaluations of a rollout, as `stream` makes them: endless ones until they repeat themselves, or drained after so
    many frames."""
    flight, left, gone, begun = plan.redo + plan.frames, frames, 0, False
    while gone <= FURTHER * flight if left is None else left > 0:
        keep = flight if left is None else min(flight, plan.redo + -(-left // plan.chunk) * plan.chunk)
        ends = "ends" if keep < flight else "goes on"
        for row, here in zip(() if begun else plan.warmup[:-1], plan.entering, strict=False):
            yield Seen(row[: min(here, keep)], gone, "begins")
        yield from (Seen(row[:keep], gone, ends) for row in plan.loop[:-1])
        hop, begun = min(plan.hop, keep - plan.redo), True
        gone, left = gone + hop, None if left is None else left - hop


def unseen(system: System, *, bare: bool = False) -> str | None:
    """What is to be said where a rollout walks through windows that training never draws, None where all are known.

    bare: it begins with nothing before it. A drained one is asked of every length up to two flights. Objectives whose windows
    nobody knows are not asked.
    """
    plan = system.schedule.plan()
    lengths = range(plan.chunk, 2 * plan.frames + 1, plan.chunk) if system.drain else (None,)
    windows: dict[tuple[object, ...], Seen] = {}  # each once
    for frames in lengths:
        for seen in walked(plan, frames):
            before = min(seen.left, plan.frames) if bare else 0
            windows.setdefault((seen.when, before, *seen.level.tolist()), seen)
    found: dict[str, Levels] = {}
    for seen in windows.values():
        if seen.when not in found and not _saw(system, seen, bare):
            found[seen.when] = seen.level
    if not found:
        return None
    level = next(iter(found.values()))[:: plan.chunk]
    shown = ", ".join(f"{value:.2g}" for value in level[:4].tolist()) + (", ..." if len(level) > 4 else "")
    when = " and ".join(sorted(found, key=WHEN.index))
    return f"as it {when}, frames are in flight together as in no window of its training (levels {shown}): expect worse"


def _saw(system: System, seen: Seen, bare: bool) -> bool:
    """Whether training shows the model what it is asked here."""
    task, level, model = system.objective, _asked(system.model, seen.level, system.schedule.redo), innermost(system.model)
    if isinstance(task, Windows):
        before = min(task.first, seen.left) if bare else task.first
        return task.saw(level, system.frames - task.first, before)
    if not isinstance(task, DiffusionForcing | TeacherForcing) or not isinstance(task.law, Known):
        return True
    flight = task.chunk if isinstance(task, TeacherForcing) else system.frames - task.first
    cut = seen.when == "ends" and len(level) < min(flight, getattr(model, "chunk", 1))  # all of a chunk see each other
    return not cut and task.law.draws(level, flight)


def _asked(model: VideoModel, level: Levels, redo: int) -> Levels:
    """The levels that the inner model is told, those of the first clip where a flight is cut into clips."""
    while isinstance(model, Wrapper):
        if isinstance(model, Replaced):
            level = torch.cat([torch.zeros(redo), level[redo:]])
        level, model = level[: model.seen(len(level))], model.model
    return level

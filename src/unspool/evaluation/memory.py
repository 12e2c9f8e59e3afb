"""What models remember, measured in the world `rooms`: what comes back as it was, signs found again, what their states hold.

Every model stands between two of its own: its twin, worth 0, which sees the newest `WINDOW` frames and no more, and the truth
seen through its codec, worth 1, for no model draws better than its codec. What lies out of sight for less than that takes no
memory and counts for nothing, however long a model's own window is: what it sees beyond is its memory. That difference is large
for any model, so its recall is told only where its own gain over the twin is large enough as well. Beside them renderers
without any model prove the scale in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from unspool.data.worlds.rooms import Rooms
from unspool.errors import UserError
from unspool.evaluate.memory.needle import Found, Needle, find, needles
from unspool.evaluate.memory.playing import futures, recoded
from unspool.evaluate.memory.recall import Errors, errors_in, views
from unspool.evaluate.memory.renderers import forgetting, frozen, memoryless, oracle
from unspool.evaluate.memory.scenes import Renderer, Scene, around, reasoning, retrieval
from unspool.evaluation.measuring import Report
from unspool.evaluation.probing import probes_of
from unspool.evaluation.recalls import Ends, Play, Row, codec_of, recalls, twin_of
from unspool.evaluation.walked import Walk, walk_of
from unspool.model.memoryless import Memoryless
from unspool.store import plain
from unspool.system import System

WORLD = "rooms"
WINDOW = 16
"""Frames out of sight from which on it takes a memory; a twin sees so many."""
WINDOWS = (4,)
"""Of context, before a scene goes on."""
MOST_WINDOWS = 32
"""A slip of the finger: 32 windows are 512 frames of context, and 512 to make of each walk."""
SCENES = 24
HAYSTACKS = (32, 64)
"""Frames that a sign is out of sight, at least."""
NEEDLES = 16
ELSEWHERE = "memory: measured in the world `rooms` only, whose plans and poses are known; name it as --data"
NOBODY = "memory: no model here takes actions; train one with --controls 6"

KINDS = {"retrieval": retrieval, "reasoning": reasoning}
TURN = "turn"
"""Round in place, behind a context of one window."""
CONTROLS = {
    "oracle": ("the truth: 1 of the rows through no model", oracle),
    "forgets half": ("the truth, half of its surfaces forgotten: 0.5 by construction", forgetting(0.5)),
    "copy last": ("the context's last frame, for ever", frozen),
    "memoryless": (f"the truth where the last {WINDOW} frames show it, else another plan: 0 of these rows", memoryless(WINDOW)),
}


class Remembered(NamedTuple):
    """found: parts of results.json. walks: what one can see of it, the first walk of some kinds as real and as every model and
    twin shows it."""

    found: dict[str, Any]
    walks: tuple[Walk, ...] = ()


def memory_of(
    systems: Mapping[str, System], data: str, *, size: int, windows: Sequence[int] = WINDOWS,
    recipes: Mapping[str, str | None] | None = None, seed: int = 0, report: Report | None = None,
) -> Remembered:  # fmt: skip
    """What models remember; but a note of data other than the world `rooms`, with or without options.

    size: pixels a side, 32 or 64. windows: of context, each measured by itself. recipes: of the models; the first of `none` and
    of `full` are ends that the others are put between. "memory" and "needle": of models that take actions; "probes": of all;
    "notes": why the first two are missing, where no model does. What cannot be measured of a model is {"skipped": why}. Scenes
    and walks are in plans that training never shows. A pure function of its arguments.

    Raises UserError for a size that `rooms` does not have, and windows below 1 or more than 32.
    """
    check_windows(windows)
    if not systems:
        return Remembered({})
    if data.partition(":")[0] != WORLD:
        return Remembered({"notes": [ELSEWHERE]})
    world = Rooms(size=size, split="unseen")  # type: ignore[arg-type]  # it checks
    players = {name: system for name, system in systems.items() if system.model.controls}
    found: dict[str, Any] = {"notes": [] if players else [NOBODY]}
    walks: tuple[Walk, ...] = ()
    if players:
        rows = {name: row for of, system in players.items() for name, row in _rows(of, system, seed).items()}
        ends = _ends({name: (recipes or {}).get(name) for name in players})
        measured, walks = _measured(rows, ends, sorted({*windows}), world.size, seed, report)
        found |= measured
    return Remembered(plain(found | {"probes": probes_of(systems, world, seed)}, digits=6), walks)


def check_windows(windows: Sequence[int]) -> None:
    """Raises UserError for windows that nobody can be asked to remember."""
    if not windows or not all(1 <= number <= MOST_WINDOWS for number in windows):
        told = " ".join(map(str, windows)) or "none"
        raise UserError(f"windows of memory are 1 to {MOST_WINDOWS}, one or more of them, not {told}: try 1 2 4 8")


# -- who plays --------------------------------------------------------------------------------------------------------------


def _rows(name: str, system: System, seed: int) -> dict[str, Row]:
    twin = replace(system, model=Memoryless(system.model, WINDOW))
    sees = f"the weights of {name}, which see {WINDOW} frames back and no more: its 0"
    coded = f"the truth through the codec of {name}: its 1"
    return {
        name: Row("model", "the model", name, partial(futures, system, seed=seed)),
        twin_of(name): Row("twin", sees, name, partial(futures, twin, seed=seed)),
        codec_of(name): Row("codec", coded, name, partial(map, partial(recoded, system))),
    }


def _ends(recipes: Mapping[str, str | None]) -> Ends | None:
    """The first model of either recipe, where both are there."""
    firsts = [next((name for name, recipe in recipes.items() if recipe == end), None) for end in Ends._fields]
    return Ends(*filter(None, firsts)) if all(firsts) else None


@dataclass
class _Tally:
    """Tells how many frames are made, of so many, and whose."""

    total: int
    report: Report | None
    done: int = 0

    def counting(self, name: str, play: Play, scenes: Sequence[Scene]) -> Iterator[np.ndarray]:
        for made in play(scenes):
            self.done += len(made)
            if self.report:
                self.report(self.done, self.total, f"{name}: memory")
            yield made


# -- recall and needles -----------------------------------------------------------------------------------------------------


class _Walks(NamedTuple):
    """Of one kind behind so many windows of context."""

    kind: str
    windows: int
    scenes: tuple[Scene, ...]


def _measured(
    models: Mapping[str, Row], ends: Ends | None, windows: Sequence[int], size: Literal[32, 64], seed: int,
    report: Report | None,
) -> tuple[dict[str, Any], tuple[Walk, ...]]:  # fmt: skip
    """What results.json says under "memory" and "needle", and walks to look at: the longest way back, and the turn."""
    asked = [
        _Walks(kind, number, make(SCENES, window=WINDOW, windows=number, size=size, seed=seed))
        for kind, make in KINDS.items() for number in windows
    ]  # fmt: skip
    asked.append(_Walks(TURN, 1, around(SCENES, window=WINDOW, size=size, seed=seed)))
    hidden = [needle for length in HAYSTACKS for needle in needles(NEEDLES, haystack=length, size=size, seed=seed)]
    every = [*(scene for walks in asked for scene in walks.scenes), *(needle.scene for needle in hidden)]
    tally = _Tally(len(models) * sum(len(scene.frames) - scene.context for scene in every), report)
    models = {name: row._replace(play=partial(tally.counting, name, row.play)) for name, row in models.items()}
    controls = {name: Row("control", what, None, partial(map, play)) for name, (what, play) in CONTROLS.items()}
    rows = {**models, **controls}
    kinds: dict[str, list[dict[str, Any]]] = {}
    walked = []
    for walks in asked:
        part, first = _recalled(walks, rows, ends)
        kinds.setdefault(walks.kind, []).append(part)
        if (walks.kind, walks.windows) in (("retrieval", windows[-1]), (TURN, 1)):
            walked.append(first)
    return {
        "memory": {
            "window": WINDOW, "windows": list(windows), "scenes": SCENES, "ends": ends and ends._asdict(),
            "rows": {name: {"kind": row.kind, "is": row.what, "of": row.of} for name, row in rows.items()},
            "kinds": kinds,
        },
        "needle": _needle(hidden, {**models, "oracle": controls["oracle"]}),
    }, tuple(walked)  # fmt: skip


def _recalled(walks: _Walks, rows: Mapping[str, Row], ends: Ends | None) -> tuple[dict[str, Any], Walk]:
    """All rows on one kind of walks, and the first walk as models and twins show it."""
    scene, seen = walks.scenes[0], views(walks.scenes, WINDOW)
    made: dict[str, Errors | str] = {}
    shown: dict[str, np.ndarray] = {}
    for name, row in rows.items():
        try:
            renderer = _shown(row.play, walks.scenes)
            made[name] = errors_in(seen, renderer)
        except UserError as error:  # hours of other figures are made already, and are not thrown away
            made[name] = str(error)
        else:
            if row.kind in ("model", "twin"):
                shown[name] = renderer(scene)
    part = {"windows": walks.windows, "context": scene.context, "frames": len(scene.frames) - scene.context}
    return part | recalls(made, rows, ends, WINDOW), walk_of(walks.kind, scene, shown)


def _needle(hidden: Sequence[Needle], rows: Mapping[str, Row]) -> dict[str, Any]:
    """By row, the share of signs found after each haystack."""
    found = {name: _found(row.play, hidden) for name, row in rows.items()}
    cells = {
        name: [{"skipped": one}] * len(HAYSTACKS) if isinstance(one, str) else [length.share for length in one]
        for name, one in found.items()
    }
    return {"haystacks": HAYSTACKS, "needles": NEEDLES, "chance": 1 / (len(hidden[0].others) + 1), "found": cells}


def _found(play: Play, hidden: Sequence[Needle]) -> tuple[Found, ...] | str:
    """Or why there are none."""
    try:
        return find(hidden, _shown(play, [needle.scene for needle in hidden]))
    except UserError as error:
        return str(error)


def _shown(play: Play, scenes: Sequence[Scene]) -> Renderer:
    """All scenes made at once, as a renderer of each."""
    made = {id(scene): frames for scene, frames in zip(scenes, play(scenes), strict=True)}
    return lambda scene: made[id(scene)]

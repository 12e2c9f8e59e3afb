"""What models remember, measured in the world `rooms`: what comes back as it was, signs found again, what their states hold.

Every model stands between two of its own: its memoryless twin, worth 0, and the truth seen through its codec, worth 1, for no
model draws better than its codec. That difference is large for any model, so its recall is told only where its own gain over
the twin is large enough as well. Beside them renderers without any model prove the scale in the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from unspool.data.worlds.rooms import Rooms
from unspool.errors import UserError
from unspool.evaluate.bootstrap import Interval
from unspool.evaluate.memory.needle import Found, Needle, find, needles
from unspool.evaluate.memory.playing import futures, recoded
from unspool.evaluate.memory.recall import GATE, Errors, Recall, errors, is_worth, recall
from unspool.evaluate.memory.renderers import forgetting, frozen, memoryless, oracle
from unspool.evaluate.memory.scenes import Renderer, Scene, reasoning, retrieval
from unspool.evaluation.measuring import Report
from unspool.evaluation.probing import probes_of
from unspool.model.memoryless import Memoryless
from unspool.store import plain
from unspool.system import System

WORLD = "rooms"
WINDOW = 16
"""Frames out of sight from which on it takes a memory."""
WINDOWS = 4
"""Of context, before a scene goes on."""
SCENES = 24
HAYSTACKS = (32, 64)
"""Frames that a sign is out of sight, at least."""
NEEDLES = 16
ELSEWHERE = "memory: measured in the world `rooms` only, whose plans and poses are known; name it as --data"
NOBODY = "memory: no model here takes actions; train one with --controls 6"

KINDS = {"retrieval": retrieval, "reasoning": reasoning}
CONTROLS = {
    "oracle": ("the truth: 1 of the rows through no model", oracle),
    "forgets half": ("the truth, half of its surfaces forgotten: 0.5 by construction", forgetting(0.5)),
    "copy last": ("the context's last frame, for ever", frozen),
    "memoryless": (f"the truth where seen in the last {WINDOW} frames, else another plan: 0 of these rows", memoryless(WINDOW)),
}

Play = Callable[[Sequence[Scene]], Iterable[np.ndarray]]
"""What one makes of scenes: of each, its frames (M, H, W, 3) uint8."""


class Row(NamedTuple):
    """A line of the tables. kind: model, twin, codec or control; of: the model whose line it is."""

    kind: str
    what: str
    of: str | None
    play: Play


def memory_of(
    systems: Mapping[str, System], data: str, context: int, *, size: int, seed: int = 0, report: Report | None = None
) -> dict[str, Any]:
    """Parts of results.json on memory; but a note of data other than the world `rooms`, with or without options.

    context: frames that the memoryless twins see. size: pixels a side, 32 or 64. "memory" and "needle": of models that take
    actions; "probes": of all; "notes": why the first two are missing, where no model does. What cannot be measured of a model
    is {"skipped": why}. Scenes and walks are in plans that training never shows. A pure function of its arguments.

    Raises UserError for a context below 1 and a size that `rooms` does not have.
    """
    if not systems:
        return {}
    if data.partition(":")[0] != WORLD:
        return {"notes": [ELSEWHERE]}
    world = Rooms(size=size, split="unseen")  # type: ignore[arg-type]  # it checks
    players = {name: system for name, system in systems.items() if system.model.controls}
    found: dict[str, Any] = {"notes": [] if players else [NOBODY]}
    if players:
        rows = {name: row for of, system in players.items() for name, row in _rows(of, system, context, seed).items()}
        found |= _measured(rows, world.size, seed, report)
    return plain(found | {"probes": probes_of(systems, world, seed)}, digits=6)


# -- who plays --------------------------------------------------------------------------------------------------------------


def _rows(name: str, system: System, context: int, seed: int) -> dict[str, Row]:
    twin = replace(system, model=Memoryless(system.model, context))
    sees = f"the weights of {name}, which see {context} frames back and no more: its 0"
    coded = f"the truth through the codec of {name}: its 1"
    return {
        name: Row("model", "the model", name, partial(futures, system, seed=seed)),
        f"{name}, no memory": Row("twin", sees, name, partial(futures, twin, seed=seed)),
        f"{name}, codec alone": Row("codec", coded, name, partial(map, partial(recoded, system))),
    }


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


def _measured(models: Mapping[str, Row], size: Literal[32, 64], seed: int, report: Report | None) -> dict[str, Any]:
    """What results.json says under "memory" and "needle"."""
    scenes = {kind: make(SCENES, window=WINDOW, windows=WINDOWS, size=size, seed=seed) for kind, make in KINDS.items()}
    hidden = [needle for length in HAYSTACKS for needle in needles(NEEDLES, haystack=length, size=size, seed=seed)]
    every = [*(scene for some in scenes.values() for scene in some), *(needle.scene for needle in hidden)]
    tally = _Tally(len(models) * sum(len(scene.frames) - scene.context for scene in every), report)
    models = {name: row._replace(play=partial(tally.counting, name, row.play)) for name, row in models.items()}
    controls = {name: Row("control", what, None, partial(map, play)) for name, (what, play) in CONTROLS.items()}
    rows = {**models, **controls}
    return {
        "memory": {
            "window": WINDOW, "context": WINDOW * WINDOWS, "scenes": SCENES,
            "rows": {name: {"kind": row.kind, "is": row.what, "of": row.of} for name, row in rows.items()},
            "kinds": {kind: _recalls(some, rows) for kind, some in scenes.items()},
        },
        "needle": _needle(hidden, {**models, "oracle": controls["oracle"]}),
    }  # fmt: skip


def _recalls(scenes: Sequence[Scene], rows: Mapping[str, Row]) -> dict[str, Any]:
    """Of one kind of scenes: by row, recall and PSNR of all and by gap; gate_db: what there is to remember; gain_db: what a
    model's memory is worth over its twin."""
    made = {name: _errors(row.play, scenes) for name, row in rows.items()}
    found = {name: _between(made, name, row.of) for name, row in rows.items()}
    proof = found["oracle"]
    assert isinstance(proof, Recall)
    there = [i for i, gap in enumerate(proof.gaps) if gap.scenes]  # what a scene shows again is the same for all
    models = [name for name, row in rows.items() if row.kind == "model"]
    return {
        "gaps": [[WINDOW * proof.gaps[i].least, WINDOW * proof.gaps[i].most] for i in there],
        "overall": {name: _cell(found[name], None, row) for name, row in rows.items()},
        "recall": {name: [_cell(found[name], i, row)["recall"] for i in there] for name, row in rows.items()},
        "psnr": {name: [_cell(found[name], i, row)["psnr"] for i in there] for name, row in rows.items()},
        "gate_db": {name: _told(found[name], "gain") for name in (*models, "oracle")},
        "gain_db": {name: _told(found[name], "own") for name in models},
    }


def _between(made: Mapping[str, Errors | str], name: str, of: str | None) -> Recall | str:
    """A row between those that are its 0 and its 1, or why not."""
    ends = (f"{of}, no memory", f"{of}, codec alone") if of else ("memoryless", "oracle")
    arms = []
    for arm in (name, *ends):
        if isinstance(one := made[arm], str):
            return one
        arms.append(one)
    return recall(*arms)


def _told(found: Recall | str, what: Literal["gain", "own"]) -> Any:
    """Decibels over all gaps, or why there are none."""
    return {"skipped": found} if isinstance(found, str) else getattr(found.overall, what)


def _cell(found: Recall | str, gap: int | None, row: Row) -> dict[str, Any]:
    """Recall and PSNR over one gap, None for all."""
    if isinstance(found, str):
        return {"recall": {"skipped": found}, "psnr": {"skipped": found}}
    score = found.overall if gap is None else found.gaps[gap]
    reason = score.reason or (_forgotten(score.own) if row.kind == "model" else None)
    return {"recall": {"skipped": reason} if reason else score.recall, "psnr": score.psnr}


def _forgotten(own: Interval) -> str | None:
    """Why a model's recall is not told, if so. Its twin and its codec are the ends of the scale, whatever it remembers."""
    if is_worth(own):
        return None
    gained = f"its memory gains {own.value:.2f} dB [{own.low:.2f}, {own.high:.2f}]"
    return f"{gained}: nothing to tell below {GATE:g} dB" + (", or with 0 in the interval" if own.value >= GATE else "")


def _needle(hidden: Sequence[Needle], rows: Mapping[str, Row]) -> dict[str, Any]:
    """By row, the share of signs found after each haystack."""
    found = {name: _found(row.play, hidden) for name, row in rows.items()}
    cells = {
        name: [{"skipped": one}] * len(HAYSTACKS) if isinstance(one, str) else [length.share for length in one]
        for name, one in found.items()
    }
    return {"haystacks": HAYSTACKS, "needles": NEEDLES, "chance": 1 / (len(hidden[0].others) + 1), "found": cells}


def _errors(play: Play, scenes: Sequence[Scene]) -> Errors | str:
    """Or why there are none: hours of other figures are made already, and are not thrown away."""
    try:
        return errors(scenes, _shown(play, scenes), WINDOW)
    except UserError as error:
        return str(error)


def _found(play: Play, hidden: Sequence[Needle]) -> tuple[Found, ...] | str:
    """As `_errors`."""
    try:
        return find(hidden, _shown(play, [needle.scene for needle in hidden]))
    except UserError as error:
        return str(error)


def _shown(play: Play, scenes: Sequence[Scene]) -> Renderer:
    """All scenes made at once, as a renderer of each."""
    made = {id(scene): frames for scene, frames in zip(scenes, play(scenes), strict=True)}
    return lambda scene: made[id(scene)]

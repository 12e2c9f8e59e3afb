"""Recall of one kind of walks as results.json has it: by row and by how long things were out of sight, and between models.

Every row stands between two others, its 0 and its 1. Beside that, where models of the recipes `none` and `full` are among those
given, the others stand between these two as well: what a memory keeps of what can be kept, for models trained alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np

from unspool.evaluate.bootstrap import Interval
from unspool.evaluate.memory.compared import Between, difference
from unspool.evaluate.memory.recall import GATE, Errors, Recall, is_worth, recall
from unspool.evaluate.memory.scenes import Scene

Play = Callable[[Sequence[Scene]], Iterable[np.ndarray]]
"""What one makes of scenes: of each, its frames (M, H, W, 3) uint8."""
Made = Mapping[str, Errors | str]
"""Errors by row, or why there are none."""


class Row(NamedTuple):
    """A line of the tables. kind: model, twin, codec or control; of: the model whose line it is."""

    kind: str
    what: str
    of: str | None
    play: Play


class Ends(NamedTuple):
    """The models that see the newest frame alone and all that ever was."""

    none: str
    full: str


def twin_of(model: str) -> str:
    """What the tables of memory call a model's 0."""
    return f"{model}, window alone"


def codec_of(model: str) -> str:
    """And its 1."""
    return f"{model}, codec alone"


def recalls(made: Made, rows: Mapping[str, Row], ends: Ends | None, window: int) -> dict[str, Any]:
    """By row: recall, PSNR and SSIM over all that was out of sight for a window or more ("overall") and by gap. gate_db: what
    there is to remember. gain_db, gain_ssim: what a model's memory is worth over its twin. recall_gain: where a model lies
    between `ends`. differences: of every two models, recall of a less that of b."""
    found = {name: _between(made, (name, *_ends_of(row))) for name, row in rows.items()}
    proof = found["oracle"]
    assert isinstance(proof, Recall)
    there = [i for i, gap in enumerate(proof.gaps) if gap.scenes]  # what a scene shows again is the same for all
    models = [name for name, row in rows.items() if row.kind == "model"]

    def by_gap(what: str) -> dict[str, list[Any]]:
        return {name: [_cells(found[name], i, row)[what] for i in there] for name, row in rows.items()}

    gained = {} if ends is None else {name: _between(made, (name, *ends)) for name in models if name not in ends}
    return {
        "gaps": [[window * proof.gaps[i].least, window * proof.gaps[i].most] for i in there],
        "overall": {name: _cells(found[name], None, row) for name, row in rows.items()},
        **{what: by_gap(what) for what in ("recall", "psnr", "ssim")},
        "gate_db": {name: _told(found[name], "gain") for name in (*models, "oracle")},
        "gain_db": {name: _told(found[name], "own") for name in models},
        "gain_ssim": {name: _told(found[name], "own_ssim") for name in models},
        "recall_gain": {
            name: {"overall": _gained(one, None), "gaps": [_gained(one, i) for i in there]} for name, one in gained.items()
        },
        "differences": [_difference(made, a, b) for a, b in combinations(models, 2)],
    }  # fmt: skip


def _ends_of(row: Row) -> tuple[str, str]:
    return (twin_of(row.of), codec_of(row.of)) if row.of else ("memoryless", "oracle")


def _between(made: Made, names: Sequence[str]) -> Recall | str:
    """A row between those that are its 0 and its 1, or why not."""
    arms = []
    for name in names:
        if isinstance(one := made[name], str):
            return one if name == names[0] else f"{name}: {one}"
        arms.append(one)
    return recall(*arms)


def _told(found: Recall | str, what: Literal["gain", "own", "own_ssim"]) -> Any:
    """Over all gaps, or why there is none."""
    return {"skipped": found} if isinstance(found, str) else getattr(found.overall, what)


def _cells(found: Recall | str, gap: int | None, row: Row) -> dict[str, Any]:
    """Recall, PSNR and SSIM over one gap, None for all."""
    if isinstance(found, str):
        return {what: {"skipped": found} for what in ("recall", "psnr", "ssim")}
    score = found.overall if gap is None else found.gaps[gap]
    reason = score.reason or (_forgotten(score.own) if row.kind == "model" else None)
    return {"recall": {"skipped": reason} if reason else score.recall, "psnr": score.psnr, "ssim": score.ssim}


def _forgotten(own: Interval) -> str | None:
    """Why a model's recall is not told, if so. Its twin and its codec are the ends of the scale, whatever it remembers."""
    if is_worth(own):
        return None
    gained = f"its memory gains {own.value:.2f} dB [{own.low:.2f}, {own.high:.2f}]"
    return f"{gained}: nothing to tell below {GATE:g} dB" + (", or with 0 in the interval" if own.value >= GATE else "")


def _gained(found: Recall | str, gap: int | None) -> Any:
    """Between two models the ends themselves are the gate: they lie apart, or nothing is told."""
    if isinstance(found, str):
        return {"skipped": found}
    score = found.overall if gap is None else found.gaps[gap]
    return {"skipped": score.reason} if score.reason else score.recall


def _difference(made: Made, a: str, b: str) -> dict[str, Any]:
    sides = []
    for name in (a, b):
        arms = [made[part] for part in (name, twin_of(name), codec_of(name))]
        if (why := next((arm for arm in arms if isinstance(arm, str)), None)) is not None:
            return {"a": a, "b": b, "skipped": f"{name}: {why}"}
        sides.append(Between(*(arm for arm in arms if isinstance(arm, Errors))))
    found = difference(*sides)
    if isinstance(found, str):
        return {"a": a, "b": b, "skipped": found}
    return {"a": a, "b": b, **found.interval._asdict(), "p": found.p}

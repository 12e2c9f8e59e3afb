"""What a claim may be judged by: the lines of the table of `unspool eval`, and what it finds of memory in the world `rooms`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from unspool.claims.verdict import Better
from unspool.evaluate.tables import LINES


class Measure(NamedTuple):
    """better: `real` is a ratio to real video, 1 being as real. of: (results.json, arm) -> value, or skipped and why. memory:
    whether it is measured in `rooms` only, of models that take actions."""

    name: str
    title: str
    unit: str
    better: Better
    of: Callable[[Mapping[str, Any], str], Mapping[str, Any]]
    memory: bool = False


def _line(name: str, results: Mapping[str, Any], arm: str) -> Mapping[str, Any]:
    cell: Mapping[str, Any] = results["table"].get(arm, {}).get(name, {})
    return cell


WINDOWS = 4
"""Of context, behind which claims have memory measured: 64 frames."""


def _retrieved(what: str, results: Mapping[str, Any], arm: str) -> Mapping[str, Any]:
    """Over all that was out of sight for a window or more, on the way back."""
    part = next(part for part in results["memory"]["kinds"]["retrieval"] if part["windows"] == WINDOWS)
    cell: Mapping[str, Any] = part["overall"].get(arm, {}).get(what, {})
    return cell


def _needle(results: Mapping[str, Any], arm: str) -> Mapping[str, Any]:
    """The mean over haystacks, each of as many needles."""
    cells = results["needle"]["found"].get(arm, [])
    unknown = next((cell for cell in cells if cell.get("value") is None), None)
    if not cells or unknown is not None:
        return unknown or {}
    return {"value": sum(cell["value"] for cell in cells) / len(cells)}


MEASURES = (
    *(Measure(line.name, line.title, line.unit, line.better, partial(_line, line.name)) for line in LINES),
    Measure("memory.psnr", "PSNR of what comes back", "dB", "higher", partial(_retrieved, "psnr"), memory=True),
    Measure("memory.recall", "recall", "of the full context", "higher", partial(_retrieved, "recall"), memory=True),
    Measure("needle", "needles found", "share", "higher", _needle, memory=True),
)
KNOWN = {measure.name: measure for measure in MEASURES}


def is_blind(measure: Measure, results: Mapping[str, Any], arms: Iterable[str]) -> bool:
    """Whether a measure of memory has nothing to see: no arm has a recall that is told. Two that remember nothing are as good
    as each other by needles, and by PSNR one may only draw better."""
    return measure.memory and all(_retrieved("recall", results, arm).get("value") is None for arm in arms)


def unit_of(measure: Measure) -> str:
    """What differences of a measure are told in: doublings where the measure is a ratio to real video."""
    return "doublings nearer to real" if measure.better == "real" else measure.unit

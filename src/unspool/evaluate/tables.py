"""The table of `unspool eval`: each measure of each arm with its interval, and which two arms are told apart.

Intervals are those of Student's t over a jackknife that leaves out one context at a time, with all its futures, which are no
independent witnesses, and one real clip at a time (Efron and Tibshirani 1993, chapter 11). All arms leave out the same, so
that a difference of two is that of pairs. A bootstrap of eight contexts would be too narrow, and it draws clips twice, which
kernel means do not forgive. The band of real video alone is not made anew without each real clip, which would tabulate every
video that many times: the intervals of the stable horizon, the slope and the worst segment hold for this band.

Of fewer than four contexts there is no interval and no p: three figures that happen to be alike would make both as sure as
one likes. Nor is there where no context and no real clip left out changes the figure, as in a share that is 0 in all of them:
a deviation of 0 would call the least difference sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.bootstrap import LEVELS, Interval
from unspool.evaluate.gathered import Base, Gathered, drift_of
from unspool.evaluate.lines import LINES, Line

__all__ = ["LINES", "Base", "Cell", "Difference", "Gathered", "Line", "differences", "drift_of", "table"]

ERROR = 0.05
"""The chance that two equal arms are told apart on any line."""
FEWEST = 4
"""Contexts of an interval."""
_ALIKE = 1e-9
"""Relative: figures that differ by rounding alone."""


class Cell(NamedTuple):
    """interval: None where there is no figure, its limits NaN where there is no more than that; why: the reason of either;
    values (1 + K + M,), for differences."""

    interval: Interval | None
    why: str = ""
    values: np.ndarray = np.empty(0)


class Difference(NamedTuple):
    """Of two arms on one line: value, 95 % interval and p by themselves; apart: after Holm's correction over all lines."""

    value: float
    low: float
    high: float
    p: float
    apart: bool


class Judged(NamedTuple):
    """p: chance, both sides, of a value as far from 0. why: the limits and p are not known, and NaN."""

    interval: Interval
    p: float
    why: str


def table(arms: Mapping[str, Gathered], base: Base) -> dict[str, dict[str, Cell]]:
    """Every measure of every arm."""
    return {name: {line.name: _cell(line, arm, base) for line in LINES} for name, arm in arms.items()}


def differences(a: Mapping[str, Cell], b: Mapping[str, Cell], base: Base) -> dict[str, Difference]:
    """a - b, context by context, on every line of which both have a figure with an interval.

    Of so many lines one in twenty would lie apart by chance: an arm is told apart by Holm's step-down correction over them
    (Holm 1979, reconstructed), which needs no independence of the lines. None is, in 95 of 100 pairs of equal arms.
    """
    there = [name for name, cell in a.items() if cell.interval is not None and b[name].interval is not None]
    sides = {name: np.stack([a[name].values, b[name].values]) for name in there}
    judged = {name: judge(both[0] - both[1], base, float(np.abs(both).max())) for name, both in sides.items()}
    known = {name: one for name, one in judged.items() if np.isfinite([*one.interval, one.p]).all()}
    told = holm([one.p for one in known.values()])
    return {
        name: Difference(*one.interval, one.p, bool(apart)) for (name, one), apart in zip(known.items(), told, strict=True)
    }


def judge(values: np.ndarray, base: Base, size: float) -> Judged:
    """values: (1 + K + M,) of an arm, or a difference of two, see `Base`. size: of the largest figure, which rounding is
    relative to."""
    from scipy.stats import t as student

    contexts, value, unknown = len(base.truth), float(values[0]), float("nan")
    if contexts < FEWEST:
        return Judged(Interval(value, unknown, unknown), unknown, f"an interval needs {FEWEST} contexts")
    deviation = _deviation(values, contexts)
    if deviation <= _ALIKE * size:
        why = "the same without any of the contexts and real clips, which leaves nothing to draw an interval from"
        return Judged(Interval(value, unknown, unknown), unknown, why)
    reach = float(student.ppf(LEVELS[1], contexts - 1)) * deviation
    p = float(2 * student.sf(abs(value) / deviation, contexts - 1))
    return Judged(Interval(value, value - reach, value + reach), p, "")


def holm(chances: list[float]) -> np.ndarray:
    """p-values -> which of them are below the level after the correction.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [True, False, False]
    """
    p, order = np.asarray(chances, float), np.argsort(chances)
    below = p[order] <= ERROR / np.arange(len(p), 0, -1)
    found = np.zeros(len(p), bool)
    found[order] = np.logical_and.accumulate(below)
    return found


def _cell(line: Line, arm: Gathered, base: Base) -> Cell:
    try:
        values = line.of(arm, base)
    except UserError as error:
        return Cell(None, str(error))
    found = judge(values, base, float(np.abs(values).max()))
    return Cell(found.interval, found.why, values)


def _deviation(values: np.ndarray, contexts: int) -> float:
    without = values[1 : 1 + contexts], values[1 + contexts :]
    return float(np.sqrt(sum((len(part) - 1) * part.var() for part in without)))  # (n - 1) / n times the sum of squares of each


"""The table of `unspool eval`: each measure of each arm with its interval, and which two arms are told apart.

Intervals are those of Student's t over a jackknife that leaves out one context at a time, with all its futures, which are no
independent witnesses, and one real clip at a time (Efron and Tibshirani 1993, chapter 11). All arms leave out the same, so
that a difference of two is that of pairs. A bootstrap of eight contexts would be too narrow, and it draws clips twice, which
kernel means do not forgive. The band of real video alone is not made anew without each real clip, which would tabulate every
video that many times: the intervals of the stable horizon, of its slope and of the worst segment hold for this band.
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


class Cell(NamedTuple):
    """interval, or why there is none; values (1 + K + M,), for differences."""

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


def table(arms: Mapping[str, Gathered], base: Base) -> dict[str, dict[str, Cell]]:
    """Every measure of every arm."""
    return {name: {line.name: _cell(line, arm, base) for line in LINES} for name, arm in arms.items()}


def differences(a: Mapping[str, Cell], b: Mapping[str, Cell], base: Base) -> dict[str, Difference]:
    """a - b, context by context, on every line of which both have a figure with an interval.

    Of so many lines one in twenty would lie apart by chance: an arm is told apart by Holm's step-down correction over them
    (Holm 1979, reconstructed), which needs no independence of the lines. None is, in 95 of 100 pairs of equal arms.
    """
    there = [name for name, cell in a.items() if cell.interval is not None and b[name].interval is not None]
    values = {name: a[name].values - b[name].values for name in there}
    known = {name: (_interval(rows, base), _chance(rows, base)) for name, rows in values.items()}
    known = {name: pair for name, pair in known.items() if np.isfinite([*pair[0], pair[1]]).all()}
    told = holm([p for _, p in known.values()])
    pairs = zip(known.items(), told, strict=True)
    return {name: Difference(*interval, p, bool(apart)) for (name, (interval, p)), apart in pairs}


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
    return Cell(_interval(values, base), values=values)


def _interval(values: np.ndarray, base: Base) -> Interval:
    from scipy.stats import t as student

    contexts = len(base.truth)
    if contexts < 2:
        return Interval(float(values[0]), float("nan"), float("nan"))
    reach = float(student.ppf(LEVELS[1], contexts - 1)) * _deviation(values, contexts)
    return Interval(float(values[0]), float(values[0]) - reach, float(values[0]) + reach)


def _chance(values: np.ndarray, base: Base) -> float:
    """p, both sides, of a value as far from 0."""
    from scipy.stats import t as student

    contexts = len(base.truth)
    if contexts < 2 or not values[0]:
        return float(values[0] == 0) if contexts > 1 else float("nan")
    with np.errstate(divide="ignore"):
        return float(2 * student.sf(np.abs(values[0]) / _deviation(values, contexts), contexts - 1))


def _deviation(values: np.ndarray, contexts: int) -> float:
    without = values[1 : 1 + contexts], values[1 + contexts :]
    return float(np.sqrt(sum((len(part) - 1) * part.var() for part in without)))  # (n - 1) / n times the sum of squares of each

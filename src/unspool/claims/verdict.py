"""From figures per training seed to a verdict: by the effect, its interval, and what was said beforehand to count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from unspool.errors import UserError

Better = Literal["higher", "lower", "real"]
Verdict = Literal["holds", "fails", "undecided"]
FAINTEST = 0.01
"""Ratio to real video below which less is no longer told apart: a frozen video's motion has no logarithm."""


class Effect(NamedTuple):
    """How much better the one arm is: mean over n training seeds, and its 95 % interval; positive is as expected."""

    value: float
    low: float
    high: float
    n: int


def goodness(value: float, better: Better) -> float:
    """A figure such that more is better, in the measure's own unit; of a ratio to real video minus the doublings, up or down,
    that it lies away from 1: half as much is as far as twice."""
    if better == "real":
        return -abs(math.log2(max(value, FAINTEST)))
    return value if better == "higher" else -value


def effect(better: Sequence[float], other: Sequence[float]) -> Effect:
    """Mean paired difference of goodness, seed by seed, with the interval of Student's t.

    Three seeds leave two degrees of freedom: the interval is 4.3 standard errors to each side, where many seeds would need 2.
    Raises UserError for unequal numbers, fewer than two, or figures that are not finite.
    """
    if len(better) != len(other) or len(better) < 2:
        raise UserError(f"an interval needs two seeds or more, as many of either arm, not {len(better)} and {len(other)}")
    apart = np.asarray(better, np.float64) - np.asarray(other, np.float64)
    if not np.isfinite(apart).all():
        raise UserError("an interval needs finite figures: a run broke, choose a lower train.lr")
    try:
        from scipy.stats import t
    except ImportError:
        raise UserError("a verdict needs scipy: pip install 'unspool[eval]'") from None
    reach = float(t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / math.sqrt(len(apart)))
    mean = float(apart.mean())
    return Effect(mean, mean - reach, mean + reach, len(apart))


def verdict(found: Effect, smallest: float) -> Verdict:
    """From the interval alone. holds: the effect is surely as large as counts. fails: it surely is not. Else undecided."""
    if found.high < smallest:
        return "fails"
    return "holds" if found.low >= smallest else "undecided"

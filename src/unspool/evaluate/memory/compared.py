"""Which of two models remembers more: the difference of their recalls, scene by scene.

Each stands between ends of its own, its memoryless twin and its full context, so that who merely draws better gains nothing.
Interval and p are those of Student's t over a jackknife that leaves out one scene at a time, for both models (Efron and
Tibshirani 1993, chapter 11), as in the table of `unspool eval`. Of equal memories p is 0.05 or less in 6, 6 and 5 of 100 pairs
of 8, 12 and 24 scenes; by a percentile bootstrap over scenes it would be in 13, 9 and 7 (600 pairs each, docs/log.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.bootstrap import LEVELS, Interval
from unspool.evaluate.memory.recall import GATE, Errors, is_worth, recall


class Between(NamedTuple):
    """A renderer and its ends, on the same scenes."""

    model: Errors
    memoryless: Errors
    full: Errors


class Apart(NamedTuple):
    """Recall of one less that of another, over all that was out of sight for a window or more, with its 95 % interval; p:
    chance, both sides, of a difference as far from 0; both by themselves."""

    interval: Interval
    p: float


def difference(a: Between, b: Between) -> Apart | str:
    """recall(a) - recall(b), or why it is not told.

    It is told where both have ends that lie apart, and one at least of the two gains 2 dB or more over its twin: what neither
    remembers cannot tell them apart. Raises UserError where the two were not measured on the same scenes.
    """
    from scipy.stats import t as student

    if not np.array_equal(a.model.pixels, b.model.pixels):
        raise UserError("models are compared on the same scenes: measure both alike")
    scores = [recall(*side).overall for side in (a, b)]
    if (why := next((score.reason for score in scores if score.reason), None)) is not None:
        return why
    if not any(is_worth(score.own) for score in scores):
        return f"the memory of neither gains {GATE:g} dB: nothing to tell them apart by"
    there = a.model.pixels[:, 1:].sum(1) > 0
    scenes = int(there.sum())
    weights = np.concatenate([np.ones((1, scenes)), 1 - np.eye(scenes)])  # all scenes, then all but one
    value, *fewer = _recalls(a, there, weights) - _recalls(b, there, weights)
    deviation = float(np.sqrt((scenes - 1) * np.var(fewer)))
    if not deviation > 0:
        return "the difference is the same without any of the scenes, which leaves nothing to draw an interval from"
    reach = float(student.ppf(LEVELS[1], scenes - 1)) * deviation
    p = float(2 * student.sf(abs(value) / deviation, scenes - 1))
    return Apart(Interval(float(value), float(value - reach), float(value + reach)), p)


def _recalls(side: Between, there: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Recall of each weighting of the scenes, (K, N) -> (K,): the lower of the two ways to see it."""

    def share(what: str) -> np.ndarray:
        model, none, full = (weights @ getattr(arm, what)[there, 1:].sum(1) for arm in side)
        return np.asarray((none - model) / (none - full))

    return np.minimum(share("squared"), share("contrast"))

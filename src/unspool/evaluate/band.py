"""The band of real video: where 95 of 100 further real clips would lie.

Percentiles of few clips are too narrow: a further real clip falls outside the whole range of eight others in 22 of 100
cases. So up to 38 clips the band is the prediction interval of Student's t, and from 39 on, where the extremes of the
sample themselves hold 95 of 100, it is the percentiles 2.5 and 97.5. Either way a further real clip is inside in
95 of 100 cases, which a test draws.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from unspool.errors import UserError

COVERAGE = 0.95
FLOOR = 0.01  # grey levels: one pixel of a 64 x 64 picture off by 41. Less is "nothing", and has no finite logarithm
SPREAD = 0.01  # real clips that agree better than to 1 % (or 0.01 of a unit) are too few, not that equal


class Band(NamedTuple):
    """All (S,): real mean, lower and upper limit in the metric's unit; centre and spread on its scale (log or not)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    spread: np.ndarray


def band_of(real: np.ndarray, *, log: bool, low: bool = True) -> Band:
    """real: (M, S), one figure per real clip and segment. low=False: too little of it is never a fault.

    Raises UserError for fewer than three clips.
    """
    clips = len(real)
    if clips < 3:
        raise UserError(f"a band of real video needs at least 3 real clips, better 8, not {clips}")
    scaled = to_scale(real, log)
    centre = scaled.mean(0)
    spread = np.maximum(scaled.std(0, ddof=1), SPREAD)
    tail = (1 - COVERAGE) / 2
    if clips >= 2 / (1 - COVERAGE) - 1:
        lower, upper = np.quantile(scaled, [tail, 1 - tail], axis=0, method="weibull")
        lower, upper = np.minimum(lower, centre - 2 * SPREAD), np.maximum(upper, centre + 2 * SPREAD)
    else:
        reach = student(1 - tail, clips - 1) * np.sqrt(1 + 1 / clips) * spread
        lower, upper = centre - reach, centre + reach
    if log:
        lower, upper = np.exp(lower), np.exp(upper)
    return Band(real.mean(0), lower if low else np.full_like(lower, -np.inf), upper, centre, spread)


def to_scale(values: np.ndarray, log: bool) -> np.ndarray:
    return np.log(np.maximum(values, FLOOR)) if log else values


def student(p: float, freedom: int) -> float:
    """Quantile of Student's t, to 0.1 % from 7 degrees of freedom on. Abramowitz and Stegun, 26.7.5."""
    z, v = NormalDist().inv_cdf(p), freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )

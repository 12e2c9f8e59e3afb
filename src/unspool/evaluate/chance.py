"""What chance alone gives between two sets of videos, by their features: p-values, and distances over a floor.

Features are float (N, D). Rows must be independent, ONE window per video: several windows of a video make p-values and
intervals too small. The unbiased MMD^2 of equal distributions is centred on 0 at every N, where the Frechet distance of few
rows is mostly bias. No figure stands alone: `over_floor` divides it by what two sets of real video give. `bench/metrics.py`
shows how far such figures can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.band import student
from unspool.evaluate.bootstrap import LEVELS, Interval
from unspool.evaluate.clipwise import blocks, cubic, mmd2
from unspool.evaluate.distance import check, frechet

DRAWS = 1000
GROUPS = 20  # of a jackknife
LEAST = 16  # rows of one: 8 groups of two, from where on `student` is exact enough
_AT_ONCE = 1 << 22  # marks of rows that are in memory together: 32 MB
_TIE = 1e-9  # relative: the same split drawn in another order differs by rounding

# Row numbers (K, n) and (K, m) of one table -> (K,) distances of the two sets of rows that each pair of them names.
Between = Callable[[np.ndarray, np.ndarray], np.ndarray]
# What sets are compared by: prepares a table (N, D) once, for any number of splits of its rows.
Statistic = Callable[[np.ndarray], Between]


class OverFloor(NamedTuple):
    """distance: made against real. floor: the 95 % quantile of real against real. ratio: distance / floor."""

    distance: float
    floor: float
    ratio: Interval


def frechet_between(table: np.ndarray) -> Between:
    """The Frechet distance as a `Statistic`."""
    return lambda rows, others: np.array([frechet(table[a], table[b]) for a, b in zip(rows, others, strict=True)])


def mmd2_between(table: np.ndarray) -> Between:
    """The unbiased MMD^2 as a `Statistic`, kernel (x.y / D + 1)^3: that of KID (Binkowski et al. 1801.01401). It is the one of
    clips, see `clipwise.py`, where each has one row: the kernel matrix is computed once, a split is a product with it."""
    known = blocks([*table[:, None]], cubic)

    def between(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        step = max(1, _AT_ONCE // len(table))
        marks = ((_marked(rows[i : i + step], len(table)), _marked(others[i : i + step], len(table)))
                 for i in range(0, len(rows), step))  # fmt: skip
        return np.concatenate([mmd2(known, *pair) for pair in marks])

    return between


def _marked(rows: np.ndarray, count: int) -> np.ndarray:
    """Row numbers (K, n) -> (K, count): 1 where a row is named, else 0."""
    marks = np.zeros((len(rows), count))
    np.put_along_axis(marks, rows, 1, axis=1)
    return marks


def apart(a: np.ndarray, b: np.ndarray, statistic: Statistic) -> float:
    """(N, D) and (M, D), N and M >= 2 -> their distance. The MMD^2 of equal distributions is below 0 about half of the time.
    Raises UserError for other shapes."""
    check(2, "a distance of sets", first=a, second=b)
    return _apart(statistic(np.concatenate([a, b])), len(a), len(b))


def _apart(between: Between, n: int, m: int) -> float:
    rows = np.arange(n + m)[None]
    return float(between(rows[:, :n], rows[:, n:])[0])


def two_sample_p(a: np.ndarray, b: np.ndarray, statistic: Statistic, draws: int = DRAWS, seed: int = 0) -> float:
    """(N, D) and (M, D) -> how often a random split of all rows is as far apart: (1 + count) / (1 + draws).

    Of equal distributions p is uniform, exactly so for any N and statistic (Phipson and Smyth 2010). statistic:
    `mmd2_between` or `frechet_between`. Raises UserError for other shapes and fewer than 2 rows.
    """
    check(2, "a permutation test", first=a, second=b)
    _check_draws(draws)
    between = statistic(np.concatenate([a, b]))
    found = _apart(between, len(a), len(b))
    chance = _shuffled(between, len(a), len(b), draws, seed)
    return (1 + int((chance >= found - _TIE * abs(found)).sum())) / (1 + draws)


def over_floor(
    made: np.ndarray,
    real: np.ndarray,
    other_real: np.ndarray,
    statistic: Statistic,
    draws: int = DRAWS,
    seed: int = 0,
) -> OverFloor:
    """made (N, D) against real (M, D), over what real against real gives; other_real (N, D) are further real rows.

    The mean of an unbiased MMD^2 between real sets is 0, and one draw of it has either sign: a ratio to it means nothing.
    So the floor is the 95 % quantile of the statistic over `draws` random splits of all real rows into N and M, for
    every statistic alike. Up to 1 a model is not told from real video at this N (one real set in twenty is above); 3
    is three times what chance gives. The floor falls with N, so ratios are compared at equal N and M only.

    The interval is Student's over a jackknife that leaves out a twentieth of the made or of the real rows at a time
    (Shao and Wu 1989): rows drawn twice, as a bootstrap has them, make covariances and kernel means of
    their own. It holds the sampling of made and real, not that of the floor. Raises UserError for other shapes, fewer
    than 16 rows, other_real of another length than made, and real rows that are all equal.
    """
    check(LEAST, "a ratio to the floor", made=made, real=real, other_real=other_real)
    _check_draws(draws)
    if len(made) != len(other_real):
        raise UserError(f"other_real must have as many rows as made, {len(made)}, not {len(other_real)}")
    chance = _shuffled(statistic(np.concatenate([other_real, real])), len(made), len(real), draws, seed)
    floor = float(np.quantile(chance, 0.95))
    if not floor > 0:
        raise UserError("real against real is 0 apart, so there is no floor: give real clips that differ")
    between = statistic(np.concatenate([made, real]))
    rows, others = np.arange(len(made)), np.arange(len(real)) + len(made)
    ratio = _interval(between, rows, others, floor)
    return OverFloor(ratio.value * floor, floor, ratio)


def _shuffled(between: Between, n: int, m: int, draws: int, seed: int) -> np.ndarray:
    """(draws,): the distances of random splits of n + m rows into n and m."""
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(n + m) for _ in range(draws)])
    return between(order[:, :n], order[:, n:])


def _interval(between: Between, rows: np.ndarray, others: np.ndarray, floor: float) -> Interval:
    """Of the distance of these rows over the floor: the variances that made and real bring add up."""
    value = float(between(rows[None], others[None])[0]) / floor
    fewer, fewer_others = _left_out(rows), _left_out(others)
    without_made = between(fewer, np.broadcast_to(others, (len(fewer), len(others)))) / floor
    without_real = between(np.broadcast_to(rows, (len(fewer_others), len(rows))), fewer_others) / floor
    variance = _jackknife(without_made, len(rows), fewer) + _jackknife(without_real, len(others), fewer_others)
    reach = student(LEVELS[1], min(len(fewer), len(fewer_others)) - 1) * math.sqrt(variance)
    return Interval(value, value - reach, value + reach)


def _left_out(rows: np.ndarray) -> np.ndarray:
    """(n,) -> (groups, n - n // groups): the rows without one group at a time. Row i is in group i % groups."""
    groups = min(GROUPS, len(rows) // 2)
    size = len(rows) // groups  # what does not fill a group stays in, so that all sets are of one size
    return np.stack([np.delete(rows, np.arange(size) * groups + group) for group in range(groups)])


def _jackknife(found: np.ndarray, rows: int, fewer: np.ndarray) -> float:
    """Variance of a statistic of so many rows, from its figures of fewer of them."""
    kept = fewer.shape[1]
    return float(kept / (rows - kept) * found.var())


def _check_draws(draws: int) -> None:
    if draws < 99:
        raise UserError(f"the quantiles of chance need 99 draws or more, not {draws}")

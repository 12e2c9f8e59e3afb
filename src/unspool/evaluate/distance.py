"""How far two sets of videos are apart, by their features: Frechet, unbiased MMD, coverage, and what chance alone gives.

Features are float (N, D), a row per video; everything is computed in float64. The Frechet distance of few rows is mostly
bias and never 0; the unbiased MMD^2 of equal distributions is centred on 0 at every N, so it is the figure below N = 2048.
No figure stands alone: `over_floor` divides it by what two sets of real video give.

Rows must be independent: ONE window per video. Several windows of a video make p-values and intervals too small.
Papers are named for what they define; the formulas are reconstructed, and tests hold them to published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.band import student
from unspool.evaluate.bootstrap import LEVELS, Interval

DRAWS = 1000
GROUPS = 20  # of a jackknife
LEAST = 16  # rows of one: 8 groups of two, from where on `student` is exact enough
_AT_ONCE = 1 << 22  # marks of rows that are in memory together: 32 MB
_TIE = 1e-9  # relative: the same split drawn in another order differs by rounding

# Row numbers (K, n) and (K, m) of one table -> (K,) distances of the two sets of rows that each pair of them names.
Between = Callable[[np.ndarray, np.ndarray], np.ndarray]
# What `two_sample_p` and `over_floor` compare by: prepares a table (N, D) once, for any number of splits of its rows.
Statistic = Callable[[np.ndarray], Between]


class Coverage(NamedTuple):
    """density: mean number of real neighbourhoods that a made row lies in, over k; 1 for equal distributions, unbounded.

    coverage: share of real neighbourhoods that hold a made row; for equal distributions 1 - 0.5^k or so.
    """

    density: float
    coverage: float


class OverFloor(NamedTuple):
    """distance: made against real. floor: the 95 % quantile of real against real. ratio: distance / floor."""

    distance: float
    floor: float
    ratio: Interval


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """(N, D) and (M, D), N and M >= 2 -> Frechet distance of the Gaussians with their means and unbiased covariances.

    |mean difference|^2 + tr A + tr B - 2 tr (A B)^(1/2) (Dowson and Landau 1982; on features Heusel et al. 1706.08500).
    The last trace is the sum of the singular values of X Y', where A = X' X and B = Y' Y: no product of covariances is
    formed and no root of a rounded eigenvalue is taken, so it also holds for N < D. Raises UserError for other shapes.
    """
    _check(2, "the Frechet distance", first=a, second=b)
    mean_a, mean_b = a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64)
    root_a, root_b = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    # X = Q R: the singular values of X Y' are those of the small R_a R_b'.
    shared = np.linalg.norm(np.linalg.qr(root_a).R @ np.linalg.qr(root_b).R.T, "nuc")
    apart = np.square(mean_a - mean_b).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2 * shared
    return max(0.0, float(apart))


def frechet_between(table: np.ndarray) -> Between:
    """The Frechet distance as a `Statistic`."""
    return lambda rows, others: np.array([frechet(table[a], table[b]) for a, b in zip(rows, others, strict=True)])


def mmd2(a: np.ndarray, b: np.ndarray) -> float:
    """(N, D) and (M, D), N and M >= 2 -> unbiased squared maximum mean discrepancy, kernel (x.y / D + 1)^3.

    The KID kernel (Binkowski et al. 1801.01401) in the estimator of Gretton et al. 2012, of all rows at once.
    Below 0 about half of the time when the distributions are equal. Raises UserError for other shapes.
    """
    _check(2, "the MMD", first=a, second=b)
    split = np.arange(len(a) + len(b))[None]
    return float(mmd2_between(np.concatenate([a, b]))(split[:, : len(a)], split[:, len(a) :])[0])


def mmd2_between(table: np.ndarray) -> Between:
    """The unbiased MMD^2 as a `Statistic`: the kernel matrix is computed once, a split of the rows is a product with it."""
    wide = np.asarray(table, np.float64)
    kernel = (wide @ wide.T / wide.shape[1] + 1) ** 3
    own = kernel.diagonal()

    def between(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        step = max(1, _AT_ONCE // len(kernel))
        parts = [_mmd2(kernel, own, rows[i : i + step], others[i : i + step]) for i in range(0, len(rows), step)]
        return np.concatenate(parts)

    return between


def _mmd2(kernel: np.ndarray, own: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    n, m = rows.shape[1], others.shape[1]
    first, second = _marked(rows, len(kernel)), _marked(others, len(kernel))
    mixed = second @ kernel
    within = (((first @ kernel) * first).sum(1) - first @ own) / (n * (n - 1))
    within += ((mixed * second).sum(1) - second @ own) / (m * (m - 1))
    return within - 2 * (mixed * first).sum(1) / (n * m)


def _marked(rows: np.ndarray, count: int) -> np.ndarray:
    """Row numbers (K, n) -> (K, count): 1 where a row is named, else 0."""
    marks = np.zeros((len(rows), count))
    np.put_along_axis(marks, rows, 1, axis=1)
    return marks


def coverage_density(real: np.ndarray, made: np.ndarray, k: int = 5) -> Coverage:
    """Both (N, D), N > k: which of the real neighbourhoods, each as wide as its row's k-th nearest, the made rows hit.

    Naeem et al. 2002.09797. Both move with N, so N must be equal. Raises UserError otherwise.
    """
    _check(k + 1, f"coverage with k = {k}", real=real, made=made)
    if k < 1 or len(real) != len(made):
        raise UserError(f"coverage needs k >= 1 and as many real rows as made ones, not {len(real)} and {len(made)}")
    within = _distances(real, real)
    np.fill_diagonal(within, 0)
    reach = np.partition(within, k, axis=1)[:, k]
    inside = _distances(real, made) < reach[:, None]
    return Coverage(float(inside.sum(0).mean() / k), float(inside.any(1).mean()))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared, (N, M). About a common centre, so that little is lost to rounding."""
    centre = a.mean(0, dtype=np.float64)
    x, y = a - centre, b - centre
    return np.maximum(np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T, 0)


def two_sample_p(a: np.ndarray, b: np.ndarray, statistic: Statistic, draws: int = DRAWS, seed: int = 0) -> float:
    """(N, D) and (M, D) -> how often a random split of all rows is as far apart: (1 + count) / (1 + draws).

    Of equal distributions p is uniform, exactly so for any N and statistic (Phipson and Smyth 2010). statistic:
    `mmd2_between` or `frechet_between`. Raises UserError for other shapes and fewer than 2 rows.
    """
    _check(2, "a permutation test", first=a, second=b)
    _check_draws(draws)
    between = statistic(np.concatenate([a, b]))
    rows = np.arange(len(a) + len(b))[None]
    found = between(rows[:, : len(a)], rows[:, len(a) :])[0]
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
    _check(LEAST, "a ratio to the floor", made=made, real=real, other_real=other_real)
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


def _check(least: int, what: str, **tables: np.ndarray) -> None:
    """Raises UserError unless all are finite float (N >= least, D) with one D."""
    widths = set()
    for name, table in tables.items():
        if table.ndim != 2 or not np.issubdtype(table.dtype, np.floating) or not np.isfinite(table).all():
            raise UserError(f"{name}: features must be finite float (N, D), not {table.dtype} {table.shape} or with NaN")
        if len(table) < least:
            raise UserError(f"{what} needs at least {least} rows of {name}, not {len(table)}")
        widths.add(table.shape[1])
    if len(widths) > 1 or 0 in widths:
        raise UserError(f"all sets need features of one width D >= 1, not {sorted(widths)}")

"""How far two sets of videos are apart, by their features: the Frechet distance and coverage.

Features are float (N, D), a row per window; everything is computed in float64. The Frechet distance of few rows is mostly bias
and never 0, and both figures move with N, so they are compared at equal N only. Where a video gives several rows, as in the
lines of the table, these are no independent witnesses: such a figure is a distance like any other, and what it is worth is said
by leaving out whole videos. What chance gives, of one row per video, stands in `chance.py`; the MMD in `clipwise.py`.
Papers are named for what they define; the formulas are reconstructed, and tests hold them to published code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unspool.errors import UserError


class Coverage(NamedTuple):
    """density: mean number of real neighbourhoods that a made row lies in, over k; 1 for equal distributions, unbounded.

    coverage: share of real neighbourhoods that hold a made row; for equal distributions 1 - 0.5^k or so.
    """

    density: float
    coverage: float


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """(N, D) and (M, D), N and M >= 2 -> Frechet distance of the Gaussians with their means and unbiased covariances.

    |mean difference|^2 + tr A + tr B - 2 tr (A B)^(1/2) (Dowson and Landau 1982; on features Heusel et al. 1706.08500).
    The last trace is the sum of the singular values of X Y', where A = X' X and B = Y' Y: no product of covariances is
    formed and no root of a rounded eigenvalue is taken, so it also holds for N < D. Raises UserError for other shapes.
    """
    check(2, "the Frechet distance", first=a, second=b)
    mean_a, mean_b = a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64)
    root_a, root_b = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    # X = Q R: the singular values of X Y' are those of the small R_a R_b'.
    shared = np.linalg.norm(np.linalg.qr(root_a).R @ np.linalg.qr(root_b).R.T, "nuc")
    apart = np.square(mean_a - mean_b).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2 * shared
    return max(0.0, float(apart))


def coverage_density(real: np.ndarray, made: np.ndarray, k: int = 5) -> Coverage:
    """Both (N, D), N > k: which of the real neighbourhoods, each as wide as its row's k-th nearest, the made rows hit.

    Naeem et al. 2002.09797. Both move with N, so N must be equal. Raises UserError otherwise.
    """
    check(k + 1, f"coverage with k = {k}", real=real, made=made)
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


def check(least: int, what: str, **tables: np.ndarray) -> None:
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

"""Kernel distances of two sets of clips that have several rows each: windows of a video, futures of a context.

Rows of one clip are alike and no witnesses of each other. Were their pairs counted among those within a set, which the pairs
between two sets do not have, equal distributions would seem apart: only pairs of different clips count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unspool.errors import UserError

Kernel = Callable[[np.ndarray], np.ndarray]
"""(N, D) -> (N, N)."""


class Blocks(NamedTuple):
    """sums, counts (N, N): of the kernel over the pairs of rows of two clips; 0 of a clip with itself."""

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]


def blocks(clips: Sequence[np.ndarray], kernel: Kernel) -> Blocks:
    """clips: (rows, D) each."""
    table = kernel(np.concatenate([np.asarray(clip, np.float64) for clip in clips]))
    edges = np.cumsum([0, *(len(clip) for clip in clips)])[:-1]
    sums = np.add.reduceat(np.add.reduceat(table, edges, 0), edges, 1)
    sizes = np.array([len(clip) for clip in clips], float)
    counts = np.outer(sizes, sizes)
    for part in (sums, counts):
        np.fill_diagonal(part, 0)
    return Blocks(sums, counts)


def mmd2(known: Blocks, ours: np.ndarray, theirs: np.ndarray) -> NDArray[np.float64]:
    """(D,) unbiased MMD^2 of D pairs of sets of clips (D, N), 0 or 1.

    After Gretton et al. 2012, with clips for samples. NaN where a set has a single clip; raises UserError where the first has.
    """

    def mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        pairs = ((a @ known.counts) * b).sum(1)
        if not pairs[0]:
            raise UserError("needs 2 contexts and 2 real clips: rows of one clip are no pairs")
        with np.errstate(invalid="ignore"):
            return ((a @ known.sums) * b).sum(1) / pairs

    return mean(ours, ours) + mean(theirs, theirs) - 2 * mean(ours, theirs)


def cubic(rows: np.ndarray) -> np.ndarray:
    """(x.y / D + 1)^3, the kernel of KID (Binkowski et al. 1801.01401)."""
    return (rows @ rows.T / rows.shape[1] + 1) ** 3


def nearness(rows: np.ndarray) -> np.ndarray:
    """With it MMD^2 is the energy distance."""
    return -np.linalg.norm(rows[:, None] - rows[None], axis=-1)

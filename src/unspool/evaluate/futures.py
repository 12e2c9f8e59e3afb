"""Several futures of one context against what truly followed: are they as likely, and as varied, as the world's own?

A single future of an uncertain world cannot be compared with the one that happened. A proper score of a set of them can: it
is least, in expectation, where the set is drawn from the world's own distribution. Collapsed, shifted and too wild sets all
pay. Here stands the energy score of frames in the fair form, whose expectation does not depend on how many futures there
are. Frames are scored one by one: what they make together, such as motion, is not seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unspool.errors import UserError
from unspool.evaluate.curves import check
from unspool.evaluate.repetition import thumbnails as thumbnails_of

FEWEST = 8  # futures: with fewer, one future more or less changes the spread by a tenth and more


class Futures(NamedTuple):
    """One figure per frame, each (n,), in grey levels (root mean square over pixels and colours).

    score: fair energy score, error - diversity / 2; lower is better. error: mean distance of a future to what truly
    followed. diversity: mean distance of two futures; 0 where they are equal. floor: the score that the world's own futures
    have in expectation, half the mean distance of two true re-runs; NaN where only one is given. Twice `score - floor` is
    the energy distance between model and world, unbiased: 0 in expectation where they are alike, so it may fall below.
    """

    score: NDArray[np.float64]
    error: NDArray[np.float64]
    diversity: NDArray[np.float64]
    floor: NDArray[np.float64]


def score_futures(made: np.ndarray, real: np.ndarray) -> Futures:
    """made: uint8 (S >= 8, n, H, W, 3), futures of ONE context. real: (n, H, W, 3), what followed, or (R, n, H, W, 3), R
    true re-runs from the same state. Frames are averaged down to 16 x 16 first: where things are counts, not their grain.

    A frame's figures depend on that frame only, so a long video may come in blocks. Raises UserError for fewer than eight
    futures and for other shapes.
    """
    check(made)
    runs = real[None] if real.ndim == 4 else real
    check(runs)
    if runs.shape[1:] != made.shape[1:]:
        raise UserError(f"what truly followed must have the shape of each future, {made.shape[1:]}, not {runs.shape[1:]}")
    return energy_score(thumbnails(made), thumbnails(runs))


def energy_score(made: np.ndarray, real: np.ndarray) -> Futures:
    """made: (S >= 8, n, D) points in each frame, real: (R, n, D). Distances are root mean squares over D.

    Gneiting and Raftery 2007, equation 22, beta = 1; the fair form, which divides by S (S - 1) where theirs divides by S^2,
    after Ferro 2014 (both reconstructed). Raises UserError for fewer futures, other shapes and NaN.
    """
    _enough(made, "the energy score")
    if made.ndim != 3 or real.ndim != 3 or not len(real) or made.shape[1:] != real.shape[1:]:
        raise UserError(f"futures (S, n, D) need what followed as (R, n, D), not {made.shape} and {real.shape}")
    points, truth = (torch.from_numpy(_finite(part)).transpose(0, 1) for part in (made, real))
    error, diversity = _distance(points, truth).mean((1, 2)), _pairs(points)
    floor = _pairs(truth) / 2 if len(real) > 1 else torch.full_like(error, torch.nan)
    return Futures(*(part.numpy() for part in (error - diversity / 2, error, diversity, floor)))


def thumbnails(videos: np.ndarray) -> NDArray[np.float32]:
    """uint8 (N, n, H, W, 3) -> (N, n, 768): frames averaged down to 16 x 16, in grey levels."""
    return np.stack([thumbnails_of(video) for video in videos])


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, A, D), (n, B, D) -> (n, A, B). Not by products: equal points have distance 0, exactly."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / a.shape[-1] ** 0.5


def _pairs(points: torch.Tensor) -> torch.Tensor:
    """(n, S, D) -> (n,): mean distance of two different ones."""
    count = points.shape[1]
    return _distance(points, points).sum((1, 2)) / (count * (count - 1))


def _finite(values: np.ndarray) -> NDArray[np.float64]:
    figures = np.asarray(values, np.float64)
    if not np.isfinite(figures).all():
        raise UserError("a score needs finite figures: leave out the frames that have none, such as frame 0 of motion")
    return figures


def _enough(made: np.ndarray, what: str) -> None:
    if len(made) < FEWEST:
        raise UserError(f"{what} needs {FEWEST} futures, had {len(made)}")

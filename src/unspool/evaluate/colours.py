"""What the mean colours of a video say of the whole of it: where they go in the end, and whether they change out of nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unspool.errors import UserError

SHORTEST = 4  # frames: a change, and those before and after it


def tint_of(rgb: np.ndarray) -> NDArray[np.float64]:
    """Mean colours (..., T, 3) -> (..., 3): their change from the first quarter of a video to its last."""
    quarter = max(rgb.shape[-2] // 4, 1)
    return rgb[..., -quarter:, :].mean(-2) - rgb[..., :quarter, :].mean(-2)


def jumps_of(rgb: np.ndarray) -> NDArray[np.float64]:
    """Mean colours (..., T >= 4, 3) -> (...): the largest change over those of the pairs before and after it.

    A cut comes out of nothing, where a fast turn has fast neighbours: the largest MOTION tells cuts in `duel` and none in
    `rooms`, where one turn of the head changes as much. Changes of less than one grey level are no reference. Raises
    UserError for fewer frames.
    """
    if rgb.shape[-2] < SHORTEST:
        raise UserError(f"a sudden change has changes before and after it: give {SHORTEST} frames or more, not {rgb.shape[-2]}")
    change = np.linalg.norm(np.diff(rgb, axis=-2), axis=-1)
    around = np.maximum(np.maximum(change[..., :-2], change[..., 2:]), 1)
    return (change[..., 1:-1] / around).max(-1)

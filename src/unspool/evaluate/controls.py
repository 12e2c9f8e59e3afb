"""Controls: what the same metrics say of videos whose worth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.drift import Horizon, Series, tabulate


def copy_last(context: np.ndarray, frames: int) -> np.ndarray:
    """(c, H, W, 3) -> (frames, H, W, 3): the last frame, frozen. What every model must beat."""
    if len(context) < 1 or frames < 1:
        raise UserError("copying the last frame needs a context of 1 frame or more, and 1 frame or more to make")
    return np.repeat(context[-1:], frames, axis=0)


def leave_one_out(series: Sequence[Series], length: int = 100) -> tuple[Horizon, ...]:
    """Real against real: horizons of every real clip against the band of all others, of which 4 are needed; only `real` of each
    series is read. The floor: a metric that real video does not pass says nothing of a model."""
    if not series or len(series[0].real) < 4:
        raise UserError("real against real needs at least 4 real clips")
    found: list[Horizon] = []
    for clip in range(len(series[0].real)):
        split = [Series(metric, real[clip : clip + 1], np.delete(real, clip, 0)) for metric, _, real in series]
        found += [horizon._replace(video=clip) for horizon in tabulate(split, length).horizons]
    return tuple(found)

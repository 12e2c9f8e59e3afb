"""The band holds what it promises, for few clips and for many."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate.band import band_of, student


@pytest.mark.parametrize(("freedom", "value"), [(2, 4.303), (7, 2.3646), (15, 2.1314), (30, 2.0423)])
def test_student_quantiles(freedom: int, value: float) -> None:
    assert student(0.975, freedom) == pytest.approx(value, rel=0.035 if freedom < 5 else 0.001)


@pytest.mark.parametrize("clips", [8, 16, 38, 39, 60, 200])
def test_a_further_real_clip_is_inside_95_of_100_times(clips: int) -> None:
    rng = np.random.default_rng(clips)
    inside = []
    for _ in range(300):
        drawn = np.exp(rng.normal(0, 0.3, (clips + 1, 20)))
        band = band_of(drawn[:-1], log=True)
        inside.append((drawn[-1] >= band.low) & (drawn[-1] <= band.high))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_percentiles_of_eight_clips_would_not_hold_it() -> None:
    """Why the band is not simply the percentiles: the whole range of eight holds a ninth in 78 of 100 cases."""
    drawn = np.random.default_rng(0).normal(0, 1, (9, 20_000))
    inside = (drawn[-1] >= drawn[:-1].min(0)) & (drawn[-1] <= drawn[:-1].max(0))
    assert inside.mean() == pytest.approx(7 / 9, abs=0.01)


def test_one_side_and_too_few() -> None:
    assert band_of(np.ones((5, 2)), log=False, low=False).low.tolist() == [-np.inf, -np.inf]
    with pytest.raises(UserError, match="at least 3 real clips"):
        band_of(np.ones((2, 2)), log=False)

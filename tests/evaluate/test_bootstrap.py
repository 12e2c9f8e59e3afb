"""Intervals that hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate import Interval, paired_ratio, ratio
from unspool.evaluate.bootstrap import mean


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = []
    for trial in range(600):
        scene = rng.normal(10, 3, 64)  # what a pair has in common
        found = paired_ratio(0.8 * scene + rng.normal(0, 0.5, 64), scene, draws=500, seed=trial)
        held.append(found.low <= 0.8 <= found.high)
    assert np.mean(held) == pytest.approx(0.94, abs=0.03)


def test_pairs_are_worth_more_than_strangers() -> None:
    rng = np.random.default_rng(0)
    scene = rng.normal(10, 3, 32)
    model = 0.8 * scene + rng.normal(0, 0.1, 32)
    paired, apart = paired_ratio(model, scene), ratio(model, scene)
    assert paired.value == apart.value == pytest.approx(model.mean() / scene.mean())
    assert 5 * (paired.high - paired.low) < apart.high - apart.low


def test_a_mean_has_the_interval_of_the_obvious_bootstrap() -> None:
    values, rng = np.random.default_rng(0).normal(5, 2, 12), np.random.default_rng(3)
    drawn = [values[rng.integers(12, size=12)].mean() for _ in range(4000)]
    found = mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found[1:] == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.1)


def test_same_seed_same_interval_and_one_clip_has_none() -> None:
    a, b = np.random.default_rng(0).uniform(1, 2, (2, 8))
    assert paired_ratio(a, b) == paired_ratio(a, b) != paired_ratio(a, b, seed=1)
    alone = paired_ratio(a[:1], b[:1])
    assert isinstance(alone, Interval) and alone.value == a[0] / b[0] and np.isnan([alone.low, alone.high]).all()


@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0], [1.0]), ([], []), ([np.nan], [1.0])])
def test_what_is_no_list_of_pairs_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(UserError):
        paired_ratio(np.array(a), np.array(b))

"""What is said of chance happens as often as it says; the MMD is that of slow and of published versions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from torchmetrics.image.kid import poly_mmd

from unspool.errors import UserError
from unspool.evaluate.chance import Statistic, apart, frechet_between, mmd2_between, over_floor, two_sample_p
from unspool.evaluate.distance import frechet

BOTH = pytest.mark.parametrize("statistic", [mmd2_between, frechet_between])


def mmd2(a: np.ndarray, b: np.ndarray) -> float:
    return apart(a, b, mmd2_between)


def normal(seed: int, rows: int, width: int = 8, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (rows, width))


def mixed(seed: int, rows: int, width: int) -> np.ndarray:
    """Correlated features with a mean."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, width)) @ rng.normal(size=(width, width)) / np.sqrt(width) + rng.normal(size=width)


def test_mmd_is_that_of_the_obvious_loop_and_of_torchmetrics() -> None:
    a, b = mixed(0, 7, 5), mixed(1, 7, 5)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    own = sum(np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b))
    want = own - 2 * np.mean([kernel(x, y) for x in a for y in b])
    assert mmd2(a, b) == pytest.approx(want, rel=1e-10)
    assert mmd2(a, b) == pytest.approx(poly_mmd(torch.from_numpy(a), torch.from_numpy(b)).item(), rel=1e-10)


@pytest.mark.parametrize(("between", "plain"), [(mmd2_between, mmd2), (frechet_between, frechet)])
def test_a_table_prepared_once_gives_the_distance_of_any_split(between: Statistic, plain: Callable) -> None:
    table, rng = mixed(0, 30, 6), np.random.default_rng(0)
    orders = np.stack([rng.permutation(30) for _ in range(5)])
    found = between(table)(orders[:, :11], orders[:, 11:25])
    want = [plain(table[order[:11]], table[order[11:25]]) for order in orders]
    np.testing.assert_allclose(found, want, rtol=1e-9)


@pytest.mark.parametrize("rows", [64, 256])
def test_mmd_of_equal_distributions_is_centred_on_0_and_frechet_is_not(rows: int) -> None:
    pairs = [(normal(2 * i, rows), normal(2 * i + 1, rows)) for i in range(150)]
    found = np.array([mmd2(a, b) for a, b in pairs])
    assert abs(found.mean()) < 3 * found.std(ddof=1) / np.sqrt(len(found))
    assert 0.3 < np.mean(found < 0) < 0.7
    assert min(frechet(a, b) for a, b in pairs) > 2 / rows  # of width 8: all of it is bias


@BOTH
def test_p_of_equal_distributions_is_uniform(statistic: Statistic) -> None:
    trials = 200 if statistic is mmd2_between else 60
    found = [two_sample_p(normal(2 * i, 12, 4), normal(2 * i + 1, 14, 4), statistic, 99, seed=i) for i in range(trials)]
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.05
    assert min(found) >= 0.01


@BOTH
def test_p_of_other_distributions_is_as_small_as_it_can_be(statistic: Statistic) -> None:
    assert two_sample_p(normal(0, 32), normal(1, 32, shift=1.5), statistic, 199) == 1 / 200
    assert two_sample_p(normal(0, 32), normal(0, 32) + 0.0, statistic, 199) > 0.9  # row by row the same: never far apart


def test_rows_that_are_all_equal_are_no_evidence() -> None:
    assert two_sample_p(np.ones((8, 3)), np.ones((9, 3)), mmd2_between, 99) == 1


@BOTH
def test_real_video_passes_its_floor_nineteen_times_in_twenty(statistic: Statistic) -> None:
    trials = 200 if statistic is mmd2_between else 40
    above = []
    for i in range(trials):
        made, real, other = np.split(normal(i, 60, 4), 3)
        above.append(over_floor(made, real, other, statistic, 99).ratio.value > 1)
    # Somewhat more than 5 %: made is not among the rows that its floor is drawn from.
    assert 0 < np.mean(above) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / trials)


def test_the_interval_over_the_floor_holds_the_truth_and_shrinks_as_the_root_of_n() -> None:
    truth = np.mean([mmd2(normal(2 * i, 256, shift=0.4), normal(2 * i + 1, 256)) for i in range(150)])
    widths = []
    for rows in (32, 128, 512):
        found = [
            over_floor(normal(i, rows, shift=0.4), normal(i + 1000, rows), normal(i + 2000, rows), mmd2_between, 99)
            for i in range(40 if rows == 128 else 8)
        ]
        widths.append(np.median([(one.ratio.high - one.ratio.low) * one.floor for one in found]))
        if rows == 128:
            held = [one.ratio.low * one.floor <= truth <= one.ratio.high * one.floor for one in found]
            assert np.mean(held) >= 0.85
    for wide, narrow in pairwise(widths):
        assert 1.5 < wide / narrow < 2.7


def test_a_ratio_is_the_distance_over_the_floor_and_has_one_value_a_seed() -> None:
    made, real, other = normal(0, 20, shift=1), normal(1, 30), normal(2, 20)
    found = over_floor(made, real, other, mmd2_between, 99)
    assert found.distance == pytest.approx(mmd2(made, real)) and found.ratio.value == found.distance / found.floor
    assert found.ratio.low < found.ratio.value < found.ratio.high
    assert found == over_floor(made, real, other, mmd2_between, 99) != over_floor(made, real, other, mmd2_between, 99, seed=1)


A, B = normal(0, 20), normal(1, 20)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mmd2(A, B[:1]), "at least 2 rows of second, not 1"),
        (lambda: mmd2(A.astype(int), B), "finite float"),
        (lambda: two_sample_p(A[:1], B, mmd2_between), "at least 2 rows"),
        (lambda: two_sample_p(A, B, mmd2_between, draws=20), "99 draws or more"),
        (lambda: over_floor(A[:15], B, A[:15], mmd2_between), "at least 16 rows of made, not 15"),
        (lambda: over_floor(A, B, A[:19], mmd2_between), "as many rows as made, 20, not 19"),
        (lambda: over_floor(A, np.ones((20, 8)), np.ones((20, 8)), mmd2_between), "clips that differ"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        call()

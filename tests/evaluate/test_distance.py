"""Distances agree with slow and with published versions, and chance is told from what is not chance as often as they say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from unspool.errors import UserError
from unspool.evaluate.distance import (
    Statistic,
    coverage_density,
    frechet,
    frechet_between,
    mmd2,
    mmd2_between,
    over_floor,
    two_sample_p,
)

BOTH = pytest.mark.parametrize("statistic", [mmd2_between, frechet_between])


def normal(seed: int, rows: int, width: int = 8, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (rows, width))


def mixed(seed: int, rows: int, width: int) -> np.ndarray:
    """Correlated features with a mean."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, width)) @ rng.normal(size=(width, width)) / np.sqrt(width) + rng.normal(size=width)


@pytest.mark.parametrize(("rows", "width"), [(300, 24), (40, 24), (16, 24)])
def test_frechet_agrees_with_matrix_roots_and_torchmetrics(rows: int, width: int) -> None:
    a, b = mixed(0, rows, width), mixed(1, rows + 5, width)
    means, spreads = [x.mean(0) for x in (a, b)], [np.cov(x.T) for x in (a, b)]
    root = scipy.linalg.sqrtm(spreads[0] @ spreads[1]).real
    want = np.square(means[0] - means[1]).sum() + np.trace(spreads[0] + spreads[1] - 2 * root)
    assert frechet(a, b) == pytest.approx(want, rel=1e-5)
    tensors = [torch.from_numpy(x) for pair in zip(means, spreads, strict=True) for x in pair]
    assert frechet(a, b) == pytest.approx(_compute_fid(*tensors).item(), rel=1e-5)


def test_frechet_of_gaussians_has_its_closed_form() -> None:
    # Rows whose sample mean and covariance are exactly 0 and 1: then any scale and shift is exact as well.
    white, _ = np.linalg.qr(normal(0, 64) - normal(0, 64).mean(0))
    white = np.sqrt(63) * (white - white.mean(0))
    scale, shift = np.linspace(0.5, 2, 8), np.linspace(-1, 1, 8)
    assert frechet(white, white * scale + shift) == pytest.approx(np.sum((scale - 1) ** 2 + shift**2), rel=1e-10)


def test_frechet_of_fewer_rows_than_figures_is_symmetric_and_0_of_itself() -> None:
    a, b = mixed(0, 6, 40), mixed(1, 9, 40)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)
    assert frechet(a, a[::-1]) == pytest.approx(0, abs=1e-12 * np.square(a).sum())
    assert frechet(a.astype(np.float32), b) == pytest.approx(frechet(a, b), rel=1e-6)


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


def test_coverage_is_that_of_the_obvious_loop() -> None:
    real, made, k = normal(0, 40, 3), normal(1, 40, 3, shift=0.7), 4
    density, covered = 0, 0
    for i, x in enumerate(real):
        reach = sorted(np.linalg.norm(x - y) for j, y in enumerate(real) if j != i)[k - 1]
        hits = sum(np.linalg.norm(x - y) < reach for y in made)
        density, covered = density + hits, covered + (hits > 0)
    found = coverage_density(real, made, k)
    assert found == pytest.approx((density / (k * 40), covered / 40))
    assert 0 < found.coverage < 1


def test_coverage_sees_what_is_left_out_and_density_what_is_far_off() -> None:
    real, fresh = normal(0, 400), normal(1, 400)
    same, few, far = (coverage_density(real, made) for made in (fresh, fresh[np.arange(400) % 8], fresh + 100))
    assert same.density == pytest.approx(1, abs=0.1) and same.coverage > 0.9
    assert few.coverage < 0.5 * same.coverage
    assert far == (0, 0)


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
        (lambda: frechet(A[:1], B), "at least 2 rows of first, not 1"),
        (lambda: frechet(A, B[:, :3]), "one width"),
        (lambda: frechet(A, B[0]), "second: features must be finite float"),
        (lambda: frechet(A, np.where(B > 1, np.nan, B)), "second: features must be finite float"),
        (lambda: mmd2(A, B[:1]), "at least 2 rows of second, not 1"),
        (lambda: mmd2(A.astype(int), B), "finite float"),
        (lambda: coverage_density(A[:5], B[:5]), "at least 6 rows of real, not 5"),
        (lambda: coverage_density(A, B[:19]), "as many real rows as made ones, not 20 and 19"),
        (lambda: coverage_density(A, B, k=0), "k >= 1"),
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

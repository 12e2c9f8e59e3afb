"""Distances agree with slow and with published versions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import _compute_fid

from unspool.errors import UserError
from unspool.evaluate.distance import coverage_density, frechet


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


A, B = normal(0, 20), normal(1, 20)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: frechet(A[:1], B), "at least 2 rows of first, not 1"),
        (lambda: frechet(A, B[:, :3]), "one width"),
        (lambda: frechet(A, B[0]), "second: features must be finite float"),
        (lambda: frechet(A, np.where(B > 1, np.nan, B)), "second: features must be finite float"),
        (lambda: coverage_density(A[:5], B[:5]), "at least 6 rows of real, not 5"),
        (lambda: coverage_density(A, B[:19]), "as many real rows as made ones, not 20 and 19"),
        (lambda: coverage_density(A, B, k=0), "k >= 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        call()

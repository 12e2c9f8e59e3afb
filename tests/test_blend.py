"""The path between clean frames and noise: ends, slopes, velocities."""

from __future__ import annotations

import pytest
import torch

from unspool.blend import AlphaBlend, Blend, Cosine
from unspool.testing import assert_close, assert_equal, draw

BLENDS = pytest.mark.parametrize("blend", [AlphaBlend(), Cosine()], ids=lambda b: type(b).__name__)
SHAPE = (2, 11, 3, 2, 2)
CLEAN, NOISE = draw(1, shape=SHAPE), draw(2, shape=SHAPE)
LEVEL = torch.linspace(0, 1, 11, dtype=torch.float64).expand(2, -1)


@BLENDS
def test_ends_of_the_path(blend: Blend) -> None:
    assert_close(blend.blend(CLEAN, NOISE, torch.zeros_like(LEVEL)), CLEAN)
    assert_close(blend.blend(CLEAN, NOISE, torch.ones_like(LEVEL)), NOISE)


@BLENDS
def test_each_frame_has_its_own_level(blend: Blend) -> None:
    level = torch.rand(2, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = blend.blend(CLEAN, NOISE, level)
    for b in range(2):
        for t in range(11):
            assert_equal(
                x[b, t],
                blend.blend(CLEAN[b : b + 1, t : t + 1], NOISE[b : b + 1, t : t + 1], level[b : b + 1, t : t + 1])[0, 0],
            )


@BLENDS
def test_target_is_the_derivative(blend: Blend) -> None:
    """Central differences: the error falls with the square of the step."""
    h, inner = 1e-4, LEVEL[:, 1:-1]
    clean, noise = CLEAN[:, 1:-1], NOISE[:, 1:-1]
    slope = (blend.blend(clean, noise, inner + h) - blend.blend(clean, noise, inner - h)) / (2 * h)
    assert (blend.target(clean, noise, inner) - slope).abs().max() < 1e-7


@BLENDS
def test_ends_are_found_again(blend: Blend) -> None:
    x, v = blend.blend(CLEAN, NOISE, LEVEL), blend.target(CLEAN, NOISE, LEVEL)
    clean, noise = blend.ends(x, v, LEVEL)
    assert_close(clean, CLEAN)
    assert_close(noise, NOISE)
    assert_close(blend.clean(x, v, LEVEL), CLEAN)
    assert_close(blend.blend(clean, noise, LEVEL), x)
    assert_close(blend.target(clean, noise, LEVEL), v)


@BLENDS
def test_step_is_exact_and_comes_back(blend: Blend) -> None:
    x, v = blend.blend(CLEAN, NOISE, LEVEL), blend.target(CLEAN, NOISE, LEVEL)
    to = LEVEL.flip(1)
    there = blend.step(x, v, LEVEL, to)
    assert_close(there, blend.blend(CLEAN, NOISE, to))
    assert_close(blend.step(there, blend.target(CLEAN, NOISE, to), to, LEVEL), x)


@BLENDS
def test_velocity_towards_a_clean_prediction(blend: Blend) -> None:
    """Above `floor` it is the target of the path that ends there; below it is clamped, finite, and smaller."""
    x = blend.blend(CLEAN, NOISE, LEVEL)
    v = blend.velocity(x, CLEAN, LEVEL)
    above = LEVEL[0] >= blend.floor
    assert_close(v[:, above], blend.target(CLEAN, NOISE, LEVEL)[:, above])
    assert_close(blend.clean(x, v, LEVEL)[:, above], CLEAN[:, above])
    small = torch.full_like(LEVEL, blend.floor / 10)
    x = blend.blend(CLEAN, NOISE, small)
    slow, exact = blend.velocity(x, CLEAN, small), blend.target(CLEAN, NOISE, small)
    assert slow.square().mean() < 0.05 * exact.square().mean()
    assert torch.isfinite(blend.velocity(x, CLEAN, torch.zeros_like(LEVEL))).all()
    edge = torch.full_like(LEVEL, blend.floor)  # no jump at the floor
    x = blend.blend(CLEAN, NOISE, edge)
    assert (blend.velocity(x, CLEAN, edge - 1e-9) - blend.velocity(x, CLEAN, edge + 1e-9)).abs().max() < 1e-5

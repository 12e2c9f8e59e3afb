"""Solvers: exact on straight paths, of the order they claim on curved ones, and still where nothing moves."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool.blend import AlphaBlend, Blend, Cosine, per_pixel
from unspool.solver import Solver, euler, midpoint
from unspool.testing import assert_close, assert_equal, draw
from unspool.types import Levels, Video

BLENDS = pytest.mark.parametrize("blend", [AlphaBlend(), Cosine()], ids=lambda b: type(b).__name__)
SOLVERS = pytest.mark.parametrize("solver", [euler, midpoint], ids=lambda s: s.__name__)
CLEAN, NOISE = draw(1, shape=(2, 5, 1, 2, 2)), draw(2, shape=(2, 5, 1, 2, 2))
UNIT = st.floats(0, 1)


def towards(clean: Video, blend: Blend):
    """The exact velocity of the path from noise to these clean frames, no clamp; zero where the level is."""

    def velocity(x: Video, level: Levels) -> Video:
        a, b = blend.weights(level)
        da, db = blend.slopes(level)
        clear = per_pixel(level) == 0
        return torch.where(clear, 0.0, da * clean + db * (x - a * clean) / b.where(~clear, 1.0))

    return velocity


@BLENDS
@SOLVERS
@given(pairs=st.lists(st.tuples(st.floats(0.01, 1), UNIT), min_size=10, max_size=10))
def test_exact_with_the_oracle_velocity(blend: Blend, solver: Solver, pairs: list[tuple[float, float]]) -> None:
    """From any level to any other, down or up, each frame its own."""
    level, to = (torch.tensor(side, dtype=torch.float64).view(2, 5) for side in zip(*pairs, strict=True))
    x = solver(towards(CLEAN, blend), blend, blend.blend(CLEAN, NOISE, level), level, to)
    assert_close(x, blend.blend(CLEAN, NOISE, to))


@BLENDS
@SOLVERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frame_that_stays_is_untouched(blend: Blend, solver: Solver, dtype: torch.dtype) -> None:
    """Bit for bit, at 0, at 1 and between, whatever the velocity says, even not a number."""
    level = torch.tensor([[0.0, 0.3, 1.0, 0.7, 0.5]] * 2, dtype=dtype)
    to = torch.tensor([[0.0, 0.3, 1.0, 0.2, 0.0]] * 2, dtype=dtype)
    x = NOISE.to(dtype)
    for value in (3.3, math.nan):
        out = solver(lambda y, at, value=value: torch.full_like(y, value), blend, x, level, to)
        assert_equal(out[:, :3], x[:, :3])
        assert not torch.equal(out[:, 3:], x[:, 3:])


def test_evaluations() -> None:
    """One a step and two a step, at the levels that the frames have."""
    level, to = torch.full((1, 5), 0.8), torch.full((1, 5), 0.6)
    for solver, wanted in ((euler, [0.8]), (midpoint, [0.8, 0.7])):
        seen: list[float] = []

        def velocity(x: Video, at: Levels, seen: list[float] = seen) -> Video:
            seen.append(float(at[0, 0]))
            return x

        solver(velocity, AlphaBlend(), NOISE[:1].float(), level, to)
        assert seen == pytest.approx(wanted)


def mixture(blend: Blend, means: tuple[float, ...], deviation: float):
    """The exact velocity field, E[target | x], and law, P(frame < x), when every pixel is an even mixture of normals."""
    centres = torch.tensor(means, dtype=torch.float64)

    def velocity(x: Video, level: Levels) -> Video:
        (a, b), (da, db) = blend.weights(level), blend.slopes(level)
        off, variance = x[..., None] - a[..., None] * centres, (a**2 * deviation**2 + b**2)[..., None]
        each = da[..., None] * centres + off * (da * a * deviation**2 + db * b)[..., None] / variance
        return (each * (-(off**2) / (2 * variance)).softmax(-1)).sum(-1)

    def law(x: Video, level: Levels) -> Video:
        a, b = (w[..., None] for w in blend.weights(level))
        off = (x[..., None] - a * centres) / (a**2 * deviation**2 + b**2).sqrt()
        return torch.special.ndtr(off).mean(-1)

    return velocity, law


@BLENDS
@pytest.mark.parametrize("means", [(0.7,), (-0.6, 1.0)], ids=["normal", "two modes"])
@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (midpoint, 2)])
def test_order_of_convergence(blend: Blend, solver: Solver, order: int, means: tuple[float, ...]) -> None:
    """The exact flow keeps quantiles: P(x) at the end is P(z) at the start. Halving the step divides the error by 2^order.

    On one normal the midpoint is of third order: there the leading term y'''/24 + g y''/8 of y' = g y, y = sqrt(s^2 + t^2),
    is zero. Two modes show its true order.
    """
    velocity, law = mixture(blend, means, 0.4)
    z, end = draw(3, shape=(2, 5, 1, 4, 4)), torch.full((2, 5), 0.1, dtype=torch.float64)
    errors = []
    for steps in (64, 128, 256):
        x = z
        for r in range(steps):
            level, to = (torch.full((2, 5), 1 - 0.9 * i / steps, dtype=torch.float64) for i in (r, r + 1))
            x = solver(velocity, blend, x, level, to)
        errors.append(float((law(x, end) - torch.special.ndtr(z)).abs().max()))
    order += solver is midpoint and len(means) == 1
    assert math.log2(errors[-2] / errors[-1]) == pytest.approx(order, abs=0.1), errors
    assert errors[-1] < 0.05**order

"""The loop against a series whose every answer is known: drift, spread, solver error and the price of causal flights."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import AlphaBlend, Blend, Cosine
from unspool.rollout import begin, stream
from unspool.schedule import Staircase
from unspool.solver import Solver, euler, midpoint

spec = spec_from_file_location("series", Path(__file__).parents[2] / "examples" / "series.py")
assert spec is not None and spec.loader is not None
series = module_from_spec(spec)
sys.modules["series"] = series
spec.loader.exec_module(series)

F64 = torch.float64
WORLD = series.oscillator()
BEGUN = torch.tensor([3.0, -2.0], dtype=F64)

FRAME_BY_FRAME = Staircase(steps=8)
PROGRESSIVE = Staircase(steps=8, lag=Fraction(1, 4))
SCHEDULES = [  # schedule, frames that see each other both ways
    pytest.param(FRAME_BY_FRAME, 1, id="frame-by-frame"),
    pytest.param(Staircase(steps=6, chunk=3), 3, id="chunks-of-3"),
    pytest.param(Staircase(steps=6, lag=0, chunks=4), 4, id="full-sequence"),
    pytest.param(Staircase(steps=6, lag=0, chunks=4), 1, id="full-sequence-causal"),
    pytest.param(PROGRESSIVE, 4, id="progressive-both-ways"),
    pytest.param(PROGRESSIVE, 1, id="progressive-causal"),
    pytest.param(Staircase(steps=8, lag=Fraction(1, 8)), 1, id="eight-in-flight"),
    pytest.param(Staircase(steps=6, lag=Fraction(1, 3), chunk=2), 2, id="progressive-chunks"),
    pytest.param(Staircase(steps=8, lag=Fraction(1, 8), chunks=3), 1, id="leave-together"),
]


def law_of_stream(model, schedule: Staircase, frames: int, *, context: int = 1, solver: Solver = euler):
    """The exact law of what the library's own loop emits: unit vectors as context and as noise, so no chance at all."""
    total = frames + 3 * schedule.plan().loop.shape[1]
    units = torch.eye((context + total) * 2, dtype=F64).unflatten(1, (context + total, 2, 1, 1))
    rollout = begin(model, units[:, :context], seed=0)

    def source(seed: Tensor, at: Tensor, count: int, row: int = 0) -> Tensor:
        return units[:, int(at[0]) : int(at[0]) + count]

    chunks = stream(model, model.blend, schedule.plan(), rollout, source=source, frames=frames, solver=solver)
    made = torch.cat([chunk.frames for chunk in chunks], 1).flatten(1).T
    noise = made[:, 2 * context :]
    return series.Law(made[:, : 2 * context], noise @ noise.T)


def apart(a: Tensor, b: Tensor) -> float:
    """Largest difference over the root mean square of b."""
    return ((a - b).abs().max() / b.square().mean().sqrt()).item()


# -- the velocity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sees", [1, 2, 4])
@pytest.mark.parametrize("blend", [AlphaBlend(), Cosine()], ids=["alpha", "cosine"])
def test_velocity_is_the_regression_of_the_true_velocity(sees: int, blend: Blend) -> None:
    """What is left of noise - clean after subtracting it is uncorrelated with all that a frame may see: 5 standard errors."""
    runs, frames = 50_000, 4
    key = rng.fold(torch.arange(runs), 1)
    prior = torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=F64)  # a past that is not known exactly
    lift, cov = WORLD.ahead(frames, prior)
    mean = BEGUN.expand(runs, -1)
    clean = mean @ lift.T + rng.normal(rng.fold(key, 0), 2 * frames).double() @ torch.linalg.cholesky(cov).T
    clean, noise = clean.unflatten(1, (frames, 2, 1, 1)), rng.normal(rng.fold(key, 1), frames, 2, 1, 1).double()
    level = torch.tensor([0.2, 0.9, 0.4, 1.0], dtype=F64).expand(runs, -1)
    x = blend.blend(clean, noise, level)
    model = series.LinearGaussian(WORLD, chunk=sees, blend=blend)
    velocity = model.denoise(x, level, {"mean": mean, "cov": prior.expand(runs, -1, -1)})
    left = (blend.target(clean, noise, level) - velocity).flatten(1)
    assert (left.mean(0).abs() < 5 * left.std(0) / runs**0.5).all()
    together = (x - x.mean(0)).flatten(1)
    correlation = (left - left.mean(0)).T @ together / runs / (left.std(0)[:, None] * together.std(0))
    order = torch.arange(frames).div(sees, rounding_mode="floor").repeat_interleave(2)
    seen = order <= order[:, None]
    assert (correlation[seen].abs() < 5 / runs**0.5).all()
    if sees == 1:  # the check has teeth: later frames would have told more
        assert correlation[~seen].abs().max() > 20 / runs**0.5


def test_later_chunks_and_absent_frames_tell_nothing() -> None:
    model = series.LinearGaussian(WORLD, chunk=2)
    state = model.remember(BEGUN.reshape(1, 1, 2, 1, 1), model.start(1, seed=torch.zeros(1), device="cpu", dtype=F64))
    level = torch.tensor([[0.3, 0.5, 0.7, 0.9]], dtype=F64)
    x = rng.normal(torch.tensor([5]), 4, 2, 1, 1).double()
    whole = model.denoise(x, level, state)
    changed = torch.cat([x[:, :2], x[:, 2:] + 7], 1)
    assert torch.equal(model.denoise(changed, level, state)[:, :2], whole[:, :2])
    present = torch.tensor([[True, True, True, False]])
    masked = model.denoise(x, level, state, present=present)[:, :3]
    torch.testing.assert_close(masked, model.denoise(x[:, :3], level[:, :3], state), rtol=0, atol=1e-12)
    assert (masked - whole[:, :3]).abs().max() > 0.01


def test_levels_may_differ_between_rows_of_a_batch() -> None:
    model = series.LinearGaussian(WORLD, chunk=2)
    state = model.start(3, seed=torch.zeros(3), device="cpu", dtype=F64)
    x, level = rng.normal(torch.arange(3), 4, 2, 1, 1).double(), rng.uniform(torch.arange(3, 6), 4).double()
    each = [model.denoise(x[i : i + 1], level[i : i + 1], {k: v[i : i + 1] for k, v in state.items()}) for i in range(3)]
    torch.testing.assert_close(model.denoise(x, level, state), torch.cat(each), rtol=0, atol=1e-12)


def test_remembering_noisy_frames_is_conditioning_on_them() -> None:
    """The filter, frame by frame, equals one conditioning on all frames at once; a clean frame ends all doubt."""
    model = series.LinearGaussian(WORLD)
    seen, level = rng.normal(torch.tensor([3]), 4, 2, 1, 1).double(), torch.tensor([[0.5, 0.0, 0.3, 0.6]], dtype=F64)
    state = model.remember(seen, model.start(1, seed=torch.zeros(1), device="cpu", dtype=F64), level=level)
    a, b = (w.flatten().repeat_interleave(2) for w in (1 - level, level))
    _, cov = WORLD.ahead(4, WORLD.stationary())
    gain = torch.linalg.solve(a[:, None] * cov * a + torch.diag(b * b), a[:, None] * cov[:, -2:]).T
    torch.testing.assert_close(state["mean"][0], gain @ seen.flatten(), rtol=0, atol=1e-10)
    torch.testing.assert_close(state["cov"][0], cov[-2:, -2:] - gain @ (a[:, None] * cov[:, -2:]), rtol=0, atol=1e-10)
    sure = model.remember(seen, state)
    torch.testing.assert_close(sure["mean"], seen[:, -1].flatten(1), rtol=0, atol=1e-10)
    assert sure["cov"].abs().max() < 1e-10 and int(sure["at"]) == 8


# -- the loop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
@pytest.mark.parametrize(("schedule", "sees"), SCHEDULES)
def test_stream_is_the_predicted_map(schedule: Staircase, sees: int, solver: str) -> None:
    """Noise in, frames out: the library's loop and a walk written apart from it are the same matrix."""
    model = series.LinearGaussian(WORLD, chunk=sees)
    law = law_of_stream(model, schedule, 9, solver=midpoint if solver == "midpoint" else euler)
    expected = series.predicted(model, schedule.plan(), 9, solver)
    assert apart(law.lift, expected.lift) < 1e-6 and apart(law.cov, expected.cov) < 1e-6  # levels are float32


@pytest.mark.parametrize(("schedule", "sees"), SCHEDULES)
def test_samples_follow_the_predicted_law(schedule: Staircase, sees: int) -> None:
    """Every mean, and every covariance between any two frames at any distance, within 5 standard errors (300 comparisons)."""
    model = series.LinearGaussian(WORLD, chunk=sees)
    sample = series.sampled(model, schedule, BEGUN, 12, runs=3000)
    mean, cov = series.deviations(sample, series.predicted(model, schedule.plan(), 12), BEGUN)
    assert mean < 5 and cov < 5


def test_the_check_of_samples_has_teeth() -> None:
    model = series.LinearGaussian(WORLD)
    sample = series.sampled(model, FRAME_BY_FRAME, BEGUN, 12, runs=3000)
    other = series.predicted(model, replace(FRAME_BY_FRAME, steps=12).plan(), 12)
    assert series.deviations(sample, other, BEGUN)[1] > 6
    assert series.deviations(sample, series.predicted(model, FRAME_BY_FRAME.plan(), 12), BEGUN * 0.9)[0] > 6


@pytest.mark.parametrize(("schedule", "sees"), SCHEDULES)
def test_drift_is_exact_for_every_schedule(schedule: Staircase, sees: int) -> None:
    """The mean future is A^h s at every horizon h, however few the steps."""
    law = law_of_stream(series.LinearGaussian(WORLD, chunk=sees), schedule, 12)
    torch.testing.assert_close(law.lift, series.truth(WORLD, 12).lift, rtol=0, atol=1e-6)


# -- steps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 3)])
@pytest.mark.parametrize(
    ("schedule", "sees"),
    [
        pytest.param(FRAME_BY_FRAME, 1, id="frame-by-frame"),
        pytest.param(Staircase(steps=8, chunk=4), 4, id="chunks-of-4"),
        pytest.param(Staircase(steps=8, lag=0, chunks=4), 4, id="full-sequence"),
        pytest.param(PROGRESSIVE, 4, id="progressive-both-ways"),
    ],
)
def test_spread_tends_to_the_truth(schedule: Staircase, sees: int, solver: str, order: int) -> None:
    """The error of all covariances falls as steps ^ -order: doubling the steps divides it by about 2 or 8.

    Midpoint is of second order, but here its h^2 term vanishes: with x' = g x the logarithm of a descent is off by h^2 times
    the integral of g''/24 + g g'/4 + g^3/6, and g = w'/2w with w = (1 - l)^2 q + l^2 obeys g'' = -6 g g' - 4 g^3.
    """
    model, frames = series.LinearGaussian(WORLD, chunk=sees), 8
    real = series.truth(WORLD, frames).cov
    error = [
        apart(series.predicted(model, replace(schedule, steps=steps).plan(), frames, solver).cov, real) for steps in (32, 64)
    ]
    assert error[0] / error[1] == pytest.approx(2**order, rel=0.15)
    assert error[1] < (0.2 if order == 1 else 0.005)


def test_euler_in_closed_form() -> None:
    """One channel, frame by frame: S steps multiply the noise by the product of 1 - g(l) / S; one step leaves the mean."""
    q = 0.3
    model = series.LinearGaussian(series.Series(torch.tensor([[0.8]], dtype=F64), torch.tensor([[q]], dtype=F64)))
    for steps in (1, 2, 8, 32):
        factor = 1.0
        for r in range(steps):
            level = 1 - r / steps
            factor *= 1 - (level - (1 - level) * q) / ((1 - level) ** 2 * q + level**2) / steps
        cov = series.predicted(model, Staircase(steps=steps).plan(), 3).cov
        expected = torch.tensor([sum(0.8 ** (2 * k) for k in range(h + 1)) for h in range(3)], dtype=F64) * factor**2
        torch.testing.assert_close(cov.diagonal(), expected, rtol=1e-5, atol=1e-12)
        if steps == 1:
            assert cov.abs().max() < 1e-12


def test_other_path_same_truth() -> None:
    """The cosine path leads to the same law, from no context at all too: the first frame is stationary."""
    model = series.LinearGaussian(WORLD, blend=Cosine())
    schedule = Staircase(steps=48)
    real = series.truth(WORLD, 4)
    assert apart(law_of_stream(model, schedule, 4, solver=midpoint).cov, real.cov) < 0.01
    stationary = WORLD.ahead(4, WORLD.stationary())[1]
    assert apart(law_of_stream(model, schedule, 4, context=0, solver=midpoint).cov, stationary) < 0.01


def test_causal_flights_fall_short_of_the_truth() -> None:
    """Frames under way that see only older ones: the more, the narrower. More steps do not help, seeing both ways does."""
    frames = 24

    def variance(lag: Fraction, steps: int, sees: int = 1) -> float:
        model = series.LinearGaussian(WORLD, chunk=sees)
        law = series.predicted(model, Staircase(steps=steps, lag=lag).plan(), frames, "midpoint")
        return series.exact_spread(law, frames - 4, frames)[0]

    real = series.exact_spread(series.truth(WORLD, frames), frames - 4, frames)[0]
    half, quarter, eighth = (variance(Fraction(1, n), 16) for n in (2, 4, 8))
    assert real > 1.05 * half > 1.1 * quarter > 1.15 * eighth
    assert variance(Fraction(1, 4), 32) == pytest.approx(quarter, rel=0.002)
    assert variance(Fraction(1), 16) == pytest.approx(real, rel=0.001)
    assert variance(Fraction(1, 4), 16, sees=4) == pytest.approx(real, rel=0.001)


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "ROWS", series.ROWS[:2])
    series.main(runs=300, frames=10, late=4)
    lines = capsys.readouterr().out.splitlines()
    measured, exact = (float(cell) for cell in lines[-1].split("euler")[1].replace("±", " ").split()[1:4:2])
    error = float(lines[-1].split("±")[1].split()[0])
    assert abs(measured - exact) < 5 * error < exact

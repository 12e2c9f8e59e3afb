"""Drift foretold: nothing for an oracle, more for worse models, and equal to the sum written out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unspool.blend import AlphaBlend, Blend, Cosine
from unspool.codec import Pixels
from unspool.errors import UserError
from unspool.evaluate.foretold import OneStep, agreement, one_step_error, predict, snr
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.model.video import VideoModel
from unspool.noise import FrameNoise
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.testing import draw, scale_weights
from unspool.train.objectives import TeacherForcing
from unspool.types import Known, Levels, State, Video

SIZE, FRAMES = 8, 16
CLIPS = np.random.default_rng(0).integers(0, 256, size=(3, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
TRUTH = torch.from_numpy(CLIPS).movedim(-1, -3).float() / 127.5 - 1
CASES = {
    "chunks": Staircase(4, 2),
    "frames": Staircase(3),
    "progressive": Staircase(4, 2, Fraction(1, 4)),
    "together": Staircase(4, 2, 0, 2),
    "redo": Staircase(4, 2, Fraction(1, 2), redo=2),
}


class Oracle(VideoModel):
    """Knows the clips, and is off by `off` in every number of the clean frame."""

    shape = (3, SIZE, SIZE)

    def __init__(self, blend: Blend, off: float = 0.0, truth: Tensor = TRUTH) -> None:
        super().__init__()
        self.blend, self.off, self.truth = blend, off, truth

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        return {"at": torch.zeros(batch, dtype=torch.int64), "seed": seed}

    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        at = int(state["at"][0])
        return self.blend.velocity(x, self.truth[:, at : at + x.shape[1]] + self.off, level)

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        at = int(state["at"][0])
        assert torch.equal(clean, self.truth[:, at : at + clean.shape[1]]), "the past is the true one"
        return {**state, "at": state["at"] + clean.shape[1]}


def system_of(model: VideoModel, schedule: Staircase, blend: Blend | None = None) -> System:
    return System(model, Pixels(), blend or AlphaBlend(), schedule, euler, TeacherForcing(), 8)


def transformer(controls: int = 0, **options: Any) -> VideoTransformer:
    settings: dict[str, Any] = {"patch": 4, "width": 16, "memories": [[Window(16, 1, 3)] for _ in range(2)]}
    return scale_weights(VideoTransformer((3, SIZE, SIZE), controls=controls, **settings | options), 0.2)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("blend", [AlphaBlend(), Cosine()], ids=["alpha", "cosine"])
def test_an_oracle_makes_no_error_and_a_known_one_costs_what_it_must(case: Staircase, blend: Blend) -> None:
    """Whatever the plan, a frame's levels fall once from noise to clean: an error that is the same at every level, off, costs
    the whole signal-to-noise ratio at the floor, times off^2 / 2."""
    model = Oracle(blend)
    none = one_step_error(system_of(model, case, blend), CLIPS)
    assert none.hop == case.plan().hop and none.error.shape == (3,) and none.error.max() < 1e-8
    model.off = 0.1
    some = one_step_error(system_of(model, case, blend), CLIPS).error
    whole = float(snr(blend, torch.tensor([[0.0]], dtype=torch.float64)) - snr(blend, torch.tensor([[1.0]])))
    assert np.allclose(some, whole * 0.1**2 / 2, rtol=1e-4)


def test_signal_to_noise_ratio() -> None:
    level = torch.tensor([[0.0, 0.05, 0.2, 0.5, 1.0]])
    assert np.allclose(snr(AlphaBlend(), level), [[361, 361, 16, 1, 0]], rtol=1e-5)


def test_it_is_the_sum_written_out() -> None:
    """A model with a memory, actions and a flight of two chunks at different levels, clip by clip and frame by frame."""
    model, case = transformer(controls=3, chunk=2), CASES["progressive"]
    actions = draw(3, shape=(3, FRAMES, 3)).float()
    got = one_step_error(system_of(model, case), CLIPS, actions.numpy(), context=3, seed=7).error
    plan, noise, hops = case.plan(), FrameNoise(model.shape), []
    for at in range(3, FRAMES - plan.frames + 1, 2):
        state = model.start(3, seed=torch.full((3,), 7), device="cpu", dtype=torch.float32)
        state = model.remember(TRUTH[:, :at], state, control=actions[:, :at])
        true, cost = TRUTH[:, at : at + plan.frames], np.zeros(3)
        for row, (high, low) in enumerate(pairwise(plan.loop)):
            n = noise(state["seed"], state["at"], plan.frames, row)
            x = torch.stack([(1 - t) * true[:, j] + t * n[:, j] for j, t in enumerate(high)], 1)
            v = model.denoise(x, high.expand(3, -1), state, control=actions[:, at : at + plan.frames])
            for j, (t, s) in enumerate(zip(high.tolist(), low.tolist(), strict=True)):
                share = ((1 - max(s, 0.05)) / max(s, 0.05)) ** 2 - ((1 - t) / t) ** 2
                cost += share / 2 * (x[:, j] - t * v[:, j] - true[:, j]).square().mean((1, 2, 3)).detach().numpy()
        hops.append(cost / 2)
    assert len(hops) == 3 and np.allclose(got, np.mean(hops, 0), rtol=1e-4)


def test_a_clip_is_judged_alone_and_on_its_own_seed() -> None:
    system = system_of(transformer(), CASES["chunks"])
    whole = one_step_error(system, CLIPS).error
    many = one_step_error(system, np.concatenate([CLIPS[2:]] * 17 + [CLIPS[:1]])).error
    assert np.allclose(many, [whole[2]] * 17 + [whole[0]], rtol=1e-4) and len(set(whole)) == 3
    assert np.array_equal(one_step_error(system, CLIPS).error, whole)
    assert not np.allclose(one_step_error(system, CLIPS, seed=1).error, whole, rtol=1e-4)


def test_it_grows_with_the_noise_on_a_models_weights() -> None:
    """A small network that has learnt its clip by heart, then is disturbed more and more."""
    torch.manual_seed(0)
    model = VideoTransformer((3, SIZE, SIZE), patch=4, width=32, memories=[[Window(32, 1, 2)]])
    clips = np.repeat(CLIPS[:1, :1], FRAMES, 1)
    system = system_of(model, CASES["frames"])
    before = one_step_error(system, clips).error.mean()
    clean = TRUTH[:1, :1].expand(16, 6, -1, -1, -1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(120):
        noise, level = draw(1, step, shape=clean[:, :4].shape).float(), torch.rand(16, 4, generator=_generator(step))
        x = AlphaBlend().blend(clean[:, :4], noise, level)
        v, _ = model(clean[:, :4], x[:, None], level[:, None], (2,))
        loss = (v[:, 0] - AlphaBlend().target(clean[:, :4], noise, level)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors, learnt = [], [p.detach().clone() for p in model.parameters()]
    for scale in (0.0, 0.02, 0.05, 0.15):
        with torch.no_grad():
            for i, (p, own) in enumerate(zip(model.parameters(), learnt, strict=True)):
                p.copy_(own + scale * draw(9, i, shape=tuple(p.shape)).float())
        errors.append(one_step_error(system, clips).error.mean())
    assert errors[0] < 0.3 * before
    assert all(b > 1.05 * a for a, b in pairwise(errors)), errors


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_prediction_is_a_line() -> None:
    curve = predict(OneStep(np.array([1.0, 3.0]), hop=4), 6)
    assert np.allclose(curve, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    with pytest.raises(UserError, match="1 frame or more"):
        predict(OneStep(np.ones(1), 1), 0)


# -- agreement ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [4, 6, 7, 8, 12])
def test_ranks_are_scipys(arms: int) -> None:
    """Ties included; and its p-value is that of permutations."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(arms)
    a, b = rng.integers(0, 5, arms).astype(float), rng.normal(size=arms)
    b[1] = b[0]
    got = agreement(a, b)
    assert np.isclose(got.rho, stats.spearmanr(a, b).statistic) and got.arms == arms and not got.undecided
    test = stats.permutation_test((a,), lambda x: stats.spearmanr(x, b).statistic, permutation_type="pairings",
                                  alternative="greater", n_resamples=2000 if arms > 7 else np.inf,
                                  rng=np.random.default_rng(0)) if arms in (4, 6, 8) else None  # fmt: skip
    if test is not None:
        assert np.isclose(got.p, test.pvalue, atol=1e-9 if arms <= 7 else 0.04)


def test_what_four_arms_can_say_and_three_cannot() -> None:
    four = agreement(np.arange(4.0), np.array([1.0, 5.0, 6.0, 60.0]))
    assert four.rho == pytest.approx(1) and four.p == pytest.approx(1 / 24)
    three = agreement(np.arange(3.0), np.arange(3.0))
    assert three.rho == pytest.approx(1) and three.undecided
    same = agreement(np.ones(6), np.arange(6.0))
    assert np.isnan(same.rho) and same.undecided
    assert agreement(np.arange(9.0), -np.arange(9.0)).p == pytest.approx(1)
    assert agreement(np.arange(9.0), np.arange(9.0)).p < 0.001


def test_bad_input_is_refused_with_its_fix() -> None:
    system = system_of(transformer(), CASES["redo"])
    with pytest.raises(UserError, match="needs clips of 6 frames"):
        one_step_error(system, CLIPS[:, :5])
    with pytest.raises(UserError, match="and 2 or more of context"):
        one_step_error(system, CLIPS, context=1)
    with pytest.raises(UserError, match="uint8"):
        one_step_error(system, CLIPS / 255)
    with pytest.raises(UserError, match="give the actions"):
        one_step_error(system_of(transformer(controls=2), CASES["chunks"]), CLIPS)
    with pytest.raises(UserError, match="not finite"):
        one_step_error(replace(system, model=Oracle(AlphaBlend(), float("nan"))), CLIPS)
    for a, b in [(np.ones(3), np.ones(4)), (np.ones(1), np.ones(1)), (np.ones((2, 2)), np.ones((2, 2))),
                 (np.array([1, np.nan]), np.ones(2))]:  # fmt: skip
        with pytest.raises(UserError, match="agreement needs a finite figure"):
            agreement(a, b)

"""Rollouts as values: forks, gradient, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from unspool import store
from unspool.blend import AlphaBlend, Cosine
from unspool.context import Local
from unspool.errors import UserError
from unspool.fits import check_levels
from unspool.grid import Shifted
from unspool.rollout import Chunk, Rollout, begin, by_frame, fill, fork, stream
from unspool.schedule import Staircase
from unspool.solver import midpoint
from unspool.testing import (
    assert_equal,
    error,
    map_state,
    nano,
    video,
)
from unspool.types import Known, Video

BLEND = AlphaBlend()
CASES = {
    "chunk by chunk": Staircase(3, 2),
    "progressive": Staircase(4, 2, 0.25),
    "two in flight": Staircase(4, 2, 0.5),
}


def joined(chunks: list[Chunk]) -> Video:
    return torch.cat([chunk.frames for chunk in chunks], 1)


def run(model: nn.Module, case: Staircase, frames: int, rollout: Rollout | None = None, **options: Any) -> list[Chunk]:
    plan = case.plan()
    rollout = rollout or begin(model, video(4), seed=3, redo=plan.redo)
    return list(stream(model, BLEND, plan, rollout, frames=frames, **options))


# -- forks ----------------------------------------------------------------------------------------------------------------


def test_forks_differ_by_seed_alone() -> None:
    """The same past; from the very next chunk on another future for another seed, the same for the same."""
    model, case = nano(), CASES["chunk by chunk"]
    rollout = run(model, case, 4)[-1].rollout
    before = map_state(torch.clone, rollout._asdict())
    futures = {seed: joined(run(model, case, 6, fork(rollout, seed))) for seed in (1, 2, 3)}
    assert_equal(joined(run(model, case, 6, fork(rollout, 2))), futures[2])
    for a, b in ((1, 2), (2, 3), (1, 3)):
        assert error(futures[a][:, :2], futures[b][:, :2]) > 0.01
    assert_equal(joined(run(model, case, 6, fork(rollout, 3))), joined(run(model, case, 6, rollout)), "its own seed")
    assert_equal(rollout._asdict(), before, "the rollout that was forked")
    one = fork(rollout, torch.tensor([5, 5]))
    assert one.state["seed"].tolist() == [5, 5] and one.state["seed"].dtype == rollout.state["seed"].dtype


def test_frames_in_flight_are_of_the_past() -> None:
    """A progressive fork first shows the chunks that were under way, then its own; looking ahead, it differs at once."""
    case = CASES["progressive"]
    for chunk, same in ((2, 6), (8, 0)):
        model = nano(chunk=chunk)
        rollout = run(model, case, 4)[-1].rollout
        a, b = (joined(run(model, case, 10, fork(rollout, seed))) for seed in (1, 2))
        assert_equal(a[:, :same], b[:, :same])
        assert error(a[:, same : same + 2], b[:, same : same + 2]) > 1e-6


# -- gradient -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["chunk by chunk", "two in flight"])
def test_gradient(case: str) -> None:
    """By default none leaks; "last" and "all" reach every parameter, and differ; the frames are the same all the while."""
    model = nano(predict="velocity").requires_grad_(True)
    grads = {}
    quiet = run(model, CASES[case], 4)
    assert not any(t.requires_grad for t in store.flatten(quiet[-1].rollout._asdict()).values())
    assert not joined(quiet).requires_grad
    for grad in ("last", "all"):
        frames = joined(run(model, CASES[case], 4, grad=grad))
        assert_equal(frames, joined(quiet))
        grads[grad] = torch.autograd.grad(frames.square().sum(), list(model.parameters()))
        named = dict(zip((n for n, _ in model.named_parameters()), grads[grad], strict=True))
        assert not [n for n, g in named.items() if not g.any()], "no gradient reaches these"
    assert max(error(a, b) for a, b in zip(grads["last"], grads["all"], strict=True)) > 0.01
    with torch.no_grad():
        assert not joined(run(model, CASES[case], 4, grad="all")).requires_grad


def test_gradient_passes_through_what_is_remembered() -> None:
    """The second chunk teaches the weights that wrote the first one, unless the rollout is detached between them."""
    model, case = nano(predict="velocity").requires_grad_(True), CASES["chunk by chunk"]
    for grad in ("last", "all"):
        first = run(model, case, 2, grad=grad)[-1].rollout
        cut = Rollout(**map_state(torch.detach, first._asdict()))
        through, stopped = (joined(run(model, case, 2, r, grad=grad)) for r in (first, cut))
        assert_equal(through, stopped)
        grads = [torch.autograd.grad(f.square().sum(), list(model.parameters())) for f in (through, stopped)]
        assert max(error(a, b) for a, b in zip(*grads, strict=True)) > 0.01


# -- other -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blend", [AlphaBlend(), Cosine()], ids=lambda b: type(b).__name__)
def test_every_blend_and_solver_stream(blend) -> None:
    model, plan = nano(blend=blend), CASES["two in flight"].plan()
    a, b = (
        joined(list(stream(model, blend, plan, begin(model, video(2), seed=0), frames=4, **options)))
        for options in ({}, {"solver": midpoint})
    )
    assert torch.isfinite(a).all() and error(a, b) > 1e-3


def test_bad_input_is_refused_with_its_fix() -> None:
    model, plan = nano(), CASES["two in flight"].plan()
    rollout = begin(model, video(2), seed=0)
    for frames in (0, -3):
        with pytest.raises(UserError, match=f"at least 1, not {frames}"):
            next(stream(model, BLEND, plan, rollout, frames=frames))
    begun = run(model, CASES["two in flight"], 2)[-1].rollout
    with pytest.raises(UserError, match=r"2 frames in flight, but the plan wants 6.*begun with"):
        next(stream(model, BLEND, CASES["progressive"].plan(), begun))


# -- what does not fit is refused, in one line each


def steered(frames: int, batch: int = 2) -> torch.Tensor:
    return torch.ones(batch, frames, 3, dtype=torch.float64)


def test_actions_that_are_missing_or_of_another_shape_are_refused() -> None:
    model, plan = nano(controls=3), CASES["chunk by chunk"].plan()
    with pytest.raises(UserError, match="takes actions of 3 numbers, and the context has none"):
        begin(model, video(4), seed=3)
    with pytest.raises(UserError, match=r"actions of the context have shape \(2, 3, 3\)"):
        begin(model, video(4), seed=3, control=steered(3))
    rollout = begin(model, video(4), seed=3, control=steered(4))
    with pytest.raises(UserError, match="takes actions of 3 numbers, and a rollout has none"):
        next(stream(model, BLEND, plan, rollout))
    for told in (steered(9), steered(2, batch=1), steered(2)[..., :2]):
        with pytest.raises(UserError, match=r"the actions of 2 frames have shape .* the model takes"):
            next(stream(model, BLEND, plan, rollout, controls=lambda at, frames, told=told: told))
    next(stream(model, BLEND, plan, rollout, controls=lambda at, frames: steered(frames)))


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_actions_that_are_not_finite_are_refused(odd: float) -> None:
    model, plan, told = nano(controls=3), CASES["chunk by chunk"].plan(), steered(4)
    rollout = begin(model, video(4), seed=3, control=told)
    told[1, 2, 0] = odd
    with pytest.raises(UserError, match="some actions of the context are not finite"):
        begin(model, video(4), seed=3, control=told)
    with pytest.raises(UserError, match="some actions of 2 frames are not finite"):
        next(stream(model, BLEND, plan, rollout, controls=lambda at, frames: told[:, 2 : 2 + frames]))


def test_known_actions_by_absolute_frame() -> None:
    """Each video's own beginning counts, and the last action is held."""
    control = torch.arange(10.0).reshape(2, 5, 1)
    told = by_frame(control, torch.tensor([7, 100]))(torch.tensor([9, 103]), 4)
    assert told[..., 0].tolist() == [[2, 3, 4, 4], [8, 9, 9, 9]]


def test_a_rollout_of_another_model_batch_or_precision_is_refused() -> None:
    model, plan = nano(), CASES["chunk by chunk"].plan()
    rollout = begin(model, video(4), seed=3)
    others = {"depth": nano(depth=3), "window": nano(window=2), "precision": nano(dtype=torch.float32)}
    for other in others.values():
        with pytest.raises(UserError, match=r"of another model or precision: blocks\.\S+ of its state does not fit"):
            next(stream(other, BLEND, plan, rollout))
    with pytest.raises(UserError, match="the state is of 2 rollouts, 1 are in flight"):
        next(stream(model, BLEND, plan, rollout._replace(window=rollout.window[:1])))
    with pytest.raises(UserError, match=r"frames in flight are torch\.int64"):
        next(stream(model, BLEND, plan, rollout._replace(window=rollout.window.long())))
    with pytest.raises(UserError, match=r"context frames are torch\.uint8"):
        begin(model, video(4).to(torch.uint8), seed=3)
    with pytest.raises(UserError, match="2 contexts and 3 seeds"):
        begin(model, video(4), seed=torch.arange(3))


def test_frames_that_are_not_final_are_never_remembered() -> None:
    model, plan = nano(), CASES["chunk by chunk"].plan()
    halfway = plan._replace(loop=plan.loop[:-1])
    with pytest.raises(UserError, match=r"would remember frames at level 0\.333"):
        next(stream(model, BLEND, halfway, begin(model, video(4), seed=3)))
    last = run(model, CASES["progressive"], 6, drain=True)[-1]
    assert last.rollout is None
    with pytest.raises(UserError, match="was drained, there is nothing to go on from"):
        next(stream(model, BLEND, plan, last.rollout))


def test_frames_between_two_ends_go_by_their_actions() -> None:
    model, plan = nano(controls=3, local=Local(2, 4)), Staircase(3, 4).plan()
    ends = Known(video(2), torch.tensor([[0, 3]]).expand(2, -1))
    made = {n: fill(model, BLEND, plan, ends, seed=3, control=n * steered(4)) for n in (1, 2)}
    assert error(made[1], made[2]) > 1e-3
    for told in (None, steered(3)):
        with pytest.raises(UserError, match="actions"):
            fill(model, BLEND, plan, ends, seed=3, control=told)


def test_frames_under_way_are_not_told_other_levels() -> None:
    """A new number of steps that keeps them is fine, and so is any plan where nothing is under way."""
    begun, window = Staircase(8, 2, Fraction(1, 4)).plan(), video(6)
    check_levels(window, begun, Staircase(16, 2, Fraction(1, 4)).plan())
    for other in (Staircase(8, 2, Fraction(1, 2)), Staircase(8, 2, Fraction(1, 4), grid=Shifted(3.0))):
        with pytest.raises(UserError, match="under way at other levels"):
            check_levels(window, begun, other.plan())
        check_levels(window[:, :0], begun, other.plan())

"""A rollout in a slot is the rollout that it is alone."""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor

from unspool import slots
from unspool.errors import UserError
from unspool.noise import FrameNoise
from unspool.recipes import RECIPES
from unspool.rollout import Rollout, by_frame, opened, stream
from unspool.slots import Request, together
from unspool.system import System
from unspool.testing import assert_close, scale_weights

LENGTHS = (5, 1, 9, 2, 6)


def small(name: str) -> System:
    known = inspect.signature(RECIPES[name]).parameters
    wanted: dict[str, Any] = {"size": "nano", "resolution": 16, "patch": 8, "controls": 2, "steps": 4}
    if name in ("progressive", "rolling"):
        del wanted["steps"]  # their lag is a share of it
    torch.manual_seed(0)
    system = RECIPES[name](**{key: value for key, value in wanted.items() if key in known})
    scale_weights(system.model, std=0.1)
    system.model.eval().requires_grad_(False)
    return system


def requests(system: System) -> list[Request]:
    """Of five lengths and seeds, behind contexts and actions of their own."""
    made, plan, shape = [], system.schedule.plan(), system.model.shape
    for k, frames in enumerate(LENGTHS):
        one = torch.tensor([k])
        context = FrameNoise(shape)(one + 50, one * 0, max(2, plan.redo) + k % 2).clamp(-1, 1)
        acted = None
        if system.model.controls:
            acted = by_frame(torch.randn(1, 40, system.model.controls, generator=torch.Generator().manual_seed(k)), one * 0)
        rollout = opened(system.model, system.blend, plan, context, seed=one, controls=acted, solver=system.solver)
        made.append(Request(rollout, frames, acted))
    return made


def alone(system: System, request: Request) -> Tensor:
    plan = system.schedule.plan()
    told: dict[str, Any] = {"frames": request.frames, "solver": system.solver, "controls": request.controls}
    return torch.cat([c.frames for c in stream(system.model, system.blend, plan, request.rollout, **told)], 1)


NAMES = ("chunk-by-chunk", "frame-by-frame", "progressive", "rolling", "alpha-context", "rad", "malt", "fifo")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [2, 8])
@torch.no_grad()
def test_each_is_what_it_is_alone(name: str, count: int) -> None:
    """Whatever stands beside it, wherever it joins and whoever leaves; never more at a time than there are slots."""
    system = small(name)
    asked, made, under_way = requests(system), defaultdict(list), set()
    for step in together(system, asked, count):
        assert step.number not in made or not made[step.number][-1].last
        under_way.add(step.number)
        assert len(under_way) <= count
        if step.last:
            under_way.discard(step.number)
        made[step.number].append(step)
    assert sorted(made) == list(range(len(LENGTHS))) and not under_way
    for number, request in enumerate(asked):
        frames = torch.cat([step.frames for step in made[number]], 1)
        assert frames.shape[1] == LENGTHS[number]
        assert_close(frames, alone(system, request), f"{name}: request {number} of {LENGTHS[number]} frames")


@torch.no_grad()
def test_slots_are_filled_as_they_fall_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slots walk 5 + 1 + 9 + 2 + 6 frames: the evaluations are those of full slots, not of the longest of each pair."""
    system, widths = small("frame-by-frame"), []

    def noted(model: Any, blend: Any, plan: Any, rollout: Rollout, **told: Any) -> Any:
        widths.append(len(rollout.window))
        return stream(model, blend, plan, rollout, **told)

    monkeypatch.setattr(slots, "stream", noted)
    steps = list(together(system, requests(system), 2))
    assert sum(widths) == len(steps) == sum(LENGTHS) and max(widths) == 2


def test_nothing_is_asked_for_and_nothing_is_made() -> None:
    assert list(together(small("frame-by-frame"), [], 3)) == []


@torch.no_grad()
def test_what_cannot_stand_in_a_slot_is_refused() -> None:
    system = small("frame-by-frame")
    (one, *_) = requests(system)
    two = Rollout({}, one.rollout.window.expand(2, -1, -1, -1, -1), one.rollout.pending, {})
    broken = one.rollout._replace(pending=torch.zeros(1, 1, *system.model.shape))
    for bad in (one._replace(rollout=two), one._replace(rollout=broken), one._replace(frames=0)):
        with pytest.raises(UserError, match="request 1 must be one rollout"):
            list(together(system, [one, bad], 2))
    with pytest.raises(UserError, match="slots is how many"):
        list(together(system, [one], 0))

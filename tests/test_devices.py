"""Rollouts on another device than the CPU, without one: on `meta` there are shapes alone, so whatever would bring a number to
the host fails, and a mode looks at every operation for tensors that lie elsewhere."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unspool import device, rollout
from unspool.errors import UserError
from unspool.recipes import RECIPES
from unspool.schedule import Plan

META = torch.device("meta")
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Together(TorchDispatchMode):
    """No operation but a copy takes tensors of two devices, a number apart."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        places = {leaf.device.type for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim()}
        if len(places) > 1 and func not in MOVES:
            raise AssertionError(f"{func} of tensors on {sorted(places)}")
        return func(*args, **(kwargs or {}))


def test_the_mode_sees_what_lies_elsewhere() -> None:
    there, here = torch.zeros(2, 3, device=META), torch.zeros(2, 3)
    with Together():
        assert (there + there).device == META and here.to(META).device == META
        with pytest.raises(AssertionError, match=r"aten\.cat\.default of tensors on"):
            torch.cat([there, here])


def short(plan: Plan) -> Plan:
    """The plan with one step in its warm-up and one in its loop: a step more is no other operation."""
    ends = [0, -1] if len(plan.warmup) > 1 else [0]
    return plan._replace(warmup=plan.warmup[ends], exist=plan.exist[-1:], loop=plan.loop[[0, -1]])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_rollout_stays_on_its_device_and_asks_for_no_number(name: str) -> None:
    """The loop never waits for the device: not in begin, nor in stream, nor in the decoder."""
    known = inspect.signature(RECIPES[name]).parameters
    acting = {"size": "nano"} | ({"controls": 3} if "controls" in known else {})
    system = RECIPES[name](**acting).to(META)
    plan, told = short(system.schedule.plan()), system.model.controls
    assert system.device == META
    controls = (lambda at, frames: torch.zeros(len(at), frames, told, device=META)) if told else None
    context = torch.zeros(2, max(2, plan.redo), *system.model.shape, device=META)
    seeds = torch.zeros(2, dtype=torch.int64, device=META)
    with Together():
        first = controls(seeds, context.shape[1]) if controls else None
        begun = rollout.begin(system.model, context, seed=seeds, redo=plan.redo, control=first)
        frames = 2 * plan.hop
        chunks = rollout.stream(
            system.model, system.blend, plan, begun, frames=frames, solver=system.solver, controls=controls
        )
        decoder: dict[str, Any] = {}
        for chunk in chunks:
            video, decoder = system.codec.decode(chunk.frames, decoder)
            assert video.device == META


def test_what_there_is() -> None:
    assert device.choose("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert device.choose() == torch.device("cpu")
        with pytest.raises(UserError, match="no GPU that torch"):
            device.choose("cuda")
        with pytest.raises(UserError, match="there is no device 'cuda:1' here; there are: cpu"):
            device.choose("cuda:1")
    with pytest.raises(UserError, match="there is no device 'gpu'"):
        device.choose("gpu")


def test_processes_of_a_machine_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [device.choose(None, here).index for here in range(5)] == [0, 1, 2, 3, 0]
    assert device.choose("cuda:2", 1) == torch.device("cuda:2")


def test_codecs_are_modules() -> None:
    """So that they move as models do."""
    from unspool.codec import Pixels

    assert isinstance(Pixels(), nn.Module)

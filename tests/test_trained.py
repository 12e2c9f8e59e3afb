"""Training meets what use does: every window of levels that a rollout walks through is among those that training draws."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from unspool import config
from unspool.errors import UserError
from unspool.explain import check_rollout
from unspool.explain.trained import unseen, walked
from unspool.model.wrapper import innermost
from unspool.rollout import opened, stream
from unspool.system import System
from unspool.train.windows import Windows

SMALL = {"size": "nano", "resolution": 16, "components": 12}
PROGRESSIVE = {**SMALL, "chunk": 2, "chunks": 3, "steps": 6}
NEAR = 0.03
"""80 000 draws are so dense: none of the levels of a rollout is further from one."""


@cache
def system(recipe: str, **given: Any) -> System:
    return config.build(recipe, given)


def asked(system: System, held: int, frames: int | None, drain: bool) -> list[tuple[Tensor, int]]:
    """What the network is really asked in a rollout behind so many frames: levels in flight, and clean frames in front."""
    model, seen = innermost(system.model), []
    plain = model.reader

    def spy(state: Any, *known: Any) -> Any:
        before = int(state["context"]["count"][0]) if "count" in state["context"] else 0
        read = plain(state, *known)
        return lambda x, level, **told: (seen.append((level[0], before)), read(x, level, **told))[1]

    object.__setattr__(model, "reader", spy)
    try:
        plan, context = system.schedule.plan(), torch.zeros(1, held, *system.model.shape)
        rollout = opened(system.model, system.blend, plan, context, seed=0)
        seen.clear()  # of a queue, what fills it
        total = frames or 2 * (plan.redo + plan.frames) + plan.hop
        for _ in stream(system.model, system.blend, plan, rollout, frames=total, drain=drain):
            pass
    finally:
        object.__delattr__(model, "reader")
    return seen


@cache
def drawn(recipe: str, **given: Any) -> dict[tuple[int, int], Tensor]:
    """(frames in flight, clean frames in front) -> levels of all such windows among 80 000 of training."""
    task = system(recipe, **given).objective
    assert isinstance(task, Windows)
    key = torch.arange(80_000)
    windows = task.law.windows(key + 1_000_000, system(recipe, **given).frames - task.first)
    before, held = task.before(windows.opening, key), windows.present.sum(1)
    pairs = {(int(n), int(b)) for n, b in torch.stack([held, before], 1).unique(dim=0)}
    return {(n, b): windows.level[(held == n) & (before == b)][:, :n] for n, b in pairs}


@pytest.mark.parametrize("held", ["from nothing", "behind a context"])
@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_progressive_is_trained_on_what_it_meets(kept: int, held: str) -> None:
    """Warm-up, loop and drain of every length up to more than two windows, behind a context and from nothing."""
    given = {**PROGRESSIVE, "kept": kept}
    whole, known = system("progressive", **given), drawn("progressive", **given)
    begun = 0 if held == "from nothing" else 2 * max(kept, 1)
    for frames in (None, *range(1, 16)):
        for level, before in asked(whole, begun, frames, drain=frames is not None):
            draws = known.get((len(level), before))
            assert draws is not None, f"{len(level)} frames behind {before} clean ones are never trained"
            assert float((draws - level).abs().amax(1).min()) < NEAR, f"levels {level.tolist()} behind {before}"
    drained = dataclasses.replace(whole, drain=True)
    assert all(unseen(one, bare=not begun) is None for one in (whole, drained))


def test_rolling_is_trained_on_what_it_meets() -> None:
    given = {**SMALL, "flight": 4, "steps": 8}
    known = drawn("rolling", **given)
    for level, before in asked(system("rolling", **given), 2, None, drain=False):
        assert float((known[len(level), before] - level).abs().amax(1).min()) < NEAR


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("held", [0, 2])
@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        ("progressive", PROGRESSIVE), ("rolling", {**SMALL, "flight": 4, "steps": 8}), ("acdit", {**SMALL, "steps": 4}),
        ("replace-noised", PROGRESSIVE), ("full-sequence", {**SMALL, "flight": 4, "steps": 3}), ("ar-diffusion", SMALL),
    ],
)  # fmt: skip
def test_what_is_walked_is_what_is_asked(recipe: str, given: dict[str, Any], held: int, drain: bool) -> None:
    """The windows that a check looks at are those of `stream`, evaluation by evaluation."""
    whole = system(recipe, **given)
    plan = whole.schedule.plan()
    frames = 3 * plan.chunk if drain else plan.frames
    seen = asked(whole, max(held, plan.redo) if held else 0, frames, drain)
    want = [one.level for one in walked(plan, frames)] if drain else [one.level for one in walked(plan)][: len(seen)]
    assert len(seen) == len(want)
    for (level, _), walk in zip(seen, want, strict=True):
        assert torch.equal(level, walk)


@pytest.mark.parametrize("recipe", ["ar-diffusion", "acdit", "diffusion-forcing", "chunk-by-chunk", "full-sequence",
                                    "replace-clean", "replace-noised", "rolling", "progressive"])  # fmt: skip
def test_no_recipe_that_learns_its_levels_is_warned_of(recipe: str) -> None:
    assert unseen(config.build(recipe, SMALL)) is None


@pytest.mark.parametrize(
    ("recipe", "options", "when"),
    [
        ("progressive-free", {}, "begins and goes on"), ("fifo", {}, "begins and goes on"),
        ("rolling", {"drain": True}, "begins and ends"), ("replace-clean", {"drain": True}, "ends"),
        ("progressive", {"lag": 0}, "goes on"), ("progressive", {"lag": "1/16"}, "goes on"),
        ("progressive", {"lag": "1/4"}, "begins and goes on"), ("progressive", {"shift": 4}, "begins and goes on"),
        ("progressive", {"lag": 1}, None), ("progressive", {"steps": 24}, None), ("progressive", {"solver": "midpoint"}, None),
        ("full-sequence", {"lag": "1/8"}, "begins and goes on"), ("ar-diffusion", {"lag": 1}, None),
        ("ar-diffusion", {"lag": 0}, None), ("ar-diffusion", {"lag": "1/16", "drain": True}, None),
        ("diffusion-forcing", {"lag": "1/8"}, None),
    ],
)  # fmt: skip
def test_what_training_never_drew_is_told_in_one_line(recipe: str, options: dict[str, Any], when: str | None) -> None:
    told = check_rollout(config.rollout_options(options).apply(config.build(recipe, SMALL)))
    lines = [line for line in told if line.startswith("as it ")]
    assert [line.partition(",")[0] for line in lines] == ([] if when is None else [f"as it {when}"])
    assert all("\n" not in line for line in told) and (when is not None or told == [])


def test_without_bare_windows_a_beginning_from_nothing_is_told() -> None:
    never = config.build("progressive", {**PROGRESSIVE, "bare": 0.0})
    assert unseen(never) is None and "as it begins" in str(unseen(never, bare=True))
    without = config.build("progressive", {**PROGRESSIVE, "partial": 0.0})
    assert "as it begins" in str(unseen(without))


@pytest.mark.parametrize("recipe", ["progressive", "replace-clean", "ar-diffusion", "diffusion-forcing"])
@pytest.mark.parametrize("lag", ["0", "1/16", "1/8", "1/4", "1/2", "1"])
def test_every_lag_rolls_out_on_one_model(recipe: str, lag: str) -> None:
    """Without saying how many chunks; more than the window holds leave together."""
    chosen = config.rollout_options({"lag": lag}).apply(system(recipe, **SMALL))
    check_rollout(chosen)
    usual = system(recipe, **SMALL).schedule.plan().frames
    plan = chosen.schedule.plan()
    assert plan.frames <= (16 if recipe.endswith(("sion", "forcing")) else usual)
    assert lag != "0" or plan.hop == plan.frames == usual


@pytest.mark.parametrize(
    ("recipe", "options", "says"),
    [
        ("progressive", {"chunks": 20}, "40 frames would be under way.* sees 18 together: take --rollout.chunks 8 or fewer"),
        ("replace-clean", {"chunks": 9}, "--rollout.chunks 8 or fewer"),
    ],
)
def test_a_flight_that_does_not_fit_is_refused_with_one_that_does(recipe: str, options: dict[str, Any], says: str) -> None:
    whole = config.build(recipe, SMALL)
    with pytest.raises(UserError, match=says):
        check_rollout(config.rollout_options(options).apply(whole))
    check_rollout(config.rollout_options({"chunks": 8}).apply(whole))

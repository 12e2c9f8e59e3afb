"""`memory_kit`: what every memory must pass.

    @pytest.mark.parametrize("check", memory_kit)
    def test_my_memory(check):
        check(lambda width: MyMemory(width, frames=4))

A check is a plain function of a factory, width -> Memory, and raises AssertionError. Weights are scaled first: at their
default initialisation memories barely move the output, and broken ones pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch

from unspool import flops
from unspool.memory.base import Memory, part
from unspool.testing import parts
from unspool.testing.held import a_model_trains_as_it_is_used
from unspool.testing.lasting import the_number_of_a_frame_does_not_matter, values_stay_bounded
from unspool.testing.parts import MakeMemory
from unspool.testing.state import (
    nothing_is_changed_in_place,
    start_gives_what_is_asked_for,
    state_can_be_detached,
    state_can_be_forked,
    state_has_fixed_size,
    state_survives_the_disk,
)
from unspool.testing.tools import assert_close, assert_equal, draw, error, map_state
from unspool.types import State, Tokens

Check = Callable[[MakeMemory], None]


def scan_equals_loop(make: MakeMemory) -> None:
    """`scan` gives what the loop over `write` and `read` gives, and the same gradients, from any state and for flights that do
    not begin right behind it (`cond.first`)."""
    cases = [
        (7, (2, 4, 6), (0, 0), 0), (7, (0, 3), (0, 1, 2), 0), (5, (4, 1, 4), (0, 0, 1), 2), (7, (2, 5), (0, 0, 1), -1),
        (12, (12,), (0,), 0), (0, (0,), (0, 1), 0),
    ]  # fmt: skip
    for dtype in (torch.float64, torch.float32):
        memory = parts.ready(make, dtype)
        young = memory.write(*parts.one(parts.clean(9, 1, dtype=dtype), parts.start(memory, dtype=dtype)))[1]
        old = memory.write(*parts.one(parts.clean(8, 20, dtype=dtype), parts.start(memory, dtype=dtype)))[1]
        mixed = map_state(lambda a, b: torch.cat([a[:1], b[1:]]), young, old)
        for frames, starts, order, first in cases:
            clean, (x, told) = parts.clean(1, frames, dtype=dtype), parts.noisy(2, len(starts), order, dtype=dtype)
            noisy, where = (x, told._replace(first=first)), f"starts {starts}, first {first}"
            for name, state in {"none": None, "empty": parts.start(memory, dtype=dtype), "young and old": mixed}.items():
                given = (clean[0], noisy[0], starts, map_state(torch.detach, state) if state else None, clean[1], noisy[1])
                fast, slow = (dict(zip("abs", f(*given), strict=True)) for f in (memory.scan, _loop(memory)))
                if not frames:
                    del fast["a"], slow["a"]
                assert_close(fast, slow, f"scan of {frames} frames, {where}, state {name}")
                assert_close(_gradients(memory, fast), _gradients(memory, slow), f"gradient of scan, {where}")
                unasked = dict(zip("abs", memory.scan(*given, asked=False), strict=True))
                assert_close({n: unasked[n] for n in "bs"}, {n: slow[n] for n in "bs"}, f"scan not asked, {where}")


def write_in_pieces_equals_write_at_once(make: MakeMemory) -> None:
    """write(a + b) is write(a), then write(b), wherever one cuts."""
    for dtype in (torch.float64, torch.float32):
        memory = parts.ready(make, dtype)
        x, cond = parts.clean(1, 13, dtype=dtype)
        whole, end = memory.write(x, parts.start(memory, dtype=dtype), cond)
        for cuts in [(0, 1, 13), (0, 5, 6, 13), tuple(range(14)), (0, 12, 13)]:
            state, seen = parts.start(memory, dtype=dtype), []
            for a, b in pairwise(cuts):
                out, state = memory.write(x[:, a:b], state, part(cond, a, b))
                seen.append(out)
            assert_close({"out": torch.cat(seen, 1), "state": state}, {"out": whole, "state": end}, f"cut at {cuts}")


def commit_leaves_the_state_of_write(make: MakeMemory) -> None:
    """`commit` is `write` where nobody asks what the frames see."""
    memory = parts.ready(make)
    state = parts.start(memory)
    for seed, frames in enumerate((1, 4, 2, 9)):
        x, cond = parts.clean(seed, frames)
        after = memory.write(x, state, cond)[1]
        assert_close(memory.commit(x, state, cond), after, f"commit of {frames} frames")
        state = after


def what_keeps_nothing_says_so(make: MakeMemory) -> None:
    """`keeps` is False only where no clean frame changes the state: models then never show it one."""
    memory = parts.ready(make)
    before = parts.start(memory)
    x, cond = parts.clean(1, 3)
    if not memory.keeps:
        assert_equal(memory.write(x, before, cond)[1], before, "the state of a memory that keeps nothing")


def future_leaks_nothing(make: MakeMemory) -> None:
    """By gradient, exactly zero: later clean frames, later chunks of a flight, other groups and other slots."""
    memory = parts.ready(make)
    clean, cond = parts.clean(1, 6)
    clean.requires_grad_()
    out, state = memory.write(clean, parts.start(memory), cond)
    for f in range(6):
        (grad,) = torch.autograd.grad(out[0, f].square().sum(), clean, retain_graph=True)
        assert not grad[:, f + 1 :].any(), f"write: frame {f} sees later frames"
        assert not grad[1:].any(), f"write: frame {f} sees other slots"
    order = (0, 0, 1, 2)
    x, told = parts.flight(2, order)
    x.requires_grad_()
    out = parts.read(memory, map_state(torch.detach, state), x, told)
    for f, block in enumerate(order):
        (grad,) = torch.autograd.grad(out[0, f].square().sum(), x, retain_graph=True)
        late = [j for j, other in enumerate(order) if other > block]
        assert not grad[:, late].any(), f"read: frame {f} of blocks {order} sees a later block"
        assert not grad[1:].any(), "read: a slot sees other slots"
    starts = (1, 3, 5)
    noisy, told = parts.noisy(3, len(starts), order)
    noisy.requires_grad_()
    for before in (None, map_state(torch.detach, state)):
        _, out, _ = memory.scan(clean, noisy, starts, before, cond, told)
        for g, s in enumerate(starts):
            past, mine = torch.autograd.grad(out[0, g].square().sum(), (clean, noisy), retain_graph=True, allow_unused=True)
            others = [i for i in range(len(starts)) if i != g]
            assert past is None or not past[:, s:].any(), f"scan: group {g} sees clean frames after its start {s}"
            assert not mine[:, others].any(), f"scan: group {g} sees other groups"
            assert (past is None or not past[1:].any()) and not mine[1:].any(), f"scan: group {g} sees other slots"


def past_is_remembered(make: MakeMemory, most: int = 64) -> None:
    """What was written moves what is read, by more than a hundredth of its rms, and goes on doing so: gradient reaches one
    written frame and, later, a newer one. A memory that is read late is given time, `most` frames. So the other checks are no
    empty words."""
    memory = parts.ready(make)
    x, cond = parts.flight(2)
    clean, told = parts.clean(1, most)
    clean.requires_grad_()
    state, reached = parts.start(memory), list[int]()
    empty = parts.read(memory, state, x, cond)
    for t in range(most):
        state = memory.write(clean[:, t : t + 1], state, part(told, t, t + 1))[1]
        out = parts.read(memory, state, x, cond)
        if error(out, empty) > 0.01:
            (grad,) = torch.autograd.grad(out.square().sum(), clean, retain_graph=True, materialize_grads=True)
            reached.append(max((f for f in range(t + 1) if grad[:, f].any()), default=-1))
            if reached[-1] > reached[0] >= 0:
                return
    assert reached, f"the state moves nothing, after {most} frames written"
    assert max(reached) >= 0, f"no gradient reaches any of {most} frames written"
    raise AssertionError(f"of {most} frames written, none after frame {reached[0]} is ever seen: no gradient reaches it")


def training_changes_nothing(make: MakeMemory) -> None:
    """All verbs give the same twice, bit for bit, whatever random numbers are drawn meanwhile, and in training as in use."""
    memory, results = parts.ready(make), list[State]()
    state = memory.write(*parts.one(parts.clean(1, 5), parts.start(memory)))[1]
    (x, told), (y, cond), (noisy, noisy_cond) = parts.flight(2), parts.clean(3, 4), parts.noisy(4, 2, (0, 1))
    for training in (False, False, True, True):
        memory.train(training)
        torch.rand(1 + len(results))
        seen, after = memory.write(y, state, cond)
        a, b, end = memory.scan(y, noisy, (1, 4), state, cond, noisy_cond)
        read = parts.read(memory, state, x, told)
        results.append({"read": read, "written": seen, "after": after, "clean": a, "noisy": b, "end": end})
    in_use, again, trained, once_more = results
    assert_equal(again, in_use, "the same verbs twice, in use")
    assert_equal(once_more, trained, "the same verbs twice, in training")
    assert_close(trained, in_use, "in training and in use")


def cost_is_the_same_at_any_age(make: MakeMemory) -> None:
    """Multiplications of each verb after 1 frame and after 50: what grows with the length of a video would show."""
    memory = parts.ready(make)
    (clean, cond), (x, told) = parts.clean(2, 2), parts.flight(3)
    costs = []
    for frames in (1, 50):
        state = memory.write(*parts.one(parts.clean(1, frames), parts.start(memory)))[1]
        verbs: dict[str, Callable[[], object]] = {
            "write": partial(memory.write, clean, state, cond), "commit": partial(memory.commit, clean, state, cond),
            "prepare": partial(memory.prepare, state, parts.GRID),
            "read": partial(memory.read, x, memory.prepare(state, parts.GRID), told),
        }  # fmt: skip
        costs.append({name: flops.count(verb).total for name, verb in verbs.items()})
    assert costs[0] == costs[1], f"operations after 1 frame {costs[0]}, after 50 {costs[1]}"


def slots_are_independent(make: MakeMemory) -> None:
    """Rollouts of different length side by side in one batch are each what they are alone."""
    memory = parts.ready(make)
    counts = (1, 6, 0, 30)
    alone = [parts.start(memory, 1) for _ in counts]
    for i, n in enumerate(counts):
        alone[i] = memory.write(*parts.one(parts.clean(i, n, 1), alone[i]))[1] if n else alone[i]
    state = map_state(lambda *t: torch.cat(t), *alone)
    batch = len(counts)
    x, told = parts.flight(5, batch=batch)
    y, cond = parts.clean(6, 3, batch)
    noisy, noisy_cond = parts.noisy(7, 2, (0, 1), batch)

    def all_verbs(i: slice, state: State) -> State:
        read = parts.read(memory, state, x[i], parts.chosen(told, i))
        seen, after = memory.write(y[i], state, parts.chosen(cond, i))
        conds = parts.chosen(cond, i), parts.chosen(noisy_cond, i)
        a, b, end = memory.scan(y[i], noisy[i], (1, 3), state, *conds)
        return {"read": read, "written": seen, "after": after, "clean": a, "noisy": b, "end": end}

    together = all_verbs(slice(0, batch), state)
    for i, count in enumerate(counts):
        one = map_state(lambda t, i=i: t[i : i + 1], together)
        assert_close(one, all_verbs(slice(i, i + 1), alone[i]), f"slot with {count} frames")


def absent_frames_are_not_seen(make: MakeMemory) -> None:
    """`present` equals slicing, at the end of a flight and, with `first` moved, at its front."""
    memory = parts.ready(make)
    state = memory.write(*parts.one(parts.clean(1, 3), parts.start(memory)))[1]
    x, told = parts.flight(2, (0, 0, 1, 1, 2))
    for first, last in ((0, 3), (0, 1), (2, 5), (1, 4)):
        here = torch.zeros(parts.BATCH, 5, dtype=torch.bool)
        here[:, first:last] = True
        masked = parts.read(memory, state, x, told._replace(present=here))[:, first:last]
        sliced = parts.read(memory, state, x[:, first:last], part(told, first, last)._replace(first=first))
        assert_close(masked, sliced, f"frames {first} .. {last - 1} of 5 present")
    (clean, cond), (noisy, noisy_cond) = parts.clean(3, 4), parts.noisy(4, 2, (0, 0, 1))
    here = torch.tensor([[[1, 1, 0], [1, 1, 1]], [[1, 0, 0], [1, 1, 0]]], dtype=torch.bool)
    given = clean, noisy, (1, 4), state, cond, noisy_cond._replace(present=here)
    fast, slow = (scan(*given)[1][here] for scan in (memory.scan, _loop(memory)))
    assert_close(fast, slow, "scan of groups with absent frames")


memory_kit: tuple[Check, ...] = (
    scan_equals_loop,
    write_in_pieces_equals_write_at_once,
    commit_leaves_the_state_of_write,
    what_keeps_nothing_says_so,
    future_leaks_nothing,
    past_is_remembered,
    state_has_fixed_size,
    start_gives_what_is_asked_for,
    training_changes_nothing,
    cost_is_the_same_at_any_age,
    state_can_be_forked,
    slots_are_independent,
    nothing_is_changed_in_place,
    state_can_be_detached,
    state_survives_the_disk,
    absent_frames_are_not_seen,
    the_number_of_a_frame_does_not_matter,
    values_stay_bounded,
    a_model_trains_as_it_is_used,
)
"""What every memory must pass."""


def young_state_is_a_small_one(small: MakeMemory, big: MakeMemory, frames: int) -> None:
    """After so few frames that the small memory has lost none, the big one gives the same: no empty slot is ever seen.

    For memories whose size is a matter of capacity alone, with weights of the same shapes.
    """
    x, told = parts.flight(2)

    def results(make: MakeMemory) -> State:
        memory = parts.ready(make)
        seen, state = memory.write(*parts.one(parts.clean(1, frames), parts.start(memory)))
        return {"written": seen, "read": parts.read(memory, state, x, told)}

    assert_close(results(big), results(small), f"{frames} frames in the big memory")


def _loop(memory: Memory) -> Callable[..., tuple[Tokens, Tokens, State]]:
    return lambda *args: Memory.scan(memory, *args)


def _gradients(memory: Memory, results: State) -> State:
    """Gradient of all weights under one fixed random projection of what a scan returned."""
    names, weights = zip(*memory.named_parameters(), strict=True)
    outputs = [results[name] for name in "ab" if name in results]
    value = torch.stack([(draw(5, i, shape=tuple(t.shape)) * t).sum() for i, t in enumerate(outputs)]).sum()
    grads = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(w) if g is None else g for n, w, g in zip(names, weights, grads, strict=True)}

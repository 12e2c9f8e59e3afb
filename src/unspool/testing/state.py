"""Checks of `memory_kit` about the state: a value of fixed size and known types, to be copied, cut off and kept on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from unspool import store
from unspool.testing import parts
from unspool.testing.parts import MakeMemory
from unspool.testing.tools import assert_close, assert_equal, leaves, map_state


def state_has_fixed_size(make: MakeMemory) -> None:
    """Names, shapes and types of all leaves are the same after 0, 1 and 50 frames; every leaf is batch-first."""
    memory = parts.ready(make)
    state = start = parts.start(memory)
    for frames in (1, 9, 40):
        state = memory.write(*parts.one(parts.clean(1, frames), state))[1]
        for (name, a), (other, b) in zip(store.flatten(start).items(), store.flatten(state).items(), strict=True):
            same = (name, a.shape, a.dtype) == (other, b.shape, b.dtype)
            assert same, f"leaf {name} {tuple(a.shape)} became {other} {tuple(b.shape)}"
            assert b.numel() == 0 or b.shape[0] == parts.BATCH, f"leaf {name} {tuple(b.shape)} is not batch-first"
    assert store.size(state) == store.size(start)


def start_gives_what_is_asked_for(make: MakeMemory) -> None:
    """Floating leaves are of the type asked for, or of float32 where 16 bits are too few, whatever the weights are, and on the
    device asked for; `write` leaves all types as they were."""
    for asked in (torch.float64, torch.float32, torch.bfloat16):
        fit = {asked, torch.promote_types(asked, torch.float32)}
        for name, leaf in store.flatten(parts.start(parts.ready(make, torch.float32), dtype=asked)).items():
            assert not leaf.is_floating_point() or leaf.dtype in fit, f"leaf {name} is {leaf.dtype} where {asked} is asked for"
        memory = parts.ready(make, asked)
        begun = parts.start(memory, dtype=asked)
        after = store.flatten(memory.write(*parts.one(parts.clean(1, 5, dtype=asked), begun))[1])
        for name, leaf in store.flatten(begun).items():
            assert after[name].dtype == leaf.dtype, f"leaf {name} of {leaf.dtype} is {after[name].dtype} once it was written"
    elsewhere = memory.start(parts.BATCH, grid=parts.GRID, device=torch.device("meta"), dtype=torch.float32)
    for name, leaf in store.flatten(elsewhere).items():
        assert leaf.is_meta, f"leaf {name} is on {leaf.device}, not on the device asked for"


def state_can_be_forked(make: MakeMemory) -> None:
    """One slot handed to three: each goes on by itself, as the one alone does."""
    memory = parts.ready(make)
    one = memory.write(*parts.one(parts.clean(1, 5, 1), parts.start(memory, 1)))[1]
    three = map_state(lambda leaf: leaf.repeat_interleave(3, 0), one)
    (clean, cond), (x, told) = parts.clean(2, 4, 3), parts.flight(3, batch=3)
    after = memory.write(clean, three, cond)[1]
    seen = parts.read(memory, after, x, told)
    for i in range(3):
        row = slice(i, i + 1)
        alone = memory.write(clean[row], one, parts.chosen(cond, row))[1]
        assert_close(map_state(lambda leaf, row=row: leaf[row], after), alone, f"fork {i}")
        assert_close(seen[row], parts.read(memory, alone, x[row], parts.chosen(told, row)), f"read of fork {i}")


def nothing_is_changed_in_place(make: MakeMemory) -> None:
    """A state is a value: no verb changes it, nor its other arguments, and reading twice gives the same."""
    memory = parts.ready(make)
    state = memory.write(*parts.one(parts.clean(1, 5), parts.start(memory)))[1]
    x, told = parts.flight(2)
    (y, cond), (noisy, noisy_cond) = parts.clean(3, 2), parts.noisy(4, 2, (0, 1))
    given = {"state": state, "x": x, "y": y, "noisy": noisy, "emb": told.emb}
    before = map_state(torch.clone, given)
    view = memory.prepare(state, parts.GRID)
    held = map_state(torch.clone, view)
    first = memory.read(x, view, told)
    memory.write(y, state, cond)
    memory.scan(y, noisy, (0, 2), state, cond, noisy_cond)
    assert_equal(view, held, "the prepared state after read")
    assert_equal(memory.read(x, view, told), first, "a second read")
    assert_equal(given, before, "the arguments afterwards")


def state_can_be_detached(make: MakeMemory) -> None:
    """Detached leaves give the same numbers and carry no gradient to what was written."""
    memory = parts.ready(make)
    clean, cond = parts.clean(1, 4)
    clean.requires_grad_()
    state = memory.write(clean, parts.start(memory), cond)[1]
    x, told = parts.flight(2)
    out = parts.read(memory, map_state(torch.detach, state), x, told)
    assert_equal(out, parts.read(memory, state, x, told), "read of the detached state")
    (grad,) = torch.autograd.grad(out.square().sum(), clean, allow_unused=True)
    assert grad is None, "gradient passes through a detached state"


def state_survives_the_disk(make: MakeMemory) -> None:
    """Saved, loaded and gone on with: bit for bit, names, types and all."""
    memory = parts.ready(make)
    for state in (parts.start(memory), memory.write(*parts.one(parts.clean(1, 5), parts.start(memory)))[1]):
        with tempfile.TemporaryDirectory() as folder:
            store.save_tensors(Path(folder) / "state.safetensors", store.flatten(state))
            back = store.unflatten(store.load_tensors(Path(folder) / "state.safetensors")[0])
        assert [t.dtype for t in leaves(back)] == [store.flatten(state)[n].dtype for n in store.flatten(back)]
        assert_equal(back, state, "the loaded state")
        x, told = parts.flight(2)
        assert_equal(parts.read(memory, back, x, told), parts.read(memory, state, x, told), "read of the loaded state")

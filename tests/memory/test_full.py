"""Memory `full`: the kit, a causal mask over everything as oracle, and an end that is told."""

from __future__ import annotations

import pytest
import torch

from unspool.errors import UserError
from unspool.memory import Full, Window
from unspool.testing import Banded, MakeMemory, assert_close, draw, memory_kit, scale_weights, young_state_is_a_small_one
from unspool.types import Cond

WIDTH, GRID = 32, (2, 3)
CPU = torch.device("cpu")


def sized(capacity: int) -> MakeMemory:
    return lambda width: Full(width, 2, capacity)


def told(frames: int) -> Cond:
    return Cond(torch.zeros(2, frames, WIDTH), GRID, tuple(range(frames)))


@pytest.mark.parametrize("check", memory_kit, ids=lambda check: check.__name__)
def test_kit(check) -> None:
    check(sized(64))


def test_capacity_changes_nothing_but_the_end() -> None:
    young_state_is_a_small_one(sized(5), sized(30), 5)


def test_all_is_seen() -> None:
    memory = scale_weights(Full(WIDTH, 2, 12)).double()
    slow = Banded(memory.window)
    clean, noisy = draw(1, shape=(2, 12, 6, WIDTH)), draw(2, shape=(2, 1, 6, WIDTH))
    out, state = memory.write(clean, memory.start(2, grid=GRID, device=CPU, dtype=torch.float64), told(12))
    want, past = slow.write(clean, slow.start(2, grid=GRID, device=CPU, dtype=torch.float64), told(12))
    assert_close(out, want)
    assert_close(memory.read(noisy, memory.prepare(state, GRID), told(1)), slow.read(noisy, past, told(1)))


def test_one_frame_too_many_is_refused() -> None:
    """By every verb that takes frames in, in any slot; a window of that size forgets instead."""
    memory = Full(WIDTH, 2, 4)
    start = memory.start(2, grid=GRID, device=CPU, dtype=torch.float32)
    clean = torch.zeros(2, 5, 6, WIDTH)
    flights = torch.zeros(2, 1, 1, 6, WIDTH), (2,)
    groups = Cond(torch.zeros(2, 1, 1, WIDTH), GRID, (0,))
    full = {**start, "count": torch.tensor([0, 4])}
    for refused in (
        lambda: memory.write(clean, start, told(5)),
        lambda: memory.commit(clean[:, :1], full, told(1)),
        lambda: memory.scan(clean, *flights, None, told(5), groups),
    ):
        with pytest.raises(UserError, match="place for 4 frames and would hold 5"):
            refused()
    memory.commit(clean[:, :4], start, told(4))
    Window(WIDTH, 2, 4).write(clean, start, told(5))
    with pytest.raises(UserError, match="1 frame or more"):
        Full(WIDTH, 2, 0)

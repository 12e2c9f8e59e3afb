"""Memory `delayed`: the kit around an LSTM and a window, and which state each frame reads, by hand."""

from __future__ import annotations

import pytest
import torch

from unspool.errors import UserError
from unspool.memory import LSTM, Delayed, Memory, Window
from unspool.testing import MakeMemory, assert_close, draw, memory_kit, scale_weights
from unspool.types import Cond, State

WIDTH, GRID = 32, (2, 3)
CPU = torch.device("cpu")


def late(by: int, make: MakeMemory = LSTM) -> MakeMemory:
    return lambda width: Delayed(make(width), by, width)


def told(frames: int, key: int = 2) -> Cond:
    return Cond(draw(key, shape=(2, frames, WIDTH)), GRID, tuple(range(frames)))


def start(memory: Memory) -> State:
    return memory.start(2, grid=GRID, device=CPU, dtype=torch.float64)


@pytest.mark.parametrize("make", [late(1), late(2), late(2, lambda width: Window(width, 2, 3))], ids=["1", "2", "a window"])
@pytest.mark.parametrize("check", memory_kit, ids=lambda check: check.__name__)
def test_kit(check, make: MakeMemory) -> None:
    check(make)


@pytest.mark.parametrize("by", [1, 3])
@pytest.mark.parametrize("before", [0, 1, 2, 5])
def test_each_frame_reads_the_state_of_its_own_past(by: int, before: int) -> None:
    """Frame j of a flight, at absolute frame `before` + j, reads the LSTM behind frame min(at - 1 - by + j, at - 1)."""
    memory = scale_weights(Delayed(LSTM(WIDTH), by, WIDTH)).double()
    clean, noisy = draw(1, shape=(2, before, 6, WIDTH)), draw(3, shape=(2, 5, 6, WIDTH))
    cond, flight = told(before), told(5, 4)
    state = memory.commit(clean, start(memory), cond)
    got = memory.read(noisy, memory.prepare(state, GRID), flight)
    for j in range(5):
        kept = max(min(before - by + j, before), 0)
        past = memory.memory.commit(clean[:, :kept], start(memory.memory), Cond(cond.emb[:, :kept], GRID, tuple(range(kept))))
        alone = memory.memory.read(noisy[:, j : j + 1], past, Cond(flight.emb[:, j : j + 1], GRID, (0,)))
        assert_close(got[:, j : j + 1], alone, f"frame {j} of the flight")


def test_a_state_read_again_over_its_window_is_the_newest_state() -> None:
    """Beginning at s[i-W] and walking the clean window again is s[i-1]: for a causal recurrence overlap is no other memory."""
    memory = scale_weights(LSTM(WIDTH)).double()
    clean, cond = draw(1, shape=(2, 9, 6, WIDTH)), told(9)
    newest = memory.commit(clean, start(memory), cond)
    old = memory.commit(clean[:, :6], start(memory), Cond(cond.emb[:, :6], GRID, tuple(range(6))))
    assert_close(memory.commit(clean[:, 6:], old, Cond(cond.emb[:, 6:], GRID, (0, 1, 2))), newest)


def test_no_delay_is_refused() -> None:
    with pytest.raises(UserError, match="use the memory itself"):
        Delayed(LSTM(WIDTH), 0, WIDTH)

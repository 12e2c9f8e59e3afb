"""Memory `lstm`: the kit, torch's own LSTM as oracle, and where gradient is cut."""

from __future__ import annotations

import pytest
import torch

from unspool.memory import LSTM
from unspool.testing import MakeMemory, assert_close, draw, memory_kit, scale_weights
from unspool.testing.memory import past_is_remembered
from unspool.types import Cond, State

WIDTH, GRID = 32, (2, 3)
CPU = torch.device("cpu")


def lstm(hidden: int | None = None, horizon: int | None = None) -> MakeMemory:
    return lambda width: LSTM(width, hidden, horizon=horizon)


def told(frames: int) -> Cond:
    return Cond(draw(2, shape=(2, frames, WIDTH)), GRID, tuple(range(frames)))


@pytest.mark.parametrize("make", [lstm(), lstm(8), lstm(horizon=3)], ids=["half", "narrow", "gradient of three frames"])
@pytest.mark.parametrize("check", memory_kit, ids=lambda check: check.__name__)
def test_kit(check, make: MakeMemory) -> None:
    check(make)


@pytest.mark.parametrize("check", [c for c in memory_kit if c is not past_is_remembered], ids=lambda check: check.__name__)
def test_kit_without_gradient(check) -> None:
    """Where no gradient passes through the carried state the one check that asks for it fails, and no other."""
    check(lstm(horizon=0))
    with pytest.raises((AssertionError, RuntimeError)):
        past_is_remembered(lstm(horizon=0))


def test_it_is_the_lstm_of_torch() -> None:
    """At each place by itself, frame by frame, hidden and cell: torch.nn.LSTM on the tokens with what is told added."""
    memory = scale_weights(LSTM(WIDTH, 8)).double()
    oracle = torch.nn.LSTM(WIDTH, 8, batch_first=True).double()
    clean, cond = draw(1, shape=(2, 9, 6, WIDTH)), told(9)._replace(emb=torch.zeros(2, 9, WIDTH, dtype=torch.float64))
    with torch.no_grad():
        for name, value in (("weight_ih", memory.x.weight), ("weight_hh", memory.h.weight), ("bias_ih", memory.x.bias)):
            getattr(oracle, f"{name}_l0").copy_(value)
        oracle.bias_hh_l0.zero_()
    out, state = memory.write(clean, start(memory), cond)
    want, (hidden, cell) = oracle(clean.transpose(1, 2).flatten(0, 1))
    assert_close(out, memory.out(want.unflatten(0, (2, 6)).transpose(1, 2)))
    assert_close(state, {"hidden": hidden[0].unflatten(0, (2, 6)), "cell": cell[0].unflatten(0, (2, 6))})


def test_the_action_moves_the_recurrence() -> None:
    memory = scale_weights(LSTM(WIDTH)).double()
    clean, cond = draw(1, shape=(2, 3, 6, WIDTH)), told(3)
    one, other = (memory.commit(clean, start(memory), c)["cell"] for c in (cond, cond._replace(emb=-cond.emb)))
    assert (one - other).abs().min() > 1e-6


@pytest.mark.parametrize(("horizon", "reached"), [(None, range(7)), (3, [6]), (4, [4, 5, 6]), (1, [6]), (0, [])])
def test_gradient_is_cut(horizon: int | None, reached: list[int]) -> None:
    """Seven frames in, one read: gradient reaches the frames behind the last cut, the numbers are the same."""
    memory, whole = (scale_weights(LSTM(WIDTH, horizon=h)).double() for h in (horizon, None))
    clean = draw(1, shape=(2, 7, 6, WIDTH)).requires_grad_()
    noisy, cond = draw(3, shape=(2, 1, 6, WIDTH)), told(1)
    out = memory.read(noisy, memory.prepare(memory.commit(clean, start(memory), told(7)), GRID), cond)
    assert_close(out, whole.read(noisy, whole.commit(clean, start(whole), told(7)), cond))
    (grad,) = torch.autograd.grad(out.square().sum(), clean, materialize_grads=True)
    assert [t for t in range(7) if grad[:, t].any()] == list(reached)


def test_gates_begin_at_all_time_scales() -> None:
    memory = LSTM(WIDTH, 16, span=100.0)
    keep = torch.sigmoid(memory.x.bias[16:32])
    frames = 1 / (1 - keep)
    assert_close(frames[[0, -1]], torch.tensor([2.0, 100.0]))


def start(memory: LSTM) -> State:
    return memory.start(2, grid=GRID, device=CPU, dtype=torch.float64)

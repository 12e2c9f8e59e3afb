"""Who sees whom: every path of attention against one slow mask, in numbers and by gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unspool.memory import Window
from unspool.testing import assert_close, draw, scale_weights
from unspool.testing.sight import mask, two_streams
from unspool.testing.slow import dense
from unspool.types import Cond

WIDTH, GRID, T = 16, (1, 2), 6
ORDERS = {
    "both ways": (0, 0, 0, 0), "frame-causal": (0, 1, 2, 3), "blocks of two": (0, 0, 1, 1), "blocks of three": (0, 0, 0, 1),
    "one frame": (0,), "a clean chunk in front": (-2, -1, 0, 0),
}  # fmt: skip
STARTS = {"every block": (0, 2, 4, 6), "overlapping": (1, 2, 3), "one flight": (4,), "out of order": (5, 0)}
EVERY = [
    pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys()),
    pytest.mark.parametrize("starts", STARTS.values(), ids=STARTS.keys()),
    pytest.mark.parametrize("frames", [0, 1, 3, 9]),
]


def every(function):
    for mark in EVERY:
        function = mark(function)
    return function


def window(frames: int) -> Window:
    return scale_weights(Window(WIDTH, 2, frames)).double().requires_grad_(False)


def given(starts: tuple[int, ...], order: tuple[int, ...]) -> tuple[Tensor, Tensor, Cond, Cond]:
    """clean (1, T, N, D), noisy (1, G, F, N, D), and what is told of them."""
    clean, noisy = draw(1, shape=(1, T, 2, WIDTH)), draw(2, shape=(1, len(starts), len(order), 2, WIDTH))
    return clean, noisy, Cond(clean[:, :, 0], GRID, tuple(range(T))), Cond(noisy[:, :, :, 0], GRID, order)


def absent(starts: tuple[int, ...], order: tuple[int, ...]) -> Tensor:
    """(1, G, F): each group a little shorter than the one before."""
    return torch.stack([torch.arange(len(order)) < max(1, len(order) - g % 3) for g in range(len(starts))])[None]


@every
@pytest.mark.parametrize("whole", [True, False])
def test_two_streams_are_one_dense_mask(frames: int, starts: tuple[int, ...], order: tuple[int, ...], whole: bool) -> None:
    """Window.scan: all blocks of a clip in one pass (ACDiT), for any block size, with groups that are not full."""
    memory, (clean, noisy, told, cond) = window(frames), given(starts, order)
    here = None if whole else absent(starts, order)
    seen, out, _ = memory.scan(clean, noisy, starts, None, told, cond._replace(present=here))
    line = two_streams(T, starts, order, None if here is None else here[0])
    x = torch.cat([clean, noisy.flatten(1, 2)], 1)
    want = dense(memory, x, mask(line, frames, starts), [frame.at for frame in line], GRID)
    assert_close(seen, want[:, :T], "clean frames")
    exists = torch.tensor([frame.here for frame in line[T:]])
    assert_close(out.flatten(1, 2)[:, exists], want[:, T:][:, exists], "noisy frames")


@every
def test_two_streams_leak_nothing(frames: int, starts: tuple[int, ...], order: tuple[int, ...]) -> None:
    """By gradient: each output moves with exactly what the mask lets it see."""
    memory, (clean, noisy, told, cond) = window(frames), given(starts, order)
    clean.requires_grad_(), noisy.requires_grad_()
    here = absent(starts, order)
    seen, out, _ = memory.scan(clean, noisy, starts, None, told, cond._replace(present=here))
    line = two_streams(T, starts, order, here[0])
    see = mask(line, frames, starts)
    outputs = [*seen[0], *out[0].flatten(0, 1)]
    for i, (frame, value) in enumerate(zip(line, outputs, strict=True)):
        if not frame.here:
            continue
        grads = torch.autograd.grad(value.square().sum(), (clean, noisy), retain_graph=True, materialize_grads=True)
        moved = torch.cat([grads[0][0], grads[1][0].flatten(0, 1)]).flatten(1).any(1)
        assert moved.tolist() == see[i].tolist(), f"{frame}"


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("frames", [0, 1, 3, 9])
@pytest.mark.parametrize("held", [0, 1, 5])
def test_a_flight_in_use_is_the_same_mask(held: int, frames: int, order: tuple[int, ...]) -> None:
    """Window.write and Window.read, through the cache: the rows of the mask that belong to one flight."""
    memory, (clean, noisy, told, cond) = window(frames), given((held,), order)
    empty = memory.start(1, grid=GRID, device=torch.device("cpu"), dtype=torch.float64)
    seen, state = memory.write(clean[:, :held], empty, told._replace(emb=told.emb[:, :held]))
    here = absent((held,) * 3, order)[:, 2]
    for present in (None, here):
        got = memory.read(noisy[:, 0], memory.prepare(state, GRID), cond._replace(emb=cond.emb[:, 0], present=present))
        line = two_streams(held, (held,), order, present)
        x = torch.cat([clean[:, :held], noisy[:, 0]], 1)
        want = dense(memory, x, mask(line, frames, (held,)), [frame.at for frame in line], GRID)
        exists = torch.tensor([frame.here for frame in line[held:]])
        assert_close(got[:, exists], want[:, held:][:, exists])
        assert_close(seen, want[:, :held])


def test_the_mask_of_acdit_by_hand() -> None:
    """Four frames in blocks of two, clean and noisy, all of the past: the picture of the paper, but for clean frames, which
    are causal by frame here."""
    rows = mask(two_streams(4, (0, 2), (0, 0)), 9, (0, 2)).int().tolist()
    assert rows == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 0, 0, 1, 1],
        [1, 1, 0, 0, 0, 0, 1, 1],
    ]

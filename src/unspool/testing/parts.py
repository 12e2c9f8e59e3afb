"""What the checks of a memory are given: small memories in float64 with scaled weights, clean frames, flights, groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from unspool.memory.base import Memory
from unspool.testing.tools import draw, scale_weights
from unspool.types import Cond, State, Tokens

MakeMemory = Callable[[int], Memory]
"""width -> a memory for tokens of so many features, as a check is given it."""

BATCH, WIDTH, GRID, WORDS = 2, 32, (2, 3), 3


def ready(make: MakeMemory, dtype: torch.dtype = torch.float64) -> Memory:
    return scale_weights(make(WIDTH)).to(dtype).eval()


def start(memory: Memory, batch: int = BATCH, dtype: torch.dtype = torch.float64) -> State:
    return memory.start(batch, grid=GRID, device=torch.device("cpu"), dtype=dtype)


def clean(seed: int, frames: int, batch: int = BATCH, dtype: torch.dtype = torch.float64) -> tuple[Tokens, Cond]:
    x = draw(seed, 1, shape=(batch, frames, GRID[0] * GRID[1], WIDTH), dtype=dtype)
    emb = draw(seed, 2, shape=(batch, frames, WIDTH), dtype=dtype)
    text = draw(seed, 5, shape=(batch, frames, WORDS, WIDTH), dtype=dtype)
    return x, Cond(emb, GRID, tuple(range(frames)), text=text)


def noisy(
    seed: int, groups: int, order: tuple[int, ...], batch: int = BATCH, dtype: torch.dtype = torch.float64
) -> tuple[Tokens, Cond]:
    """x (B, G, F, N, D) and its Cond with emb (B, G, F, D) and text (B, G, F, L, D)."""
    x = draw(seed, 3, shape=(batch, groups, len(order), GRID[0] * GRID[1], WIDTH), dtype=dtype)
    emb = draw(seed, 4, shape=(batch, groups, len(order), WIDTH), dtype=dtype)
    text = draw(seed, 6, shape=(batch, groups, len(order), WORDS, WIDTH), dtype=dtype)
    return x, Cond(emb, GRID, order, text=text)


def flight(seed: int, order: tuple[int, ...] = (0, 0, 1), batch: int = BATCH) -> tuple[Tokens, Cond]:
    """One group: x (B, F, N, D), emb (B, F, D), text (B, F, L, D)."""
    x, cond = noisy(seed, 1, order, batch)
    return x[:, 0], chosen(cond, (slice(None), 0))


def chosen(cond: Cond, which: Any) -> Cond:
    """A Cond of those slots, or groups, alone."""
    text = None if cond.text is None else cond.text[which]
    return cond._replace(emb=cond.emb[which], text=text)


def read(memory: Memory, state: State, x: Tokens, cond: Cond) -> Tokens:
    return memory.read(x, memory.prepare(state, cond.grid), cond)


def one(clean: tuple[Tokens, Cond], state: State) -> tuple[Tokens, State, Cond]:
    return clean[0], state, clean[1]

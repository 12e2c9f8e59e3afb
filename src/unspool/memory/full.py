"""Memory `full`: attention over all that ever was, up to a fixed number of frames. What a memory of fixed size is measured
against: it forgets nothing, costs its whole capacity from the first frame on, and ends when it is full."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.memory.base import Memory
from unspool.memory.window import Window
from unspool.types import Cond, State, Tokens


@final
class Full(Memory):
    """A `Window` of `capacity` frames that refuses to lose one: where a window would forget, it raises UserError."""

    def __init__(self, width: int, heads: int, capacity: int) -> None:
        super().__init__()
        if capacity < 1:
            raise UserError(f"memory full has place for 1 frame or more, not {capacity}")
        self.window, self.capacity = Window(width, heads, capacity), capacity
        self.sight = f"all frames, {capacity} at most"

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        return self.window.start(batch, grid=grid, device=device, dtype=dtype)

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        self._check(state["count"], clean.shape[1])
        return self.window.write(clean, state, cond)

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        self._check(state["count"], clean.shape[1])
        return self.window.commit(clean, state, cond)

    def prepare(self, state: State, grid: tuple[int, int]) -> State:
        return self.window.prepare(state, grid)

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        return self.window.read(noisy, view, cond)

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        self._check(torch.zeros(1, dtype=torch.int64) if state is None else state["count"], clean.shape[1])
        return self.window.scan(clean, noisy, starts, state, clean_cond, noisy_cond, asked=asked)

    def _check(self, count: Tensor, frames: int) -> None:
        """On a GPU this waits for the queue, once for each call that remembers."""
        if not count.is_meta and (most := int(count.max()) + frames) > self.capacity:
            raise UserError(
                f"memory full has place for {self.capacity} frames and would hold {most}: give the recipe a larger capacity, "
                "or a memory of fixed size"
            )

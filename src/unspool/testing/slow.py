"""Slow models that keep everything and cache nothing: what the fast ones must equal.

`Banded` computes memory `window` as a banded causal mask over the whole history, `Replayed` remembers the whole video anew
for each chunk. Both grow with the length of the video: they are for tests and for timing, never for use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from unspool.memory.base import Memory
from unspool.memory.window import Window
from unspool.model.video import Reader, VideoModel
from unspool.nn.rotary import BASE
from unspool.types import Cond, Known, Levels, State, Tokens, Video


@final
class Banded(Memory):
    """A `Window` without a cache: its state is every clean frame's tokens, and each call attends over all of them under a
    dense mask, rotary angles by absolute frame, in plain sums. All slots must have the same number of frames."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        width = self.window.out.weight.shape[0]
        return {"past": torch.zeros(batch, 0, grid[0] * grid[1], width, device=device, dtype=dtype)}

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        past = torch.cat([state["past"], clean], 1)
        age = _ages(past.shape[1])
        seen = self._attend(past, past.shape[1], (age >= 0) & (age <= self.window.frames), 0, cond.grid)
        return seen[:, state["past"].shape[1] :], {"past": past}

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        held, flight = view["past"].shape[1], noisy.shape[1]
        see = torch.zeros(held + flight, held + flight, dtype=torch.bool)
        see.fill_diagonal_(True)  # what the past itself sees is not asked for
        see[held:, max(0, held - self.window.frames) : held] = True
        for i, mine in enumerate(cond.order):
            for j, other in enumerate(cond.order):
                see[held + i, held + j] = other <= mine
        if cond.present is not None:
            raise NotImplementedError("the slow window knows sliced flights alone")
        return self._attend(torch.cat([view["past"], noisy], 1), held, see, cond.first, cond.grid)[:, held:]

    def _attend(self, x: Tokens, held: int, see: Tensor, first: int, grid: tuple[int, int]) -> Tokens:
        """Every frame of x (B, L, N, D) attends by see (L, L); frames from `held` on stand `first` further on."""
        return dense(self.window, x, see, [frame + (first if frame >= held else 0) for frame in range(x.shape[1])], grid)


def dense(window: Window, x: Tokens, see: Tensor, at: Sequence[int], grid: tuple[int, int]) -> Tokens:
    """The attention of `window` in plain sums: frame i of x (B, L, N, D) stands at `at`[i] and sees frame j iff see (L, L)."""
    batch, frames, tokens, width = x.shape
    heads, dim = window.heads, width // window.heads
    q, k, v = (
        torch.einsum("btnd,ed->btne", x, w).reshape(batch, frames * tokens, heads, dim) for w in window.qkv.weight.chunk(3)
    )
    turn = _turns(at, grid, dim).to(x.device)
    q, k = _turned(_unit(q) * window.norm_q.weight, turn), _turned(_unit(k) * window.norm_k.weight, turn)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(dim)
    hidden = ~see.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
    weights = scores.masked_fill(hidden.to(x.device), -math.inf).softmax(-1)
    out = torch.einsum("bhqk,bkhd->bqhd", weights, v).reshape(batch, frames, tokens, width)
    return torch.einsum("btnd,ed->btne", out, window.out.weight) + window.out.bias


def _ages(frames: int) -> Tensor:
    """(L, L): how many frames key j is older than query i."""
    return torch.arange(frames)[:, None] - torch.arange(frames)


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt()


def _turns(at: Sequence[int], grid: tuple[int, int], dim: int) -> Tensor:
    """(L * N, dim / 2) complex: what each pair of features is multiplied by. Half of them turn with the absolute frame, a
    quarter with the row, a quarter with the column."""
    rows, columns = grid
    space = dim // 8
    share = (dim // 2 - 2 * space, space, space)
    place = [(frame, row, column) for frame in at for row in range(rows) for column in range(columns)]
    speeds = [float(speed) for n in share for speed in BASE ** (-torch.arange(n) / n)]  # the layer's, rounded to float32
    axes = [axis for axis, n in enumerate(share) for _ in range(n)]
    angles = [[where[axis] * speed for axis, speed in zip(axes, speeds, strict=True)] for where in place]
    turn = torch.tensor(angles, dtype=torch.float64)
    return torch.polar(torch.ones_like(turn), turn)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """x (B, L * N, heads, dim): feature i and i + dim / 2 are one complex number."""
    real, imaginary = x.double().chunk(2, -1)
    turned = torch.complex(real, imaginary) * turn[:, None]
    return torch.cat([turned.real, turned.imag], -1).to(x.dtype)


@final
class Replayed(VideoModel):
    """A model whose state is the video so far, and the actions that led to it: each chunk begins by remembering all anew."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model, self.shape, self.controls, self.prompts = model, model.shape, model.controls, model.prompts

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        past = torch.zeros(batch, 0, *self.shape, device=device, dtype=dtype)
        told = torch.zeros(batch, 0, self.controls + self.prompts, device=device, dtype=dtype)
        return {"at": torch.zeros(batch, device=device, dtype=torch.int64), "seed": seed.to(device), "past": past, "told": told}

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        told = state["told"].new_zeros(*clean.shape[:2], state["told"].shape[2]) if control is None else control
        after = {"past": torch.cat([state["past"], clean], 1), "told": torch.cat([state["told"], told.to(state["told"])], 1)}
        return {**state, "at": state["at"] + clean.shape[1], **after}

    def reader(self, state: State, known: Known | None = None) -> Reader:
        past, told = state["past"], state["told"]
        empty = self.model.start(len(past), seed=state["seed"], device=past.device, dtype=past.dtype)
        return self.model.reader(self.model.remember(past, empty, control=told if told.shape[2] else None), known)

    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        return self.reader(state, known)(x, level, present=present, control=control)

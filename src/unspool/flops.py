"""Multiplications and additions: what a piece of work costs, counted on shapes alone, and what this machine gives."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


class Flops(NamedTuple):
    """linear: products with weights; attention: products of activations with each other. A product and a sum count two.

    Norms, activations and rotations are not counted: they are under 2 % of the arithmetic, though not of the time.
    """

    linear: int
    attention: int

    @property
    def total(self) -> int:
        return self.linear + self.attention


def count(work: Callable[[], object]) -> Flops:
    """Count what `work` computes, backward passes included. On the meta device nothing is computed, so it takes no time."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    by_kind = counter.get_flop_counts().get("Global", {})
    linear = sum(n for op, n in by_kind.items() if str(op) in ("aten.mm", "aten.addmm"))
    return Flops(linear, counter.get_total_flops() - linear)


def on_meta(net: Net) -> Net:
    """A copy of shapes alone, all its parameters trainable; no number is copied."""
    hollow: dict[int, object] = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in net.parameters()}
    hollow |= {id(b): torch.empty_like(b, device="meta") for b in net.buffers()}
    return copy.deepcopy(net, hollow)


def matmul_rate(dtype: torch.dtype, *, device: torch.device | str = "cpu", seconds: float = 0.3, size: int = 1024) -> float:
    """FLOP/s of square matrix products in this process, now: the best of as many as fit into `seconds`, at least three."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, begun, done = float("inf"), time.perf_counter(), 0
    while done < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        a @ b
        synchronize(device)
        best, done = min(best, time.perf_counter() - start), done + 1
    return 2 * size**3 / best


def synchronize(device: torch.device | str) -> None:
    """Wait until the device has done what it was asked to."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)

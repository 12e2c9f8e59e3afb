"""What recurrent memories share: where gradient is cut on its way back in time."""

from __future__ import annotations

import torch
from torch import Tensor


def cut(carried: Tensor, due: Tensor) -> Tensor:
    """carried (B, ...) without gradient in the slots where due (B,) says so; the numbers stay."""
    if not carried.requires_grad:
        return carried
    return torch.where(due.view(-1, *[1] * (carried.dim() - 1)), carried.detach(), carried)


def due(count: Tensor, horizon: int | None) -> Tensor | None:
    """Whether gradient is cut before the step that follows `count` (B,) steps: never (None), always (0), or each `horizon`."""
    if horizon is None:
        return None
    return torch.ones_like(count, dtype=torch.bool) if horizon == 0 else count % horizon == 0

"""Random numbers as a pure function of keys: no generator, no state, no device sync.

A key is an int64 tensor of any shape; `fold` derives new keys from it (rollout seed -> absolute frame -> row; training seed
-> step -> global sample index), `uniform` and `normal` give the numbers of one key. So noise never depends on batch, slot,
rank or call order. The hash is splitmix64's finaliser (Steele, Lea, Flood 2014); the normal is the inverse of its uniform.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unspool.types import Video


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, n: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def fold(key: Tensor, *data: Tensor | int) -> Tensor:
    """Derive keys: the broadcast of `key` with each of `data` (int64 tensors or ints), mixed in order."""
    for item in data:
        key = _mix(key ^ _mix((item + 1) * torch.full_like(key, _GOLDEN)))
    return key


def uniform(key: Tensor, *shape: int) -> Tensor:
    """Uniform numbers in (0, 1), float32, of shape (*key.shape, *shape)."""
    count = math.prod(shape)
    lane = torch.arange(1, count + 1, device=key.device, dtype=torch.int64)
    bits = _mix(key.unsqueeze(-1) + lane * _GOLDEN)
    return ((_shift(bits, 41).float() + 0.5) / (1 << 23)).reshape(*key.shape, *shape)


def normal(key: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers, float32, of shape (*key.shape, *shape); 23 bits, so tails end at about 5.3."""
    return torch.erfinv(2 * uniform(key, *shape) - 1) * math.sqrt(2)


class FrameNoise:
    """What enters a rollout's window: the noise of absolute frame f under a rollout's seed.

    Calling it with seed (B,), at (B,) and a number of frames gives Video (B, frames, *shape) of float32; `row` tells draws of
    the same frame apart (0 is the frame's initial noise).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def __call__(self, seed: Tensor, at: Tensor, frames: int, row: int = 0) -> Video:
        index = at.unsqueeze(-1) + torch.arange(frames, device=at.device)
        return normal(fold(seed.unsqueeze(-1), index, row), *self.shape)

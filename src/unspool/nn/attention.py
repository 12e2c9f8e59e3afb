"""Softmax attention under a boolean mask, by whichever kernel is fast where it runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention

SMALL = 1 << 20
"""Up to so many scores a head, plain matrix products beat the flash kernel on a CPU: forward and backward of 40 x 3 heads of
64 queries by 192 keys take 15 ms against 20 (bf16, two cores), 8 x 3 heads of 288 by 288 take 9 against 19."""


def attend(q: Tensor, k: Tensor, v: Tensor, see: Tensor | None) -> Tensor:
    """q (B, h, Q, d), k and v (B, h, K, d), see (B or 1, 1, Q or 1, K) bool, at least one key a row, or None for all keys
    -> (B, h, Q, d)."""
    if q.device.type != "cpu" or q.shape[2] * k.shape[2] > SMALL:
        return scaled_dot_product_attention(q, k, v, attn_mask=see)
    scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    if see is not None:
        scores = scores + torch.zeros((), dtype=scores.dtype).where(see, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ v


def normed(x: Tensor, gain: Tensor) -> Tensor:
    """QK-norm: x (..., d) with mean square 1, times a learned gain that broadcasts to it."""
    return rms_norm(x, x.shape[-1:]) * gain.to(x)  # the cast keeps bf16 under autocast

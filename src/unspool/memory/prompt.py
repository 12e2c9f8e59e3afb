"""Memory `prompt`: no memory at all, but attention from a frame's tokens to the words that are said of this frame.

Cross-attention as in latent diffusion (2112.10752), a mixer like any other behind a block's own. Its last layer does not begin
at zero: the block's gate in front of it does (adaLN-Zero, 2212.09748), and behind two zeros no gradient would ever arrive.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from unspool.memory.base import Memory
from unspool.nn.attention import attend, normed
from unspool.types import Cond, State, Tokens


@final
class Prompt(Memory):
    """Each frame of `cond.text` (B, F, L, D) is heard by the tokens of that frame alone, clean or noisy. Where nothing can be
    heard (text None) the answer is zero."""

    keeps = False
    sight = ""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.norm_q = nn.RMSNorm(width // heads)
        self.norm_k = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        return {}

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        return self._hear(clean, cond.text), state

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        return state

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        return self._hear(noisy, cond.text)

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        heard = self._hear(clean, clean_cond.text) if asked else clean
        return heard, self._hear(noisy, noisy_cond.text), {}

    def _hear(self, x: Tokens, text: Tensor | None) -> Tokens:
        """x (..., N, D), text (..., L, D) of the same frames -> (..., N, D)."""
        if text is None:
            return torch.zeros_like(x)
        q = self._heads(self.q(x))
        k, v = (self._heads(part) for part in self.kv(text.to(x)).chunk(2, -1))
        heard = attend(normed(q, self.norm_q.weight), normed(k, self.norm_k.weight), v, None)
        return self.out(heard.transpose(1, 2).flatten(2)).reshape(x.shape)

    def _heads(self, x: Tensor) -> Tensor:
        """(..., N, D) -> (frames, heads, N, head dim)."""
        return x.flatten(0, -3).unflatten(-1, (self.heads, -1)).transpose(1, 2)

"""Memory `gist`, the global context: the whole past in a few small maps, carried by a gated recursion, read by attention.

Each map has a side in space and a span in time. A frame is pooled to side x side tokens; each is encoded, and a gate says how
much of it enters the map: gist = (1 - gate) gist + gate * encoded, where the gate begins as 1 / span and learns from there.
What is read is its direction alone, so a young gist is no weaker than an old one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, rms_norm

from unspool.memory.base import Memory
from unspool.nn.attention import attend, normed
from unspool.types import Cond, State, Tokens


class Map(NamedTuple):
    """side: tokens a side, at most those of the grid; span: frames that it averages over, before it learns otherwise."""

    side: int
    span: float


MAPS = (Map(8, 6), Map(8, 18), Map(2, 18))
"""The last chunk in full, and three of them in full and in outline: no longer than training clips are."""


@final
class Gist(Memory):
    """Global context of recursive alpha diffusion (2024) and LGC-VD (2306.02562), which encode the last chunk and average it,
    in use alone, with what came before. Here the recursion is per frame, the same in training and in use, and the layers below
    are the encoder.

    learned: False leaves the gates at 1 / span for ever, the average of LGC-VD.
    """

    sight = "a gist of all before"

    def __init__(self, width: int, heads: int, maps: Sequence[Map] = MAPS, learned: bool = True) -> None:
        super().__init__()
        self.heads, self.maps = heads, tuple(maps)
        self.encode = nn.Linear(width, width)
        self.gate = nn.Linear(width, len(self.maps)) if learned else None
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.place = nn.Parameter(torch.randn(len(self.maps), width) / math.sqrt(width))
        self.norm_q = nn.RMSNorm(width // heads)
        self.norm_k = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)
        self.spans: Tensor
        self.register_buffer("spans", torch.tensor([one.span for one in self.maps]), persistent=False)
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        tokens = sum(rows * columns for rows, columns in self._sides(grid))
        precise = torch.promote_types(dtype, torch.float32)  # shares of 1 / span are lost in 16 bits
        return {"gist": torch.zeros(batch, tokens, self.out.in_features, device=device, dtype=precise)}

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        gists = self._walk(clean, state, cond.grid)
        seen = self._look(clean.flatten(0, 1), self.prepare({"gist": gists[:, :-1].flatten(0, 1)}, cond.grid))
        return seen.unflatten(0, clean.shape[:2]), {"gist": gists[:, -1]}

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        return {"gist": self._walk(clean, state, cond.grid)[:, -1]}

    def prepare(self, state: State, grid: tuple[int, int]) -> State:
        """Keys and values (B, heads, M, head dim) of the maps."""
        gist = state["gist"]
        place = torch.cat([one.expand(r * c, -1) for one, (r, c) in zip(self.place, self._sides(grid), strict=True)])
        where = torch.cat([_places(side, gist.shape[-1], gist.device) for side in self._sides(grid)])
        tokens = rms_norm(gist, gist.shape[-1:]) + (place + where).to(gist)
        k, v = self.kv(tokens.to(self.kv.weight)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return {"k": normed(k, self.norm_k.weight), "v": v}

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        return self._look(noisy.flatten(1, 2), view).unflatten(1, noisy.shape[1:3])

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        """One walk over the frames; then all of them and all groups look at once."""
        grid, (batch, groups) = noisy_cond.grid, noisy.shape[:2]
        state = state or self.start(batch, grid=grid, device=noisy.device, dtype=self.out.weight.dtype)
        gists = self._walk(clean, state, grid)
        seen = clean
        if asked and clean.shape[1]:
            of_clean = self.prepare({"gist": gists[:, :-1].flatten(0, 1)}, grid)
            seen = self._look(clean.flatten(0, 1), of_clean).unflatten(0, clean.shape[:2])
        of_noisy = self.prepare({"gist": gists[:, list(starts)].flatten(0, 1)}, grid)
        looked = self._look(noisy.flatten(0, 1).flatten(1, 2), of_noisy)
        out = looked.unflatten(1, noisy.shape[2:4]).unflatten(0, (batch, groups))
        return seen, out, {"gist": gists[:, -1]}

    def _walk(self, clean: Tokens, state: State, grid: tuple[int, int]) -> Tensor:
        """(B, T + 1, M, D): the gist before the first and after each of the clean frames."""
        picture = clean.unflatten(2, grid).movedim(-1, 2).flatten(0, 1)  # (B T, D, rows, columns)
        pooled = [adaptive_avg_pool2d(picture, side).flatten(2).transpose(1, 2) for side in self._sides(grid)]
        encoded = self.encode(torch.cat(pooled, 1)).unflatten(0, clean.shape[:2]).to(state["gist"])
        gates = torch.cat([self._gate(tokens, i) for i, tokens in enumerate(pooled)], 1).to(state["gist"])
        gates = gates.unflatten(0, clean.shape[:2])
        gists = [state["gist"]]
        for t in range(clean.shape[1]):
            gists.append(torch.lerp(gists[-1], encoded[:, t], gates[:, t]))
        return torch.stack(gists, 1)

    def _gate(self, tokens: Tokens, i: int) -> Tensor:
        """(B T, M, 1): how much of these tokens enters map i; 1 / span as long as nothing is learned."""
        begun = torch.logit(1 / self.spans[i].to(torch.promote_types(tokens.dtype, torch.float32)), eps=1e-6)
        learned = 0.0 if self.gate is None else self.gate(tokens)[..., i, None].to(begun)
        return (begun + learned).sigmoid().expand(*tokens.shape[:-1], 1)

    def _look(self, x: Tokens, view: State) -> Tokens:
        """x (B, L, D) attends to the maps."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q = normed(q, self.norm_q.weight)
        return self.out(attend(q, view["k"].to(q), view["v"].to(q), None).transpose(1, 2).flatten(2))

    def _sides(self, grid: tuple[int, int]) -> list[tuple[int, int]]:
        return [(min(one.side, grid[0]), min(one.side, grid[1])) for one in self.maps]


def _places(side: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """(rows * columns, D): fixed sinusoids of where a token's middle stands in the picture, from 0 to 1 each way."""
    freqs = torch.pi * 2.0 ** torch.arange(4, device=device)
    y, x = (((torch.arange(n, device=device) + 0.5) / n)[:, None] * freqs for n in side)
    y, x = y[:, None].expand(*side, -1), x[None].expand(*side, -1)
    told = torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], -1).flatten(0, 1)  # 16 features
    return torch.nn.functional.pad(told, (0, max(0, width - told.shape[-1])))[:, :width]

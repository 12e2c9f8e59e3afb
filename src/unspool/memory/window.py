"""Memory `window`: attention over the last W clean frames, kept as a rolling cache of unrotated keys and values.

Its oracle is a banded causal mask over the whole history, not a recomputed window: old keys carry older context.
Layout of the cache: (B, heads, W, N, head dim), newest frame last; slots that are not filled yet are masked by `count`.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm

from unspool.memory.base import Memory
from unspool.nn.attention import attend
from unspool.nn.rotary import rotate
from unspool.types import Cond, State, Tokens


@final
class Window(Memory):
    """Space-time attention with QK-norm. A clean frame sees itself and the `frames` before it; a flight sees the last `frames`
    clean frames and, by `cond.order`, itself. frames = 0 is attention within the flight alone: no memory."""

    def __init__(self, width: int, heads: int, frames: int) -> None:
        super().__init__()
        self.heads, self.frames, self.keeps = heads, frames, frames > 0
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = nn.RMSNorm(width // heads)
        self.norm_k = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        shape = (batch, self.heads, self.frames, grid[0] * grid[1], self.norm_q.normalized_shape[0])
        k, v = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        return {"k": k, "v": v, "count": torch.zeros(batch, device=device, dtype=torch.int64)}

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        (q, k), v = self._project(clean)
        after = self._after(k, v, state)
        k, v = torch.cat([state["k"], k], 2), torch.cat([state["v"], v], 2)
        band = self._band(clean.shape[1], self.frames, clean.device)
        exists = torch.cat([self._filled(state["count"]), _present(cond, clean)], 1)
        out = self._attend(rotate(q, self.frames, cond.grid), rotate(k, 0, cond.grid), v, band & exists[:, None])
        return out, after

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        k, v = self._heads(linear(clean, self.qkv.weight[self.qkv.in_features :]), 2)
        return self._after(_normed(k, self.norm_k.weight), v, state)

    def prepare(self, state: State, grid: tuple[int, int]) -> State:
        filled = self._filled(state["count"])
        # No mask where none is needed: on a CPU asking costs nothing, elsewhere it would stop the queue.
        whole = filled.device.type == "cpu" and bool(filled.all())
        return {"k": rotate(state["k"], 0, grid), "v": state["v"], **({} if whole else {"filled": filled})}

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        qk, v = self._project(noisy)
        q, k = rotate(qk, self.frames + cond.first, cond.grid)
        k, v = torch.cat([view["k"], k], 2), torch.cat([view["v"], v], 2)
        past = view.get("filled")
        if past is None and len(set(cond.order)) == 1 and cond.present is None:
            return self._attend(q, k, v, None)
        past = past if past is not None else torch.ones(len(noisy), self.frames, device=noisy.device, dtype=torch.bool)
        return self._attend(q, k, v, _sees(past, cond, noisy.shape[1]))

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        """All groups at once: each group's past is a slice of one row of keys (cache, then clean frames)."""
        batch, groups, flight = noisy.shape[:3]
        device, grid = noisy.device, noisy_cond.grid
        past = self.frames if state is not None else min(self.frames, max(starts))
        if state is None:  # no slot that nobody can see
            state = self.start(batch, grid=grid, device=device, dtype=noisy.dtype)
        old_k, old_v = state["k"][:, :, self.frames - past :], state["v"][:, :, self.frames - past :]
        (q, k), v = self._project(clean)
        (noisy_q, noisy_k), noisy_v = self._project(noisy.flatten(0, 1))
        after = self._after(k, v, state)
        k, v = torch.cat([old_k.to(k), k], 2), torch.cat([old_v.to(v), v], 2)
        k = rotate(k, 0, grid)
        exists = torch.cat([self._filled(state["count"])[:, self.frames - past :], _present(clean_cond, clean)], 1)

        clean_out = clean
        if asked and clean.shape[1]:
            band = self._band(clean.shape[1], past, device)
            clean_out = self._attend(rotate(q, past, grid), k, v, band & exists[:, None])

        at = torch.tensor(starts, device=device)[:, None] + torch.arange(past, device=device)  # (G, past)
        group_k, group_v = (t[:, :, at].permute(0, 2, 1, 3, 4, 5).flatten(0, 1) for t in (k, v))
        turned = []
        for t in (noisy_q, noisy_k):  # group g stands at past + starts[g]
            t = t.unflatten(0, (batch, groups))
            parts = [rotate(t[:, g], past + s + noisy_cond.first, grid) for g, s in enumerate(starts)]
            turned.append(torch.stack(parts, 1).flatten(0, 1))
        noisy_q, noisy_k = turned
        folded = noisy_cond if noisy_cond.present is None else noisy_cond._replace(present=noisy_cond.present.flatten(0, 1))
        see = _sees(exists[:, at].flatten(0, 1), folded, flight)
        noisy_out = self._attend(noisy_q, torch.cat([group_k, noisy_k], 2), torch.cat([group_v, noisy_v], 2), see)
        return clean_out, noisy_out.unflatten(0, (batch, groups)), after

    def _project(self, x: Tokens) -> tuple[Tensor, Tensor]:
        """(B, F, N, D) -> q and k, normed, as one (2, B, heads, F, N, head dim), and v."""
        qkv = self._heads(self.qkv(x), 3)
        gain = torch.stack([self.norm_q.weight, self.norm_k.weight])[:, None, None, None, None]
        return _normed(qkv[:2], gain), qkv[2]

    def _heads(self, x: Tokens, parts: int) -> Tensor:
        """(B, F, N, parts * D) -> (parts, B, heads, F, N, head dim)."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)

    def _after(self, k: Tensor, v: Tensor, state: State) -> State:
        """The state once the frames of these keys and values are in it."""
        count = (state["count"] + k.shape[2]).clamp(max=self.frames)
        return {"k": self._roll(state["k"], k), "v": self._roll(state["v"], v), "count": count}

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, see: Tensor | None) -> Tokens:
        """see (B, F or 1, keys' frames) bool, by frame, None for all -> (B, F, N, D)."""
        frames, tokens = q.shape[2:4]
        if see is not None:
            see = see.repeat_interleave(tokens, 2)[:, None]
            if see.shape[2] > 1:
                see = see.repeat_interleave(tokens, 2)
        out = attend(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), see)
        return self.out(out.transpose(1, 2).flatten(2).unflatten(1, (frames, tokens)))

    def _roll(self, old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old, new.to(old)], 2)[:, :, new.shape[2] :]

    def _filled(self, count: Tensor) -> Tensor:
        """(B, W) bool: the newest `count` slots."""
        return torch.arange(self.frames, device=count.device) >= self.frames - count[:, None]

    def _band(self, frames: int, past: int, device: torch.device) -> Tensor:
        """(frames, past + frames) bool: query f stands at past + f and sees itself and W frames back."""
        age = past + torch.arange(frames, device=device)[:, None] - torch.arange(past + frames, device=device)
        return (age >= 0) & (age <= self.frames)


def _normed(x: Tensor, gain: Tensor) -> Tensor:
    return rms_norm(x, x.shape[-1:]) * gain.to(x)  # the cast keeps bf16 under autocast


def _present(cond: Cond, x: Tokens) -> Tensor:
    return torch.ones(x.shape[:2], device=x.device, dtype=torch.bool) if cond.present is None else cond.present


def _sees(past: Tensor, cond: Cond, flight: int) -> Tensor:
    """past (B, P) bool -> (B, F or 1, P + F) bool: what each frame of a flight sees of the past and of the flight."""
    own = torch.ones(1, 1, flight, device=past.device, dtype=torch.bool)
    if len(set(cond.order)) > 1:
        order = torch.tensor(cond.order, device=past.device)
        own = (order <= order[:, None])[None]
    if cond.present is not None:  # a frame that does not exist sees itself, so that no row of the softmax is empty
        own = own & cond.present[:, None] | torch.eye(flight, device=past.device, dtype=torch.bool)
    return torch.cat([past[:, None].expand(-1, own.shape[1], -1), own.expand(len(past), -1, -1)], 2)

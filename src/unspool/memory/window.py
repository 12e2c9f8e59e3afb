"""Memory `window`: attention over the last W clean frames, kept as a rolling cache of unrotated keys and values.

Its oracle is a banded causal mask over the whole history, not a recomputed window: old keys carry older context.
Layout of the cache: (B, heads, W, N, head dim), newest frame last; slots that are not filled yet are masked by `count`.

An attention sink (StreamingLLM, 2309.17453) is the first frames of all, kept for ever: each is seen in its place as long as the
window holds it, and from then on as if it stood right before the window, whatever its age. The oracle's mask has these columns
as well.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.memory.base import Memory
from unspool.nn.attention import attend, normed
from unspool.nn.rotary import rotate
from unspool.types import Cond, State, Tokens


@final
class Window(Memory):
    """Space-time attention with QK-norm. A clean frame sees itself and the `frames` before it; a flight sees the last `frames`
    clean frames and, by `cond.order`, itself. frames = 0 is attention within the flight alone: no memory. sink: first frames of
    all that stay seen."""

    def __init__(self, width: int, heads: int, frames: int, sink: int = 0) -> None:
        super().__init__()
        self.heads, self.frames, self.sink, self.keeps = heads, frames, sink, frames + sink > 0
        self.sight = f"the first {sink} frames of all" if sink else ""  # the window itself is told in frames
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = nn.RMSNorm(width // heads)
        self.norm_k = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        shape = (batch, self.heads, self.frames, grid[0] * grid[1], self.norm_q.normalized_shape[0])
        k, v = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        count = torch.zeros(batch, device=device, dtype=torch.int64)
        first = k.new_zeros(*shape[:2], self.sink, *shape[3:])
        return {"k": k, "v": v, "count": count, **({"sink_k": first, "sink_v": first.clone()} if self.sink else {})}

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        (q, k), v = self._project(clean)
        after = self._after(k, v, state)
        k, v = torch.cat([state["k"], k], 2), torch.cat([state["v"], v], 2)
        exists = torch.cat([self._filled(state["count"]), _present(cond, clean)], 1)
        return self._each(q, rotate(k, 0, cond.grid), v, exists, state["count"], after, cond.grid), after

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        k, v = self._heads(linear(clean, self.qkv.weight[self.qkv.in_features :]), 2)
        return self._after(normed(k, self.norm_k.weight), v, state)

    def prepare(self, state: State, grid: tuple[int, int]) -> State:
        filled, k, v = self._filled(state["count"]), rotate(state["k"], 0, grid), state["v"]
        if self.sink:
            filled = torch.cat([self._sunk(state["count"]), filled], 1)
            k, v = torch.cat([rotate(state["sink_k"], -self.sink, grid), k], 2), torch.cat([state["sink_v"], v], 2)
        # No mask where none is needed: on a CPU asking costs nothing, elsewhere it would stop the queue.
        whole = filled.device.type == "cpu" and bool(filled.all())
        return {"k": k, "v": v, **({} if whole else {"filled": filled})}

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        qk, v = self._project(noisy)
        q, k = rotate(qk, self.frames + cond.first, cond.grid)
        k, v = torch.cat([view["k"], k], 2), torch.cat([view["v"], v], 2)
        past = view.get("filled")
        if past is None and len(set(cond.order)) == 1 and cond.present is None:
            return self._attend(q, k, v, None)
        whole = torch.ones(len(noisy), self.sink + self.frames, device=noisy.device, dtype=torch.bool)
        past = whole if past is None else past
        return self._attend(q, k, v, sees(past, cond, noisy.shape[1]))

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
            clean_out = self._each(q, k, v, exists, state["count"], after, grid)

        at = torch.tensor(starts, device=device)[:, None] + torch.arange(past, device=device)  # (G, past)
        group_k, group_v = (t[:, :, at].permute(0, 2, 1, 3, 4, 5) for t in (k, v))
        filled = exists[:, at]
        if self.sink:
            turned = [rotate(after["sink_k"], past + s - self.frames - self.sink, grid) for s in starts]
            group_k = torch.cat([torch.stack(turned, 1).to(k), group_k], 3)
            group_v = torch.cat([after["sink_v"].to(v)[:, None].expand(-1, groups, -1, -1, -1, -1), group_v], 3)
            filled = torch.cat([self._sunk(state["count"][:, None] + torch.tensor(starts, device=device)), filled], 2)
        group_k, group_v = group_k.flatten(0, 1), group_v.flatten(0, 1)
        flights = []
        for t in (noisy_q, noisy_k):  # group g stands at past + starts[g]
            t = t.unflatten(0, (batch, groups))
            parts = [rotate(t[:, g], past + s + noisy_cond.first, grid) for g, s in enumerate(starts)]
            flights.append(torch.stack(parts, 1).flatten(0, 1))
        noisy_q, noisy_k = flights
        folded = noisy_cond if noisy_cond.present is None else noisy_cond._replace(present=noisy_cond.present.flatten(0, 1))
        see = sees(filled.flatten(0, 1), folded, flight)
        noisy_out = self._attend(noisy_q, torch.cat([group_k, noisy_k], 2), torch.cat([group_v, noisy_v], 2), see)
        return clean_out, noisy_out.unflatten(0, (batch, groups)), after

    def _project(self, x: Tokens) -> tuple[Tensor, Tensor]:
        """(B, F, N, D) -> q and k, normed, as one (2, B, heads, F, N, head dim), and v."""
        qkv = self._heads(self.qkv(x), 3)
        gain = torch.stack([self.norm_q.weight, self.norm_k.weight])[:, None, None, None, None]
        return normed(qkv[:2], gain), qkv[2]

    def _heads(self, x: Tokens, parts: int) -> Tensor:
        """(B, F, N, parts * D) -> (parts, B, heads, F, N, head dim)."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)

    def _after(self, k: Tensor, v: Tensor, state: State) -> State:
        """The state once the frames of these keys and values are in it."""
        count = (state["count"] + k.shape[2]).clamp(max=self.frames + self.sink)
        after = {"k": self._roll(state["k"], k), "v": self._roll(state["v"], v), "count": count}
        if not self.sink or not k.shape[2]:
            return {**after, **{name: state[name] for name in ("sink_k", "sink_v") if self.sink}}
        column = torch.arange(self.sink, device=k.device) - state["count"][:, None]  # of these frames, for each place
        fills = ((column >= 0) & (column < k.shape[2]))[:, None, :, None, None]
        rows, columns = torch.arange(len(k), device=k.device)[:, None], column.clamp(0, k.shape[2] - 1)
        for name, new in (("sink_k", k), ("sink_v", v)):
            found = new.transpose(1, 2)[rows, columns].transpose(1, 2)
            after[name] = torch.where(fills, found.to(state[name]), state[name]).contiguous()
        return after

    def _each(
        self, q: Tensor, k: Tensor, v: Tensor, exists: Tensor, count: Tensor, after: State, grid: tuple[int, int]
    ) -> Tokens:
        """What clean frames see: q (B, heads, T, N, d) as they are, k and v (.., P + T, ..) rotated, the cache in front.
        `after` holds the sink, of which each sees what has left its window."""
        frames, past = q.shape[2], k.shape[2] - q.shape[2]
        see = self._band(frames, past, q.device) & exists[:, None]
        turned = rotate(q, past, grid)
        if not self.sink:
            return self._attend(turned, k, v, see)
        # Every query stands at one distance from the sink, though not from the window: the two take halves of a doubled head.
        still = rotate(q[:, :, :, None], self.frames, grid)[:, :, :, 0]
        first = rotate(after["sink_k"].to(k), -self.sink, grid)
        k = torch.cat([nn.functional.pad(first, (first.shape[-1], 0)), nn.functional.pad(k, (0, k.shape[-1]))], 2)
        v = torch.cat([after["sink_v"].to(v), v], 2)
        seen = self._sunk(count[:, None] + torch.arange(frames, device=q.device))
        return self._attend(torch.cat([turned, still], -1) * math.sqrt(2), k, v, torch.cat([seen, see], 2))

    def _sunk(self, count: Tensor) -> Tensor:
        """count (...) frames before -> (..., S) bool: the first frames that the window no longer holds."""
        return count[..., None] > self.frames + torch.arange(self.sink, device=count.device)

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


def _present(cond: Cond, x: Tokens) -> Tensor:
    return torch.ones(x.shape[:2], device=x.device, dtype=torch.bool) if cond.present is None else cond.present


def sees(past: Tensor, cond: Cond, flight: int) -> Tensor:
    """past (B, P) bool -> (B, F or 1, P + F) bool: what each frame of a flight sees of the past and of the flight."""
    own = torch.ones(1, 1, flight, device=past.device, dtype=torch.bool)
    if len(set(cond.order)) > 1:
        order = torch.tensor(cond.order, device=past.device)
        own = (order <= order[:, None])[None]
    if cond.present is not None:  # a frame that does not exist sees itself, so that no row of the softmax is empty
        own = own & cond.present[:, None] | torch.eye(flight, device=past.device, dtype=torch.bool)
    return torch.cat([past[:, None].expand(-1, own.shape[1], -1), own.expand(len(past), -1, -1)], 2)

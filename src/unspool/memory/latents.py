"""Memory `latents`: a few memory tokens a layer, written by attention from segments of clean frames (MALT, 2502.12632).

    remember a segment x:   memory = norm(memory + Attn(Q = memory, KV = [memory; x]))
    denoise a flight x:     Attn(Q = x, KV = [memory; x])

One attention does both, with the same weights: the denoiser is the encoder. So the memory may be read without gradient and
the network still learns to write it.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from unspool import noise as rng
from unspool.memory.base import Memory
from unspool.memory.recurrence import cut, due
from unspool.memory.window import sees
from unspool.nn.attention import attend, normed
from unspool.nn.rotary import rotate
from unspool.types import Cond, Levels, State, Tokens


@final
class Latents(Memory):
    """Memory of MALT, reconstructed from a description: tokens that pass from segment to segment. Ours: they are normed, so
    that ten thousand segments do not let them grow; they begin as zeros and `place`, learned, is added wherever they are looked
    at; a clean frame sees the memory before its segment and itself alone, so that a segment may come in pieces.

    tokens: M, of the memory. segment: frames that enter it together; those of a segment that is not whole yet wait and are not
    seen. horizon: segments after which gradient through the memory is cut; 0 lets none through, as MALT does, None all.

    State: "memory" (B, M, D), in float32 at least; "waiting" (B, segment - 1, N, D), newest last; "count" (B,), how many of
    them exist, below 0: how many frames go by before the first that is kept, see `shifted`; "level" and "key" (B,): how noisy
    the memory is when it is looked at, see `noised`.
    """

    def __init__(self, width: int, heads: int, tokens: int = 64, segment: int = 1, horizon: int | None = 0) -> None:
        super().__init__()
        self.heads, self.segment, self.horizon = heads, segment, horizon
        self.sight = f"{tokens} memory tokens a layer of all before"
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q = nn.RMSNorm(width // heads)
        self.norm_k = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)
        self.place = nn.Parameter(torch.randn(1, tokens, width))
        self.told = nn.Parameter(torch.zeros(1, 1, width))

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        _, tokens, width = self.place.shape
        precise = torch.promote_types(dtype, torch.float32)
        numbers = {name: torch.zeros(batch, device=device, dtype=torch.int64) for name in ("count", "key")}
        age = {"age": torch.zeros(batch, device=device, dtype=torch.int64)} if self.horizon else {}
        return {
            "memory": torch.zeros(batch, tokens, width, device=device, dtype=precise),
            "waiting": torch.zeros(batch, self.segment - 1, grid[0] * grid[1], width, device=device, dtype=dtype),
            "level": torch.zeros(batch, device=device, dtype=precise), **numbers, **age,
        }  # fmt: skip

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        steps, after = self._walk(clean, state, cond.grid)
        return self._seen(clean, steps, state, cond), after

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        return self._walk(clean, state, cond.grid)[1]

    def prepare(self, state: State, grid: tuple[int, int]) -> State:
        """Keys and values (B, heads, M, head dim) of the memory, as noisy as it is."""
        memory = state["memory"].detach() if self.horizon == 0 else state["memory"]
        level = state["level"][:, None, None]
        # No noise is drawn where none is seen: on a CPU asking costs nothing, elsewhere it would stop the queue.
        if level.device.type != "cpu" or level.any():
            noise = rng.normal(state["key"], *memory.shape[1:]).to(memory)
            memory = (1 - level) * memory + level * (noise + self.told.to(memory))
        tokens = memory + self.place.to(memory)
        weight = self.qkv.weight
        kv = nn.functional.linear(tokens.to(weight), weight[weight.shape[1] :])
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return {"k": normed(k, self.norm_k.weight), "v": v}

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        q, k, v = self._project(noisy)
        q, k = (rotate(t, cond.first, cond.grid).flatten(2, 3) for t in (q, k))
        see = None
        if len(set(cond.order)) > 1 or cond.present is not None:
            nothing = torch.ones(len(noisy), 0, device=noisy.device, dtype=torch.bool)
            own = sees(nothing, cond, noisy.shape[1]).repeat_interleave(noisy.shape[2], 2)
            own = own.repeat_interleave(noisy.shape[2], 1) if own.shape[1] > 1 else own
            see = torch.cat([own.new_ones(*own.shape[:2], view["k"].shape[2]), own], 2)[:, None]
        out = attend(q, torch.cat([view["k"].to(k), k], 2), torch.cat([view["v"].to(v), v.flatten(2, 3)], 2), see)
        return self.out(out.transpose(1, 2).flatten(2)).unflatten(1, noisy.shape[1:3])

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        """One walk over the segments; then all clean frames and all groups look at once, each at the memory of its place."""
        batch, groups = noisy.shape[:2]
        if state is None:
            state = self.start(batch, grid=noisy_cond.grid, device=noisy.device, dtype=noisy.dtype)
        steps, after = self._walk(clean, state, noisy_cond.grid)
        views = self._views(steps, state, torch.tensor(starts, device=noisy.device))
        present = None if noisy_cond.present is None else noisy_cond.present.flatten(0, 1)
        out = self.read(noisy.flatten(0, 1), views, noisy_cond._replace(present=present))
        seen = self._seen(clean, steps, state, clean_cond) if asked and clean.shape[1] else clean
        return seen, out.unflatten(0, (batch, groups)), after

    def _walk(self, clean: Tokens, state: State, grid: tuple[int, int]) -> tuple[State, State]:
        """memory (B, K + 1, M, D) and key (B, K + 1) before and after each segment that these frames may make whole, and the
        state after the last frame. Slots differ in when their segments end: K is the most, the rest stays as it was."""
        size, frames, count = self.segment, clean.shape[1], state["count"]
        memory, key = [state["memory"]], [state["key"]]
        history = torch.cat([state["waiting"], clean.to(state["waiting"])], 1)
        rows = torch.arange(len(clean), device=clean.device)[:, None]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.horizon != 0):
            for n in range((frames + size - 1) // size):
                first = size - 1 - count + n * size  # in the history, where the n-th segment that ends begins
                whole = first < frames
                columns = (first[:, None] + torch.arange(size, device=clean.device)).clamp(max=history.shape[1] - 1)
                now = due(state["age"] + n, self.horizon) if self.horizon else None
                held = memory[-1] if now is None else cut(memory[-1], now)
                written = self._updated(held, history[rows, columns].to(clean), grid)
                memory.append(torch.where(whole[:, None, None], written, memory[-1]))
                key.append(torch.where(whole, rng.fold(key[-1], 1), key[-1]))
        ended = ((count + frames) // size).clamp(min=0)
        age = {"age": (state["age"] + ended) % self.horizon} if self.horizon else {}
        steps = {"memory": torch.stack(memory, 1), "key": torch.stack(key, 1)}
        after = {"memory": memory[-1], "waiting": history[:, frames:].contiguous(), "count": count + frames - ended * size}
        return steps, {**state, **after, "key": key[-1], **age}

    def _updated(self, memory: Tensor, segment: Tokens, grid: tuple[int, int]) -> Tensor:
        """The memory (B, M, D) once a segment (B, S, N, D) is in it."""
        q, own_k, own_v = (t[:, :, 0] for t in self._project((memory + self.place.to(memory))[:, None]))
        _, k, v = self._project(segment)
        k = rotate(k, 0, grid).flatten(2, 3)
        out = attend(q, torch.cat([own_k, k.to(q)], 2), torch.cat([own_v, v.flatten(2, 3).to(q)], 2), None)
        update = self.out(out.transpose(1, 2).flatten(2)).to(memory)
        return rms_norm(memory + update, memory.shape[-1:])

    def _seen(self, clean: Tokens, steps: State, state: State, cond: Cond) -> Tokens:
        """What each clean frame sees: the memory before its segment, and itself."""
        views = self._views(steps, state, torch.arange(clean.shape[1], device=clean.device))
        return self.read(clean.flatten(0, 1)[:, None], views, Cond(cond.emb, cond.grid, (0,))).reshape(clean.shape)

    def _views(self, steps: State, state: State, places: Tensor) -> State:
        """Keys and values (B * P, ...) of the memory behind so many frames each; places (P,)."""
        batch, held = steps["key"].shape
        level = state["level"].repeat_interleave(held)
        view = self.prepare({"memory": steps["memory"].flatten(0, 1), "key": steps["key"].flatten(), "level": level}, (0, 0))
        at = ((state["count"][:, None] + places) // self.segment).clamp(min=0)  # segments that have ended before
        rows = (torch.arange(batch, device=at.device)[:, None] * held + at).flatten()
        return {name: leaf[rows] for name, leaf in view.items()}

    def _project(self, x: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """(B, F, N, D) -> q, k, v, each (B, heads, F, N, head dim), q and k normed."""
        qkv = self.qkv(x.to(self.qkv.weight.dtype)).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        q, k = (normed(t, norm.weight) for t, norm in zip(qkv, (self.norm_q, self.norm_k), strict=False))
        return q, k, qkv[2]


def noised(state: State, level: Levels, key: Tensor) -> State:
    """The state of a model, or of any part of it, whose memory tokens are looked at through noise: (1 - level) memory + level
    noise, level (B,) in [0, 1], told to the network. 1 is no memory at all. The memory that is carried stays clean.

    key (B,) int64: the noise is a pure function of it, of the layer, and of the segments remembered since.
    """
    if {"memory", "level", "key"} <= state.keys():
        return {**state, "level": level.to(state["level"]), "key": key}
    return {
        name: noised(leaf, level, rng.fold(key, n)) if isinstance(leaf, dict) else leaf
        for n, (name, leaf) in enumerate(state.items())
    }


def shifted(state: State, share: Tensor) -> State:
    """The empty state of a model, or of any part of it, whose segments begin late: up to a segment less one frame goes by and
    is not remembered, by share (B,) in [0, 1); all layers together.

    A clip has one beginning, a rollout goes on from any number of frames: in training the segments of a clip must begin
    anywhere, or flights stand at one distance behind the newest segment and in use at another.
    """
    if {"memory", "waiting", "count"} <= state.keys():
        segment = state["waiting"].shape[1] + 1
        return {**state, "count": state["count"] - (share * segment).to(state["count"])}
    return {name: shifted(leaf, share) if isinstance(leaf, dict) else leaf for name, leaf in state.items()}

"""Memory `delayed`: any other memory, read as it was some frames ago.

What we know of RAD (2511.12940) leaves open whether the state that a frame begins from has seen what attention still sees:
s[i-1] has, s[i-W] has not, and `Delayed(memory, W - 1)` gives the latter.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.memory.base import Memory
from unspool.types import Cond, State, Tokens


@final
class Delayed(Memory):
    """Frame j of a flight reads s[min(at - 1 - by + j, at - 1)], where s[i] is the inner state behind frame i, and so does each
    clean frame: by itself, so that frames of one flight meet elsewhere, not here. The newest `by` frames wait, as tokens with
    what they were told, and enter the inner state one by one as they leave.

    State: "inner"; "frames" (B, by, N, D) and "emb" (B, by, D), newest last; "count" (B,), how many of these exist. The fast
    `scan` is of an empty state; a flight of more than one frame commits the waiting ones anew in each evaluation.
    """

    def __init__(self, memory: Memory, by: int, width: int) -> None:
        super().__init__()
        if by < 1:
            raise UserError(f"a memory is delayed by 1 frame or more, not {by}; without a delay use the memory itself")
        self.memory, self.by, self.width, self.keeps = memory, by, width, memory.keeps
        self.sight = f"{memory.sight} but the newest {by}"

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        return {
            "inner": self.memory.start(batch, grid=grid, device=device, dtype=dtype),
            "frames": torch.zeros(batch, self.by, grid[0] * grid[1], self.width, device=device, dtype=dtype),
            "emb": torch.zeros(batch, self.by, self.width, device=device, dtype=dtype),
            "count": torch.zeros(batch, device=device, dtype=torch.int64),
        }

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        seen = []
        for t in range(clean.shape[1]):
            one, told = clean[:, t : t + 1], _frame(cond, t, self.by)
            seen.append(self.memory.read(one, self.memory.prepare(state["inner"], cond.grid), told))
            state = self._entered(one, told.emb, state, cond.grid)
        return torch.cat(seen, 1) if seen else clean, state

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        for t in range(clean.shape[1]):
            state = self._entered(clean[:, t : t + 1], cond.emb[:, t : t + 1], state, cond.grid)
        return state

    def prepare(self, state: State, grid: tuple[int, int]) -> State:
        return {"first": self.memory.prepare(state["inner"], grid), **state}

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        out, inner, taken = [], view["first"], 0
        state = {name: leaf for name, leaf in view.items() if name != "first"}
        for j in range(noisy.shape[1]):
            place = cond.first + j
            ahead = min(max(place, 0), self.by)
            if ahead > taken:
                for _ in range(ahead - taken):
                    state = self._left(state, cond.grid)
                inner, taken = self.memory.prepare(state["inner"], cond.grid), ahead
            out.append(self.memory.read(noisy[:, j : j + 1], inner, _frame(cond, j, place + self.by - ahead)))
        return torch.cat(out, 1)

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        """Each frame, noisy or clean, reads by itself from an older state: all of them are groups of one scan of the inner
        memory, which sees every frame but the last `by`."""
        (batch, groups, flight), frames = noisy.shape[:3], clean.shape[1]
        entered = max(frames - self.by, 0)
        of_noisy = [max(s - self.by + min(j, self.by), 0) for s in starts for j in range(flight)]
        if state is not None or noisy_cond.first or flight > self.by + 1 or max(of_noisy) > entered:
            return super().scan(clean, noisy, starts, state, clean_cond, noisy_cond, asked=asked)
        of_clean = [max(t - self.by, 0) for t in range(frames)] if asked else []
        shown = clean[:, : len(of_clean)]
        alone = torch.cat([noisy.flatten(1, 2), shown], 1)[:, :, None]
        emb = torch.cat([noisy_cond.emb.flatten(1, 2), clean_cond.emb[:, : len(of_clean)]], 1)[:, :, None]
        told = Cond(emb, noisy_cond.grid, (0,), self.by)
        past = clean_cond._replace(emb=clean_cond.emb[:, :entered], order=clean_cond.order[:entered])
        args = clean[:, :entered], alone, (*of_noisy, *of_clean), None, past, told
        _, out, inner = self.memory.scan(*args, asked=False)
        out, seen = out[:, :, 0].split([groups * flight, len(of_clean)], 1)
        empty = self.start(batch, grid=noisy_cond.grid, device=noisy.device, dtype=noisy.dtype)
        waiting = {
            "frames": torch.cat([empty["frames"], clean.to(empty["frames"])], 1)[:, frames:],
            "emb": torch.cat([empty["emb"], clean_cond.emb.to(empty["emb"])], 1)[:, frames:],
            "count": empty["count"] + min(frames, self.by),
        }
        return seen if of_clean else clean, out.unflatten(1, (groups, flight)), {"inner": inner, **waiting}

    def _entered(self, clean: Tokens, emb: Tensor, state: State, grid: tuple[int, int]) -> State:
        """One clean frame comes, the oldest that waits leaves."""
        after = self._left(state, grid)
        frames = torch.cat([after["frames"][:, :-1], clean.to(after["frames"])], 1).contiguous()  # cat may keep odd strides
        told = torch.cat([after["emb"][:, :-1], emb.to(after["emb"])], 1)
        return {**after, "frames": frames, "emb": told, "count": (state["count"] + 1).clamp(max=self.by)}

    def _left(self, state: State, grid: tuple[int, int]) -> State:
        """The oldest frame that waits goes into the inner state, in the slots that have it; the others move up."""
        frame, emb = (state[name][:, :1] for name in ("frames", "emb"))
        after = self.memory.commit(frame, state["inner"], Cond(emb, grid, (0,)))
        inner = _where(state["count"] == self.by, after, state["inner"])
        rest = {name: state[name].roll(-1, 1) for name in ("frames", "emb")}
        return {"inner": inner, **rest, "count": (state["count"] + 1).clamp(max=self.by)}


def _frame(cond: Cond, j: int, first: int) -> Cond:
    """Frame j alone, at this place behind the state that it reads."""
    present = None if cond.present is None else cond.present[:, j : j + 1]
    return Cond(cond.emb[:, j : j + 1], cond.grid, (0,), first, present)


def _where(here: Tensor, yes: Any, no: Any) -> Any:
    """Of states, leaf by leaf: `yes` in the slots where here (B,), else `no`."""
    if isinstance(no, dict):
        return {name: _where(here, yes[name], no[name]) for name in no}
    return torch.where(here.view(-1, *[1] * (no.dim() - 1)), yes, no)

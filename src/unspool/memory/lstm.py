"""Memory `lstm`: a recurrence over time at each token's place, the weights shared by all of them.

    gates  = x(token) + h(hidden + told(emb));   input, forget, new, output = gates
    cell   = sigmoid(forget) cell + sigmoid(input) tanh(new);   hidden = sigmoid(output) tanh(cell)

State: hidden and cell, each (B, N, H), kept in float32 at least. It follows attention over space in a block's list, which is
how one place hears of the others.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.memory.base import Memory
from unspool.memory.recurrence import cut, due
from unspool.types import Cond, State, Tokens


@final
class LSTM(Memory):
    """Recurrent memory of RAD (2511.12940, reconstructed from a description): hidden and cell are carried from frame to frame,
    the level and action of a frame (`cond.emb`) enter the recurrence as well as the norm before it. A flight takes its own
    steps from the carried state, oldest frame first; they are never kept.

    hidden: H, by default half of the width: then it has as many parameters as the attention beside it. span: frames that the
    slowest forget gates remember at first; their biases are spread over time scales from two frames to `span` (1804.11188).
    horizon: gradient through the carried state is cut every so many frames; 0 lets none through, None all.
    """

    sight = "a recurrence over all before"

    def __init__(self, width: int, hidden: int | None = None, *, span: float = 64.0, horizon: int | None = None) -> None:
        super().__init__()
        hidden = hidden or width // 2
        self.hidden, self.horizon = hidden, horizon
        self.x = nn.Linear(width, 4 * hidden)
        self.h = nn.Linear(hidden, 4 * hidden, bias=False)
        self.told = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width)
        slow = torch.log(torch.logspace(0, 1, hidden, base=max(span - 1, 1.0)))  # sigmoid(log s) forgets in 1 + s frames
        with torch.no_grad():
            self.x.bias.copy_(torch.cat([-slow, slow, torch.zeros(2 * hidden)]))

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        shape, precise = (batch, grid[0] * grid[1], self.hidden), torch.promote_types(dtype, torch.float32)
        hidden, cell = (torch.zeros(shape, device=device, dtype=precise) for _ in range(2))
        age = {"age": torch.zeros(batch, device=device, dtype=torch.int64)} if self.horizon else {}
        return {"hidden": hidden, "cell": cell, **age}

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        walked = self._walk(self._gates(clean, cond), state, cond.present, self.horizon)
        return self._shown(walked["hidden"][:, 1:]), self._after(walked, state, clean.shape[1])

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        walked = self._walk(self._gates(clean, cond), state, cond.present, self.horizon)
        return self._after(walked, state, clean.shape[1])

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        begun = _detached(view) if self.horizon == 0 else view
        return self._shown(self._walk(self._gates(noisy, cond), begun, cond.present, None)["hidden"][:, 1:])

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        """One walk over the clean frames, then one over all flights together: they are a larger batch, each from its place."""
        batch, groups = noisy.shape[:2]
        if state is None:
            state = self.start(batch, grid=noisy_cond.grid, device=noisy.device, dtype=noisy.dtype)
        walked = self._walk(self._gates(clean, clean_cond), state, clean_cond.present, self.horizon)
        begun = {name: leaf[:, list(starts)].flatten(0, 1) for name, leaf in walked.items()}
        present = None if noisy_cond.present is None else noisy_cond.present.flatten(0, 1)
        flights = noisy_cond._replace(emb=noisy_cond.emb.flatten(0, 1), present=present)
        out = self.read(noisy.flatten(0, 1), begun, flights).unflatten(0, (batch, groups))
        seen = self._shown(walked["hidden"][:, 1:]) if asked and clean.shape[1] else clean
        return seen, out, self._after(walked, state, clean.shape[1])

    def _gates(self, x: Tokens, cond: Cond) -> Tensor:
        """What of the gates (B, F, N, 4 H) needs no past: all frames at once."""
        return self.x(x) + self.h(self.told(cond.emb))[:, :, None]

    def _walk(self, gates: Tensor, state: State, present: Tensor | None, horizon: int | None) -> State:
        """hidden and cell (B, F + 1, N, H): before the first and after each of the frames; an absent one changes nothing."""
        hidden, cell = state["hidden"], state["cell"]
        weight = self.h.weight
        gates = gates.to(cell)
        count = state.get("age", torch.zeros(len(cell), device=cell.device, dtype=torch.int64))
        hiddens, cells = [hidden], [cell]
        for t in range(gates.shape[1]):
            if (now := due(count + t, horizon)) is not None:
                hidden, cell = cut(hidden, now), cut(cell, now)
            fresh = gates[:, t] + linear(hidden.to(weight), weight).to(cell)
            enter, keep, new, show = fresh.chunk(4, -1)
            after = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
            shown = show.sigmoid() * after.tanh()
            if present is not None:
                here = present[:, t, None, None]
                after, shown = torch.where(here, after, cell), torch.where(here, shown, hidden)
            hidden, cell = shown, after
            hiddens.append(hidden)
            cells.append(cell)
        return {"hidden": torch.stack(hiddens, 1), "cell": torch.stack(cells, 1)}

    def _after(self, walked: State, state: State, frames: int) -> State:
        age = {"age": (state["age"] + frames) % self.horizon} if self.horizon else {}
        last = {name: leaf[:, -1].contiguous() for name, leaf in walked.items()}  # a view would keep all of them in memory
        return {**last, **age}

    def _shown(self, hidden: Tensor) -> Tokens:
        return self.out(hidden.to(self.out.weight.dtype))


def _detached(state: State) -> State:
    return {name: leaf.detach() for name, leaf in state.items()}

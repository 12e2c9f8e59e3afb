"""The contract of a memory: a layer that mixes tokens with a state of fixed size.

Shapes: clean (B, T, N, D); noisy (B, F, N, D) for one flight, (B, G, F, N, D) for all groups of a training pass; every leaf
of a state is batch-first. `read` returns no state, so noisy frames cannot commit to one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from unspool.types import Cond, State, Tokens


class Memory(nn.Module, ABC):
    """Three verbs: `write` clean tokens, `read` from noisy ones, `scan` both in parallel for training."""

    keeps: bool = True
    """False where nothing is ever kept: then nobody needs to compute what clean frames become."""
    sight: str = "a memory of one's own"
    """What `unspool explain` says that it sees of the past."""

    @abstractmethod
    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        """The empty state of `batch` rollouts over token grids of (rows, columns), on `device`. Leaves are of `dtype`, or of
        float32 where 16 bits are too few; counters are integers."""

    @abstractmethod
    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        """Take clean frames in, oldest first. Returns what each of them sees, (B, T, N, D), and the state after the last."""

    def commit(self, clean: Tokens, state: State, cond: Cond) -> State:
        """The state that `write` returns, where nobody asks what the frames see: the last memory of a model."""
        return self.write(clean, state, cond)[1]

    @abstractmethod
    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        """What the noisy frames of one flight see of the state (as `prepare` left it) and of each other, (B, F, N, D)."""

    def prepare(self, state: State, grid: tuple[int, int]) -> State:
        """The state as `read` wants it: whatever stays constant while a chunk is denoised is computed here, once."""
        return state

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], state: State | None, clean_cond: Cond, noisy_cond: Cond,
        *, asked: bool = True,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        """Write all clean frames and read every group g from the state after `starts[g]` of them.

        The obvious loop over `write` and `read`; a faster one must equal it. noisy (B, G, F, N, D), noisy_cond.emb
        (B, G, F, D), noisy_cond.present (B, G, F) and text (B, G, F, L, D) or None. state None is the empty one, known to be
        so without looking. Returns clean (B, T, N, D), noisy (B, G, F, N, D) and the state after the last clean frame. asked:
        False where nobody asks what the clean frames see, as in the last memory of a model: then clean comes back as it was.
        """
        if state is None:
            state = self.start(len(noisy), grid=noisy_cond.grid, device=noisy.device, dtype=noisy.dtype)
        seen: list[Tokens] = []

        def take(state: State, first: int, last: int) -> State:
            told = part(clean_cond, first, last)
            if not asked:
                return self.commit(clean[:, first:last], state, told)
            out, state = self.write(clean[:, first:last], state, told)
            seen.append(out)
            return state

        reads: dict[int, Tokens] = {}
        done = 0
        for g in sorted(range(len(starts)), key=starts.__getitem__):
            if starts[g] > done:
                state = take(state, done, starts[g])
                done = starts[g]
            view = self.prepare(state, noisy_cond.grid)
            present = None if noisy_cond.present is None else noisy_cond.present[:, g]
            text = None if noisy_cond.text is None else noisy_cond.text[:, g]
            told = noisy_cond._replace(emb=noisy_cond.emb[:, g], present=present, text=text)
            reads[g] = self.read(noisy[:, g], view, told)
        if done < clean.shape[1]:
            state = take(state, done, clean.shape[1])
        noisy_out = torch.stack([reads[g] for g in range(len(starts))], 1)
        return torch.cat(seen, 1) if seen else clean, noisy_out, state


def part(cond: Cond, first: int, last: int) -> Cond:
    """The columns first .. last - 1 of a Cond of clean frames."""
    present = None if cond.present is None else cond.present[:, first:last]
    text = None if cond.text is None else cond.text[:, first:last]
    return cond._replace(emb=cond.emb[:, first:last], order=cond.order[first:last], present=present, text=text)

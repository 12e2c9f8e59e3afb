"""A buffer of real rollouts beside the true clips that they began from, so that the model learns behind errors of the size that
it makes in use, at the price of a few rollouts a step.

A rollout stands for its clip only as long as it tracks it: up to the first chunk that is no nearer to the truth than the last
frame of the context, held. Behind that point the true future is not what follows what was made.
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import Blend
from unspool.model.video import VideoModel
from unspool.rollout import Rollout, by_frame, stream
from unspool.schedule import Staircase
from unspool.train.objectives import beginning
from unspool.types import Clip, State, Video


class Entry(NamedTuple):
    """clip: the true clips drawn; made (B, T, ...): what was shown of them, context first; remembered (B, T - overlap, ...):
    what the state took in meanwhile; chunks: how many of these to stand behind; weight (B,): 1 where the rollout still tracks
    its clip there, else 0."""

    clip: Clip
    made: Video
    remembered: Video
    chunks: int
    weight: Tensor


@final
class Buffer:
    """size: rollouts kept, the oldest leaves first. depth: chunks of each. steps: of its descent. share: of a batch that is
    rolled out in a step. A rank of a distributed run has one of its own clips."""

    def __init__(self, size: int = 64, depth: int = 3, steps: int = 4, share: float = 1 / 8) -> None:
        self.size, self.depth, self.steps, self.share = size, depth, steps, share
        self.kept: dict[str, Tensor] = {}
        self.count = self.puts = 0

    def put(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor, chunk: int, overlap: int) -> None:
        """Roll out the first clips of the batch and keep them."""
        rows = max(1, round(self.share * len(key)))
        clip, key = clip.rows(slice(rows)), key[:rows]
        made, remembered = self._rollout(model, blend, clip, key, chunk, overlap)
        fresh = {"true": clip.frames, "made": made, "remembered": remembered}
        fresh["tracked"] = tracked(clip.frames, made, chunk, overlap)
        fresh |= {name: leaf for name in ("control", "first", "valid") if (leaf := getattr(clip, name)) is not None}
        if any(name not in self.kept or self.kept[name].shape[1:] != leaf.shape[1:] for name, leaf in fresh.items()):
            self.kept = {name: leaf.new_zeros(self.size, *leaf.shape[1:]) for name, leaf in fresh.items()}
            self.count = 0  # the first, or of other settings than those before
        slots = (self.count + torch.arange(rows)) % self.size
        for name, leaf in fresh.items():
            if not leaf.is_meta:  # shapes alone, when FLOPs are counted
                self.kept[name][slots.to(leaf.device)] = leaf
        self.count, self.puts = self.count + rows, self.puts + 1

    def draw(self, batch: int, key: Tensor) -> Entry:
        """As many rollouts, those first that track their clips for so many chunks; the number of chunks goes round."""
        chunks = (self.depth + 1) // 2 if key.is_meta else (self.puts - 1) % self.depth + 1
        held = min(max(self.count, 1), self.size)
        follows = self.kept["tracked"][:held] >= chunks
        order = rng.uniform(key[:1], held)[0] + follows
        rows = order.topk(min(batch, held)).indices
        rows = rows[torch.arange(batch, device=rows.device) % len(rows)]
        kept = {name: leaf[:held][rows] for name, leaf in self.kept.items()}
        clip = Clip(kept["true"], kept.get("control"), kept.get("first"), kept.get("valid"))
        return Entry(clip, kept["made"], kept["remembered"], chunks, follows[rows].float())

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.kept, "count": torch.tensor([self.count, self.puts])}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Of a run without a buffer there are none: this one then begins empty."""
        self.kept = {name: leaf for name, leaf in tensors.items() if name != "count"}
        self.count, self.puts = tensors["count"].tolist() if "count" in tensors else (0, 0)

    @torch.no_grad()
    def _rollout(
        self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor, chunk: int, overlap: int
    ) -> tuple[Video, Video]:
        """What is shown, context first, and what is remembered."""
        context = clip.frames[:, :overlap]
        state: State = beginning(model, clip, rng.fold(key, 6))
        state = {**state, "seed": rng.fold(key, 6)}
        plan = Staircase(self.steps, chunk, redo=overlap).plan()
        rollout = Rollout(state, context, context[:, :0], {})
        controls = None if clip.control is None else by_frame(clip.control, state["at"])
        parts = list(stream(model, blend, plan, rollout, frames=self.depth * chunk, controls=controls))
        remembered = [part.remembered.to(context) for part in parts if part.remembered is not None]
        return torch.cat([context, *(part.frames.to(context) for part in parts)], 1), torch.cat(remembered, 1)


def tracked(true: Video, made: Video, chunk: int, overlap: int) -> Tensor:
    """(B,) int64: leading chunks of made (B, T, ...) that are nearer to the truth than its last context frame is, held."""
    true, still = true[:, overlap : made.shape[1]], true[:, overlap - 1 : overlap]

    def wrong(guess: Video) -> Tensor:
        return (guess - true).square().mean((-1, -2, -3)).unflatten(1, (-1, chunk)).mean(2)

    return (wrong(made[:, overlap:]) < wrong(still)).long().cumprod(1).sum(1)

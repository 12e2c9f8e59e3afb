"""`Memoryless`, the twin of any model that has forgotten all but the newest frames.

A memory is worth what a model loses without it. The twin has the same parameters, so what separates the two is memory alone.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.model.video import Reader, VideoModel
from unspool.model.wrapper import RESERVED, own_part
from unspool.types import Known, Levels, State, Video


@final
class Memoryless(VideoModel):
    """A model whose state is made anew, from empty, of the newest `keep` clean frames whenever it remembers some.

    So every chunk is denoised from these frames alone: an anchor is the first of them, and no cache carries older context.
    The parameters are the model's own, not a copy. "at" and "seed" stay those of the rollout, for the inner model as well.
    What was told of a frame is kept beside it: its context noise, none told being none, and its action, none told being zeros.

    The state is {"at", "seed", "recent": {"frames" (B, keep, C, H, W), "level" (B, keep), "control" (B, keep, K), "count"
    (B,)}, "inner": the model's, without "at" and "seed"}. Raises UserError for a `keep` below 1.
    """

    def __init__(self, model: VideoModel, keep: int) -> None:
        super().__init__()
        if keep < 1:
            raise UserError(f"a memoryless model keeps at least 1 frame, not {keep}")
        self.model, self.keep, self.shape = model, keep, model.shape
        self.controls, self.prompts = model.controls, model.prompts

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        inner = self.model.start(batch, seed=seed, device=device, dtype=dtype)
        recent = {
            "frames": torch.zeros(batch, self.keep, *self.shape, device=device, dtype=dtype),
            "level": torch.zeros(batch, self.keep, device=device, dtype=dtype),
            "control": torch.zeros(batch, self.keep, self.controls + self.prompts, device=device, dtype=dtype),
            "count": torch.zeros(batch, device=device, dtype=torch.int64),
        }
        return {"at": inner["at"], "seed": inner["seed"], "recent": recent, "inner": own_part(inner)}

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        frames = clean.shape[1]
        if frames == 0:
            return state
        recent = state["recent"]
        level = clean.new_zeros(clean.shape[:2]) if level is None else level
        control = clean.new_zeros(*clean.shape[:2], self.controls + self.prompts) if control is None else control
        new = {"frames": clean, "level": level, "control": control}
        rolled = {name: torch.cat([recent[name], leaf.to(recent[name])], 1)[:, frames:] for name, leaf in new.items()}
        rolled["count"] = (recent["count"] + frames).clamp(max=self.keep)
        after = {"at": state["at"] + frames, "seed": state["seed"], "recent": rolled}
        return {**after, "inner": self._anew(after)}

    def reader(self, state: State, known: Known | None = None) -> Reader:
        return self.model.reader({**state["inner"], **{name: state[name] for name in RESERVED}}, known)

    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        return self.reader(state, known)(x, level, present=present, control=control)

    def _anew(self, state: State) -> State:
        """The inner state of the recent frames; slots that hold as many of them go through the model together."""
        inner: State = {}
        count = state["recent"]["count"]
        for held in count.unique().tolist():
            rows = (count == held).nonzero()[:, 0]
            frames, level, control = (state["recent"][name][rows, -held:] for name in ("frames", "level", "control"))
            empty = self.model.start(len(rows), seed=state["seed"][rows], device=frames.device, dtype=frames.dtype)
            begun = {**empty, "at": state["at"][rows] - held}
            told = control if self.controls + self.prompts else None
            made = own_part(self.model.remember(frames, begun, level=level, control=told))
            inner = made if len(rows) == len(count) else _put(inner, rows, made, len(count))
        return inner


def _put(into: State, rows: Tensor, part: State, batch: int) -> State:
    """`part`, the state of some rows of the batch, put in its place."""
    out: State = {}
    for name, leaf in part.items():
        if isinstance(leaf, dict):
            out[name] = _put(into.get(name, {}), rows, leaf, batch)
        else:
            whole = into[name] if name in into else leaf.new_zeros(batch, *leaf.shape[1:])
            out[name] = whole.index_copy(0, rows, leaf)
    return out

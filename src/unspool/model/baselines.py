"""Long video from a model of short clips, without training: what progressive rollouts are compared with.

All three take a model that looks both ways through one clip and remembers nothing: `Renoised` (RW) and `Replaced` (RN) go on
behind an overlap, `Partitioned` (FIFO) cuts a longer queue into clips. As PA-VDM (2410.08151) describes them, read there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from unspool.blend import Blend, per_pixel
from unspool.errors import UserError
from unspool.model.video import Reader, VideoModel
from unspool.model.wrapper import Wrapper
from unspool.types import Known, Levels, State, Video


class Replacing(Wrapper, ABC):
    """Frames of the flight that are known stand there as themselves, whatever the model makes of them. The rollout gives them
    by `redo`. They end as they were: their velocity is that from where they stand to themselves, by whatever noise they fell
    back."""

    def __init__(self, model: VideoModel, blend: Blend) -> None:
        super().__init__(model)
        self.blend = blend

    @abstractmethod
    def put(self, clean: Video, x: Video, level: Levels) -> tuple[Video, Levels]:
        """What stands in a known frame's place, which has fallen to x at this level, and at which level."""

    def evaluated(self, frames: int) -> int:
        return frames

    def reader(self, state: State, known: Known | None = None) -> Reader:
        read = self.model.reader(state)

        def answer(x: Video, level: Levels, *, present: Tensor | None = None, control: Tensor | None = None) -> Video:
            clean, here = _placed(x, known)
            shown, told = self.put(clean, x, level)
            shown, told = x.where(~per_pixel(here), shown), level.where(~here, told)
            velocity = read(shown, told, present=present, control=control)
            a, b = self.blend.weights(level)
            noise = (x - a * clean) / b.clamp(min=1e-6)  # that it was blended with; at level 0 nothing moves any more
            return velocity.where(~per_pixel(here), self.blend.target(clean, noise, level))

        return answer


@final
class Renoised(Replacing):
    """RW, replacement with noise: known frames are noised to the flight's level, as they are on their own way back."""

    def put(self, clean: Video, x: Video, level: Levels) -> tuple[Video, Levels]:
        return x, level


@final
class Replaced(Replacing):
    """RN, replacement without noise: known frames are clean, and at level 0. The model must know frames of two levels side by
    side (`Together(clean=...)`)."""

    def put(self, clean: Video, x: Video, level: Levels) -> tuple[Video, Levels]:
        return clean, torch.zeros_like(level)


@final
class Partitioned(Wrapper):
    """FIFO-Diffusion (2405.11473): a queue of any length, cut into clips of the `clip` frames that the model was trained on.

    Each clip but the first overlaps with the one before by half and answers for its newer half alone (lookahead denoising), so
    that every frame but those of the first clip sees cleaner ones. The first clip answers for all of its frames, where the
    paper puts copies in front. Reconstructed from descriptions. Raises UserError for a clip of fewer than two frames.
    """

    def __init__(self, model: VideoModel, clip: int) -> None:
        super().__init__(model)
        if clip < 2:
            raise UserError(f"clips of a queue have at least 2 frames, not {clip}")
        self.clip = clip

    def extra_repr(self) -> str:
        return f"clip={self.clip}"

    def evaluated(self, frames: int) -> int:
        return sum(last - first for first, _, last in self.cuts(frames))

    def seen(self, frames: int) -> int:
        return min(self.clip, frames)

    def cuts(self, frames: int) -> list[tuple[int, int, int]]:
        """(first, answers from, last) of each clip of a queue of so many frames."""
        cuts = [(0, 0, min(self.clip, frames))]
        while (done := cuts[-1][2]) < frames:
            last = min(done + self.clip // 2, frames)
            cuts.append((last - self.clip, done, last))
        return cuts

    def reader(self, state: State, known: Known | None = None) -> Reader:
        reads: dict[int, Reader] = {}

        def answer(x: Video, level: Levels, *, present: Tensor | None = None, control: Tensor | None = None) -> Video:
            parts = []
            for first, begun, last in self.cuts(x.shape[1]):
                if first not in reads:
                    reads[first] = self.model.reader({**state, "at": state["at"] + first})
                here, told = (None if t is None else t[:, first:last] for t in (present, control))
                velocity = reads[first](x[:, first:last], level[:, first:last], present=here, control=told)
                parts.append(velocity[:, begun - first :])
            return torch.cat(parts, 1)

        return answer


def _placed(x: Video, known: Known | None) -> tuple[Video, Tensor]:
    """(clean, here (B, F)): the known frames at their places in the flight, zeros elsewhere."""
    clean, here = torch.zeros_like(x), torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    if known is not None:
        for i in range(known.position.shape[1]):
            match = torch.arange(x.shape[1], device=x.device) == known.position[:, i, None]
            clean, here = clean.where(~per_pixel(match), known.frames[:, i, None].to(x)), here | match
    return clean, here

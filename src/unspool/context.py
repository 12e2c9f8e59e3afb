"""How clean frames enter a model. `Cached`: only through what the memories keep. `Tokens`: the last frames ride along as tokens
in front of the flight. `Channels`: they, and the first frames of all as an anchor, are channels of every frame's input.
`Local`, beside any of these: clean frames of the flight itself, with a mask that tells where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, final

import torch

from unspool.errors import UserError
from unspool.types import Known, State, Video


class Context(Protocol):
    """Clean frames of a video, kept in a state {"last": (B, n, C, H, W), "count": (B,)} where there are any; with an anchor
    "first" (B, m, C, H, W) as well. `count` stops at the most that anyone asks for."""

    @property
    def frames(self) -> int:
        """How many clean frames stand, at level 0, in front of every flight."""
        ...

    @property
    def joined(self) -> bool:
        """Whether these frames see the flight too, as in a window that looks both ways."""
        ...

    @property
    def newest(self) -> int:
        """How many of the newest clean frames are channels of every frame's input."""
        ...

    @property
    def beside(self) -> int:
        """How many clean frames are channels of every frame's input, all counted."""
        ...

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        """The empty state; shape is (C, H, W) of a frame."""
        ...

    def remember(self, clean: Video, state: State) -> State:
        """The state after these clean frames (B, T, C, H, W)."""
        ...

    def anchored(self, first: Video, state: State) -> State:
        """The state of a video that began with these frames, nothing newer being known."""
        ...

    def channels(self, state: State, clean: Video | None = None) -> Video | None:
        """What stands beside each of these clean frames (B, T, C, H, W) and beside the frame after them, newest last:
        (B, T + 1, beside * C, H, W); None where nothing does."""
        ...


@final
@dataclass(frozen=True)
class Cached:
    """No frame rides along: the past enters through the memories alone, computed once (a key/value cache, a recurrence)."""

    frames: ClassVar[int] = 0
    joined: ClassVar[bool] = False
    newest: ClassVar[int] = 0
    beside: ClassVar[int] = 0

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        return {}

    def remember(self, clean: Video, state: State) -> State:
        return {}

    def anchored(self, first: Video, state: State) -> State:
        return state

    def channels(self, state: State, clean: Video | None = None) -> Video | None:
        return None


@final
@dataclass(frozen=True)
class Tokens:
    """The last `frames` clean frames stand in front of the flight as tokens at level 0, computed anew in each evaluation: the
    overlapped conditioning of PA-VDM (2410.08151) where `joined` lets them see the noisy frames too."""

    frames: int
    joined: bool = False
    newest: ClassVar[int] = 0
    beside: ClassVar[int] = 0

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        return _empty(batch, self.frames, shape, device, dtype)

    def remember(self, clean: Video, state: State) -> State:
        return _rolled(clean, state, self.frames)

    def anchored(self, first: Video, state: State) -> State:
        return state

    def channels(self, state: State, clean: Video | None = None) -> Video | None:
        return None


@final
@dataclass(frozen=True)
class Channels:
    """The last `newest` clean frames are channels beside each frame: of a noisy frame those before its flight, of a clean frame
    those before itself; zeros where there are none.

    anchor: the first frames of the video stay beside all others for ever, so that what must not change stands
    where no error can touch it.
    """

    newest: int
    anchor: int = 0
    frames: ClassVar[int] = 0
    joined: ClassVar[bool] = False

    @property
    def beside(self) -> int:
        return self.anchor + self.newest

    def start(self, batch: int, shape: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype) -> State:
        first = torch.zeros(batch, self.anchor, *shape, device=device, dtype=dtype)
        return {**_empty(batch, self.newest, shape, device, dtype), "first": first}

    def remember(self, clean: Video, state: State) -> State:
        if not clean.shape[1]:
            return state
        after = _rolled(clean, state, max(self.newest, self.anchor))
        slot = torch.arange(self.anchor, device=clean.device) - state["count"][:, None]  # the clean frame that fills it
        fills = (slot >= 0) & (slot < clean.shape[1])
        found = clean[torch.arange(len(clean), device=clean.device)[:, None], slot.clamp(0, clean.shape[1] - 1)]
        return {**after, "first": torch.where(fills[..., None, None, None], found.to(state["first"]), state["first"])}

    def anchored(self, first: Video, state: State) -> State:
        return {**self.remember(first, state), "last": state["last"]}

    def channels(self, state: State, clean: Video | None = None) -> Video | None:
        if not self.beside:
            return None
        clean = state["last"][:, :0] if clean is None else clean
        steps = clean.shape[1] + 1
        history = torch.cat([state["last"].to(clean), clean], 1)
        newest = [history[:, i : i + steps] for i in range(self.newest)]
        seen = state["count"][:, None] + torch.arange(steps, device=clean.device)  # frames before each
        first = self.remember(clean, state)["first"].to(clean)
        anchor = [first[:, i, None] * (seen > i)[..., None, None, None].to(clean) for i in range(self.anchor)]
        return torch.cat([*anchor, *newest], 2)


@final
@dataclass(frozen=True)
class Local:
    """The local context of LGC-VD (2306.02562): `known` clean frames of a flight of `flight` are channels beside each of its
    frames, each with a constant mask, (position + 1) / (flight + 1). Where there is none, zeros under a mask of 0.

    The known frames are those that overlap with the chunk before, or any others that the caller has. told: a second constant
    channel for each says what context noise it carries.
    """

    known: int
    flight: int
    told: bool = False

    def width(self, channels: int) -> int:
        """Channels that stand beside each frame of so many."""
        return self.known * (channels + 1 + self.told)

    def channels(self, known: Known | None, like: Video) -> Video:
        """(..., n * (C + 1) or n * (C + 2), H, W) beside frames like these (..., F, C, H, W).

        Raises UserError when there are more frames known than there is place for.
        """
        *lead, _, channels, height, width = like.shape
        if known is None:
            return like.new_zeros(*lead, self.width(channels), height, width)
        if known.position.shape[-1] != self.known:
            raise UserError(f"{known.position.shape[-1]} frames of a flight are known and the model has place for {self.known}")
        here = (known.position >= 0)[..., None, None, None]
        constants = [(known.position + 1).to(like) / (self.flight + 1)]
        if self.told:
            level = torch.zeros_like(constants[0]) if known.level is None else known.level.to(like)
            constants.append(level * (known.position >= 0))
        masks = torch.stack(constants, -1)[..., None, None].expand(*lead, -1, -1, height, width)
        return torch.cat([torch.where(here, known.frames.to(like), 0.0), masks], -3).flatten(-4, -3)


def _empty(batch: int, frames: int, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> State:
    last = torch.zeros(batch, frames, *shape, device=device, dtype=dtype)
    return {"last": last, "count": torch.zeros(batch, device=device, dtype=torch.int64)}


def _rolled(clean: Video, state: State, most: int) -> State:
    last = torch.cat([state["last"], clean.to(state["last"])], 1)[:, clean.shape[1] :]
    return {"last": last, "count": (state["count"] + clean.shape[1]).clamp(max=most)}

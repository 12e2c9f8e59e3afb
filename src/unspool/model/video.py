"""What a video model is: three verbs over a state that is a value, and one parallel pass for training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unspool.types import Known, Levels, State, Video

Reader = Callable[..., Video]
"""(x (B, F, C, H, W), level (B, F), *, present=None, control=None) -> velocity (B, F, C, H, W), at one fixed state."""


class VideoModel(nn.Module, ABC):
    """`start` gives an empty state, `denoise` predicts velocities given a state, `remember` takes clean frames into it.

    shape is (C, H, W) of one frame; controls the features of an action per frame, prompts the numbers of what is said of it, 0
    for none: a `control` holds the ones and behind them the others. Column j of a flight is absolute frame state["at"] + j.
    """

    shape: tuple[int, int, int]
    controls: int = 0
    prompts: int = 0

    @abstractmethod
    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        """The empty state of `batch` rollouts; seed (B,) int64 tells their futures apart."""

    @abstractmethod
    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        """Velocity of the noisy frames x (B, F, C, H, W) at level (B, F). The state is read, never changed. known: frames of
        this flight that are known already; a model without a place for them does not look."""

    @abstractmethod
    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        """The state after these clean frames (B, T, C, H, W); level (B, T) is the context noise they carry, told."""

    def anchored(self, first: Video, state: State) -> State:
        """The state of a video that began with these frames (B, T, C, H, W) some time ago, nothing newer being known: what
        training starts from in the middle of a video. Without an anchor, and by default, that is the state as it was."""
        return state

    def recached(self, newest: Video, state: State, *, control: Tensor | None = None) -> State:
        """The state once all that was computed under a control is computed anew, under this one, of the newest frames alone
        (B, T, C, H, W) that it took in; "at" stays. By default nothing else of the past is left."""
        empty = self.start(len(newest), seed=state["seed"], device=newest.device, dtype=newest.dtype)
        return self.remember(newest, {**empty, "at": state["at"] - newest.shape[1]}, control=control)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The matrices between layers, for optimisers that treat them apart; none unless a model says which."""
        return []

    def reader(self, state: State, known: Known | None = None) -> Reader:
        """`denoise` at a fixed state: a model prepares here what stays constant while a chunk is denoised."""
        told: dict[str, Any] = {} if known is None else {"known": known}
        return lambda x, level, **kwargs: self.denoise(x, level, state, **told, **kwargs)

    def forward(
        self,
        clean: Video,
        x: Video,
        level: Levels,
        starts: tuple[int, ...],
        state: State | None = None,
        *,
        context_level: Levels | None = None,
        control: Tensor | None = None,
        known: Known | None = None,
        present: Tensor | None = None,
    ) -> tuple[Video, State]:
        """All groups of a training pass: x (B, G, F, C, H, W), level (B, G, F), clean (B, T, C, H, W), known of each group,
        present (B, G, F) bool, the frames of each that are in flight.

        forward(...)[0][:, g] == denoise(x[:, g], level[:, g], remember(clean[:, :starts[g]], state)). This default is that
        loop. control (B, >= T, K) is aligned with the clip. Returns the velocities and the state after all clean frames.
        """
        if state is None:
            zero = torch.zeros(len(x), device=x.device, dtype=torch.int64)
            state = self.start(len(x), seed=zero, device=x.device, dtype=x.dtype)

        def take(t: Tensor | None, first: int, last: int) -> Tensor | None:
            return None if t is None else t[:, first:last]

        reads: dict[int, Video] = {}
        done = 0
        for g in sorted(range(len(starts)), key=starts.__getitem__):
            if starts[g] > done:
                span = (done, starts[g])
                levels, controls = take(context_level, *span), take(control, *span)
                state = self.remember(clean[:, slice(*span)], state, level=levels, control=controls)
                done = starts[g]
            controls = take(control, starts[g], starts[g] + x.shape[2])
            read = self.reader(state) if known is None else self.reader(state, _group(known, g))
            here = {} if present is None else {"present": present[:, g]}
            reads[g] = read(x[:, g], level[:, g], control=controls, **here)
        if done < clean.shape[1]:
            end = clean.shape[1]
            levels, controls = take(context_level, done, end), take(control, done, end)
            state = self.remember(clean[:, done:], state, level=levels, control=controls)
        return torch.stack([reads[g] for g in range(len(starts))], 1), state


def _group(known: Known, g: int) -> Known:
    return Known(*(None if leaf is None else leaf[:, g] for leaf in known))  # type: ignore[arg-type]

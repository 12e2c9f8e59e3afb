"""The one denoising loop.

    rollout = begin(model, context, seed=seed)
    for chunk in stream(model, blend, plan, rollout, frames=893):
        chunk.frames        # (B, n, C, H, W), clean
        chunk.rollout       # the value to save, resume, rewind or fork

A flight of noisy frames stands behind the state. Row by row of the plan its levels fall; when the first `hop` frames are clean
they are shown and remembered, the flight moves up and noise enters at its end. That is all, for every schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from unspool.blend import Blend
from unspool.errors import UserError
from unspool.fits import check_actions, check_state, checked
from unspool.model.video import Reader, VideoModel
from unspool.noise import FrameNoise
from unspool.schedule import Plan
from unspool.solver import Solver, euler
from unspool.types import Controls, Known, Levels, State, Video

Source = Callable[..., Video]
"""(seed (B,), at (B,), frames, row=0) -> Video (B, frames, C, H, W): what enters the flight. FrameNoise by default."""


class Rollout(NamedTuple):
    """A rollout as a value. window (B, redo + W - hop, C, H, W): the frames in flight, noise enters behind them when the next
    chunk begins ((B, redo, ...) before the first); pending (B, P, C, H, W): frames denoised but not shown yet; codec: state of
    the streaming decoder."""

    state: State
    window: Video
    pending: Video
    codec: State


class Chunk(NamedTuple):
    """frames (B, n, C, H, W), clean; at (B,): absolute index of the first; levels (B, F): the flight after this chunk's
    descent, before it moved up; rollout: what to go on from, None once the flight has been drained; remembered (B, hop, ...):
    what the state took in, with `redo` other frames than were shown; None for frames that were pending."""

    frames: Video
    at: Tensor
    levels: Levels
    rollout: Rollout | None
    remembered: Video | None = None


@torch.no_grad()
def begin(
    model: VideoModel, context: Video, *, seed: Tensor | int, redo: int = 0, level: float | None = None,
    control: Tensor | None = None,
) -> Rollout:  # fmt: skip
    """A rollout that goes on from context frames (B, T, C, H, W), T = 0 for none.

    seed: (B,) int64 or one int s for seeds s .. s + B - 1. redo: the plan's: so many of the context's last frames are not
    remembered yet, they will be generated again; without any context the flight begins before the first frame of the video, and
    what it makes there is never shown. level: context noise that these frames carry, told to the model. control: (B, T, K), the
    action that led to each of them.

    Raises UserError for frames of another shape or kind, for a context that is shorter than `redo`, but not empty, for seeds or
    actions of another number, and for actions that are missing.
    """
    batch = len(context)
    if not isinstance(seed, Tensor):
        seed = seed + torch.arange(batch)
    if not context.is_floating_point():
        raise UserError(f"context frames are {context.dtype}: give floats in [-1, 1], as `to_video` makes of pixels")
    if seed.shape != (batch,):
        raise UserError(f"{batch} contexts and {seed.numel()} seeds: give one seed for each context, or one number")
    if context.shape[2:] != model.shape:
        given, wanted = (" x ".join(map(str, shape)) for shape in (context.shape[2:], model.shape))
        raise UserError(f"context frames are {given}, the model's are {wanted}: encode them with the system's codec")
    if 0 < context.shape[1] < redo:
        raise UserError(f"the context has {context.shape[1]} frames, but {redo} of them are to be generated again, or none")
    if level is not None and redo:
        raise UserError("context noise cannot be told of frames that are generated again; begin with clean ones")
    state = model.start(batch, seed=seed.to(context.device), device=context.device, dtype=context.dtype)
    if (missing := redo - context.shape[1]) > 0:
        context = torch.cat([context.new_zeros(batch, missing, *model.shape), context], 1)
        state = {**state, "at": state["at"] - missing}
        control = None  # of frames that are not remembered yet
    if kept := context.shape[1] - redo:
        check_actions(model, control, (batch, max(kept, 0 if control is None else control.shape[1])), "the context")
    told = None if level is None else context.new_full((batch, kept), level)
    state = model.remember(context[:, :kept], state, level=told, control=None if control is None else control[:, :kept])
    return Rollout(state, context[:, kept:], context[:, :0], {})


@torch.no_grad()
def opened(
    model: VideoModel, blend: Blend, plan: Plan, context: Video, *, seed: Tensor | int, controls: Controls | None = None,
    source: Source | None = None, solver: Solver = euler,
) -> Rollout:  # fmt: skip
    """`begin` as a plan asks for it: behind the context, or, where it is `queued`, with the context itself in flight.

    A queue begins full, as if it had always gone on: in place of the frames that would be under way stand the context's newest,
    noised to the levels of the loop, copies of its first in front where these are too few (FIFO-Diffusion, 2405.11473). They
    fall, leave and are not shown, in as many evaluations as a warm-up takes; what enters behind them is what comes next.
    Without a context there is nothing to fill it with: it begins as noise.
    """
    batch, held = len(context), context.shape[1]
    room = plan.frames - plan.hop
    if not (plan.queued and room and held):
        return begin(model, context, seed=seed, redo=plan.redo, control=_told(controls, context))
    before = context[:, : max(0, held - room)]
    behind = begin(model, before, seed=seed, control=_told(controls, before))
    old = torch.cat([context[:, :1].expand(-1, max(0, room - held), -1, -1, -1), context[:, -room:]], 1)
    at = torch.full_like(behind.state["at"], held - room)
    noise = (source or FrameNoise(model.shape))(behind.state["seed"], at, room, 0).to(old)
    level = plan.loop[0, :room].to(old).expand(batch, -1)
    full = behind._replace(state={**behind.state, "at": at}, window=blend.blend(old, noise, level))
    for chunk in stream(model, blend, plan, full, source=source, controls=controls, frames=room, solver=solver):
        assert chunk.rollout is not None
        full = chunk.rollout
    return full


def _told(controls: Controls | None, context: Video) -> Tensor | None:
    """(B, T, K): what led to the first frames of a video."""
    batch, frames = context.shape[:2]
    return None if controls is None else controls(torch.zeros(batch, dtype=torch.int64, device=context.device), frames)


@torch.no_grad()
def recache(model: VideoModel, rollout: Rollout, newest: Video, control: Tensor) -> Rollout:
    """The rollout under a new prompt, or any other control: its memories are written anew, by the newest frames that the state
    took in (B, N, C, H, W) and their new control (B, N, K), as LongLive's KV-recache does (2509.22622). What is in flight,
    pending or shown stays, and so does "at"; of frames before these, a memory knows nothing any more."""
    return rollout._replace(state=model.recached(newest, rollout.state, control=control))


def stream(
    model: VideoModel,
    blend: Blend,
    plan: Plan,
    rollout: Rollout,
    *,
    source: Source | None = None,
    controls: Controls | None = None,
    frames: int | None = None,
    drain: bool = False,
    fixed: bool = False,
    solver: Solver = euler,
    grad: Literal["none", "last", "all"] = "none",
) -> Iterator[Chunk]:
    """Denoise without end, chunk by chunk.

    source: what enters the flight (default: noise, a pure function of seed and absolute frame). controls: (at, frames) ->
    (B, frames, K), actions of absolute frames. frames: show so many and stop; by default the endless run is CUT there, so the
    result is a prefix of the longer video and can be resumed; with drain=True the flight empties instead, with fewer
    evaluations, and the last chunks cannot be resumed. fixed: every evaluation has the shape of the whole flight, and what is
    not in it is masked rather than cut off: the same video, for compiled graphs, which know one shape. grad: which evaluations
    of a chunk carry gradient.

    Raises UserError when `frames` is not positive, for a rollout of another plan or another model, for actions that are missing
    or of another shape, and for a plan that would remember frames before they are clean.
    """
    if frames is not None and frames < 1:
        raise UserError(f"frames must be at least 1, not {frames}")
    if rollout is None:
        raise UserError("this flight was drained, there is nothing to go on from: stream without drain")
    check_state(model, rollout.state, rollout.window)
    if left_noise := float(plan.loop[-1, : plan.redo + plan.hop].max()):
        raise UserError(f"this plan would remember frames at level {left_noise:g}: let its last row end at 0 for what leaves")
    controls = checked(model, controls, len(rollout.window))
    source = source or FrameNoise(model.shape)
    state, window, pending, codec = rollout
    flight, left = plan.redo + plan.frames, frames
    descend = partial(_descend, model, blend, controls=controls, solver=solver, grad=grad, fixed=fixed)
    warmup, loop = plan.warmup.to(window.device), plan.loop.to(window.device)
    if window.shape[1] not in (plan.redo, flight - plan.hop):
        raise UserError(
            f"this rollout has {window.shape[1]} frames in flight, but the plan wants {flight - plan.hop}: "
            "go on with the lag, chunk and steps it was begun with"
        )
    if pending.shape[1]:
        shown = pending if left is None else pending[:, :left]
        first = state["at"] + plan.redo - pending.shape[1]
        left = None if left is None else left - shown.shape[1]
        yield Chunk(shown, first, loop[-1].expand(len(window), -1), Rollout(state, window, pending[:, shown.shape[1] :], codec))
    begun = window.shape[1] != plan.redo or len(warmup) == 1
    while left is None or left > 0:
        keep = flight
        if drain and left is not None:  # columns past the last whole chunk that is asked for do not exist
            keep = min(flight, plan.redo + -(-left // plan.chunk) * plan.chunk)
        width = flight if fixed else keep
        known = _overlap(window, state, plan.redo)
        with torch.set_grad_enabled(grad != "none" and torch.is_grad_enabled()):
            window = _enter(blend, source, window, state, (loop if begun else warmup)[0, :width], plan.redo)
        if not begun:
            window = descend(warmup[:, :width], window, state, known, [min(n, keep) for n in plan.entering])
            begun = True
        window = descend(loop[:, :width], window[:, :width], state, known, [keep] * (len(loop) - 1))
        hop = min(plan.hop, keep - plan.redo)
        clean, first = window[:, plan.redo : plan.redo + hop], state["at"] + plan.redo
        with torch.set_grad_enabled(grad != "none" and torch.is_grad_enabled()):
            state = model.remember(window[:, :hop], state, control=controls(state["at"], hop) if controls else None)
        remembered, window = window[:, :hop], window[:, hop:]
        shown = clean if left is None else clean[:, :left]
        left = None if left is None else left - shown.shape[1]
        after = Rollout(state, window, clean[:, shown.shape[1] :], codec)
        drained = keep < flight or (drain and left == 0)
        yield Chunk(shown, first, loop[-1, :keep].expand(len(window), -1), None if drained else after, remembered)


def _overlap(window: Video, state: State, redo: int) -> Known | None:
    """The frames in front of the flight that are clean and will be made again: the model is told of them. Those before the
    first frame of the video were never made."""
    if not redo:
        return None
    column = torch.arange(redo, device=window.device).expand(len(window), -1)
    return Known(window[:, :redo], torch.where(state["at"][:, None] + column >= 0, column, -1))


def _enter(blend: Blend, source: Source, window: Video, state: State, levels: Tensor, redo: int) -> Video:
    """Fill the flight up to levels (F,): noise enters behind; the `redo` frames in front, clean by now, fall back.

    Row 0 of a frame's noise is what it was first made from; falling back uses row 1.
    """
    seed, at, held = state["seed"], state["at"], window.shape[1]
    if redo:
        noise = source(seed, at, redo, 1).to(window)
        again = blend.blend(window[:, :redo], noise, levels[:redo].expand(len(window), -1).to(window))
        window = torch.cat([again, window[:, redo:]], 1)
    if len(levels) > held:
        window = torch.cat([window, source(seed, at + held, len(levels) - held, 0).to(window)], 1)
    return window


def _descend(
    model: VideoModel, blend: Blend, rows: Levels, x: Video, state: State, known: Known | None, exist: Sequence[int], *,
    controls: Controls | None, solver: Solver, grad: str, fixed: bool,
) -> Video:  # fmt: skip
    """Walk x down the rows (R, F) of levels, the first exist[r] columns in step r: here, and only here, levels fall."""
    outer = torch.is_grad_enabled()
    control = controls(state["at"], x.shape[1]) if controls else None
    read: Reader | None = None
    for row, here in enumerate(exist):
        wanted = outer and (grad == "all" or (grad == "last" and row == len(rows) - 2))
        with torch.set_grad_enabled(wanted):
            if read is None or (wanted and grad == "last"):
                read = model.reader(state) if known is None else model.reader(state, known)
            level, to = (rows[r].expand(len(x), -1).to(x.dtype) for r in (row, row + 1))
            if here == x.shape[1]:
                x = solver(partial(read, control=control), blend, x, level, to)
            elif fixed:
                present = torch.arange(x.shape[1], device=x.device).expand(len(x), -1) < here
                x = solver(partial(read, control=control, present=present), blend, x, level, to.where(present, level))
            else:
                told = None if control is None else control[:, :here]
                moved = solver(partial(read, control=told), blend, x[:, :here], level[:, :here], to[:, :here])
                x = torch.cat([moved, x[:, here:]], 1)
    return x


@torch.no_grad()
def fill(
    model: VideoModel, blend: Blend, plan: Plan, known: Known, *, seed: Tensor | int, source: Source | None = None,
    control: Tensor | None = None, solver: Solver = euler,
) -> Video:  # fmt: skip
    """One flight (B, redo + W, C, H, W) around frames that are known of it, such as its two ends; nothing came before. control:
    (B, redo + W, K), what leads to each of them.

    Raises UserError for actions that are missing or of another shape, for a plan whose frames do not all begin as
    noise, and for positions that the flight does not have.
    """
    rows = plan.loop.to(known.frames.device)
    if not (rows[0] == 1).all():
        raise UserError("frames between two ends are made together: take lag 1 with one chunk in flight, or lag 0")
    if not ((known.position >= -1) & (known.position < rows.shape[1])).all():
        raise UserError(f"positions are 0 to {rows.shape[1] - 1}, or -1 for none, not {known.position.unique().tolist()}")
    batch, frames = len(known.frames), known.frames
    if not isinstance(seed, Tensor):
        seed = seed + torch.arange(batch)
    state = model.start(batch, seed=seed.to(frames.device), device=frames.device, dtype=frames.dtype)
    check_actions(model, control, (batch, rows.shape[1]), f"{rows.shape[1]} frames")
    controls = None if control is None else lambda at, count: control[:, :count]
    x = _enter(blend, source or FrameNoise(model.shape), frames[:, :0], state, rows[0], 0)
    exist = (rows.shape[1],) * (len(rows) - 1)
    return _descend(model, blend, rows, x, state, known, exist, controls=controls, solver=solver, grad="none", fixed=False)


def by_frame(control: Tensor, begun: Tensor) -> Controls:
    """Actions (B, T, K) of videos whose first frames here are the absolute frames `begun` (B,), as `stream` asks for them;
    outside of those known, the nearest."""

    def told(at: Tensor, frames: int) -> Tensor:
        columns = (at - begun)[:, None] + torch.arange(frames, device=at.device)
        return control[torch.arange(len(at), device=at.device)[:, None], columns.clamp(0, control.shape[1] - 1)]

    return told


def fork(rollout: Rollout, seed: Tensor | int) -> Rollout:
    """The same past under another seed: what is remembered and in flight stays, what enters from now on differs."""
    batch = len(rollout.state["seed"])
    if not isinstance(seed, Tensor):
        seed = seed + torch.arange(batch)
    return rollout._replace(state={**rollout.state, "seed": seed.to(rollout.state["seed"])})

"""Whether a rollout and a model fit: said in one line, before one fails on some tensor deep inside the other."""

from __future__ import annotations

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.model.video import VideoModel
from unspool.schedule import Plan
from unspool.store import flatten
from unspool.types import Controls, State, Video


def check_state(model: VideoModel, state: State, window: Video) -> None:
    """Raises UserError for a state of another model, batch or precision, and for frames in flight (B, n, C, H, W) of others."""
    batch, shape = len(window), tuple(window.shape[2:])
    if not window.is_floating_point() or shape != tuple(model.shape):
        raise UserError(f"the frames in flight are {window.dtype} {shape}, the model's are floats {model.shape}: begin anew")
    if state["at"].shape != (batch,) or state["seed"].shape != (batch,):
        raise UserError(f"the state is of {state['at'].numel()} rollouts, {batch} are in flight: take both from one rollout")
    seed, held = torch.empty(batch, dtype=torch.int64, device="meta"), flatten(state)
    fresh = flatten(model.start(batch, seed=seed, device="meta", dtype=window.dtype))
    if odd := held.keys() ^ fresh.keys() or {name for name, leaf in fresh.items() if not _fits(held[name], leaf)}:
        raise UserError(f"this rollout is of another model or precision: {min(odd)} of its state does not fit; begin anew")


def _fits(held: Tensor, fresh: Tensor) -> bool:
    """Whether a leaf can be what a fresh one has become: only what begins empty may grow; autocast keeps what it computes."""
    grown = held.dim() == fresh.dim() and all(m in (n, 0) for n, m in zip(held.shape, fresh.shape, strict=True))
    return grown and (held.dtype == fresh.dtype or torch.is_autocast_enabled(held.device.type))


def check_levels(window: Video, begun: Plan, plan: Plan) -> None:
    """Raises UserError where frames in flight (B, n, C, H, W) stand at the levels of one plan and would be told another's."""
    alike = plan.loop.shape[1] == begun.loop.shape[1] and torch.allclose(plan.loop[0], begun.loop[0])
    if window.shape[1] > begun.redo and not alike:
        fix = "keep the lag, chunks and shift that it was begun with"
        raise UserError(f"frames of this rollout are under way at other levels: {fix}")


def checked(model: VideoModel, controls: Controls | None, batch: int) -> Controls | None:
    """The same actions, each answer checked. Raises UserError where a model takes actions and there are none."""
    if controls is None:
        check_actions(model, None, (batch, 1), "a rollout")
        return None

    def told_by(at: Tensor, frames: int) -> Tensor:
        told = controls(at, frames)
        check_actions(model, told, (batch, frames), f"{frames} frames")
        return told

    return told_by


def check_actions(model: VideoModel, told: Tensor | None, shape: tuple[int, int], of: str) -> None:
    """shape: (B, frames). Raises UserError for actions that are missing, for controls of another shape, and for those that are
    not finite, unless they are on a GPU: asking would stop its queue."""
    if told is None and model.controls:
        raise UserError(f"this model takes actions of {model.controls} numbers, and {of} has none: give its actions")
    numbers = model.controls + model.prompts
    if told is None or not numbers:  # a model without controls says itself that it takes none
        return
    if tuple(told.shape) != (wanted := (*shape, numbers)):
        raise UserError(f"the actions of {of} have shape {tuple(told.shape)}, the model takes {wanted}: one row for each frame")
    if told.device.type == "cpu" and not torch.isfinite(told).all():
        raise UserError(f"some actions of {of} are not finite: give finite numbers, or leave that episode out")

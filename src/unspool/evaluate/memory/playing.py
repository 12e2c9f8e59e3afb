"""Models in worlds with actions: what a model makes of a scene's future when it is told what is done there.

Actions follow the data (`unspool.data.Clips`): row t is what LED to frame t, so frame t is denoised, and remembered, with it.
Videos are uint8 (N, T, H, W, 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from unspool.codec import to_pixels, to_video
from unspool.errors import UserError
from unspool.evaluate.curves import check
from unspool.evaluate.memory.scenes import Scene
from unspool.rollout import by_frame, opened, stream
from unspool.system import System
from unspool.types import State, Video

TOGETHER = 8
"""Scenes that a model plays at a time."""


@torch.no_grad()
def futures(system: System, scenes: Iterable[Scene], seed: int = 0) -> Iterator[np.ndarray]:
    """What a model makes of each scene: uint8 (M, H, W, 3), the M frames behind the scene's context.

    The true context frames and their actions are remembered, then the system's own schedule rolls out on the scene's further
    actions. A flight that reaches beyond the scene is told its last action again. Noise is that of `seed` in every scene: two
    models are compared on equal noise, and further futures of a scene are further seeds. Neighbours of one length are played
    together, as they would be alone.

    Raises UserError for a model that takes no actions, for scenes that do not fit it and for values that are not finite.
    """
    for _, alike in groupby(scenes, lambda scene: (len(scene.frames), scene.context)):
        group = list(alike)
        for first in range(0, len(group), TOGETHER):
            yield from _played(system, group[first : first + TOGETHER], seed)


@torch.no_grad()
def recoded(system: System, scene: Scene) -> np.ndarray:
    """The truth behind a scene's context, encoded and decoded: uint8 (M, H, W, 3). No model draws better than its codec."""
    video, _ = system.codec.decode(encode(system, scene.frames[None]), {})
    return to_pixels(video[0])[scene.context :]


def _played(system: System, scenes: Sequence[Scene], seed: int) -> np.ndarray:
    """(B, M, H, W, 3) uint8: scenes of one length, decoded as they stream."""
    plan, context, length = system.schedule.plan(), scenes[0].context, len(scenes[0].frames)
    if not (least := max(1, plan.redo)) <= context < length:
        raise UserError(f"of {length} frames, {context} are context: give {least} or more, and one to make")
    told = control_of(system, np.stack([scene.actions for scene in scenes]), len(scenes), length)
    if told is None:
        raise UserError("this model takes no actions: train it with --controls K, the number of features of an action")
    latents = encode(system, np.stack([scene.frames[:context] for scene in scenes]))
    seeds = torch.full((len(scenes),), seed, dtype=torch.int64)
    controls = by_frame(told, torch.zeros_like(seeds))
    rollout = opened(system.model, system.blend, plan, latents, seed=seeds, controls=controls, solver=system.solver)
    made, decoder = [], system.codec.decode(latents, {})[1]
    for chunk in stream(
        system.model, system.blend, plan, rollout, controls=controls, frames=length - context, solver=system.solver
    ):
        video, decoder = system.codec.decode(chunk.frames, decoder)
        if not torch.isfinite(video).all():
            raise UserError(f"the model broke at frame {int(chunk.at[0])}: values are not finite; use an earlier checkpoint")
        made.append(to_pixels(video))
    return np.concatenate(made, 1)


# -- what other measures of a model's state begin with ----------------------------------------------------------------------


@torch.no_grad()
def encode(system: System, videos: np.ndarray) -> Video:
    """uint8 (N, T, H, W, 3) -> latents (N, T, C, h, w) on the model's device.

    Raises UserError for videos that are not the model's, and for a codec that makes one latent of several frames.
    """
    check(videos)
    device = system.device
    hollow = torch.zeros(1, 1, *system.model.shape, device=device)
    height, width = system.codec.decode(hollow, {})[0].shape[-2:]
    if videos.shape[2:4] != (height, width):
        raise UserError(f"frames are {videos.shape[2]} x {videos.shape[3]}, the model's are {height} x {width}: resize them")
    latents, _ = system.codec.encode(to_video(np.ascontiguousarray(videos), device), {})
    if latents.shape[1] != videos.shape[1]:
        raise UserError("this codec makes one latent of several frames, and these measures go frame by frame: use another")
    return latents


def control_of(system: System, actions: np.ndarray | None, videos: int, frames: int) -> Tensor | None:
    """actions (N, T, K) of as many videos and frames, as the model is told them; None for a model that takes none.

    Raises UserError where a model takes actions and these are missing, of another shape, or not finite.
    """
    if not (wanted := system.model.controls):
        return None
    if actions is None:
        raise UserError(f"this model takes actions of {wanted} features: give the actions that led to the frames")
    if actions.shape != (videos, frames, wanted):
        raise UserError(f"the model takes actions of shape {(videos, frames, wanted)}, one for each frame, not {actions.shape}")
    if not np.isfinite(actions).all():
        raise UserError("some actions are not finite: leave those videos out")
    told = torch.from_numpy(np.ascontiguousarray(actions, np.float32)).to(system.device)
    return torch.nn.functional.pad(told, (0, system.model.prompts))  # nothing is said


@torch.no_grad()
def remembered(system: System, latents: Video, control: Tensor | None, seed: int) -> State:
    """The state behind these frames (N, T, C, h, w), each with its row of control (N, >= T, K), under one seed for all."""
    model, told = system.model, None if control is None else control[:, : latents.shape[1]]
    seeds = torch.full((len(latents),), seed, device=latents.device, dtype=torch.int64)
    state = model.start(len(latents), seed=seeds, device=latents.device, dtype=latents.dtype)
    return model.remember(latents, state, control=told)

"""What an objective sees of the clips that a source gives: latents, actions, and what is said."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unspool import noise as rng
from unspool.codec import to_video
from unspool.data import Clips
from unspool.system import System
from unspool.text import Text
from unspool.types import Clip

SILENT = 0.1
"""Share of the training clips whose captions are left out; 0.1 to 0.2 did best in 2207.12598."""


def to_clip(system: System, clips: Clips, device: torch.device | str = "cpu") -> Clip:
    """What an objective sees: pixels through the codec, latents as they are; actions and captions where a model takes them."""
    before = system.anchor if system.reach else 0

    def latents(frames: np.ndarray) -> Tensor:
        if frames.dtype != np.uint8:
            return torch.from_numpy(frames).to(device).float()
        return system.codec.encode(to_video(frames, device), {})[0]

    def rest(leaf: np.ndarray | None) -> Tensor | None:
        return None if leaf is None else torch.from_numpy(leaf[:, before:]).to(device)

    first = latents(clips.frames[:, :before]) if before else None
    frames = latents(clips.frames[:, before:])
    told = [rest(clips.actions)] if system.model.controls else []
    if (text := system.text) is not None:
        said = np.full(clips.frames.shape[:2], "") if clips.text is None else clips.text
        told.append(rest(text.encode(said.ravel().tolist()).reshape(*said.shape, -1)))
    control = torch.cat([leaf for leaf in told if leaf is not None], -1) if told and told[0] is not None else None
    return Clip(frames, control, first, rest(clips.valid))


def hushed(clip: Clip, text: Text | None, key: Tensor, share: float) -> Clip:
    """The clips with nothing said in about this share of them, a function of their keys: what a model makes without a prompt is
    learned beside the rest, for guidance (2207.12598). text: whose numbers are the last of the control."""
    if clip.control is None or text is None or not share:
        return clip
    spoken = rng.uniform(rng.fold(key, 30), 1)[:, :, None] >= share
    acted, said = clip.control.split([clip.control.shape[-1] - text.numbers, text.numbers], -1)
    return clip._replace(control=torch.cat([acted, said.where(spoken, 0.0)], -1))

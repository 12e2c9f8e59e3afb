"""The same walk, real and as each model shows it: what a figure of recall looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from unspool.evaluate.memory.scenes import Scene

COLUMNS = 8
"""Frames that are shown of a walk, from the first made to the last, evenly."""


class Walk(NamedTuple):
    """kind: of walks; context: uint8 (2, H, W, 3), the last true frames; at: numbers of frames, 0 the first made; rows: label
    -> uint8 (len(at), H, W, 3)."""

    kind: str
    context: np.ndarray
    at: tuple[int, ...]
    rows: Mapping[str, np.ndarray]


def walk_of(kind: str, scene: Scene, made: Mapping[str, np.ndarray]) -> Walk:
    """made: label -> what that one makes of the scene. Above them stand the truth and, over each frame, that frame of the
    context that was seen from the nearest place and heading: where a walk comes back it is the same view."""
    frames = len(scene.frames) - scene.context
    at = tuple(int(t) for t in np.unique(np.linspace(0, frames - 1, COLUMNS).round()))
    chosen = scene.context + np.array(at)
    rows = {"seen before": scene.frames[_nearest(scene.poses, scene.context)[list(at)]], "real": scene.frames[chosen]}
    rows |= {name: video[list(at)] for name, video in made.items()}
    return Walk(kind, scene.frames[scene.context - 2 : scene.context], at, rows)


def _nearest(poses: np.ndarray, context: int) -> np.ndarray:
    """Poses (T, 3) -> (T - context,): the frame of the context with the nearest pose; a radian counts as a cell."""
    apart = poses[context:, None] - poses[None, :context]
    turned = 2 * np.sin(apart[..., 2] / 2)  # a chord, which has no jump at a whole turn
    return np.asarray((np.square(apart[..., :2]).sum(-1) + np.square(turned)).argmin(1))

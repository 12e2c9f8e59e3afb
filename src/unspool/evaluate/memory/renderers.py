"""Renderers whose memory is known: what a measure of memory must say of them is known before it is asked.

All know the geometry of a scene and see its poses. They differ in whose textures they put on it: those of the true plan, or of
another one, as a model that has forgotten puts something plausible.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from unspool.data.worlds.hashing import mix, uniform
from unspool.data.worlds.rooms.layout import Layout, layouts
from unspool.errors import UserError
from unspool.evaluate.controls import copy_last
from unspool.evaluate.memory.scenes import Renderer, Scene, render_like, sights
from unspool.evaluate.memory.sights import PATCHES, absences, last_sights, patches


def oracle(scene: Scene) -> NDArray[np.uint8]:
    """What is true, remembered or not."""
    return render_like(scene, scene.layout)


def frozen(scene: Scene) -> NDArray[np.uint8]:
    """The last frame of the context, for ever."""
    return copy_last(scene.frames[: scene.context], len(scene.frames) - scene.context)


def memoryless(frames: int) -> Renderer:
    """Remembers what the newest `frames` frames show, be it true or its own; all else it puts up from another plan.

    With a model's window for `frames` this is the memoryless twin; with more, a memory that ends. Raises UserError for less
    than 1.
    """
    if frames < 1:
        raise UserError(f"a memory of {frames} frames: give 1 or more")

    def renderer(scene: Scene) -> NDArray[np.uint8]:
        away = absences(patches(sights(scene).surface), scene.context)
        return _mixed(scene, (away > 0) & (away <= frames))

    return renderer


def forgetting(share: float, seed: int = 0) -> Renderer:
    """Remembers each patch that the context shows with probability 1 - share, for ever or not at all: the patch and the seed
    decide, so what a lower share forgets a higher one forgets too. Raises UserError for a share outside 0 .. 1."""
    if not 0 <= share <= 1:
        raise UserError(f"a share of {share} cannot be forgotten: give 0 to 1")

    def renderer(scene: Scene) -> NDArray[np.uint8]:
        patch = patches(sights(scene).surface)
        luck = uniform(_key(scene.layout), seed, np.arange(PATCHES + 1))
        kept = (last_sights(patch[: scene.context]) >= 0) & (luck >= share)
        return _mixed(scene, kept[patch[scene.context :]])

    return renderer


def otherwise(layout: Layout, number: int) -> Layout:
    """The same walls and doors with the textures and signs of another plan; different numbers, different plans."""
    other = layouts(mix(_key(layout) + np.uint64(number)))
    return layout._replace(wall=other.wall, floor=other.floor, picture=other.picture)


def _key(layout: Layout) -> NDArray[np.uint64]:
    """(1,): by what the plan looks like."""
    return np.array([zlib.crc32(b"".join(part.tobytes() for part in layout))], np.uint64)


def _mixed(scene: Scene, known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pixels (M, H, W) of what is known from the true plan, the others from plan 0 of `otherwise`."""
    return np.where(known[..., None], oracle(scene), render_like(scene, otherwise(scene.layout, 0)))

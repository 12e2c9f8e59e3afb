"""A needle in a haystack: a sign seen once, a long walk without it, then the look back. Is it that sign again?

Judged as a choice among several: the region of the sign is nearer to the truth than to the same view with any of m other
signs, or it is not. Without memory all are alike, so chance is 1 / (m + 1), for a blurred and for a frozen video too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unspool.data.worlds.hashing import bits, sample_seeds
from unspool.data.worlds.rooms.layout import CELLS, Layout
from unspool.data.worlds.rooms.raycast import WALL_FACES, render
from unspool.data.worlds.rooms.textures import PICTURES, TEXELS
from unspool.errors import UserError
from unspool.evaluate.bootstrap import Interval
from unspool.evaluate.memory.recall import made_by
from unspool.evaluate.memory.scenes import Renderer, Scene, first, render_like, sights, there_and_back
from unspool.evaluate.memory.sights import revisits

_LARGE = 0.02  # of a frame that the sign must fill, once before and once after the haystack
_Z = 1.959964  # of the normal distribution, 95 %


class Needle(NamedTuple):
    """scene: with the true sign. haystack: for at least so many frames the sign is out of sight. sign: (M, H, W) bool, where
    the frames after the context show it. others: (m, M, H, W, 3) uint8, those frames with other signs in its place."""

    scene: Scene
    haystack: int
    sign: NDArray[np.bool_]
    others: NDArray[np.uint8]


class Found(NamedTuple):
    """Of the needles with one length of haystack, frames: the share found, its 95 % interval, and what chance gives."""

    haystack: int
    needles: int
    share: Interval
    chance: float


def needles(
    count: int, *, haystack: int, alternatives: int = 3, size: Literal[32, 64] = 32, seed: int = 0
) -> tuple[Needle, ...]:
    """Walks of `scenes.retrieval` in which a sign hangs on the wall that fills most of the view among those seen in one stretch
    of the context, then not for `haystack` frames, then again. Truth and alternatives are drawn alike, no two the same.

    Raises UserError for fewer than 1 needle or alternative, for more alternatives than there are signs, and where walks that
    short seldom leave a wall for so long.
    """
    if haystack < 2 or not 1 <= alternatives < len(PICTURES):
        most = len(PICTURES) - 1
        raise UserError(f"{alternatives} other signs, a haystack of {haystack} frames: take 1 to {most}, and 2 frames or more")
    scenes = there_and_back(haystack, size, seed)
    key = sample_seeds(np.zeros(1, np.int64), seed).astype(np.uint64)

    def hung() -> Iterator[Needle | None]:
        for number, scene in enumerate(scenes):
            signs = np.argsort(bits(key, number, np.arange(len(PICTURES))))[: alternatives + 1] + PICTURES.start
            yield None if scene is None else _hang(scene, haystack, signs)

    return first(count, hung(), f"leave a wall for {haystack} frames and come back to it: take a longer haystack")


def find(needles: Sequence[Needle], renderer: Renderer) -> tuple[Found, ...]:
    """Whether the renderer puts up the true sign, by length of haystack. Intervals after Wilson ("Probable inference, the law
    of succession, and statistical inference", 1927). Raises UserError for no needles and for frames of a wrong kind."""
    if not needles:
        raise UserError("there are no needles to find: give at least 1, better 24")
    results = [(needle.haystack, _is_found(needle, renderer), 1 / (len(needle.others) + 1)) for needle in needles]
    rows = []
    for haystack in sorted({length for length, _, _ in results}):
        hits, chances = zip(*(result[1:] for result in results if result[0] == haystack), strict=True)
        rows.append(Found(haystack, len(hits), wilson(sum(hits), len(hits)), float(np.mean(chances))))
    return tuple(rows)


def wilson(hits: int, trials: int) -> Interval:
    """A share and its 95 % interval, which has a width even at 0 and 1."""
    share, z2 = hits / trials, _Z**2 / trials
    centre = (share + z2 / 2) / (1 + z2)
    reach = np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return Interval(share, float(centre - reach), float(centre + reach))


def _is_found(needle: Needle, renderer: Renderer) -> bool:
    shown = made_by(renderer, needle.scene)[needle.sign].astype(np.float64)
    views = (needle.scene.frames[needle.scene.context :], *needle.others)
    truth, *others = (float(((shown - view[needle.sign]) ** 2).sum()) for view in views)
    return truth < min(others)


def _hang(scene: Scene, haystack: int, signs: NDArray[np.int64]) -> Needle | None:
    """The scene with the first of the signs in it, the others for alternatives; None where no wall will do."""
    seen = sights(scene)
    face = np.where(seen.surface < 0, -1, seen.surface // TEXELS**2)
    back = np.where(revisits(seen, scene.context) > 0, face[scene.context :], -1)
    best = max(_faces(face, back, scene.context, haystack), default=None)
    if best is None:
        return None
    wall = best[1]
    true, *others = (_with_sign(scene.layout, wall, int(sign)) for sign in signs)
    hung = scene._replace(frames=render(true, scene.poses[None], scene.frames.shape[1])[0], layout=true)
    return Needle(hung, haystack, back == wall, np.stack([render_like(scene, other) for other in others]))


def _faces(face: NDArray[np.int32], back: NDArray[np.int32], context: int, haystack: int) -> Iterator[tuple[int, int]]:
    """(pixels after the haystack, face) of all walls that will do. face: (T, H, W); back: (M, H, W) those known, else -1."""
    large = _LARGE * face[0].size
    for wall in np.unique(back[(back >= 0) & (back < WALL_FACES)]):
        area = (face == wall).sum((1, 2))
        at = np.flatnonzero(area)
        before, after = at[at < context], at[at >= context]
        once = len(before) == before[-1] - before[0] + 1
        if once and after[0] - before[-1] > haystack and min(area[:context].max(), (back == wall).sum((1, 2)).max()) >= large:
            yield int((back == wall).sum()), int(wall)


def _with_sign(layout: Layout, face: int, sign: int) -> Layout:
    picture = layout.picture.copy()
    picture.reshape(1, CELLS**2 * 4)[0, face] = sign
    return layout._replace(picture=picture)

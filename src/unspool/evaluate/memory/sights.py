"""Which pixels show again what was seen before, and after how long out of sight: exact, from the geometry of `rooms`.

The unit is a patch: a quarter by a quarter of a wall's face or of a cell's floor. A pixel looks at one texel, a sixteenth of a
face, and steps over others where it is far away; a patch in view is hit nearly always, so to be missed is to be out of sight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unspool.data.worlds.rooms.raycast import FACES, Seen
from unspool.data.worlds.rooms.textures import TEXELS
from unspool.errors import UserError

_SIDE = 4  # patches along a face
PATCHES = FACES * _SIDE**2  # also the number that stands for the sky
SIMILAR = 2.0  # seen from farther or nearer than by this factor, a texture looks another


def patches(surface: NDArray[np.int32]) -> NDArray[np.int32]:
    """Texels as `Seen.surface` numbers them -> the numbers of their patches, PATCHES for the sky."""
    face, texel = np.divmod(surface, TEXELS**2)
    row, column = (place * _SIDE // TEXELS for place in np.divmod(texel, TEXELS))
    return np.where(surface < 0, PATCHES, face * _SIDE**2 + row * _SIDE + column).astype(np.int32)


def absences(patch: NDArray[np.int32], context: int) -> NDArray[np.int64]:
    """Patches (T, H, W) of a video -> (T - context, H, W) frames that have to be bridged at each pixel after the context.

    That is the longest time from one sight of the patch to the next, from its last sight in the context to this frame: 1 where
    it never left, 0 where the context does not show it. While it stays in view, and when it leaves for a shorter time and
    comes again, the number stays: what a frame shows is then as good as what was remembered when it came back.
    """
    if not 1 <= context < len(patch):
        raise UserError(f"a context of {context} frames in a video of {len(patch)}: give 1 to {len(patch) - 1}")
    sight = last_sights(patch[:context])
    known, longest = sight >= 0, np.zeros(PATCHES + 1, np.int64)
    bridged = np.empty((len(patch) - context, *patch.shape[1:]), np.int64)
    for t, view in enumerate(patch[context:], context):
        longest[view] = np.maximum(longest[view], t - sight[view])
        sight[view] = t
        bridged[t - context] = np.where(known[view], longest[view], 0)
    return bridged


def revisits(seen: Seen, context: int) -> NDArray[np.int64]:
    """What each frame of one video (T, H, W) shows -> (T - context, H, W) gaps in frames, 0 where nothing is revisited.

    The gap is that of `absences`. It counts only if the context knows the texture as it looks from here: at its last sight
    there, the patch was at most twice as far, and at least half as far, as the pixel is now. Sky is never revisited, nor is
    what only generated frames showed. Raises UserError unless the context is shorter than the video, and not empty.
    """
    patch = patches(seen.surface)
    bridged = absences(patch, context)
    past, frame = patch[:context], np.arange(context)[:, None, None]
    newest = frame == last_sights(past)[past]
    count = np.bincount(past[newest], minlength=PATCHES + 1)
    total = np.bincount(past[newest], np.where(past < PATCHES, seen.far[:context], 0)[newest], PATCHES + 1)
    before = (total / np.maximum(count, 1))[patch[context:]]
    now = seen.far[context:]
    similar = (now <= SIMILAR * before) & (before <= SIMILAR * now)
    return np.where(similar & (patch[context:] < PATCHES), bridged, 0)


def last_sights(patch: NDArray[np.int32]) -> NDArray[np.int64]:
    """Patches (T, H, W) -> (PATCHES + 1,) the last frame that shows each, -1 for none."""
    last = np.full(PATCHES + 1, -1, np.int64)
    for t, view in enumerate(patch):
        last[view] = t
    return last

"""What walls, floors and pictures look like: patterns of 16 x 16 texels, drawn once, softer and darker with distance."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..hashing import mix, uniform

TEXELS = 16
BINS, FARTHEST = 16, 12.0  # distances that are told apart, in cells
WALLS, FLOORS, PICTURES = range(0, 48), range(48, 72), range(72, 120)
_COLOURS = np.array(
    [(200, 60, 50), (60, 110, 200), (70, 160, 70), (220, 180, 60), (150, 80, 180), (230, 130, 50), (70, 180, 190),
     (200, 200, 195), (120, 85, 60), (225, 140, 170), (100, 110, 125), (60, 130, 110)], np.float32,
)  # fmt: skip


@cache
def atlas() -> NDArray[np.uint32]:
    """(BINS, 120, TEXELS, TEXELS) packed red | green << 8 | blue << 16: each texture as it looks from each distance."""
    flat = np.stack([_texture(n) for n in range(PICTURES.stop)])
    seen = []
    for b in range(BINS):
        far = (b + 0.5) / BINS * FARTHEST
        grain = min(TEXELS, 2 ** max(0, round(np.log2(max(far, 1) / 1.5))))  # texels that fall into one pixel, about
        soft = flat.reshape(len(flat), TEXELS // grain, grain, TEXELS // grain, grain, 3).mean((2, 4))
        seen.append(soft.repeat(grain, 1).repeat(grain, 2) / (1 + 0.12 * far))
    words = np.stack(seen).round().astype(np.uint32)
    return (words * np.array([1, 1 << 8, 1 << 16], np.uint32)).sum(-1, dtype=np.uint32)


def _texture(number: int) -> NDArray[np.float32]:
    """(TEXELS, TEXELS, 3) in 0 .. 255."""
    y, x = np.mgrid[:TEXELS, :TEXELS]
    key = mix(np.array([number + 1], np.uint64))
    first, second = (_COLOURS[int(uniform(key, 1, n)[0] * len(_COLOURS))] for n in (0, 1))
    if number in PICTURES:  # a mirrored sign of two colours in a frame
        half = uniform(key, 2, np.arange(25)).reshape(5, 5)[:, :3] < 0.5
        sign = np.concatenate([half, half[:, 1::-1]], 1).repeat(2, 0).repeat(2, 1)
        out = np.full((TEXELS, TEXELS, 3), 245.0, np.float32)
        out[3:13, 3:13] = np.where(sign[..., None], first, second * 0.35)
        out[:1] = out[-1:] = out[:, :1] = out[:, -1:] = 30.0
        return out
    if number in FLOORS:
        pattern = [(x // 8 + y // 8) % 2, (x // 4 + y // 4) % 2, (x + y) // 4 % 2, x // 8 % 2][number % 4]
        return (0.75 * first + 20 * pattern[..., None]).clip(0, 255).astype(np.float32)
    brick = ((y % 4 == 0) | ((x + y // 4 % 2 * 4) % 8 == 0)).astype(int)
    spot = ((x - 7.5) ** 2 + (y - 7.5) ** 2 < 20).astype(int)
    pattern = [brick, x // 4 % 2, y // 4 % 2, (x + y) // 4 % 2, (x // 8 + y // 8) % 2, spot][number % 6]
    other = 0.55 * first if (first == second).all() else 0.4 * first + 0.6 * second
    return np.where(pattern[..., None] > 0, other, first).astype(np.float32)

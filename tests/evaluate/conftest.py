"""Videos whose truth is known: three discs that wander, turn and swell over a textured background, by a seed."""

from __future__ import annotations

import numpy as np
import pytest

FRAMES, SIZE = 320, 32


def wander(rng: np.random.Generator, frames: int, discs: int) -> np.ndarray:
    """(T, discs, 2) positions in 0..1: speeds are a slow random process, walls reflect."""
    speed = np.empty((frames, discs, 2))
    speed[0] = rng.normal(0, 0.02, (discs, 2))
    for t in range(1, frames):
        speed[t] = 0.95 * speed[t - 1] + rng.normal(0, 0.02 * np.sqrt(1 - 0.95**2), (discs, 2))
    return np.abs((rng.uniform(0, 2, (discs, 2)) + np.cumsum(speed, 0)) % 2 - 1)


def episode(seed: int, frames: int = FRAMES, size: int = SIZE) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = sum(np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(1, 4, (4, 3)))
    picture = np.broadcast_to(rng.uniform(70, 130, 3) + 12 * waves[..., None], (frames, size, size, 3)).copy()
    for path, colour in zip(np.moveaxis(wander(rng, frames, 3), 1, 0), rng.uniform(0, 255, (3, 3)), strict=True):
        away = np.hypot(x - path[:, None, None, 0], y - path[:, None, None, 1])
        cover = np.clip((0.16 - away) * size + 0.5, 0, 1)[..., None]
        picture += cover * (colour - picture)
    return np.clip(picture.round(), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def real() -> np.ndarray:
    """(12, T, H, W, 3): the episodes that the band is made of."""
    return np.stack([episode(seed) for seed in range(12)])


@pytest.fixture(scope="session")
def fresh() -> np.ndarray:
    """(16, T, H, W, 3): other episodes of the same world."""
    return np.stack([episode(seed) for seed in range(100, 116)])

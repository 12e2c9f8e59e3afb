"""Counter-based randomness: every draw is a pure function of (key, counters). No generator, hence nothing to rewind.

The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
2014): a bijection on 64 bits, so that distinct keys give distinct streams.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STRIDES = tuple(
    np.uint64(stride) for stride in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xABC98388FB8FAC03, 0x8CB92BA72F3D8DD7)
)


def mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers, one to one."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def bits(key: NDArray[np.uint64], *counters: NDArray[np.int64] | int) -> NDArray[np.uint64]:
    """64 random bits for every (key, counters); all arguments broadcast. At most four counters."""
    with np.errstate(over="ignore"):
        total = key
        for counter, stride in zip(counters, _STRIDES[: len(counters)], strict=True):
            total = total + (np.asarray(counter, np.int64).astype(np.uint64) + np.uint64(1)) * stride
        return mix(mix(total))


def sample_seeds(indices: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Seeds (B,) of global samples (B,), 61 bits each."""
    key = np.asarray(seed, np.int64).astype(np.uint64)
    return (bits(key, np.atleast_1d(np.asarray(indices, np.int64))) >> np.uint64(3)).astype(np.int64)


def uniform(key: NDArray[np.uint64], *counters: NDArray[np.int64] | int) -> NDArray[np.float32]:
    """Uniform float32 in [0, 1) for every (key, counters); 24 bits each."""
    return (bits(key, *counters) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)

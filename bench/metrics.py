"""How far the distances between sets of videos can be trusted, by their number, and what faults they see.

    python bench/metrics.py [--windows 4096] [--json metrics.json]

Everything is of windows of `duel` at 64 x 64, each of an episode of its own, and of the first random network. Random halves of
real windows show what chance gives; p-values over them must be uniform (Kolmogorov-Smirnov). Faults are put on a fourth of all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _common import machine, table

from unspool import store
from unspool.data.worlds import Duel
from unspool.evaluate.chance import apart, frechet_between, mmd2_between, over_floor, two_sample_p
from unspool.evaluate.distance import coverage_density, frechet
from unspool.evaluate.features import SEEDS, WINDOW, random_features

COUNTS = (64, 128, 256, 512, 1024, 2048)
TRIALS, DRAWS = 40, 199


def real_windows(count: int) -> np.ndarray:
    world = Duel(size=64)
    return np.concatenate([world(np.arange(i, min(i + 64, count)), WINDOW).frames for i in range(0, count, 64)])


def chance(features: np.ndarray, rows: int) -> dict[str, Any]:
    """Real against real: TRIALS pairs of disjoint sets of that many rows."""
    from scipy.stats import kstest

    rng, found, p = np.random.default_rng(0), [], []
    for trial in range(TRIALS):
        a, b = np.split(features[rng.permutation(len(features))[: 2 * rows]], 2)
        found.append((apart(a, b, mmd2_between), frechet(a, b), *coverage_density(a, b)))
        p.append(two_sample_p(a, b, mmd2_between, DRAWS, seed=trial))
    figures, spread = np.array(found), features.var(0).sum()
    return {
        "N": rows,
        "MMD^2": figures[:, 0].mean(),
        "deviation": figures[:, 0].std(ddof=1),
        "Frechet / trace": figures[:, 1].mean() / spread,
        "deviation ": figures[:, 1].std(ddof=1) / spread,
        "density": figures[:, 2].mean(),
        "coverage": figures[:, 3].mean(),
        "p uniform: KS p": float(kstest(p, "uniform").pvalue),
    }


def faults() -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    order, rng = np.arange(WINDOW), np.random.default_rng(0)
    ramp = np.linspace(0, 1, WINDOW)[:, None, None, None] * np.array([1, 0, -1])

    def noise(level: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda videos: to_bytes(videos + rng.normal(0, level, videos.shape))

    def soft(share: float) -> Callable[[np.ndarray], np.ndarray]:
        def blurred(videos: np.ndarray) -> np.ndarray:
            sides = [np.roll(videos, shift, axis).astype(float) for shift in (-1, 1) for axis in (2, 3)]
            return to_bytes((1 - share) * videos + share * sum(sides) / 4)

        return blurred

    def ordered(at: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda videos: videos[:, at]

    yield "none", lambda videos: videos
    yield from ((f"noise, {level} grey levels", noise(level)) for level in (2, 6, 16))
    yield from ((f"{share:.0%} of the four neighbours", soft(share)) for share in (0.1, 0.3, 0.8))
    yield from ((f"{n} pairs of frames swapped", ordered(swapped(n))) for n in (2, 4, 8))
    yield from ((f"{n} frames shuffled", ordered(np.r_[rng.permutation(n), n:WINDOW])) for n in (4, 8, 16))
    yield from ((f"last {n} frames frozen", ordered(np.minimum(order, WINDOW - 1 - n))) for n in (2, 4, 8))
    yield from ((f"colour drifts by {n} levels", lambda videos, n=n: to_bytes(videos + n * ramp)) for n in (4, 12, 32))  # type: ignore[misc]
    yield from ((f"{n} windows again and again", lambda videos, n=n: videos[np.arange(len(videos)) % n]) for n in (64, 16, 4))  # type: ignore[misc]


def swapped(pairs: int) -> np.ndarray:
    order = np.arange(WINDOW)
    order[: 2 * pairs] = order[: 2 * pairs].reshape(-1, 2)[:, ::-1].ravel()
    return order


def to_bytes(videos: np.ndarray) -> np.ndarray:
    return np.clip(videos.round(), 0, 255).astype(np.uint8)


def seen(name: str, made: np.ndarray, real: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Ratios to the floor: mean and least of the three networks, and the interval of the first."""
    ratios = [over_floor(made[seed], real[seed], other[seed], mmd2_between).ratio for seed in SEEDS]
    frechets = [over_floor(made[seed], real[seed], other[seed], frechet_between, DRAWS).ratio for seed in SEEDS]
    return {
        "fault": name,
        "MMD^2 / floor": float(np.mean([ratio.value for ratio in ratios])),
        "least": min(ratio.value for ratio in ratios),
        "low": ratios[0].low,
        "high": ratios[0].high,
        "Frechet / floor": float(np.mean([ratio.value for ratio in frechets])),
        "low ": frechets[0].low,
        "high ": frechets[0].high,
        "coverage": coverage_density(real[0], made[0]).coverage,
        "p": two_sample_p(made[0], real[0], mmd2_between),
    }


def speed(size: int, windows: int = 48) -> dict[str, Any]:
    """The fastest of three runs."""
    videos = np.random.default_rng(0).integers(0, 256, (windows, WINDOW, size, size, 3), dtype=np.uint8)
    random_features(videos[:2])
    seconds = []
    for _ in range(3):
        begun = perf_counter()
        random_features(videos)
        seconds.append(perf_counter() - begun)
    return {"pixels": size, "windows/s": windows / min(seconds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=2 * COUNTS[-1])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(" ".join(f"{key} {value}" for key, value in machine().items()))
    rows = {"speed": [speed(size) for size in (32, 64, 128)]}
    print(table(rows["speed"]), flush=True)
    windows = real_windows(options.windows)
    features = random_features(windows)
    rows["chance"] = [chance(features[0], count) for count in COUNTS if 2 * count <= len(windows)]
    print(f"\nreal against real, {TRIALS} pairs of sets\n{table(rows['chance'])}", flush=True)
    part = min(256, len(windows) // 4)
    real, other = features[:, :part], features[:, part : 2 * part]
    rows["faults"] = [seen(name, random_features(fault(windows[-part:])), real, other) for name, fault in faults()]
    print(f"\nfaults, N = {part}\n{table(rows['faults'])}")
    if options.json:
        store.write_json(options.json, {"format": 1, "machine": machine(), **rows})

"""What a unit of the random-feature MMD is worth under a claim's own conditions: other real video, and video broken in ways
that anyone would see.

    python bench/claim_units.py recursive-alpha [pa-vdm ...]

No model and no training: the same windows, contexts and real clips in number as the claim's evaluation has, so that `smallest`
can be chosen before anything is run. Intervals are 95 %, by the jackknife of `unspool eval`. About two minutes a claim.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from unspool import claims, config
from unspool.data import open_world
from unspool.evaluate.drift import edges_of
from unspool.evaluate.features import WINDOW, random_features
from unspool.evaluate.gathered import Base, Gathered
from unspool.evaluate.lines import LINES
from unspool.evaluate.tables import judge

BLOCK = 8


def scrambled(video: np.ndarray, k: int) -> np.ndarray:
    """Blocks of 8 x 8 pixels in other places, the same ones in every frame."""
    side = video.shape[1] // BLOCK
    cut = video.reshape(len(video), side, BLOCK, side, BLOCK, 3).transpose(1, 3, 0, 2, 4, 5)
    blocks = cut.reshape(side * side, len(video), BLOCK, BLOCK, 3)
    moved = blocks[np.random.default_rng(k).permutation(side * side)].reshape(side, side, len(video), BLOCK, BLOCK, 3)
    return moved.transpose(2, 0, 3, 1, 4, 5).reshape(video.shape)


BROKEN: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "frozen": lambda video, k: np.repeat(video[1:2], len(video), 0),
    "upside down": lambda video, k: video[:, ::-1],
    "colours inverted": lambda video, k: 255 - video,
    "8 x 8 blocks in other places": scrambled,
    "a still that slides by a pixel each second frame": lambda video, k: np.stack(
        [np.roll(video[1], t // 2, 1) for t in range(len(video))]
    ),
    "a loop of 60 frames": lambda video, k: video[np.arange(len(video)) % 60],
}
"""Of a real video (T, H, W, 3) and its number."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", nargs="+", help="names in bench/claims")
    mmd = next(line for line in LINES if line.name == "mmd")
    for name in parser.parse_args().claim:
        asked = claims.read(claims.find(name)).told.experiment
        assert asked is not None, f"{name} has no experiment"
        size = config.resolve(None, asked.layers(asked.better, 0)).arguments["resolution"]
        told, world = asked.evaluate, open_world(asked.data, size, asked.evaluate.split)
        starts = [a + (b - a - WINDOW) // 2 + 2 for a, b in edges_of(told.frames, told.segment)]
        moving, broken = [], {what: list[np.ndarray]() for what in BROKEN}
        for k in range(2 * told.contexts + told.real):
            video = np.asarray(world(np.array([k]), told.frames + 2).frames)[0]
            moving.append(windows(video, starts))
            for what, breaks in BROKEN.items() if k < told.contexts else ():
                broken[what].append(windows(breaks(video, k), starts))
        truth, real, other = np.split(np.array(moving), [told.contexts, told.contexts + told.real])
        base = Base(gathered(real), gathered(truth), None, told.segment)
        same = {"one video for all": [moving[told.contexts - 1]] * told.contexts}
        for what, arm in {"other real": other, **broken, **same}.items():
            values = mmd.of(gathered(arm), base)
            value, low, high = (round(v, 1) for v in judge(values, base, float(np.abs(values).max())).interval)
            print(f"{name}: {size} pixels, {told.frames} frames: {what} {value} [{low}, {high}]", flush=True)


def windows(video: np.ndarray, starts: list[int]) -> np.ndarray:
    """(T, H, W, 3) -> (1, W, networks, D): what the networks make of a window at each start."""
    return np.stack([random_features(video[None, s : s + WINDOW]).swapaxes(0, 1) for s in starts], 1)


def gathered(features: np.ndarray | Sequence[np.ndarray]) -> Gathered:
    return Gathered([{"features": one, "motion": np.zeros((1, 1))} for one in features])


if __name__ == "__main__":
    main()

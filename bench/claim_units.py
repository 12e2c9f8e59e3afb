"""What a unit of the random-feature MMD is worth under a claim's own conditions: other real video and a frozen one.

    python bench/claim_units.py recursive-alpha [pa-vdm ...]

No model and no training: the same windows, contexts and real clips in number as the claim's evaluation has, so that `smallest`
can be chosen before anything is run. Intervals are 95 %, by the jackknife of `unspool eval`. About a minute a claim.
"""

from __future__ import annotations

import argparse

import numpy as np

from unspool import claims, config
from unspool.data import open_world
from unspool.evaluate.drift import edges_of
from unspool.evaluate.features import WINDOW, random_features
from unspool.evaluate.gathered import Base, Gathered
from unspool.evaluate.lines import LINES
from unspool.evaluate.tables import judge


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
        moving, frozen = [], []
        for k in range(2 * told.contexts + told.real):
            video = world(np.array([k]), told.frames + 2).frames
            moving.append(windows(video, starts))
            if k < told.contexts:
                frozen.append(windows(np.repeat(video[:, 1:2], told.frames + 2, 1), starts))
        truth, real, other = np.split(np.array(moving), [told.contexts, told.contexts + told.real])
        base = Base(gathered(real), gathered(truth), None, told.segment)
        for what, arm in (("other real", gathered(other)), ("frozen", gathered(frozen))):
            values = mmd.of(arm, base)
            value, low, high = (round(v, 1) for v in judge(values, base, float(np.abs(values).max())).interval)
            print(f"{name}: {size} pixels, {told.frames} frames: {what} {value} [{low}, {high}]", flush=True)


def windows(video: np.ndarray, starts: list[int]) -> np.ndarray:
    """(1, T, H, W, 3) -> (1, W, networks, D): what the networks make of a window at each start."""
    return np.stack([random_features(video[:, s : s + WINDOW]).swapaxes(0, 1) for s in starts], 1)


def gathered(features: np.ndarray | list[np.ndarray]) -> Gathered:
    return Gathered([{"features": one, "motion": np.zeros((1, 1))} for one in features])


if __name__ == "__main__":
    main()

"""How long `unspool eval` looks at 64 videos of 893 frames, and what it keeps in memory as they grow longer.

    python bench/eval.py [--frames 893] [--size 64] [--contexts 8] [--futures 8]

Videos are those of `duel`, and what it takes to make them is told apart; what is measured is the core table alone, no model.
Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from unspool.data import open_world
from unspool.evaluate.tables import Base, Gathered, table
from unspool.evaluate.watch import BLOCK, Watch, in_blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=893)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--contexts", type=int, default=8)
    parser.add_argument("--futures", type=int, default=8)
    parser.add_argument("--real", type=int, default=16)
    asked = parser.parse_args()
    world = open_world("duel", asked.size, "seen")
    spent = {"made": 0.0, "looked at": 0.0, "tables": 0.0}

    def see(seeds: np.ndarray, truth: int | None) -> dict[str, np.ndarray]:
        """The fights with these seeds as futures of fight `truth`, which they are not: the work is the same."""
        watch = Watch(asked.frames, 100)
        true = None if truth is None else in_blocks(world.film(np.array([truth]), asked.frames), 1)
        blocks = in_blocks(world.film(seeds, asked.frames), 1)
        while True:
            begun = time.perf_counter()
            made = next(blocks, None)
            real = None if true is None or made is None else next(true)[0]
            now = time.perf_counter()
            spent["made"] += now - begun
            if made is None:
                break
            watch.update(made, real)
            spent["looked at"] += time.perf_counter() - now
        begun = time.perf_counter()
        found = watch.figures()
        spent["looked at"] += time.perf_counter() - begun
        return found

    peak = []
    arm = []
    for k in range(asked.contexts):
        arm.append(see(np.arange(asked.futures) + 1000 * (k + 1), k))
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    real = Gathered([see(np.array([50_000 + k]), None) for k in range(asked.real)])
    truth = Gathered([see(np.array([k]), None) for k in range(asked.contexts)])
    begun = time.perf_counter()
    table({"arm": Gathered(arm)}, Base(real, truth, None, 100))
    spent["tables"] = time.perf_counter() - begun
    videos = asked.contexts * asked.futures
    print(f"{videos} videos x {asked.frames} frames of {asked.size} pixels, {asked.real} real clips, blocks of {BLOCK} frames; "
          f"torch {torch.__version__}, {torch.get_num_threads()} threads")  # fmt: skip
    for what, seconds in spent.items():
        print(f"{what:<10} {seconds:8.1f} s")
    looked = videos * asked.frames + (asked.real + asked.contexts) * asked.frames
    print(f"{looked / spent['looked at']:.0f} frames/s; peak memory after each context, MB: {[round(mb) for mb in peak]}")


if __name__ == "__main__":
    main()

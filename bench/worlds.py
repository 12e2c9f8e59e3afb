"""How fast are the worlds? Frames a second of clips as training takes them, simulated and drawn, on one thread.

    python bench/worlds.py [--json worlds.json]

Run it alone on an idle machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _common import table

from unspool import store
from unspool.data import World
from unspool.data.worlds import Duel, Rooms


def measure(world: World, size: int, clips: int = 32, frames: int = 64, times: int = 3) -> dict[str, Any]:
    """The best of several batches, each of other clips."""
    world(np.arange(2), 2)
    seconds = []
    for n in range(times):
        begun = perf_counter()
        world(np.arange(clips) + n * clips, frames)
        seconds.append(perf_counter() - begun)
    return {"world": type(world).__name__.lower(), "pixels": size, "frames/s": clips * frames / min(seconds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(Duel(size=size), size) for size in (32, 64, 128)]  # type: ignore[arg-type]
    rows += [measure(Rooms(size=size), size) for size in (32, 64)]  # type: ignore[arg-type]
    print(table(rows))
    if options.json:
        store.write_json(options.json, {"format": 1, "rows": rows})

"""What does a memory cost in training, and what does its prefetch save?

    python bench/memories.py [--size nano] [--resolution 32] [--frames 22] [--batch 4] [--repeats 5] [--threads 1] [--json FILE]

For each memory, and those together that recipes put together, one pass of its recipe's objective, forward and backward:

- tokens of the clips that are learned in a second, and the share of the best matrix product of the same process that this is;
- how many times longer the same pass takes where every memory walks its clean frames step by step, write after write and read
  after read (`Memory.scan`, the obvious loop), instead of by its own `scan`. Both are timed in turn, and the ratio is the
  median of the pairs, so that other work on the machine falls on both. Their losses must agree.

On one thread seconds are those that the processor spent on this process, on more they are the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from _common import machine, median, table

from unspool import noise as rng
from unspool import store
from unspool.blend import AlphaBlend
from unspool.errors import UserError
from unspool.explain.check import memories
from unspool.flops import matmul_rate
from unspool.laws import Independent
from unspool.memory import Gist, Memory
from unspool.recipes import RECIPES
from unspool.recipes.backbone import backbone
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.testing import scale_weights
from unspool.train.objectives import TeacherForcing
from unspool.train.run import flops_per_clip
from unspool.types import Clip

AGREE = 1e-3
"""Of the loss, in float32: the two ways add up in another order."""

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "window 8": ("window", {}),
    "window 8, sink 2": ("window", {"sink": 2}),
    "full": ("full", {"capacity": 64}),
    "lstm": ("rad-chunkwise", {"chunk": 1}),
    "lstm, chunks of 4": ("rad-chunkwise", {}),
    "latents, segments of 4": ("malt", {}),
    "latents, frame by frame": ("malt", {"segment": 1, "chunk": 1}),
    "window 8 and lstm": ("rad", {}),
    "window 8 and late lstm": ("rad", {"delay": 8}),
}


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    before, rows, peak = machine(), list[dict[str, Any]](), 0.0
    print(" ".join(f"{key} {value}" for key, value in before.items()), flush=True)
    try:
        for name, make in made(options).items():
            peak = max(peak, *(matmul_rate(torch.float32, size=size, seconds=0.2) for size in (512, 1024)))
            rows.append({"memory": name, **measured(make(), options)})
            print(f"{name}: {rows[-1]['seconds a step']:.2f} s a step", file=sys.stderr, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for row in rows:
        row["of the matrix rate"] = row.pop("FLOP/s") / peak
    print(f"best matrix product: float32 {peak / 1e9:.0f} GFLOP/s", table(rows), sep="\n")
    same = all(row["loss apart"] <= AGREE for row in rows)
    print(f"{'pass' if same else 'FAIL'}  losses by scan and by the loop, within {AGREE} of them")
    if options.json:
        figures = {"rows": rows, "matmul_flops": peak, "machine": before, "load_after": os.getloadavg()[0], "passed": same}
        store.write_json(options.json, figures)
        print(json.dumps({"written": str(options.json)}))
    sys.exit(0 if same else 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--frames", type=int, default=22, help="of a training clip")
    parser.add_argument("--batch", type=int, default=4, help="clips of a step")
    parser.add_argument("--repeats", type=int, default=5, help="pairs that are timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


def made(options: argparse.Namespace) -> dict[str, Callable[[], System]]:
    """The rows of the table by name."""
    given = {"size": options.size, "resolution": options.resolution, "frames": options.frames}
    rows: dict[str, Callable[[], System]] = {
        name: partial(RECIPES[recipe], **given, **more) for name, (recipe, more) in ROWS.items()
    }
    return {**rows, "window 8 and gist": partial(with_gist, options)}


def with_gist(options: argparse.Namespace) -> System:
    """The `gist` of alpha-context in a model that learns as `window` does: its own recipe learns in stages."""
    model, codec = backbone(options.size, options.resolution, 8, 48, 8, 1, "change", 1, 0, 0, gist=Gist)
    objective = TeacherForcing(1, 2, 0.2, Independent(1, 3.0))
    return System(model, codec, AlphaBlend(), Staircase(8), euler, objective, options.frames)


def measured(system: System, options: argparse.Namespace) -> dict[str, Any]:
    """One row: the first pair warms up, the others are timed."""
    clock = process_time if options.threads == 1 else perf_counter
    model, key = scale_weights(system.model, 0.05).train(), rng.fold(torch.tensor(1), torch.arange(options.batch))
    clip = Clip(rng.normal(rng.fold(key, 99), system.frames, *model.shape).clamp(-1, 1))

    def step() -> tuple[float, float]:
        model.zero_grad(set_to_none=True)
        begun = clock()
        (loss,) = system.objective(model, system.blend, clip, key)
        loss.value.backward()
        return float(loss.value.detach()), clock() - begun

    pairs = []
    for _ in range(1 + options.repeats):
        fast = step()
        with step_by_step(memories(model)):
            pairs.append((fast, step()))
    (loss, _), (slow_loss, _) = pairs[0]
    seconds = median([fast[1] for fast, _ in pairs[1:]])
    tokens = options.batch * system.frames * model.grid[0] * model.grid[1]
    work = flops_per_clip(system, options.batch).total * options.batch
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "seconds a step": seconds, "tokens/s": tokens / seconds,
        "FLOP/s": work / seconds, "loop / scan": median([slow[1] / fast[1] for fast, slow in pairs[1:]]),
        "loss apart": abs(slow_loss - loss) / abs(loss),
    }  # fmt: skip


@contextmanager
def step_by_step(held: list[Memory]) -> Iterator[None]:
    """Every memory without its own `scan`, for a while. What it is made of, as the window in `full`, is asked no more."""
    for memory in held:
        object.__setattr__(memory, "scan", partial(Memory.scan, memory))
    try:
        yield
    finally:
        for memory in held:
            object.__delattr__(memory, "scan")


if __name__ == "__main__":
    main()

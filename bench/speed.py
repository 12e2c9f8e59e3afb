"""How fast is a rollout, against what the machine can do and against real time?

    python bench/speed.py MODEL [--frames 120] [--cap 64] [--threads 2] [--json speed.json]

Run it alone on an idle machine. MODEL: a checkpoint folder, a shipped model, or a recipe for random weights. It prints

- the best matrix product rate of this process, float32 and bfloat16;
- frames per second, share of real time and share of that rate, for 4, 8, 16 evaluations, 1 and 3 streams, both precisions;
- where the time of a chunk goes;
- the slow oracle, which remembers the whole video anew for each chunk, over --cap frames: its time and that its output is the
  same.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
from time import perf_counter
from typing import Any

import torch
from _common import REAL_TIME, main, table

from unspool.errors import UserError
from unspool.explain import explain_dict
from unspool.flops import matmul_rate
from unspool.speed.clock import quantile
from unspool.speed.rollouts import components, walk
from unspool.system import System
from unspool.testing import Replayed, error

KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GOAL = 0.3
SAME = 1e-3  # float32 over many frames, each of which goes on from the last


def measure(system: System, options: argparse.Namespace) -> dict[str, Any]:
    best = {name: max(matmul_rate(dtype, size=size) for size in (512, 1024, 2048)) for name, dtype in KINDS.items()}
    print("best matrix product: " + ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in best.items()), flush=True)
    models = {name: copy.deepcopy(system.model).to(dtype) for name, dtype in KINDS.items()}
    rows = []
    for steps in (4, 8, 16):
        for name, model in models.items():
            for streams in (1, 3):
                try:
                    schedule = dataclasses.replace(system.schedule, steps=steps)
                    variant = dataclasses.replace(system, model=model, schedule=schedule)
                    rows.append(_pace(variant, streams, name, best, options))
                except UserError as refused:
                    print(f"{steps} evaluations: {refused}")
    print(table(rows), flush=True)
    variants = {name: dataclasses.replace(system, model=model) for name, model in models.items()}
    parts = [{"weights": name, **components(variant, options.frames)} for name, variant in variants.items()]
    print("ms a chunk, 1 stream, the recipe's own steps", table(parts), sep="\n", flush=True)
    slow = _oracle(system, options.cap)
    print(table([slow]))
    top = max(row["of own rate"] for row in rows)
    print(f"{'pass' if top >= GOAL else 'FAIL'}  {top:.2f} of the matrix rate at best, goal {GOAL}")
    same = slow["largest error / rms"] <= SAME
    print(f"{'pass' if same else 'FAIL'}  the slow oracle's frames, within {SAME} of their root mean square")
    return {
        "matmul_flops": best, "rollouts": rows, "components": parts, "oracle": slow, "goal": GOAL, "best_share": top,
        "passed": same and top >= GOAL,
    }  # fmt: skip


def _pace(system: System, streams: int, name: str, best: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """One line of the table. Shares: of the rate of the same precision, and of the best of all."""
    plan = system.schedule.plan()
    cost = explain_dict(system, measure=False)["flops"]["frame"]
    timed = list(walk(system, streams, options.frames + 4 * plan.hop))[4:]  # the first chunks warm up
    seconds = [t.seconds for t in timed]
    shown = sum(t.chunk.frames.shape[1] for t in timed)
    fps = shown / sum(seconds)
    done = fps * streams * cost
    return {
        "evaluations": len(plan.loop) - 1, "weights": name, "streams": streams, "frames/s each": fps, "all": fps * streams,
        "x real time": fps / REAL_TIME, "p50 ms": 1e3 * quantile(seconds, 0.5), "p95 ms": 1e3 * quantile(seconds, 0.95),
        "GFLOP/s": done / 1e9, "of own rate": done / best[name], "of best rate": done / max(best.values()),
    }  # fmt: skip


def _oracle(system: System, cap: int) -> dict[str, Any]:
    """The same `cap` frames by the cache and by recomputing all of the past for each chunk, in float32."""
    made, seconds = {}, {}
    for name, model in {"cached": system.model, "recomputed": Replayed(system.model)}.items():
        begun = perf_counter()
        timed = walk(dataclasses.replace(system, model=model), 1, cap)
        made[name] = torch.cat([t.chunk.frames for t in timed], 1)
        seconds[name] = perf_counter() - begun
    off = error(made["cached"], made["recomputed"])
    slower = seconds["recomputed"] / seconds["cached"]
    figures = {"cached s": seconds["cached"], "recomputed s": seconds["recomputed"], "times slower": slower}
    return {"frames": cap, **figures, "largest error / rms": off}


if __name__ == "__main__":
    main(__doc__, 120, measure)

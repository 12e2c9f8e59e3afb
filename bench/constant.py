"""Is the cost of a rollout constant? Time per chunk, resident memory and state at frame 4000 against frame 300.

    python bench/constant.py MODEL [--frames 4000] [--threads 2] [--json constant.json]

Run it alone on an idle machine. MODEL: a checkpoint folder, a shipped model, or a recipe for random weights. One rollout walks
to the late frame; then chunks that follow frame 300 and the late one are timed in turn, so that whatever else the machine does
falls on both. Passes when time (median ratio of 200 pairs) is within 5 %, memory within 2 % and the state of the same size.
"""

from __future__ import annotations

import argparse
from time import perf_counter
from typing import Any

import torch
from _common import main, median, table

from unspool import store
from unspool.errors import UserError
from unspool.rollout import Rollout, stream
from unspool.speed.rollouts import actions_of, walk
from unspool.system import System

EARLY, CHUNKS = 300, 200
TIME, MEMORY = 0.05, 0.02


def measure(system: System, options: argparse.Namespace) -> dict[str, Any]:
    hop, late = system.schedule.plan().hop, options.frames
    early = min(EARLY, late // 4)
    if early < hop:
        raise UserError(f"a chunk has {hop} frames; set --frames to {4 * hop} or more")
    stands: dict[int, tuple[Rollout, int]] = {}  # rollouts are values: that of the early frame is not changed by the late ones
    for timed in walk(system, 1, late):
        shown = int(timed.chunk.at[0]) + timed.chunk.frames.shape[1] - 2
        for frame in (early, late):
            if frame not in stands and shown >= frame and timed.chunk.rollout is not None:
                stands[frame] = timed.chunk.rollout, timed.resident
    pairs = [[chunk_seconds(system, stands[frame][0]) for frame in (early, late)] for _ in range(CHUNKS)]
    rows = [
        {
            "frame": frame, "chunks": CHUNKS, "ms a chunk": 1e3 * median([pair[n] for pair in pairs]),
            "resident MB": stands[frame][1] / 1e6, "state bytes": store.size(stands[frame][0].state),
        }
        for n, frame in enumerate((early, late))
    ]  # fmt: skip
    print(table(rows))
    slower = median([after / before for before, after in pairs]) - 1
    bigger = rows[1]["resident MB"] / rows[0]["resident MB"] - 1
    verdicts = {
        f"time {slower:+.1%}, allowed {TIME:.0%}": abs(slower) <= TIME,
        f"memory {bigger:+.2%}, allowed {MEMORY:.0%}": abs(bigger) <= MEMORY,
        "state of the same size": rows[0]["state bytes"] == rows[1]["state bytes"],
    }
    print("\n".join(f"{'pass' if passed else 'FAIL'}  {what}" for what, passed in verdicts.items()))
    changes = {"time_change": slower, "memory_change": bigger}
    return {"rows": rows, **changes, "verdicts": verdicts, "passed": all(verdicts.values())}


@torch.inference_mode()
def chunk_seconds(system: System, rollout: Rollout) -> float:
    """Seconds of the chunk that follows, decoded."""
    plan, acted, start = system.schedule.plan(), actions_of(system), perf_counter()
    chunk = next(stream(system.model, system.blend, plan, rollout, frames=plan.hop, solver=system.solver, controls=acted))
    system.codec.decode(chunk.frames, rollout.codec)
    return perf_counter() - start


if __name__ == "__main__":
    main(__doc__, 4000, measure)

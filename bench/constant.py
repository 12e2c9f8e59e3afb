"""Is the cost of a rollout constant? Time per chunk, resident memory and state at frame 4000 against frame 300.

    python bench/constant.py MODEL [--frames 4000] [--threads 2] [--json constant.json]

Run it alone on an idle machine. MODEL: a checkpoint folder, a shipped model, or a recipe for random weights. Passes when time
is within 5 %, memory within 2 % and the state has the same size in bytes; each is the median over 40 chunks around the frame.
"""

from __future__ import annotations

import argparse
from typing import Any

from _common import Timed, main, median, table, walk

from unspool import store
from unspool.errors import UserError
from unspool.system import System

EARLY, CHUNKS = 300, 40
TIME, MEMORY = 0.05, 0.02


def measure(system: System, options: argparse.Namespace) -> dict[str, Any]:
    hop, late = system.schedule.plan().hop, options.frames
    early, half = min(EARLY, late // 4), CHUNKS // 2 * hop
    if early < half or late - half < early + half:
        raise UserError(f"{CHUNKS} chunks of {hop} around frames {early} and {late} overlap; set --frames to {8 * half}")
    near: dict[int, list[Timed]] = {early: [], late: []}
    sizes: dict[int, int] = {}
    for timed in walk(system, 1, late + half):
        at = int(timed.chunk.at[0])
        for frame, kept in near.items():
            if frame - half <= at < frame + half and timed.chunk.rollout is not None:
                # only figures are kept: chunks in a list would be the growth that is looked for
                kept.append(Timed(timed.chunk._replace(frames=timed.chunk.at, rollout=None), timed.seconds, timed.resident))
                sizes[frame] = store.size(timed.chunk.rollout.state)
    rows = [
        {
            "frame": frame, "chunks": len(kept), "ms a chunk": 1e3 * median([t.seconds for t in kept]),
            "resident MB": median([t.resident for t in kept]) / 1e6, "state bytes": sizes[frame],
        }
        for frame, kept in near.items()
    ]  # fmt: skip
    print(table(rows))
    slower, bigger = (rows[1][key] / rows[0][key] - 1 for key in ("ms a chunk", "resident MB"))
    verdicts = {
        f"time {slower:+.1%}, allowed {TIME:.0%}": abs(slower) <= TIME,
        f"memory {bigger:+.2%}, allowed {MEMORY:.0%}": abs(bigger) <= MEMORY,
        "state of the same size": sizes[early] == sizes[late],
    }
    print("\n".join(f"{'pass' if passed else 'FAIL'}  {what}" for what, passed in verdicts.items()))
    changes = {"time_change": slower, "memory_change": bigger}
    return {"rows": rows, **changes, "verdicts": verdicts, "passed": all(verdicts.values())}


if __name__ == "__main__":
    main(__doc__, 4000, measure)

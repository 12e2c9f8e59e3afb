"""How often `unspool eval` tells equal arms apart, line by line, and how its intervals narrow as contexts grow.

    python bench/equal_arms.py [--world duel] [--clips 160] [--draws 200] [--json equal.json]

An arm is as many real clips as there are contexts, drawn anew each time, of 32 x 32 pixels and 120 frames in three segments,
and both are measured against twice as many other ones. p-values that were uniform would be 0.05 or less in 1 of 20 draws;
Kolmogorov-Smirnov says how far they are from that.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import machine, table

from unspool import store
from unspool.data import open_world
from unspool.evaluate import tables
from unspool.evaluate.gathered import Base, Gathered
from unspool.evaluate.watch import Figures, Watch

CONTEXT, FRAMES, SEGMENT = 2, 120, 40
CONTEXTS = (8, 16, 32)


def watched(clip: np.ndarray) -> Figures:
    watch = Watch(FRAMES, SEGMENT, clip[:CONTEXT])
    watch.update(clip[None, CONTEXT:])
    return watch.figures()


def draw(known: list[Figures], contexts: int, rng: np.random.Generator) -> tuple[Gathered, Gathered, Base]:
    """Two arms, and what both are measured by: what followed on the contexts, and other real clips."""
    edges = np.cumsum([0, contexts, contexts, contexts, 2 * contexts])
    order = rng.permutation(len(known))
    a, b, truth, real = (Gathered([known[i] for i in order[s:e]]) for s, e in pairwise(edges))
    return a, b, Base(real, truth, None, SEGMENT)


def shares(known: list[Figures], contexts: int, draws: int) -> tuple[list[dict[str, Any]], float]:
    """Of each line how often p is 0.05 or less; and of how many pairs any line is told apart."""
    from scipy.stats import kstest

    rng, chances, wrong = np.random.default_rng(0), {}, 0
    for _ in range(draws):
        a, b, base = draw(known, contexts, rng)
        found = tables.differences(*tables.table({"a": a, "b": b}, base).values(), base)
        wrong += any(one.apart for one in found.values())
        for name, one in found.items():
            chances.setdefault(name, []).append(one.p)
    rows = []
    for name, p in chances.items():
        low = float(np.mean(np.array(p) <= 0.05))
        rows.append({"line": name, "draws": len(p), "p <= 0.05": low, "median p": float(np.median(p)),
                     "uniform: KS p": float(kstest(p, "uniform").pvalue)})  # fmt: skip
    return rows, wrong / draws


def widths(known: list[Figures], draws: int) -> list[dict[str, Any]]:
    """The median width of an arm's interval by the number of contexts, over that of the fewest. That of its root is the last
    row: Student's quantiles are smaller for more contexts as well."""
    from scipy.stats import t as student

    rng = np.random.default_rng(1)
    found: dict[str, dict[int, float]] = {}
    for contexts in CONTEXTS:
        limits: dict[str, list[float]] = {}
        for _ in range(draws):
            arm, _, base = draw(known, contexts, rng)
            for name, cell in tables.table({"arm": arm}, base)["arm"].items():
                if cell.interval is not None:
                    limits.setdefault(name, []).append(cell.interval.high - cell.interval.low)
        for name, width in limits.items():
            found.setdefault(name, {})[contexts] = float(np.nanmedian(width))
    found["expected"] = {k: float(student.ppf(0.975, k - 1)) / k**0.5 for k in CONTEXTS}
    shares = {name: {f"width at {k}": width[k] / width[CONTEXTS[0]] for k in CONTEXTS} for name, width in found.items()}
    return [{"line": name, **row} for name, row in shares.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="duel")
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(" ".join(f"{key} {value}" for key, value in machine().items()))
    clips = open_world(options.world, 32, "seen")(np.arange(options.clips), CONTEXT + FRAMES).frames
    known = [watched(clip) for clip in clips]
    rows, wrong = shares(known, CONTEXTS[0], options.draws)
    print(f"\n{CONTEXTS[0]} contexts, {options.draws} pairs of equal arms, told apart {wrong:.3f}\n{table(rows)}", flush=True)
    narrowing = widths(known, max(options.draws // 10, 4))
    print(f"\nwidths of the intervals, as a share of those of {CONTEXTS[0]} contexts\n{table(narrowing)}")
    if options.json:
        store.write_json(options.json, {"format": 1, "machine": machine(), "apart": wrong, "p": rows, "widths": narrowing})

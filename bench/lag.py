"""What lag costs: one network rolled out chunk by chunk, progressively and all together, at equal evaluations a frame.

    python bench/lag.py progressive --set size=tiny [--frames 96] [--json lag.json]
    python bench/lag.py runs/mine --quality judged/results.json --line energy --plot lag.webp

MODEL: a checkpoint folder, a shipped model, or a recipe for random weights, which take as long as trained ones. Lags are 1,
1/2, 1/3, ... as far as the number of steps divides, down to the recipe's own number of chunks, and 0. Each frame is evaluated
`steps` times at every lag; what the clean frames in front of a flight cost comes on top, and is counted (`computed`). Chunks of
all lags are made in turn, so that whatever else the machine does falls on all alike; memory is that of a process for each.

- ms a frame: of the endless loop, the median over hops.
- first frame ms: warm-up and the first hop.
- latency ms: from a frame's noise entering to its being shown, what an action waits for at most.
- pause ms: between two times that frames are shown; frames shown at once.
- peak MB: of the warm-up and a hop, above the process before them.

--quality: results.json of an `unspool eval` of this model at several lags (MODEL:lag=1/4); --line: one of its table; --plot:
that against latency.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from _common import load, machine, median, table

from unspool import config, store
from unspool.errors import UserError
from unspool.evaluation.naming import named
from unspool.explain import explain_dict
from unspool.rollout import stream
from unspool.speed.rollouts import rollout_of
from unspool.system import System

WARM = 2
"""Hops that are not counted."""


@dataclass
class Timed:
    """A rollout under way, and the seconds that its hops took."""

    lag: Fraction
    system: System
    first: float = 0.0
    hops: list[float] = field(default_factory=list)

    @torch.inference_mode()
    def made(self) -> Iterator[None]:
        """Hop by hop, the first with its warm-up and the rollout's beginning."""
        plan = self.system.schedule.plan()
        chunks = stream(self.system.model, self.system.blend, plan, rollout_of(self.system, plan), solver=self.system.solver)
        codec: dict[str, Any] = {}
        while True:
            begun = perf_counter()
            _, codec = self.system.codec.decode(next(chunks).frames, codec)
            seconds = perf_counter() - begun
            if self.first:
                self.hops.append(seconds)
            else:
                self.first = seconds
            yield


def at_lags(system: System, steps: int | None) -> list[Timed]:
    """The same network at every lag at which a frame is evaluated as often, chunk by chunk first."""
    told = {} if steps is None else {"steps": steps}
    usual = system.schedule.plan().frames // system.schedule.chunk
    steps = steps or system.schedule.steps
    cases = [(Fraction(1, k), k) for k in range(1, max(usual, 2) + 1) if steps % k == 0] + [(Fraction(0), usual)]
    return [Timed(lag, config.rollout_options(told, {"lag": lag, "chunks": count}).apply(system)) for lag, count in cases]


def walk(timed: Sequence[Timed], frames: int) -> None:
    """So many frames of each, and three hops at least, in turn."""
    running = [(one, one.made(), one.system.schedule.plan().hop) for one in timed]
    for one, hops, _ in running:
        for _ in range(1 + WARM):
            next(hops)
        one.hops.clear()
    while any(len(one.hops) < max(3, -(-frames // hop)) for one, _, hop in running):
        for one, hops, hop in running:
            if len(one.hops) < max(3, -(-frames // hop)):
                next(hops)


def peak(model: str, pairs: Sequence[str], steps: int | None, number: int, threads: int) -> int:
    """Bytes that a warm-up and a hop need above the process before them, in a process of its own; 0 where it cannot be told."""
    torch.set_num_threads(threads)
    one = at_lags(load(model, pairs), steps)[number]
    before = _status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        return 0
    next(one.made())
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def row(one: Timed, bytes_: int) -> dict[str, Any]:
    plan = one.system.schedule.plan()
    asked = explain_dict(one.system, measure=False)["evaluations"]
    hop = median(one.hops)
    return {
        "lag": str(one.lag), "under way": plan.frames, "evaluations": plan.evaluations,
        "computed": asked["denoise_calls_per_chunk"] * asked["frames_computed"] / plan.hop,
        "ms a frame": 1e3 * hop / plan.hop, "first frame ms": 1e3 * one.first,
        "latency ms": 1e3 * hop * plan.frames / plan.hop, "pause ms": 1e3 * hop, "at once": plan.hop, "peak MB": bytes_ / 1e6,
    }  # fmt: skip


RATIOS = ("computed", "ms a frame", "first frame ms", "latency ms", "pause ms", "peak MB")


def against(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each as a multiple of chunk by chunk."""
    base = rows[0]
    return [{"lag": r["lag"], **{key: r[key] / base[key] if base[key] else 0.0 for key in RATIOS}} for r in rows]


def quality_of(place: Path, line: str, own: Fraction) -> dict[str, dict[str, Any]]:
    """Lag -> what `eval` measured of the model rolled out so, and otherwise as it comes; as it comes it has its own lag."""
    results = store.read_json(place)
    known = [measure["name"] for measure in results["measures"]]
    if line not in known:
        raise UserError(f"{place} has no line {line!r}; {config.nearest(line, known)}")
    found: dict[str, dict[str, Any]] = {}
    for arm in results["arms"]:
        said = named(arm["is"])
        plain = arm["kind"] == "model" and said.recipe is None and said.rollout.keys() <= {"lag"}
        if plain and "value" in (cell := results["table"][arm["name"]][line]):
            found.setdefault(str(Fraction(said.rollout.get("lag", str(own)))), cell)
    if not found:
        raise UserError(f"{place} measured {line!r} of no model; choose another --line of {', '.join(known)}")
    return found


def plot(rows: Sequence[dict[str, Any]], line: str, out: Path) -> None:
    """Quality against latency, a point for each lag."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for one in (r for r in rows if "quality" in r):
        low, high = one.get("low"), one.get("high")
        reach = None if low is None or high is None else [[one["quality"] - low], [high - one["quality"]]]
        axes.errorbar(one["latency ms"], one["quality"], reach, fmt="o", color="#2a6f97", capsize=3)
        axes.annotate(f" lag {one['lag']}", (one["latency ms"], one["quality"]))
    axes.set_xlabel("latency of a frame, ms")
    axes.set_ylabel(line)
    store.write_aside(out, lambda aside: figure.savefig(aside, dpi=110, format=out.suffix.lstrip(".") or "png"))


def main(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    timed = at_lags(load(options.model, options.set), options.steps)
    own = Fraction(load(options.model, options.set).schedule.lag).limit_denominator(10_000)
    measured = quality_of(options.quality, options.line, own) if options.quality else {}
    before = machine()
    if before["load"] > 0.5:
        print(f"the machine is busy (load {before['load']:.1f}): ratios are of one run, times do not count", file=sys.stderr)
    next(Timed(timed[0].lag, timed[0].system).made())  # what a process does once falls on no lag
    walk(timed, options.frames)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        asked = [(options.model, options.set, options.steps, k, options.threads) for k in range(len(timed))]
        peaks = pool.starmap(peak, asked, chunksize=1)
    rows = [row(one, bytes_) for one, bytes_ in zip(timed, peaks, strict=True)]
    for one in rows:
        if cell := measured.get(one["lag"]):
            one |= {"quality": cell["value"], "low": cell.get("low"), "high": cell.get("high")}
    if options.plot:
        plot(rows, options.line, options.plot)
    return {
        "model": options.model, "set": options.set, "steps": timed[0].system.schedule.steps, "frames": options.frames,
        "line": options.line if options.quality else None, "lags": rows, "ratios": against(rows),
        "machine": before, "load_after": os.getloadavg()[0],
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="progressive")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="arguments of the recipe, such as size=nano")
    parser.add_argument("--steps", type=int, metavar="N", help="of a descent [the recipe's own]")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--frames", type=int, default=96, help="timed at each lag [96]")
    parser.add_argument("--quality", type=Path, metavar="FILE", help="results.json of unspool eval")
    parser.add_argument("--line", default="energy", help="of its table [energy]")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw quality against latency there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    chosen = parser.parse_args()
    try:
        if chosen.plot and not chosen.quality:
            raise UserError("a plot needs measured quality: give --quality results.json of unspool eval MODEL:lag=...")
        figures = main(chosen)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    measured = ("quality", "low", "high")  # of some lags alone
    print(table([{key: value for key, value in one.items() if key not in measured} for one in figures["lags"]]))
    print("as multiples of lag 1", table(figures["ratios"]), sep="\n")
    if chosen.json:
        store.write_json(chosen.json, figures)
        print(json.dumps({"written": str(chosen.json)}))

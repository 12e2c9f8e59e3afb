"""`unspool claims run`: one claim put to the test."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from unspool.cli.claims import VERBS
from unspool.cli.parser import Parser, set_threads
from unspool.cli.progress import Bar

EXAMPLES = (
    "unspool claims run recursive-alpha --out runs/recursive-alpha     # the same command goes on after Ctrl-C",
    "unspool claims run recursive-alpha --flops 1e11 --out rehearsal   # a rehearsal: its result stays in --out",
    "unspool claims run my_claim.yaml --out runs/mine",
)


def parser(argv: list[str]) -> Parser:
    parser = Parser("claims run", VERBS["run"], EXAMPLES)
    parser.add_argument("claim", metavar="NAME", help="of a file in bench/claims, or the path of a .yaml file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the runs and their evaluation")
    parser.add_argument("--flops", type=float, metavar="X", help="a run's budget, for a rehearsal [the claim's]")
    parser.device()
    parser.threads()
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Train, measure, judge; each goes on where it was stopped."""
    from unspool import claims
    from unspool.claims.running import place_of
    from unspool.device import choose

    set_threads(options.threads)
    claim = claims.read(claims.find(options.claim))
    trial = claims.plan(claim, options.out, options.flops, ["unspool", *sys.argv[1:]], choose(options.device))
    for name, arm in trial.arms.items():
        print(f"{name}: {arm.steps} steps of {arm.flops:.3g} FLOPs, {arm.parameters:,} parameters", file=sys.stderr)
    try:
        with Bar("GFLOP of training", trial.total) as bar:
            begun: list[int] = []

            def trained(done: int, run: str, loss: float) -> None:
                if math.isnan(loss) or not begun:  # what was trained before takes no time now
                    bar.first = done
                begun.extend([] if math.isnan(loss) else [done])
                bar(done, {"": run} | ({} if math.isnan(loss) else {"loss": f"{loss:.3f}"}))

            claims.train(trial, trained)
        with Bar("frames", 1) as bar:

            def measured(done: int, total: int, arm: str) -> None:
                bar.total = total
                bar(done, {"": arm})

            result = claims.judge(trial, measured)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("saved; the same command goes on") from None
    if options.json:
        print(json.dumps(result))
        return
    _print(result, trial)
    print(f"figures in {place_of(trial)}, videos in {trial.out / 'evaluation' / 'report.html'}", file=sys.stderr)


def _print(result: dict[str, Any], trial: Any) -> None:
    from unspool.claims.measures import KNOWN, unit_of
    from unspool.claims.page import interval

    asked = trial.asked
    print(trial.claim.told.claim)
    print(f"{asked.better} against {asked.other}, {asked.seeds} training seeds each; plus is as expected:")
    for name, cell in result["effects"].items():
        measure = KNOWN[name]
        counts = f"; {asked.smallest:g} counts" if name == asked.measure else ""
        print(f"  {measure.title:<32}{interval(cell)} {unit_of(measure)}{counts}")
    rehearsal = " (a rehearsal, which says nothing of the claim)" if trial.rehearsal else ""
    print(f"verdict: {result['verdict']}{rehearsal}")

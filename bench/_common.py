"""What the measurements share: the model that is meant, a context to go on from, the machine's state, a table, and JSON."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from unspool import config, hub, recipes, store
from unspool.errors import UserError
from unspool.speed import clock
from unspool.system import System
from unspool.testing import scale_weights

REAL_TIME = 30.0  # frames per second of the videos


def arguments(doc: str, frames: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    first = (hub.shipped() or ["chunk-by-chunk"])[0]
    parser.add_argument("model", nargs="?", default=first, help=f"checkpoint folder, shipped model, or recipe ({first})")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="arguments of the recipe, such as size=nano")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--frames", type=int, default=frames)
    parser.add_argument("--cap", type=int, default=64, help="frames that the slow oracle makes (speed.py)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def load(model: str, pairs: Sequence[str]) -> System:
    """A trained model, or a recipe with random weights large enough that everything moves the output."""
    given = dict(pair.split("=", 1) for pair in pairs)
    if model.replace("_", "-") in recipes.RECIPES or ".py:" in model:
        torch.manual_seed(0)
        system = config.build(model, given)
        scale_weights(system.model, std=0.05)
        system.model.eval().requires_grad_(False)
        return system
    return hub.from_pretrained(model, **given)


def machine() -> dict[str, Any]:
    """What the figures hold for, see `unspool.speed`."""
    return clock.machine(torch.device("cpu"))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Columns as wide as they need be, figures with four digits."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def main(doc: str, frames: int, measure: Callable[[System, argparse.Namespace], dict[str, Any]]) -> None:
    """Parse, measure, write. `measure` prints its tables; a figure `passed` that is false makes the exit code 1."""
    options = arguments(doc, frames).parse_args()
    torch.set_num_threads(options.threads)
    try:
        system = load(options.model, options.set)
        before = machine()
        print(" ".join(f"{key} {value}" for key, value in before.items()), f"model {options.model}", *options.set, flush=True)
        if before["load"] > 0.5:
            print(f"the machine is busy (load {before['load']:.1f}): figures of time do not count")
        figures = measure(system, options)
        figures |= {"model": options.model, "set": options.set, "machine": before, "load_after": os.getloadavg()[0]}
        if options.json:
            store.write_json(options.json, figures)
            print(json.dumps({"written": str(options.json)}))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if figures.get("passed", True) else 1)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)

"""The gallery of docs/schedules.md: the levels of every kind of rollout, small enough to see each evaluation.

    python bench/schedules.py docs
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import torch

from unspool.explain.picture import AWAY, FAINT, draw, legend, unrolled
from unspool.recipes import RECIPES
from unspool.schedule import Staircase
from unspool.store import write_aside

LAGS = {
    "lag 0: the full sequence": Staircase(8, 1, 0, 8),
    "lag 1/8: progressive, eight in flight": Staircase(8, 1, Fraction(1, 8), grow=True),
    "lag 1/4: four in flight": Staircase(8, 1, Fraction(1, 4), grow=True),
    "lag 1/2: two in flight": Staircase(8, 1, Fraction(1, 2), grow=True),
    "lag 1: frame by frame": Staircase(8),
    "lag 1/8, but four alone: they leave together": Staircase(8, 1, Fraction(1, 8), 4),
}


def recipes_of() -> dict[str, Staircase]:
    """Every recipe as it rolls out if nothing is said."""
    with torch.device("meta"):
        schedules = {name: recipe().schedule for name, recipe in RECIPES.items()}
    return {f"{name}\n{said(case)}": case for name, case in schedules.items()}


def said(case: Staircase) -> str:
    chunk = f"chunks of {case.chunk}, " if case.chunk > 1 else ""
    return f"{chunk}lag {Fraction(case.lag).limit_denominator(1000)}, {case.steps} steps"


def page(cases: Mapping[str, Staircase], rows: int, height: float, out: Path) -> None:
    """Three plans abreast, all over as many evaluations."""
    from matplotlib.figure import Figure

    lines = -(-len(cases) // 3)
    figure = Figure(figsize=(10, height * lines), layout="constrained")
    for i, (axes, (title, case)) in enumerate(zip(figure.subplots(lines, 3).flat, cases.items(), strict=False)):
        plan = case.plan()
        hops = max(1, -(-(rows - len(plan.warmup)) // (len(plan.loop) - 1)))
        matrix = unrolled(plan, hops)[:rows]
        seen = (matrix > AWAY).any(0)
        draw(axes, plan, matrix[:, seen], title)
        if i >= len(cases) - 3:
            axes.set_xlabel("frame of the video", fontsize=9, color=FAINT)
        if i % 3 == 0:
            axes.set_ylabel("evaluation", fontsize=9, color=FAINT)
    for axes in figure.axes[len(cases) :]:
        axes.set_axis_off()
    legend(figure)
    write_aside(out, lambda aside: figure.savefig(aside, dpi=110, format="webp", pil_kwargs={"lossless": True, "method": 6}))
    print(f"{out}: {len(cases)} plans, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", type=Path, help="folder for the two pictures")
    docs = parser.parse_args().docs
    page(LAGS, 25, 3.3, docs / "schedules-lag.webp")
    page(recipes_of(), 41, 2.6, docs / "schedules-recipes.webp")

"""The matrix of levels as a picture: frames of the video from left to right, evaluations from top to bottom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unspool import store
from unspool.schedule import Plan

SHOWN, AWAY = -1.0, -2.0
"""In place of a level: the frame has left the flight, or is not in it yet."""
NOISE, CLEAN = ("#22223b", "#355c8c", "#5fa8c4", "#a9dcd0"), "#fdf3d6"
OUT, INK, FAINT = "#f6c667", "#1d2026", "#7b808a"
MOST = 360
"""Rows of a picture; a longer descent is drawn without its middle hops."""


def unrolled(plan: Plan, hops: int) -> np.ndarray:
    """(rows, redo + frames) of levels before each evaluation and after the last one, over the warm-up and so many hops; SHOWN
    and AWAY beside the flight. Column 0 is the first frame that is made again, or the first that is made."""
    width = plan.redo + plan.frames
    rows = [(0, row, here) for row, here in zip(plan.warmup.tolist()[:-1], plan.entering, strict=True)]
    rows += [(hop * plan.hop, row, width) for hop in range(hops) for row in plan.loop.tolist()[:-1]]
    last = (hops - 1) * plan.hop
    rows.append((last, plan.loop.tolist()[-1], width))
    matrix = np.full((len(rows), last + width), AWAY)
    for y, (at, row, here) in enumerate(rows):
        matrix[y, : at + plan.redo] = SHOWN
        matrix[y, at : at + here] = row[:here]
    return matrix


def levels_picture(plan: Plan, path: Path, *, title: str = "") -> None:
    """Write the warm-up and the first hops of a plan as a PNG, under a title, by default what leaves. Atomic."""
    from matplotlib.figure import Figure

    matrix = unrolled(plan, hops_of(plan))
    height, width = matrix.shape
    size = max(5.5, min(12.0, 1.6 + 0.2 * width)), max(3.0, min(12.0, 1.4 + 0.16 * height))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    draw(axes, plan, matrix, title or f"{plan.hop} of {plan.frames} frames leave at the end of each loop")
    axes.set_xlabel("frame of the video", color=FAINT)
    axes.set_ylabel("evaluation of the network", color=FAINT)
    legend(figure)
    store.write_aside(Path(path), lambda aside: figure.savefig(aside, dpi=120, format="png"))


def hops_of(plan: Plan) -> int:
    """So many that the flight has moved up by its own length and a little more, if there is room for it."""
    wanted = -(-plan.frames // plan.hop) + (2 if plan.hop < plan.frames else 1)
    room = (MOST - len(plan.warmup)) // max(1, len(plan.loop) - 1)
    return max(1, min(wanted, room))


def draw(axes: Any, plan: Plan, matrix: np.ndarray, title: str) -> None:
    """One matrix: levels from noise to clean and what was shown before; thin lines between chunks and between evaluations."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb
    from matplotlib.ticker import MaxNLocator

    shades = LinearSegmentedColormap.from_list("levels", [CLEAN, *NOISE[::-1]])
    picture = shades(np.clip(matrix, 0, 1))[..., :3]
    picture[matrix == SHOWN] = to_rgb(OUT)
    picture[matrix == AWAY] = (1, 1, 1)
    height, width = matrix.shape
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=(-plan.redo, width - plan.redo, height, 0))
    edges = range(-plan.redo, width - plan.redo + 1)
    for x in (x for x in edges if x % plan.chunk == 0 and width <= 80):
        axes.axvline(x, color="white", linewidth=0.4)
    if height <= 80:
        for y in range(1, height):
            axes.axhline(y, color="white", linewidth=0.25)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(colors=FAINT, labelsize=8, length=2)
    for side in axes.spines.values():
        side.set_visible(False)


def legend(figure: Any, *, columns: int = 5) -> None:
    """What the colours mean, above all panels."""
    from matplotlib.patches import Patch

    parts = {"noise": NOISE[0], "half way": NOISE[2], "clean": CLEAN, "shown": OUT, "not in flight": "#ffffff"}
    handles = [Patch(facecolor=colour, edgecolor=FAINT, linewidth=0.4, label=label) for label, colour in parts.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=9, labelcolor=INK)

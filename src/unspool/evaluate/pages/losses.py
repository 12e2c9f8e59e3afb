"""What a training run noted, drawn: a panel for each loss, on its own clips as a line, on held-out ones as points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unspool.evaluate.pages.plots import FUTURES, LIGHT, Theme, canvas, dress, png

HELD_OUT = "held_out_"
LINES = 100
"""Points that a line is averaged to, so that noise does not hide where it goes."""


def draw_losses(noted: Sequence[Mapping[str, float]], theme: Theme = LIGHT) -> bytes | None:
    """PNG of the lines of a metrics.jsonl, oldest first: `loss` and `stage_0`, ... each beside what `held_out_` says of it.
    None where fewer than two steps were noted."""
    steps = [line["step"] for line in noted if "loss" in line]
    if len(steps) < 2:
        return None
    last = {name for line in noted for name in line}
    stages = (name for name in last if name.startswith("stage_") or name == "rollout")
    names = ["loss", *sorted(stages, key=lambda name: (name == "rollout", len(name), name))]
    names = names[1:] if len(names) > 1 else names  # with stages, `loss` is the last of them again
    figure = canvas(0.6 + 2.1 * len(names), theme)
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, names, strict=True):
        dress(ax, name.replace("_", " "), "", theme)
        x, y = _averaged(*_points(noted, name))
        ax.plot(x, y, color=FUTURES[0], lw=1.4, label="training")
        ax.plot(*_points(noted, HELD_OUT + name), color=FUTURES[1], lw=1.2, marker="o", ms=3, label="held out")
        ax.set_yscale("log")
    axes[0].legend(frameon=False, fontsize=9, labelcolor=theme.ink)
    axes[-1].set_xlabel("step", color=theme.faint)
    return png(figure)


def _points(noted: Sequence[Mapping[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(line["step"], line[name]) for line in noted if name in line]
    x, y = np.array(found, dtype=float).reshape(-1, 2).T
    return x, y


def _averaged(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(x):
        return x, y
    parts = np.array_split(np.arange(len(x)), min(LINES, len(x)))
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])

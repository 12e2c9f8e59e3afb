"""Curves against time: the faint line is the video half a second at a time, the points are the segments judged."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

FUTURES = ("#0077bb", "#ee7733", "#009988", "#cc3377", "#997700", "#6644cc")  # told apart by colour-blind eyes too
SMOOTH = 15  # frames


class Theme(NamedTuple):
    ground: str
    ink: str
    faint: str
    band: str


LIGHT = Theme("#ffffff", "#1d2026", "#7b808a", "#c9ced8")
DARK = Theme("#191b20", "#e6e8ec", "#8b909b", "#3d434f")


class Panel(NamedTuple):
    """edges: (S + 1,) frames. values: (N, T) per frame, means: (N, S). low, high, real: (S,) or None without a band."""

    title: str
    unit: str
    edges: np.ndarray
    values: np.ndarray
    means: np.ndarray
    real: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def draw_curves(panels: Sequence[Panel], labels: Sequence[str], control: str, fps: float, theme: Theme) -> bytes:
    """PNG. `labels` name the N lines of every panel; the one named `control` is dashed. Frame t is drawn at t / fps."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = canvas(0.8 + 2.1 * len(panels), theme)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    styles = _styles(labels, control, theme)
    for ax, panel in zip(axes, panels, strict=True):
        _draw(ax, panel, styles, fps, theme)
    axes[-1].set_xlabel("seconds", color=theme.faint)
    handles: list[Any] = [Line2D([], [], marker="o", ms=4, lw=1.8, label=label, **style) for label, style in styles]
    if any(panel.real is not None for panel in panels):
        handles.append(Patch(color=theme.band, label="95 % of real video"))
        handles.append(Line2D([], [], color=theme.faint, lw=1, label="real mean"))
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9, labelcolor=theme.ink
    )
    return png(figure)


def canvas(height: float, theme: Theme) -> Any:
    """An empty matplotlib figure, 10 inches wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, height), dpi=130, facecolor=theme.ground, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def dress(ax: Any, title: str, unit: str, theme: Theme) -> None:
    """Name a panel and give it the colours of the theme."""
    ax.set_title(title, loc="left", fontsize=11, color=theme.ink)
    ax.set_ylabel(unit, fontsize=9, color=theme.faint)
    ax.set_facecolor(theme.ground)
    ax.tick_params(colors=theme.faint, labelsize=9)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)


def _styles(labels: Sequence[str], control: str, theme: Theme) -> list[tuple[str, dict[str, Any]]]:
    return [
        (label, {"color": theme.faint, "linestyle": "--"} if label == control else {"color": FUTURES[i % len(FUTURES)]})
        for i, label in enumerate(labels)
    ]


def _draw(ax: Any, panel: Panel, styles: list[tuple[str, dict[str, Any]]], fps: float, theme: Theme) -> None:
    seconds = panel.edges / fps
    centres = (panel.edges[:-1] + panel.edges[1:] - 1) / 2 / fps
    tops = [panel.means[np.isfinite(panel.means)]]
    if panel.high is not None and panel.low is not None and panel.real is not None:
        low, high, real = (np.append(line, line[-1]) for line in (panel.low, panel.high, panel.real))
        ax.fill_between(seconds, np.maximum(low, 0), high, step="post", color=theme.band, lw=0)
        ax.step(seconds, real, where="post", color=theme.faint, lw=1)
        tops.append(panel.high)
    for (_, style), line, means in zip(styles, panel.values, panel.means, strict=False):
        ax.plot(np.arange(len(line)) / fps, smooth(line), lw=0.8, alpha=0.35, **style)
        ax.plot(centres, means, lw=1.8, marker="o", ms=4, clip_on=False, zorder=3, **style)
    reach = np.concatenate(tops)
    ax.set_ylim(0, 1.15 * (float(reach.max()) if len(reach) and reach.max() > 0 else 1.0))
    ax.set_xlim(0, seconds[-1])
    dress(ax, panel.title, panel.unit, theme)


def smooth(line: np.ndarray, width: int = SMOOTH) -> np.ndarray:
    """(T,) -> (T,): mean of what is known of `width` frames around; NaN where nothing is."""
    known = ~np.isnan(line)
    kernel = np.ones(min(width, len(line)))
    sums, counts = (np.convolve(part, kernel, "same") for part in (np.where(known, line, 0.0), known.astype(float)))
    return np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)

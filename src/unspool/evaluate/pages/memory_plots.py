"""Pictures of what models remember: against how long it was out of sight, and against the windows of context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unspool.evaluate.pages.comparison_plots import DASHES, array, fit, legend, styles
from unspool.evaluate.pages.memory_tables import span
from unspool.evaluate.pages.plots import Theme, canvas, dress, png

PANELS = (("recall", "recall", ""), ("psnr", "PSNR", "dB"), ("ssim", "SSIM", ""))
"""Key, title, unit."""


def draw_gaps(results: Mapping[str, Any], theme: Theme) -> bytes:
    """A row per kind of walks, behind the longest context: recall, PSNR and SSIM of what comes back, by how long it was out of
    sight."""
    memory = results["memory"]
    looks = memory_styles(results, theme)
    longest = {kind: max(parts, key=lambda part: part["windows"]) for kind, parts in memory["kinds"].items()}
    figure = canvas(0.9 + 2.5 * len(longest), theme)
    rows = figure.subplots(len(longest), len(PANELS), squeeze=False)
    for panels, (kind, part) in zip(rows, longest.items(), strict=True):
        for ax, (key, title, unit) in zip(panels, PANELS, strict=True):
            lines = {name: points for name, points in part[key].items() if _is_drawn(memory, name, key)}
            _draw(ax, memory, lines, looks, key, theme)
            dress(ax, f"{kind.capitalize()}: {title}", unit, theme)
            ax.set_xticks(range(len(part["gaps"])), [span(gap) for gap in part["gaps"]])
    for ax in rows[-1]:
        ax.set_xlabel("frames out of sight", color=theme.faint)
    legend(figure, looks, theme)
    return png(figure)


def draw_windows(results: Mapping[str, Any], theme: Theme) -> bytes:
    """The same over all that was out of sight for a window or more, by the windows of context."""
    memory = results["memory"]
    looks = memory_styles(results, theme)
    several = {kind: parts for kind, parts in memory["kinds"].items() if len(parts) > 1}
    figure = canvas(0.9 + 2.5 * len(several), theme)
    rows = figure.subplots(len(several), len(PANELS), squeeze=False)
    for panels, (kind, parts) in zip(rows, several.items(), strict=True):
        for ax, (key, title, unit) in zip(panels, PANELS, strict=True):
            names = [name for name in memory["rows"] if _is_drawn(memory, name, key)]
            lines = {name: [part["overall"][name][key] for part in parts] for name in names}
            _draw(ax, memory, lines, looks, key, theme)
            dress(ax, f"{kind.capitalize()}: {title}", unit, theme)
            ax.set_xticks(range(len(parts)), [str(part["windows"]) for part in parts])
    for ax in rows[-1]:
        ax.set_xlabel("windows of context", color=theme.faint)
    legend(figure, looks, theme)
    return png(figure)


def memory_styles(results: Mapping[str, Any], theme: Theme) -> dict[str, dict[str, Any]]:
    """row -> its look: models as everywhere, their twins and codecs in their colours, controls grey."""
    models, looks, lines = styles(results, theme), {}, {"twin": "--", "codec": ":"}
    dashes = iter(DASHES * len(results["memory"]["rows"]))
    for name, row in results["memory"]["rows"].items():
        if row["of"] is None:
            looks[name] = {"color": theme.faint, "lw": 1.2, "linestyle": next(dashes)}
        else:
            line = {"linestyle": lines[row["kind"]], "lw": 1.2} if row["kind"] in lines else {}
            looks[name] = {**models[row["of"]], **line}
    return looks


def _is_drawn(memory: Mapping[str, Any], name: str, key: str) -> bool:
    """Twins and codecs are 0 and 1 of recall; controls are exact, and so at the cap of the others."""
    return memory["rows"][name]["kind"] not in (("twin", "codec") if key == "recall" else ("control",))


def _draw(
    ax: Any, memory: Mapping[str, Any], lines: Mapping[str, Sequence[Any]], looks: Mapping[str, Any], key: str, theme: Theme
) -> None:
    """Lines with their intervals, a little apart."""
    needed: list[np.ndarray] = [np.array([0.0, 1.0])] if key == "recall" else []
    others: list[np.ndarray] = []
    for i, (name, points) in enumerate(lines.items()):
        value, low, high = (array([_at(point, end) for point in points]) for end in ("value", "low", "high"))
        reach = np.nan_to_num(np.stack([value - low, high - value]).clip(0))
        places = np.arange(len(points)) + 0.04 * (i - (len(lines) - 1) / 2)
        ax.errorbar(places, value, yerr=reach, marker="o", ms=4, elinewidth=1, **looks[name])
        (others if memory["rows"][name]["kind"] == "control" else needed).append(value)
    fit(ax, needed, others, theme)
    if key == "recall":
        for level in (0, 1):
            ax.axhline(level, color=theme.band, lw=1, zorder=0)


def _at(point: float | Mapping[str, Any] | None, end: str) -> float | None:
    """One end of a figure with an interval, or of a bare figure; None where it was skipped."""
    return point.get(end) if isinstance(point, Mapping) else point

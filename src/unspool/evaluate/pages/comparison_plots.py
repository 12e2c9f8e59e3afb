"""The pictures of a comparison: one line per arm, in the same colour and dash everywhere; controls are grey and dashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unspool.evaluate.pages.plots import FUTURES, Theme, canvas, dress, png
from unspool.evaluate.pages.standing import contenders

DASHES = ((0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (2, 1)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))
CURVE = 1.8  # points, the width of a line
HEADROOM = 2.5  # a control may stretch a panel to so many times what the models and the band need

Styles = Mapping[str, Mapping[str, Any]]


def styles(results: Mapping[str, Any], theme: Theme) -> dict[str, dict[str, Any]]:
    """arm -> what matplotlib draws its lines with."""
    models = contenders(results)
    controls = [arm["name"] for arm in results["arms"] if arm["kind"] == "control"]
    drawn = {arm: {"color": FUTURES[i % len(FUTURES)], "lw": CURVE, "zorder": 3} for i, arm in enumerate(models)}
    for i, arm in enumerate(controls):
        drawn[arm] = {"color": theme.faint, "lw": 1.2, "linestyle": DASHES[i % len(DASHES)]}
    return drawn


def draw_segments(results: Mapping[str, Any], theme: Theme) -> bytes:
    """A row per metric: on the left its mean in each segment over the band of real video, on the right who lies outside."""
    fps, looks = results["data"]["fps"], styles(results, theme)
    metrics = results["segments"]
    figure = canvas(0.9 + 2.1 * len(metrics), theme)
    rows = figure.subplots(len(metrics), 2, sharex=True, squeeze=False, gridspec_kw={"width_ratios": [3, 1.3]})
    for (left, right), (name, metric) in zip(rows, metrics.items(), strict=True):
        seconds = np.array(metric["edges"], float) / fps
        centres = (seconds[:-1] + seconds[1:]) / 2
        reach = _band(left, seconds, metric, theme)
        controls = []
        for arm, lines in metric["arms"].items():
            mean, low, high = (array(lines[key]) for key in ("mean", "low", "high"))
            left.plot(centres, mean, marker="o", ms=3.5, **looks[arm])
            right.plot(centres, 100 * array(lines["outside"]), marker="o", ms=3, clip_on=False, **looks[arm])
            if arm in contenders(results):
                left.fill_between(centres, low, high, color=looks[arm]["color"], alpha=0.15, lw=0)
                reach += [mean, high]
            else:
                controls.append(mean)
        dress(left, _title(results, name), metric["unit"], theme)
        dress(right, "Outside the band", "% of videos", theme)
        fit(left, reach, controls, theme)
        right.set_ylim(0, 100)
        left.set_xlim(0, seconds[-1])
    for ax in rows[-1]:
        ax.set_xlabel("seconds", color=theme.faint)
    legend(figure, looks, theme, band=True)
    return png(figure)


def draw_horizon(results: Mapping[str, Any], theme: Theme) -> bytes:
    """A panel per measure, against the number of the frame."""
    looks, horizon = styles(results, theme), results["horizon"]
    figure = canvas(0.9 + 2.2 * -(-len(horizon) // 2), theme)
    panels = figure.subplots(-(-len(horizon) // 2), 2, squeeze=False).ravel()
    for ax, (name, arms) in zip(panels, horizon.items(), strict=False):
        frames = results["horizon_frames"][name]
        for arm, line in arms.items():
            ax.plot(frames, array(line), marker="o" if len(frames) < 40 else "", ms=3, **looks[arm])
        # The table's unit of a ratio is not that of the curve, which is no ratio.
        unit = next((m["unit"] for m in results["measures"] if m["name"] == name and m["better"] != "real"), "")
        dress(ax, _title(results, name), unit, theme)
        ax.margins(x=0.01)
    for ax in panels[len(horizon) :]:
        ax.set_visible(False)
    for ax in panels[max(0, len(horizon) - 2) : len(horizon)]:
        ax.set_xlabel("frame", color=theme.faint)
    legend(figure, {arm: look for arm, look in looks.items() if any(arm in arms for arms in horizon.values())}, theme)
    return png(figure)


def draw_foretold(results: Mapping[str, Any], theme: Theme) -> bytes:
    """On the left what the error of one step foretells, on the right what the rollouts show, over the same frames."""
    looks, frames = styles(results, theme), results["protocol"]["frames"]
    figure = canvas(3.2, theme)
    for ax, (key, title) in zip(
        figure.subplots(1, 2), (("predicted", "Foretold"), ("measured", "Measured in rollouts")), strict=True
    ):
        for arm, found in results["foretold"].items():
            line = array(found[key])
            at = (np.arange(len(line)) + 0.5) * frames / max(len(line), 1)
            ax.plot(at, line, marker="o" if len(line) < 40 else "", ms=3, **looks[arm])
        dress(ax, title, "error", theme)
        ax.set_xlabel("frame", color=theme.faint)
        ax.set_xlim(0, frames)
        ax.set_ylim(bottom=0)
    legend(figure, {arm: look for arm, look in looks.items() if arm in results["foretold"]}, theme)
    return png(figure)


def _band(ax: Any, seconds: np.ndarray, metric: Mapping[str, Any], theme: Theme) -> list[np.ndarray]:
    """Draw the band of real video; what the panel must show of it."""
    low, high, real = (array([*metric[key], *metric[key][-1:]]) for key in ("low", "high", "real"))
    ax.fill_between(seconds, np.nan_to_num(low), high, step="post", color=theme.band, lw=0)
    ax.step(seconds, real, where="post", color=theme.ink, lw=0.8, alpha=0.6)
    return [low, high, real]


def fit(ax: Any, needed: Sequence[np.ndarray], controls: Sequence[np.ndarray], theme: Theme) -> None:
    """Show what is needed, and the controls unless they would squeeze it flat; say where one leaves the panel."""
    low, high = _ends(needed)
    least, most = _ends([*needed, *controls])
    span = (high - low) or 1.0
    bottom, top = max(least, low - HEADROOM * span), min(most, high + HEADROOM * span)
    if bottom > least or top < most:
        ax.text(0.995, 0.97, "a control lies outside this panel", transform=ax.transAxes, ha="right", va="top", fontsize=8,
                color=theme.faint)  # fmt: skip
    margin = 0.08 * ((top - bottom) or 1.0)
    ax.set_ylim(0 if 0 <= bottom < 0.3 * top else bottom - margin, top + margin)


def _ends(lines: Sequence[np.ndarray]) -> tuple[float, float]:
    every = np.concatenate([*lines, np.empty(0)])
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)


def legend(figure: Any, looks: Styles, theme: Theme, *, band: bool = False) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], label=arm.replace("$", r"\$"), **look) for arm, look in looks.items()]
    if band:
        handles += [Patch(color=theme.band, label="95 % of real video"),
                    Line2D([], [], color=theme.ink, lw=0.8, alpha=0.6, label="real mean")]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside upper center", ncols=min(5, len(handles)), frameon=False, fontsize=9,
        labelcolor=theme.ink, handlelength=3,
    )  # fmt: skip


def _title(results: Mapping[str, Any], name: str) -> str:
    title = next((measure["title"] for measure in results["measures"] if measure["name"] == name), name)
    return (title[:1].upper() + title[1:]).replace("$", r"\$")


def array(line: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in line], float)

"""From figures to words: four findings on a set of videos, in a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unspool.evaluate.drift import Horizon, Row, Table

WORDS = {
    ("motion", "below"): "too little moves",
    ("motion", "above"): "too much moves",
    ("static", "above"): "too many frames stand still",
    ("sharpness", "below"): "too soft",
    ("sharpness", "above"): "too grainy",
    ("colour", "above"): "too far from where it began",
}


class Finding(NamedTuple):
    """figure: the one number of it, for a headline. words: a sentence for someone who has not read the code."""

    name: str
    holds: bool
    figure: str
    words: str


def findings(
    table: Table, labels: Sequence[str], repeats: Sequence[float] | None, limit: float, fps: float
) -> tuple[Finding, ...]:
    """Of the videos 0 .. len(labels) - 1 of the table, together: a finding holds only if it holds for each of them.

    repeats: share of repeated windows, one per label; limit: the most of it in real video. Every finding is lost by a
    frozen video: motion and repetition by what they are, the others because their horizon is paired with motion.
    """
    own = [row for row in table.rows if row.video < len(labels)]
    found = [_motion(own, _of(table, "motion", labels), labels, fps)]
    judged = {row.metric: None for row in own if row.metric not in ("motion", "static")}
    found += [_lasting(metric, own, _of(table, metric, labels), labels, fps) for metric in judged]
    if repeats is not None:
        found.append(_repetition(repeats, limit))
    return tuple(found)


def sentence(table: Table, labels: Sequence[str], found: Sequence[Finding], fps: float) -> str:
    """The whole in one line: how long every video is like real video, by which metric it is not."""
    first = min((h for h in table.horizons if h.video < len(labels)), key=lambda h: h.frames)
    lost = " and ".join(finding.name for finding in found if not finding.holds)
    if not lost:
        return "Like real video to the end, by every measure here."
    if first.whole:
        return f"Like real video to the end in each segment, but not as a whole: {lost}."
    since = f"for {first.frames / fps:.1f} s" if first.frames else "at no time"
    return f"Like real video {since}; {first.by} leaves first ({_why(first)})."


def worst_motion(rows: Sequence[Row]) -> float:
    """The motion over real motion that is farthest from 1, as a factor, of all segments; NaN where none is known."""
    ratios = [row.ratio for row in rows if row.metric == "motion" and np.isfinite(row.ratio)]
    return max(ratios, key=lambda r: abs(np.log(max(r, 1e-9))), default=float("nan"))


def _why(left: Horizon) -> str:
    return WORDS.get((left.by, left.side), "too much of it" if left.side == "above" else "too little of it")


def _of(table: Table, metric: str, labels: Sequence[str]) -> list[Horizon]:
    return [h for h in table.horizons if h.metric == metric and h.video < len(labels)]


def _motion(rows: list[Row], horizons: list[Horizon], labels: Sequence[str], fps: float) -> Finding:
    worst = worst_motion(rows)
    scale = f"motion is {worst:.2f} of real video's in the worst segment"
    if all(h.whole for h in horizons):
        return Finding("motion", True, f"{worst:.2f}", f"Alive to the end: {scale}.")
    words = f"Not alive to the end: {scale}, and {_leaves(horizons, labels, fps)}."
    return Finding("motion", False, f"{worst:.2f}", words)


def _lasting(metric: str, rows: list[Row], horizons: list[Horizon], labels: Sequence[str], fps: float) -> Finding:
    frames = min(h.frames for h in horizons)
    end = max(row.stop for row in rows)
    name = metric.capitalize()
    if all(h.whole for h in horizons):
        return Finding(metric, True, f"{end / fps:.1f} s", f"{name} stays in the band of real video to the end.")
    return Finding(metric, False, f"{frames / fps:.1f} s", f"{name}: {_leaves(horizons, labels, fps)}.")


def _leaves(horizons: list[Horizon], labels: Sequence[str], fps: float) -> str:
    first = min(horizons, key=lambda h: h.frames)
    because = _why(first)
    if first.metric not in (first.by, "motion"):
        because = f"by motion, {because}"
    since = f"from {first.frames / fps:.1f} s on" if first.frames else "from the start"
    gone = sum(not h.whole for h in horizons)
    which = "it leaves" if len(horizons) == 1 else f"{gone} of {len(horizons)} leave"
    whom = "" if len(horizons) == 1 else f" in {labels[first.video]}"
    return f"{which} the band of real video, {since}{whom} ({because})"


def _repetition(repeats: Sequence[float], limit: float) -> Finding:
    most = max(repeats)
    figure = f"{100 * most:.0f} %"
    if most <= limit:
        words = f"{figure} of the seconds nearly equal an earlier one, no more than in real video."
        return Finding("repetition", True, figure, words)
    real = f"{100 * limit:.0f} %"
    words = f"It repeats itself: {figure} of the seconds nearly equal an earlier one, in real video up to {real}."
    return Finding("repetition", False, figure, words)

"""results.json: everything that was found and everything that made it, as the page and the terminal show it.

The schema has a version. What a figure could not be computed from is said in its place, {"skipped": why}, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from unspool.evaluate.band import Band, band_of, to_scale
from unspool.evaluate.bootstrap import LEVELS, Interval, mean
from unspool.evaluate.drift import Series, edges_of, segment_means, series_of, slope_of
from unspool.evaluate.features import WINDOW
from unspool.evaluate.foretold import OneStep, agreement, predict
from unspool.evaluate.quality import scale_weights
from unspool.evaluate.tables import LINES, Base, Cell, Gathered, differences, drift_of, holm, table
from unspool.evaluation.arms import Arm, Conditions
from unspool.evaluation.measuring import Measured
from unspool.evaluation.published import Published
from unspool.store import plain

SCHEMA = "unspool/eval/2"
POINTS = 120
"""Of a curve against the frame, at most."""
HORIZON = ("psnr", "ssim", "ms_ssim", "score", "diversity")


def results_of(
    arms: Sequence[Arm], found: Measured, asked: Conditions, made: Mapping[str, Any], data: Mapping[str, Any],
    notes: Sequence[str], costs: Costs, published: Published,
) -> dict[str, Any]:  # fmt: skip
    """made: command, version, hardware and the like; data: name, hash, split; costs: of single steps, by arm."""
    there = {name: arm for name, arm in found.arms.items() if isinstance(arm, Gathered)}
    missing = {name: why for name, why in found.arms.items() if isinstance(why, str)}
    base = Base(found.real, there["real"], there.get("world run again"), asked.segment)
    cells = table(there, base)
    shown = [arm for arm in arms if arm.name in there]
    told = [f"{name}: {why}" for name, why in missing.items()]
    return plain({
        "schema": SCHEMA, "made": made, "data": data,
        "protocol": {
            "frames": asked.frames, "context_frames": asked.context, "contexts": asked.contexts, "futures": asked.futures,
            "segment": asked.segment, "window": WINDOW, "first_seed": asked.seed, "real_clips": asked.real,
            "ms_ssim_scales": len(scale_weights(data["height"], data["width"])),
            "resize": data["resize"] + "; files: the centre square" * any(arm.kind == "videos" for arm in arms),
        },
        "arms": [_arm(arm, found.rates.get(arm.name)) for arm in shown],
        "measures": _measures(),
        "table": {name: {line: _cell(cell, there[name]) for line, cell in row.items()} for name, row in cells.items()},
        "differences": _differences(shown, cells, base),
        "horizon": _horizon(there), "horizon_frames": {_line(name): _frames(asked.frames) for name in HORIZON},
        "segments": _segments(there, base),
        "stable": {name: _stable(arm, base, asked) for name, arm in there.items()},
        **_foretold(there, base, costs),
        "published": published.table(there, found.real, asked.whole),
        "notes": [*told, *notes],
    }, digits=6)  # fmt: skip


def with_memory(results: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, Any]:
    """The results with what was found of memory. Two models are told apart after Holm's correction over all that they are
    compared on, the lines of the table and their recalls alike, so this is done anew for both."""
    results = {**results, **memory, "notes": [*results["notes"], *memory.get("notes", [])]}
    parts = [part for kind in memory.get("memory", {"kinds": {}})["kinds"].values() for part in kind]
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in (*results["differences"], *(one for part in parts for one in part["differences"])):
        if "p" in one:
            pairs.setdefault((one["a"], one["b"]), []).append(one)
    for lines in pairs.values():
        for one, apart in zip(lines, holm([one["p"] for one in lines]), strict=True):
            one["apart"] = bool(apart)
    return results


def _arm(arm: Arm, rate: float | None) -> dict[str, Any]:
    return {
        "name": arm.name, "kind": arm.kind, "is": arm.what, "weights_sha256": arm.weights, "recipe": arm.recipe,
        "futures": arm.futures, "frames_per_second": rate, "of": arm.of,
    }  # fmt: skip


def _measures() -> list[dict[str, Any]]:
    return [{
        "name": line.name, "title": line.title, "unit": line.unit, "better": line.better, "sees": line.sees or (),
        "blind": line.blind, "with": line.beside,
    } for line in LINES]  # fmt: skip


def _cell(cell: Cell, arm: Gathered) -> dict[str, Any]:
    if cell.interval is None:
        return {"skipped": cell.why}
    return {**cell.interval._asdict(), "n": len(arm["motion"]), **({"no_interval": cell.why} if cell.why else {})}


def _differences(arms: Sequence[Arm], cells: Mapping[str, Mapping[str, Cell]], base: Base) -> list[dict[str, Any]]:
    """Of every two arms of which one at least is no control."""
    pairs = [(a.name, b.name) for a, b in combinations(arms, 2) if not a.kind == b.kind == "control"]
    return [
        {"a": a, "b": b, "measure": line, **found._asdict()}
        for a, b in pairs
        for line, found in differences(cells[a], cells[b], base).items()
    ]


def _frames(frames: int) -> list[float]:
    """The middles of what a curve's points are means of."""
    return [float(np.mean(part)) for part in np.array_split(np.arange(frames), min(POINTS, frames))]


def _horizon(arms: Mapping[str, Gathered]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {_line(name): {} for name in HORIZON}
    for name in HORIZON:
        for arm, gathered in arms.items():
            if name in gathered.figures:  # none of these holds NaN
                curve = gathered[name].mean(tuple(range(gathered[name].ndim - 1)))
                found[_line(name)][arm] = [float(part.mean()) for part in np.array_split(curve, min(POINTS, len(curve)))]
    return {name: curves for name, curves in found.items() if curves}


def _line(name: str) -> str:
    return {"ms_ssim": "ms-ssim", "score": "energy"}.get(name, name)


def _segments(arms: Mapping[str, Gathered], base: Base) -> dict[str, Any]:
    """Drift: every segment of every arm beside the band of real video."""
    frames = base.real["motion"].shape[-1]
    edges = edges_of(frames, base.segment)
    found: dict[str, Any] = {}
    for arm, gathered in arms.items():
        for series in series_of(gathered.curves(), base.real.curves(), gathered.begun(), base.real.begun()):
            metric, real = series.metric, segment_means(series.real, edges)
            band = band_of(real, log=metric.log, low=metric.low)
            line = {"edges": [edges[0][0], *(b for _, b in edges)], "real": band.mean, "low": band.low, "high": band.high}
            entry = found.setdefault(metric.name, {**line, "unit": metric.unit, "arms": {}})
            entry["arms"][arm] = _segment(series, edges, len(gathered), band)
    return found


def _segment(series: Series, edges: list[tuple[int, int]], contexts: int, band: Band) -> dict[str, Any]:
    """deviation: the mean over videos of `Row.drift`, signed; slope: that of these, per 100 frames, signed."""
    from scipy.stats import t as student

    means = segment_means(series.values, edges)  # (K * S, segments)
    each = means.reshape(contexts, -1, len(edges)).mean(1)
    reach = np.full(len(edges), np.nan)
    if contexts > 1:
        reach = student.ppf(LEVELS[1], contexts - 1) * each.std(0, ddof=1) / np.sqrt(contexts)
    outside = ((means < band.low) | (means > band.high)).mean(0)
    away = ((to_scale(means, series.metric.log) - band.centre) / band.spread).mean(0)
    return {"mean": each.mean(0), "low": each.mean(0) - reach, "high": each.mean(0) + reach, "outside": outside,
            "deviation": away, "slope": slope_of([(a + b) / 2 for a, b in edges], away)}  # fmt: skip


class Costs(NamedTuple):
    """of: what single steps cost, by arm, or why that is not known. alike: the models that work in the same latents, of which
    the order can be compared."""

    of: Mapping[str, OneStep | str]
    alike: Sequence[str]


def _foretold(arms: Mapping[str, Gathered], base: Base, costs: Costs) -> dict[str, Any]:
    """Degradation predicted from the errors of single steps beside the one measured, mean deviation from real video over
    metrics, in each segment; and whether the two put models that work in the same latents into the same order. Intervals of the
    error and of both at the end are by a bootstrap over contexts."""
    found: dict[str, Any] = {}
    for name, cost in costs.of.items():
        if name not in arms or isinstance(cost, str):
            continue
        away = _away(arms[name], base)
        whole = predict(cost, max(away))
        found[name] = {
            "error": mean(cost.error), "predicted": [whole[stop - 1] for stop in away],
            "measured": [float(np.nanmean(each)) for each in away.values()],
            "at_end": {"predicted": mean(cost.error * max(away) / cost.hop), "measured": _mean_known(away[max(away)])},
        }  # fmt: skip
    ends = np.array([(found[name]["predicted"][-1], found[name]["measured"][-1]) for name in costs.alike if name in found])
    if len(ends) < 2 or not np.isfinite(ends).all():
        return {"foretold": found} if found else {}
    return {"foretold": found, "foretold_agreement": agreement(ends[:, 0], ends[:, 1])}


def _away(arm: Gathered, base: Base) -> dict[int, np.ndarray]:
    """End of a segment, in order -> (K,): the size of the deviation from real video there, mean over metrics and futures."""
    found: dict[int, list[list[float]]] = {}
    for row in drift_of(arm, base).rows:
        contexts = found.setdefault(row.stop, [[] for _ in range(len(arm))])
        contexts[row.video // arm["motion"].shape[1]].append(abs(row.drift))
    return {stop: np.array([np.nanmean(each) for each in found[stop]]) for stop in sorted(found)}


def _mean_known(figures: np.ndarray) -> Interval | None:
    return mean(figures) if np.isfinite(figures).all() else None


def _stable(arm: Gathered, base: Base, asked: Conditions) -> dict[str, Any]:
    """The frames until a video first leaves the band of real video for two segments running, and what leaves first."""
    first: dict[int, Any] = {}
    for horizon in drift_of(arm, base).horizons:
        if horizon.video not in first or horizon.frames < first[horizon.video].frames:
            first[horizon.video] = horizon
    by = [h.by for h in first.values() if not h.whole]
    return {
        "median": float(np.median([h.frames for h in first.values()])),
        "whole": float(np.mean([h.whole for h in first.values()])),
        "by": {metric: by.count(metric) / len(first) for metric in sorted(set(by))},
    }

"""The report on generated futures: `sheet.png`, `curves.png`, `report.json`, `report.html`, and rows for a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.band import band_of
from unspool.evaluate.bootstrap import ratio
from unspool.evaluate.controls import copy_last, leave_one_out
from unspool.evaluate.curves import check, measure
from unspool.evaluate.drift import Horizon, Metric, Series, Table, edges_of, segment_means, series_of, tabulate
from unspool.evaluate.pages.page import lasting, page
from unspool.evaluate.pages.plots import DARK, LIGHT, Panel, draw_curves
from unspool.evaluate.pages.sheet import contact_sheet
from unspool.evaluate.pages.verdict import findings, sentence, worst_motion
from unspool.evaluate.repetition import WINDOW, repetition
from unspool.store import plain, write_aside, write_json

SCHEMA = "unspool.report/1"
CONTROL = "copy last"
LEAST_REAL = 8


class _Judged(NamedTuple):
    """The futures and, as the last video, copy-last."""

    labels: tuple[str, ...]
    series: list[Series]
    drawn: dict[str, np.ndarray]
    table: Table
    repeats: list[float] | None
    repeats_real: list[float] | None
    limit: float


def write_report(
    out: Path,
    *,
    futures: np.ndarray,
    real: np.ndarray,
    context: np.ndarray,
    fps: float,
    facts: Mapping[str, Any],
    extra: Mapping[str, Series | np.ndarray] | None = None,
    videos: Mapping[str, Path] | None = None,
    length: int = 100,
) -> dict[str, Any]:
    """Judge, draw, write; returns what `report.json` holds.

    futures: uint8 (K, T, H, W, 3). real: (M, T, H, W, 3), M >= 8 clips of real video of the same length, real[0] the
    true continuation of context (c, H, W, 3). extra: further metrics of the futures by name; a `Series` (values (K, T),
    real (M', T)) is judged against its own band and lasts or leaves as sharpness does, an array (K, T) is only drawn.
    videos: label -> mp4, put into the page. Every file is written whole or not at all, and none where the input does
    not fit, which raises UserError.
    """
    _fits(futures, real, context, fps)
    clips = {label: _content(path) for label, path in (videos or {}).items()}
    judged = _judge(futures, real, context, extra or {}, length)
    report = _figures(judged, futures, real, context, fps, facts, length)
    panels = _panels(judged, length)
    light, dark = (draw_curves(panels, judged.labels, CONTROL, fps, theme) for theme in (LIGHT, DARK))
    rows = {"real": real[0], **dict(zip(judged.labels, futures, strict=False))}
    buffer = io.BytesIO()
    contact_sheet(rows, context, fps).save(buffer, format="png")
    html = page(report, sheet=buffer.getvalue(), light=light, dark=dark, videos=clips)
    out = Path(out)
    for name, content in (("sheet.png", buffer.getvalue()), ("curves.png", light), ("report.html", html.encode())):
        write_aside(out / name, lambda aside, content=content: aside.write_bytes(content) and None)  # type: ignore[misc]
    write_json(out / "report.json", report)
    return report


def closing_table(report: Mapping[str, Any]) -> list[list[str]]:
    """A heading and a row per video, for the terminal. `report` is what `write_report` returned or wrote."""
    rows = [["", "motion / real", "still pairs", "sharpness / real", "colour shift", "repeats", "like real video for"]]
    for video in report["videos"]:
        shares = [_percent(video[key]) for key in ("still_pairs", "repetition")]
        figures = [_short(video[key]) for key in ("motion", "sharpness", "colour_shift")]
        rows.append([video["label"], figures[0], shares[0], figures[1], figures[2], shares[1], lasting(video)])
    return rows


def _fits(futures: np.ndarray, real: np.ndarray, context: np.ndarray, fps: float) -> None:
    check(futures)
    check(real)
    check(context[None])
    if len(real) < LEAST_REAL:
        raise UserError(f"the band of real video needs {LEAST_REAL} real clips or more, not {len(real)}")
    if futures.shape[1:] != real.shape[1:] or futures.shape[2:] != context.shape[1:]:
        shapes = f"futures {futures.shape}, real {real.shape}, context {context.shape}"
        raise UserError(f"real clips must be as long as the futures, and all pictures of one size: {shapes}")
    if futures.shape[1] < 2 or not fps > 0:
        raise UserError(f"a report needs 2 frames or more and fps above 0, not {futures.shape[1]} and {fps}")


def _content(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"cannot put {path} into the report: {why}; give the path of an mp4") from error


def _judge(
    futures: np.ndarray, real: np.ndarray, context: np.ndarray, extra: Mapping[str, Series | np.ndarray], length: int
) -> _Judged:
    frames = futures.shape[1]
    videos = np.concatenate([futures, copy_last(context, frames)[None]])
    labels = (*(f"future {k + 1}" for k in range(len(futures))), CONTROL)
    series = series_of(measure(videos), measure(real), measure(context[None]))
    for name, one in extra.items():
        if isinstance(one, Series):
            series.append(one._replace(metric=one.metric._replace(name=name)))
    for one in series:
        if one.values.shape[1] != frames or one.real.shape[1] != frames:
            raise UserError(f"series {one.metric.name!r} must have {frames} frames, like the futures")
    drawn = {name: one for name, one in extra.items() if not isinstance(one, Series)}
    table = tabulate(series, length)
    if frames < 2 * WINDOW:
        return _Judged(labels, series, drawn, table, None, None, math.nan)
    repeated = repetition(videos, real)
    limit = float(band_of(repeated.real[:, None], log=False, low=False).high[0])
    return _Judged(labels, series, drawn, table, list(repeated.share), list(repeated.real), limit)


def _figures(
    judged: _Judged,
    futures: np.ndarray,
    real: np.ndarray,
    context: np.ndarray,
    fps: float,
    facts: Mapping[str, Any],
    length: int,
) -> dict[str, Any]:
    count, frames, height, width, _ = futures.shape
    found = findings(judged.table, judged.labels[:count], judged.repeats and judged.repeats[:count], judged.limit, fps)
    words = sentence(judged.table, judged.labels[:count], found, fps)
    frozen = _alone(judged, count, fps)
    floor = leave_one_out(judged.series[:4], length)
    per_clip = {s.metric.name: (np.nanmean(s.values[:count], 1), np.nanmean(s.real, 1)) for s in judged.series}
    curves = {s.metric.name: s.values[:count] for s in judged.series} | judged.drawn
    return plain(
        {
            "schema": SCHEMA,
            "verdict": {"holds": all(f.holds for f in found), "words": words, "findings": found},
            "video": {
                "futures": count, "frames": frames, "fps": fps, "seconds": frames / fps,
                "height": height, "width": width,
                "context_frames": len(context), "real_clips": len(real), "segment_length": length,
            },
            "facts": dict(facts),
            "videos": [_video(judged, k, fps) for k in range(len(judged.labels))],
            "ratios_to_real": {name: ratio(a, b) for name, (a, b) in per_clip.items() if np.isfinite([*a, *b]).all()},
            "controls": {
                CONTROL: {"findings": frozen},
                "real against real": _kept(floor),
            },
            "repetition": {
                "window": WINDOW, "shares": judged.repeats, "real": judged.repeats_real, "limit": judged.limit,
            },
            "metrics": [series.metric for series in judged.series],
            "segments": [{"label": judged.labels[row.video], **row._asdict()} for row in judged.table.rows],
            "slopes": [{"label": judged.labels[slope.video], **slope._asdict()} for slope in judged.table.slopes],
            "curves": {name: np.round(values, 4) for name, values in curves.items()},
        },
        digits=6,
    )  # fmt: skip


def _kept(floor: Iterable[Horizon]) -> dict[str, int]:
    """metric -> how many clips stay in the band to the end."""
    kept: dict[str, int] = {}
    for horizon in floor:
        kept[horizon.metric] = kept.get(horizon.metric, 0) + horizon.whole
    return kept


def _alone(judged: _Judged, video: int, fps: float) -> Any:
    """What the findings say of one video alone."""
    rows = tuple(row._replace(video=0) for row in judged.table.rows if row.video == video)
    horizons = tuple(h._replace(video=0) for h in judged.table.horizons if h.video == video)
    # A further metric may have no figures of the control: nothing is said of it then.
    repeats = judged.repeats and [judged.repeats[video]]
    return findings(Table(rows, horizons, ()), [judged.labels[video]], repeats, judged.limit, fps)


def _video(judged: _Judged, video: int, fps: float) -> dict[str, Any]:
    rows = [row for row in judged.table.rows if row.video == video]
    horizons = {h.metric: h for h in judged.table.horizons if h.video == video}
    first = min(horizons.values(), key=lambda h: h.frames)

    def over(metric: str, of: str) -> list[float]:
        return [getattr(row, of) for row in rows if row.metric == metric]

    return {
        "label": judged.labels[video],
        "motion": float(np.mean(over("motion", "ratio"))),
        "motion_worst": worst_motion(rows),
        "still_pairs": float(np.mean(over("static", "value"))),
        "sharpness": float(np.mean(over("sharpness", "ratio"))),
        "colour_shift": max(over("colour", "value")),
        "repetition": judged.repeats[video] if judged.repeats is not None else None,
        "repeats_itself": judged.repeats is not None and judged.repeats[video] > judged.limit,
        "horizon": {**first._asdict(), "seconds": first.frames / fps},
        "horizons": {name: {**h._asdict(), "seconds": h.frames / fps} for name, h in horizons.items()},
    }


def _panels(judged: _Judged, length: int) -> list[Panel]:
    frames = judged.series[0].values.shape[1]
    spans = edges_of(frames, length)
    edges = np.array([start for start, _ in spans] + [frames])
    panels = []
    for metric, values, real in judged.series:
        if metric.name == "static":  # a share of pairs has no curve worth drawing
            continue
        means = segment_means(values, spans)
        band = band_of(segment_means(real, spans), log=metric.log, low=metric.low)
        panels.append(Panel(_title(metric), metric.unit, edges, values, means, band.mean, band.low, band.high))
    panels += [Panel(name, "", edges, values, segment_means(values, spans)) for name, values in judged.drawn.items()]
    return panels


def _title(metric: Metric) -> str:
    titles = {"motion": "Motion: change from frame to frame", "colour": "Colour: shift from the context's mean colour"}
    return titles.get(metric.name, metric.name.capitalize())


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"

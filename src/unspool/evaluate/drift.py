"""Drift: every metric per segment of a video against the band of real videos of equal length.

A metric has left the band where two segments running are outside: of single segments one in twenty of a real video is
outside by construction, and drift stays. The STABLE HORIZON of a metric is the frame where it, or motion, or the share
of still frames leaves: sharpness or colour alone never count, because a frozen video keeps both for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.band import FLOOR, Band, band_of, to_scale
from unspool.evaluate.curves import Curves, measure

ALIVE = ("motion", "static")  # what a horizon of any other metric is paired with
STILL = 0.01  # a pair of frames is still when it moves less than all but this share of real pairs


class Metric(NamedTuple):
    """log: compared as a ratio. low: too little is a fault as well as too much."""

    name: str
    unit: str = "grey levels"
    log: bool = True
    low: bool = True


class Series(NamedTuple):
    """One metric of the videos, (N, T), and of real clips of the same length, (M, T). NaN: nothing to say there."""

    metric: Metric
    values: np.ndarray
    real: np.ndarray


class Row(NamedTuple):
    """One video, segment (frames start <= t < stop) and metric.

    real, low, high: real mean and band. ratio: value / real. drift: (value - real) / deviation of real, signed, on the
    metric's scale. side: "inside", "below" or "above" the band.
    """

    video: int
    segment: int
    start: int
    stop: int
    metric: str
    value: float
    real: float
    low: float
    high: float
    ratio: float
    drift: float
    side: str


class Horizon(NamedTuple):
    """Frames until the video leaves the band of real video (all its frames where whole), by which metric, to where."""

    video: int
    metric: str
    frames: int
    whole: bool
    by: str
    side: str


class Slope(NamedTuple):
    """How fast one metric of one video goes away from real video: real deviations per 100 frames, signed; see `slope_of`."""

    video: int
    metric: str
    per_100_frames: float


class Table(NamedTuple):
    rows: tuple[Row, ...]
    horizons: tuple[Horizon, ...]
    slopes: tuple[Slope, ...]


def segments(videos: np.ndarray, real: np.ndarray, length: int = 100, *, context: np.ndarray | None = None) -> Table:
    """uint8 (N, T, H, W, 3) against (M, T, H, W, 3), M >= 3 clips of other episodes: motion, static, sharpness, colour.

    context: (N or 1, c, H, W, 3), the true frames that the videos go on from. Give it where it exists: see `series_of`.
    Raises UserError for other types, unequal lengths or sizes, too few real clips.
    """
    if videos.shape[1:] != real.shape[1:]:
        raise UserError(f"real clips must have the shape of the videos, {videos.shape[1:]}, not {real.shape[1:]}")
    if videos.shape[1] < 2:
        raise UserError("a single frame has no motion: give videos of 2 frames or more")
    begun = None if context is None else measure(context)
    return tabulate(series_of(measure(videos), measure(real), begun), length)


def series_of(videos: Curves, real: Curves, context: Curves | None = None, context_real: Curves | None = None) -> list[Series]:
    """The metrics that need nothing but pixels.

    static: 1 where a pair of frames is still, else 0. With a context, sharpness is a multiple of the context's last
    frame's and colour the distance of the mean colour from it, in levels; a real clip is compared with the last frame of
    its own context, `context_real`, or where it has none with its own first frame. What differs from scene to scene drops
    out, so the band is far narrower. Without, sharpness is taken as it is and colour as the distance from the mean colour
    of all real clips.
    """
    still = float(np.nanquantile(real.motion, STILL))
    share = Metric("static", "share of pairs", log=False, low=False)
    if context is None:
        sharp, rgb = Metric("sharpness"), real.rgb.mean((0, 1))
        one = np.ones(1)
        begun = begun_real = Curves(one, one, rgb, one)
    else:
        sharp = Metric("sharpness", "times the context's")
        before = (real, [0]) if context_real is None else (context_real, [-1])
        begun, begun_real = (Curves(*(part[:, k] for part in c)) for c, k in ((context, [-1]), before))
    return [
        Series(Metric("motion"), videos.motion, real.motion),
        Series(share, still_pairs(videos.motion, still), still_pairs(real.motion, still)),
        Series(sharp, _relative(videos, begun), _relative(real, begun_real)),
        Series(Metric("colour", low=False), _shift(videos, begun), _shift(real, begun_real)),
    ]


def tabulate(series: Iterable[Series], length: int = 100) -> Table:
    """All series over segments of `length` frames, with horizons and slopes. Series may hold further metrics."""
    rows: list[Row] = []
    for metric, values, real in series:
        edges = edges_of(values.shape[1], length)
        means, band = segment_means(values, edges), band_of(segment_means(real, edges), log=metric.log, low=metric.low)
        rows += [_row(video, s, edges, metric, means, band) for video in range(len(means)) for s in range(len(edges))]
    lines = _lines(rows)
    slopes = [Slope(video, metric, _slope(line)) for (video, metric), line in lines.items()]
    return Table(tuple(rows), tuple(_horizons(lines)), tuple(slopes))


def edges_of(frames: int, length: int) -> list[tuple[int, int]]:
    """Segments of `length` frames. A remainder of at least half of that is one more, a shorter one joins the last.

    >>> edges_of(293, 100), edges_of(240, 100), edges_of(30, 100)
    ([(0, 100), (100, 200), (200, 293)], [(0, 100), (100, 240)], [(0, 30)])
    """
    if length < 1:
        raise UserError(f"segments must have 1 frame or more, not {length}")
    starts = list(range(0, frames, length))
    if len(starts) > 1 and 2 * (frames - starts[-1]) < length:
        starts.pop()
    return list(zip(starts, [*starts[1:], frames], strict=True))


def segment_means(values: np.ndarray, edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """(N, T) -> (N, S), NaN left out; NaN where a segment holds nothing else."""
    there = ~np.isnan(values)
    known = np.where(there, values, 0.0)
    sums = np.stack([known[:, a:b].sum(1) for a, b in edges], 1)
    counts = np.stack([there[:, a:b].sum(1) for a, b in edges], 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def slope_of(at: Sequence[float], away: Sequence[float] | np.ndarray) -> float:
    """The least-squares line of deviations `away` at the frames `at` that begins at 0: its rise per 100 frames; NaN for none.

    It begins at 0 because a video goes on from true frames. A line of any beginning, such as Theil and Sen's, is flat for
    what is broken from the first frame on, and for what froze early: both would drift less than real video does.

    >>> slope_of([50, 150, 250], [1, 3, 5]), round(slope_of([50, 150, 250], [5, 5, 5]), 3)
    (2.0, 2.571)
    """
    x, y = np.asarray(at, float), np.asarray(away, float)
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    return float(100 * (x @ y) / (x @ x)) if len(x) else float("nan")


def still_pairs(motion: np.ndarray, threshold: float) -> np.ndarray:
    """1 where a frame moves no more than that against the one before, else 0; NaN where motion is not known."""
    return np.where(np.isnan(motion), np.nan, motion <= threshold)


def _relative(curves: Curves, begun: Curves) -> np.ndarray:
    return curves.sharpness / np.maximum(begun.sharpness, FLOOR)


def _shift(curves: Curves, begun: Curves) -> np.ndarray:
    return np.linalg.norm(curves.rgb - begun.rgb, axis=-1) / np.sqrt(3)  # root mean square over the channels


def _row(video: int, s: int, edges: list[tuple[int, int]], metric: Metric, means: np.ndarray, band: Band) -> Row:
    value, (start, stop) = float(means[video, s]), edges[s]
    mean, low, high = float(band.mean[s]), float(band.low[s]), float(band.high[s])
    side = "below" if value < low else "above" if value > high else "inside"
    ratio = value / mean if mean else float("nan")
    drift = (to_scale(means[video, s], metric.log) - band.centre[s]) / band.spread[s]
    return Row(video, s, start, stop, metric.name, value, mean, low, high, ratio, float(drift), side)


def _lines(rows: list[Row]) -> dict[tuple[int, str], list[Row]]:
    """(video, metric) -> its segments."""
    lines: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row.video, row.metric), []).append(row)
    return lines


def _slope(line: list[Row]) -> float:
    return slope_of([(row.start + row.stop) / 2 for row in line], [row.drift for row in line])


def _horizons(lines: dict[tuple[int, str], list[Row]]) -> list[Horizon]:
    alone = {key: _leaves(line) for key, line in lines.items()}
    found = []
    for video, metric in alone:
        names = [metric, *(name for name in ALIVE if name != metric and (video, name) in alone)]
        found.append(min((alone[video, name] for name in names), key=lambda h: h.frames)._replace(metric=metric))
    return found


def _leaves(line: list[Row]) -> Horizon:
    """Of one video and one metric, by itself."""
    outside = [row.side != "inside" for row in line]
    for i, row in enumerate(line):
        if outside[i] and (len(line) == 1 or (i + 1 < len(line) and outside[i + 1])):
            return Horizon(row.video, row.metric, row.start, False, row.metric, row.side)
    return Horizon(line[0].video, line[0].metric, line[-1].stop, True, "", "inside")

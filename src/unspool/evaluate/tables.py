"""The table of `unspool eval`: each measure of each arm with its interval, and which two arms are told apart.

Intervals are those of Student's t over a jackknife that leaves out one context at a time, with all its futures, which are no
independent witnesses, and one real clip at a time (Efron and Tibshirani 1993, chapter 11). All arms leave out the same, so
that a difference of two is that of pairs. A bootstrap of eight contexts would be too narrow, and it draws clips twice, which
kernel means do not forgive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.bootstrap import LEVELS, Interval
from unspool.evaluate.curves import Curves
from unspool.evaluate.distance import coverage_density, frechet
from unspool.evaluate.drift import STILL, Table, edges_of, series_of, tabulate, theil_sen
from unspool.evaluate.measures import jumps_of, tint_of
from unspool.evaluate.repetition import threshold_of
from unspool.evaluate.watch import Figures

SPLITS = 1000
"""Ways to part the real clips, from which the floor of the MMD comes."""


class Line(NamedTuple):
    """A measure in the table. better: `real` is a ratio to real video, 1 being as real. ladder: the measure of `measures.py`
    that tells what it sees. of: (1 + K + M,) values of an arm, see `Base`; raises UserError where it has none."""

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower", "real"]
    ladder: str
    of: Callable[[Gathered, Base], np.ndarray]


class Gathered:
    """The figures of an arm, leaves (K, S, ...): K contexts, S futures of each."""

    def __init__(self, contexts: Sequence[Figures]) -> None:
        names = set.intersection(*(set(figures) for figures in contexts))
        self.figures = {name: np.stack([figures[name] for figures in contexts]) for name in sorted(names)}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.figures:
            raise UserError(_MISSING.get(name, f"there are no figures of {name}"))
        return self.figures[name]

    def curves(self) -> Curves:
        """All videos, (K * S, T)."""
        return Curves(*(self[name].reshape(-1, *self[name].shape[2:]) for name in Curves._fields))

    def begun(self) -> Curves:
        """Of the last frame of each video's context, (K * S, 1)."""
        return Curves(*(np.repeat(self[f"begun_{name}"], self["motion"].shape[1], 0) for name in Curves._fields))


_MISSING = {
    "lpips": "no weights",
    "psnr": "only futures of the contexts can be compared with what followed", "score": "needs 8 futures of each context",
    "diversity": "needs 8 futures of each context", "repeats": "needs videos of 60 frames", "order": "needs 3 frames",
    "features": "needs segments of 16 frames", "warp": "needs 2 frames of 16 pixels a side",
}  # fmt: skip
_MISSING |= {"ssim": _MISSING["psnr"], "ms_ssim": _MISSING["psnr"]}


class Base:
    """What all arms are measured by. real: M clips of other episodes, S = 1; truth: what followed on the K contexts; again: the
    world's own futures, where there are any. A measure is taken 1 + K + M times: of all, without each context, without each
    real clip; kept (1 + K + M, K) and kept_real (1 + K + M, M), 0 or 1, say of which."""

    def __init__(self, real: Gathered, truth: Gathered, again: Gathered | None, segment: int) -> None:
        self.real, self.truth, self.again, self.segment = real, truth, again, segment
        contexts, clips = _count(truth), _count(real)
        self.kept = np.concatenate([np.ones((1, contexts)), 1 - np.eye(contexts), np.ones((clips, contexts))])
        self.kept_real = np.concatenate([np.ones((1 + contexts, clips)), 1 - np.eye(clips)])
        self.still = float(np.nanquantile(real["motion"], STILL))

    @cached_property
    def repeats(self) -> float:
        """Distance under which one second repeats another."""
        return threshold_of(self.real["repeats"])

    @cached_property
    def rows(self) -> np.ndarray:
        """(M, rows, 3, D): features of the real clips."""
        return _rows(self.real)

    @cached_property
    def floors(self) -> np.ndarray:
        """(3,) the MMD^2 that 95 of 100 ways to part the real clips, with those that followed, stay below."""
        both = np.concatenate([self.rows, _rows(self.truth)])
        rng = np.random.default_rng(1)
        order = np.argsort(rng.random((SPLITS, len(both))), 1)
        ours = (order < _count(self.truth)).astype(float)
        blocks = [_blocks([*both[:, :, n]], _cubic) for n in range(both.shape[2])]
        return np.array([np.quantile(_mmd2(network, ours, 1 - ours), 0.95) for network in blocks])


def drift_of(arm: Gathered, base: Base) -> Table:
    """Every segment of every video against the band of real video."""
    series = series_of(arm.curves(), base.real.curves(), arm.begun())
    return tabulate(series, base.segment)


def _mean(name: str) -> Callable[[Gathered, Base], np.ndarray]:
    return lambda arm, base: _means(arm[name], base.kept)


def _ratio(name: str, per_video: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> Callable[[Gathered, Base], np.ndarray]:
    def of(arm: Gathered, base: Base) -> np.ndarray:
        return _means(per_video(arm[name]), base.kept) / np.maximum(_means(per_video(base.real[name]), base.kept_real), 1e-9)

    return of


def _still(arm: Gathered, base: Base) -> np.ndarray:
    return _means((arm["motion"][:, :, 1:] <= base.still).astype(float), base.kept)


def _colour(arm: Gathered, base: Base) -> np.ndarray:
    away = arm["rgb"] - arm["begun_rgb"][:, :, None]
    return _means(np.linalg.norm(away, axis=-1) / np.sqrt(3), base.kept)


def _tint(arm: Gathered, base: Base) -> np.ndarray:
    """Energy distance of what becomes of the videos' colours to what becomes of real ones': MMD^2 with the kernel -|x - y|."""
    made, real = tint_of(arm["rgb"]), tint_of(base.real["rgb"])
    return _mmd2(_blocks([*made, *real], _nearness), *_sides(base, len(made), len(real)))


def _repeats(arm: Gathered, base: Base) -> np.ndarray:
    return _means((arm["repeats"] <= base.repeats).astype(float), base.kept)


def _diversity(arm: Gathered, base: Base) -> np.ndarray:
    if base.again is None:
        raise UserError("the world cannot be run again, so nobody knows how far futures part")
    return _means(arm["diversity"], base.kept) / np.maximum(_means(base.again["diversity"], base.kept), 1e-9)


def _stable(arm: Gathered, base: Base) -> np.ndarray:
    first: dict[int, int] = {}
    for horizon in drift_of(arm, base).horizons:
        first[horizon.video] = min(first.get(horizon.video, horizon.frames), horizon.frames)
    return _means(np.array(list(first.values()), float).reshape(arm["motion"].shape[:2]), base.kept)


def _slope(arm: Gathered, base: Base) -> np.ndarray:
    """How fast the deviations from real video grow, mean over metrics."""
    if len(edges_of(arm["motion"].shape[-1], base.segment)) < 2:
        raise UserError(f"needs two segments, and videos of {2 * base.segment} frames")
    lines: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for row in drift_of(arm, base).rows:
        lines.setdefault((row.video, row.metric), []).append(((row.start + row.stop - 1) / 2, abs(row.drift)))
    slopes: dict[int, list[float]] = {}
    for (video, _), line in lines.items():
        slopes.setdefault(video, []).append(100 * theil_sen(*zip(*line, strict=True)))
    return _means(np.array([np.nanmean(s) for s in slopes.values()]).reshape(arm["motion"].shape[:2]), base.kept)


def _mmd(arm: Gathered, base: Base) -> np.ndarray:
    rows, real = _rows(arm), base.rows
    sides = _sides(base, len(rows), len(real))
    blocks = [_blocks([*rows[:, :, n], *real[:, :, n]], _cubic) for n in range(rows.shape[2])]
    return np.mean([_mmd2(b, *sides) / max(floor, 1e-12) for b, floor in zip(blocks, base.floors, strict=True)], 0)


def _frechet(arm: Gathered, base: Base) -> np.ndarray:
    """Of one future of each context at a time, so that all arms have as many rows: the distance of few is mostly bias."""

    def distance(future: np.ndarray, kept: np.ndarray, kept_real: np.ndarray) -> float:
        made, real = _flat(future[kept > 0]), _flat(base.real["features"][kept_real > 0, 0])
        return float(np.mean([frechet(a, b) for a, b in zip(made, real, strict=True)]))

    def of(features: np.ndarray) -> np.ndarray:  # (K, S, W, 3, D)
        both = list(zip(base.kept, base.kept_real, strict=True))
        return np.array([np.mean([distance(future, *kept) for future in features.swapaxes(0, 1)]) for kept in both])

    return of(arm["features"]) / np.maximum(of(base.truth["features"]), 1e-9)


def _coverage(of: Literal["coverage", "density"]) -> Callable[[Gathered, Base], np.ndarray]:
    """Of one future of each context at a time, and of as many real windows."""

    def figure(arm: Gathered, base: Base) -> np.ndarray:
        def one(future: np.ndarray, kept: np.ndarray, kept_real: np.ndarray) -> float:
            made, real = _flat(future[kept > 0]), _flat(base.real["features"][kept_real > 0, 0])
            few = min(made.shape[1], real.shape[1])
            known, chosen = (np.linspace(0, part.shape[1] - 1, few).round().astype(int) for part in (real, made))
            found = [coverage_density(b[known], a[chosen]) for a, b in zip(made, real, strict=True)]
            return float(np.mean([getattr(f, of) for f in found]))

        both = list(zip(base.kept, base.kept_real, strict=True))
        return np.array([np.mean([one(future, *kept) for future in arm["features"].swapaxes(0, 1)]) for kept in both])

    return figure


LINES = (
    Line("psnr", "PSNR", "dB", "higher", "psnr", _mean("psnr")),
    Line("ssim", "SSIM", "", "higher", "ssim", _mean("ssim")),
    Line("ms-ssim", "MS-SSIM", "", "higher", "ms-ssim", _mean("ms_ssim")),
    Line("lpips", "LPIPS", "", "lower", "", _mean("lpips")),
    Line("energy", "energy score", "grey levels", "lower", "energy", _mean("score")),
    Line("diversity", "diversity of futures", "of the world's", "real", "diversity", _diversity),
    Line("motion", "motion", "of real", "real", "motion", _ratio("motion")),
    Line("still", "still pairs of frames", "share", "lower", "still", _still),
    Line("flicker", "flicker", "of real", "real", "flicker", _ratio("flicker")),
    Line("order", "order of frames", "of real", "real", "order", _ratio("order")),
    Line("jumps", "sudden changes", "of real", "real", "jumps", _ratio("rgb", jumps_of)),
    Line("flow", "flow-warp error", "of real", "real", "flow", _ratio("warp")),
    Line("sharpness", "sharpness", "of real", "real", "sharpness", _ratio("sharpness")),
    Line("colour", "colour shift", "of 255", "lower", "", _colour),
    Line("tint", "drift of colours", "grey levels", "lower", "colour", _tint),
    Line("repetition", "seconds that repeat", "share", "lower", "repetition", _repeats),
    Line("stable", "stable horizon", "frames", "higher", "", _stable),
    Line("slope", "drift per 100 frames", "real deviations", "lower", "", _slope),
    Line("mmd", "random-feature MMD", "of the real floor", "lower", "mmd", _mmd),
    Line("frechet", "random-feature Frechet", "of real against real", "lower", "frechet", _frechet),
    Line("coverage", "coverage", "share", "higher", "coverage", _coverage("coverage")),
    Line("density", "density", "of real", "higher", "coverage", _coverage("density")),
)


class Cell(NamedTuple):
    """interval, or why there is none; values (1 + K + M,), for differences."""

    interval: Interval | None
    why: str = ""
    values: np.ndarray = np.empty(0)


def table(arms: Mapping[str, Gathered], base: Base) -> dict[str, dict[str, Cell]]:
    """Every measure of every arm."""
    return {name: {line.name: _cell(line, arm, base) for line in LINES} for name, arm in arms.items()}


def difference(a: Cell, b: Cell, base: Base) -> Interval | None:
    """a - b, pair by pair; None where one of them has no figure."""
    if a.interval is None or b.interval is None:
        return None
    return _interval(a.values - b.values, base)


def _cell(line: Line, arm: Gathered, base: Base) -> Cell:
    try:
        values = line.of(arm, base)
    except UserError as error:
        return Cell(None, str(error))
    return Cell(_interval(values, base), values=values)


def _interval(values: np.ndarray, base: Base) -> Interval:
    from scipy.stats import t as student

    contexts = _count(base.truth)
    if contexts < 2:
        return Interval(float(values[0]), float("nan"), float("nan"))
    without = values[1 : 1 + contexts], values[1 + contexts :]
    variance = sum((len(part) - 1) * part.var() for part in without)  # of each jackknife: (n - 1) / n times the sum of squares
    reach = float(student.ppf(LEVELS[1], contexts - 1) * np.sqrt(variance))
    return Interval(float(values[0]), float(values[0]) - reach, float(values[0]) + reach)


def _count(arm: Gathered) -> int:
    return len(arm["motion"])


def _means(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(K, ...) -> (1 + K + M,): means over all that is kept, NaN left out."""
    flat = values.reshape(len(values), -1)
    known = ~np.isnan(flat)
    if not known.any(1).all():
        raise UserError("nothing is known of a context: its videos are too short")
    each = np.where(known, flat, 0).sum(1) / known.sum(1)
    with np.errstate(invalid="ignore"):  # without the only one there is none: NaN
        return kept @ each / kept.sum(1)


def _rows(arm: Gathered) -> np.ndarray:
    """(K, S, W, 3, D) -> (K, S * W, 3, D)."""
    features = arm["features"]
    return features.reshape(len(features), -1, *features.shape[3:])


def _flat(features: np.ndarray) -> np.ndarray:
    """(K, W, 3, D) -> (3, K * W, D) float64."""
    return features.astype(np.float64).transpose(2, 0, 1, 3).reshape(features.shape[2], -1, features.shape[-1])


class _Blocks(NamedTuple):
    """sums, counts (N, N): of the kernel of two clips' rows, none with itself."""

    sums: np.ndarray
    counts: np.ndarray


def _cubic(rows: np.ndarray) -> np.ndarray:
    """The kernel of `distance.mmd2`."""
    return (rows @ rows.T / rows.shape[1] + 1) ** 3


def _nearness(rows: np.ndarray) -> np.ndarray:
    return -np.linalg.norm(rows[:, None] - rows[None], axis=-1)


def _blocks(clips: Sequence[np.ndarray], kernel: Callable[[np.ndarray], np.ndarray]) -> _Blocks:
    """clips: (rows, D) each."""
    table = kernel(np.concatenate([np.asarray(clip, np.float64) for clip in clips]))
    edges = np.cumsum([0, *(len(clip) for clip in clips)])[:-1]
    np.fill_diagonal(table, 0)
    sums = np.add.reduceat(np.add.reduceat(table, edges, 0), edges, 1)
    sizes = np.array([len(clip) for clip in clips], float)
    return _Blocks(sums, np.outer(sizes, sizes) - np.diag(sizes))


def _sides(base: Base, made: int, real: int) -> tuple[np.ndarray, np.ndarray]:
    """Which clips of both, made ones first, are kept on either side."""
    return np.pad(base.kept, ((0, 0), (0, real))), np.pad(base.kept_real, ((0, 0), (made, 0)))


def _mmd2(blocks: _Blocks, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(D,) unbiased MMD^2 of D pairs of sets of clips (D, N), 0 or 1; no row is compared with itself."""

    def mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a single row has no pair: NaN
            return ((a @ blocks.sums) * b).sum(1) / ((a @ blocks.counts) * b).sum(1)

    return mean(ours, ours) + mean(theirs, theirs) - 2 * mean(ours, theirs)

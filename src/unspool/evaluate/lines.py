"""The lines of the table of `unspool eval`: what is measured of an arm, and which faults the line itself was shown to see.

What is seen depends on the world: cuts show in a calm one and are lost among the fast turns of `rooms`, whose colours differ so
much from scene to scene that a drift of them is lost as well. A line claims what it sees everywhere that was tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.clipwise import blocks, cubic, mmd2, nearness
from unspool.evaluate.colours import tint_of
from unspool.evaluate.distance import coverage_density, frechet
from unspool.evaluate.drift import edges_of, still_pairs
from unspool.evaluate.gathered import Base, Gathered, drift_of
from unspool.evaluate.ladder import RUNGS

Of = Callable[[Gathered, Base], np.ndarray]


class Line(NamedTuple):
    """A measure in the table. better: `real` is a ratio to real video, 1 being as real. of: (1 + K + M,) values of an arm, see
    `Base`; raises UserError where it has none. sees: names of the rungs of the ladder that this line ranks, of 8 contexts, in
    each of three worlds, discs over a texture, `duel` and `rooms`: done in full the fault lies beyond what real video gives
    against real video, and no nearer than done by half; None where that was not tried. paired: it compares with what truly
    followed."""

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower", "real"]
    of: Of
    sees: tuple[str, ...] | None = None
    paired: bool = False

    @property
    def blind(self) -> tuple[str, ...]:
        """Names of the rungs that it was tried on and does not see."""
        return () if self.sees is None else tuple(rung.name for rung in RUNGS if rung.name not in self.sees)

    @property
    def beside(self) -> str | None:
        """The line it must be read beside: motion, where freezing goes unseen or is nearer to what truly followed than many a
        lively future is, and where it is a figure of drift, which standing still can flatter."""
        alone = self.name == "motion" or (not self.paired and self.name not in DRIFT and "freeze" in (self.sees or ()))
        return None if alone else "motion"


DRIFT = ("stable", "slope", "worst")
"""Lines by the band of real video. It is not made anew without each real clip: their intervals hold for this band."""


def _mean(name: str) -> Of:
    return lambda arm, base: _means(arm[name], base.kept, name)


def _ratio(name: str) -> Of:
    def of(arm: Gathered, base: Base) -> np.ndarray:
        real = _means(base.real[name], base.kept_real, name)
        return _means(arm[name], base.kept, name) / np.maximum(real, 1e-9)

    return of


def _still(arm: Gathered, base: Base) -> np.ndarray:
    shares = {limit: _means(still_pairs(arm["motion"], limit), base.kept, "motion") for limit in base.still}
    return np.array([shares[limit][i] for i, limit in enumerate(base.still)])


def _repeats(arm: Gathered, base: Base) -> np.ndarray:
    shares = {limit: _means((arm["repeats"] <= limit).astype(float), base.kept, "repeats") for limit in base.repeats}
    return np.array([shares[limit][i] for i, limit in enumerate(base.repeats)])


def _colour(arm: Gathered, base: Base) -> np.ndarray:
    away = arm["rgb"] - arm["begun_rgb"][:, :, None]
    return _means(np.linalg.norm(away, axis=-1) / np.sqrt(3), base.kept, "rgb")


def _tint(arm: Gathered, base: Base) -> np.ndarray:
    """Energy distance of what becomes of the videos' colours to what becomes of real ones'."""
    made, real = tint_of(arm["rgb"]), tint_of(base.real["rgb"])
    return mmd2(blocks([*made, *real], nearness), *base.sides())


def _diversity(arm: Gathered, base: Base) -> np.ndarray:
    if base.again is None:
        raise UserError("the world cannot be run again, so nobody knows how far futures part")
    own = _means(base.again["diversity"], base.kept, "diversity")
    return _means(arm["diversity"], base.kept, "diversity") / np.maximum(own, 1e-9)


def _stable(arm: Gathered, base: Base) -> np.ndarray:
    """Frames until a video leaves the band of real video."""
    first: dict[int, int] = {}
    for horizon in drift_of(arm, base).horizons:
        first[horizon.video] = min(first.get(horizon.video, horizon.frames), horizon.frames)
    return _per_video([*first.values()], arm, base)


def _slope(arm: Gathered, base: Base) -> np.ndarray:
    """How fast videos go away from real ones, whatever the direction: mean over metrics of the sizes of their signed slopes."""
    if len(edges_of(arm["motion"].shape[-1], base.segment)) < 2:
        raise UserError(f"needs two segments, and videos of {2 * base.segment} frames")
    sizes: dict[int, list[float]] = {}
    for slope in drift_of(arm, base).slopes:
        sizes.setdefault(slope.video, []).append(abs(slope.per_100_frames))
    return _per_video([float(np.nanmean(found)) for found in sizes.values()], arm, base)


def _worst(arm: Gathered, base: Base) -> np.ndarray:
    """The size of the largest deviation from real video, over metrics and segments."""
    most: dict[int, float] = {}
    for row in drift_of(arm, base).rows:
        most[row.video] = float(np.fmax(most.get(row.video, 0.0), abs(row.drift)))
    return _per_video([*most.values()], arm, base)


def _mmd(arm: Gathered, base: Base) -> np.ndarray:
    rows, real = arm.rows(), base.real.rows()
    networks = [blocks([*rows[:, :, n], *real[:, :, n]], cubic) for n in range(rows.shape[2])]
    return np.mean([mmd2(b, *base.sides()) / max(floor, 1e-12) for b, floor in zip(networks, base.floors, strict=True)], 0)


def _frechet(arm: Gathered, base: Base) -> np.ndarray:
    """Of one future of each context at a time, so that all arms have as many rows: the distance of few is mostly bias."""
    if arm is base.truth:
        raise UserError(_UNIT)

    def distance(future: np.ndarray, kept: np.ndarray, kept_real: np.ndarray) -> float:
        made, real = _flat(future[kept > 0]), _flat(base.real["features"][kept_real > 0, 0])
        return float(np.mean([frechet(a, b) for a, b in zip(made, real, strict=True)]))

    return _by_future(arm, base, distance) / np.maximum(_by_future(base.truth, base, distance), 1e-9)


def _coverage(arm: Gathered, base: Base) -> np.ndarray:
    return _near(arm, base, "coverage")


def _density(arm: Gathered, base: Base) -> np.ndarray:
    """Over that of what truly followed. More is not better: copies of one likely video lie in more real neighbourhoods than
    as many different real ones do."""
    if arm is base.truth:
        raise UserError(_UNIT)
    return _near(arm, base, "density") / np.maximum(_near(base.truth, base, "density"), 1e-9)


def _near(arm: Gathered, base: Base, of: Literal["coverage", "density"]) -> np.ndarray:
    """Of one future of each context at a time, and of as many real windows."""

    def one(future: np.ndarray, kept: np.ndarray, kept_real: np.ndarray) -> float:
        made, real = _flat(future[kept > 0]), _flat(base.real["features"][kept_real > 0, 0])
        few = min(made.shape[1], real.shape[1])
        known, chosen = (np.linspace(0, part.shape[1] - 1, few).round().astype(int) for part in (real, made))
        found = [coverage_density(b[known], a[chosen]) for a, b in zip(made, real, strict=True)]
        return float(np.mean([getattr(f, of) for f in found]))

    return _by_future(arm, base, one)


def _by_future(arm: Gathered, base: Base, of: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> np.ndarray:
    """of: (K, W, 3, D) and which contexts and real clips are kept -> a figure. The mean over futures, (1 + K + M,)."""
    futures = arm["features"].swapaxes(0, 1)
    return np.array([np.mean([of(f, *kept) for f in futures]) for kept in zip(base.kept, base.kept_real, strict=True)])


def _flat(features: np.ndarray) -> np.ndarray:
    """(K, W, 3, D) -> (3, K * W, D) float64."""
    return features.astype(np.float64).transpose(2, 0, 1, 3).reshape(features.shape[2], -1, features.shape[-1])


def _per_video(figures: list[float], arm: Gathered, base: Base) -> np.ndarray:
    return _means(np.array(figures, float).reshape(arm["motion"].shape[:2]), base.kept, "drift")


def _means(values: np.ndarray, kept: np.ndarray, name: str) -> np.ndarray:
    """(K, ...) -> (1 + K + M,): means over all that is kept, NaN left out."""
    flat = values.reshape(len(values), -1)
    known = ~np.isnan(flat)
    if not known.any(1).all():
        raise UserError(_UNKNOWN.get(name, f"{name} is not known of any frame of a context"))
    each = np.where(known, flat, 0).sum(1) / known.sum(1)
    with np.errstate(invalid="ignore"):  # without the only one there is none: NaN
        return kept @ each / kept.sum(1)


_UNIT = "1 by construction: it is what the others are told in"
_UNKNOWN = {
    "motion": "needs 2 frames, the context's last among them", "flicker": "needs 3 frames, the context's last two among them",
    "warp": "of a context the flows there and back agree nowhere",
}  # fmt: skip


def _see(rungs: str) -> tuple[str, ...]:
    return tuple(rungs.split())


EVERY = tuple(rung.name for rung in RUNGS)  # against its own original, any corruption shows

LINES = (
    Line("psnr", "PSNR", "dB", "higher", _mean("psnr"), EVERY, paired=True),
    Line("ssim", "SSIM", "", "higher", _mean("ssim"), EVERY, paired=True),
    Line("ms-ssim", "MS-SSIM", "", "higher", _mean("ms_ssim"), EVERY, paired=True),
    Line("lpips", "LPIPS", "", "lower", _mean("lpips"), paired=True),
    Line("energy", "energy score", "grey levels", "lower", _mean("score"),
         _see("freeze loop collapse"), paired=True),
    Line("diversity", "diversity of futures", "of the world's", "real", _diversity, _see("blur freeze loop collapse")),
    Line("motion", "motion", "of real", "real", _ratio("motion"), _see("noise swap shuffle freeze")),
    Line("still", "still pairs of frames", "share", "lower", _still, _see("freeze")),
    Line("flicker", "flicker", "of real", "real", _ratio("flicker"), _see("noise swap shuffle freeze")),
    Line("order", "order of frames", "of real", "real", _ratio("order"), _see("noise swap shuffle freeze")),
    Line("jumps", "sudden changes", "of real", "real", _ratio("jumps"), _see("freeze cut")),
    Line("flow", "flow-warp error", "of real", "real", _ratio("warp"), _see("noise swap shuffle freeze")),
    Line("sharpness", "sharpness", "of real", "real", _ratio("sharpness"), _see("noise blur")),
    Line("colour", "colour shift", "of 255", "lower", _colour, _see("colour")),
    Line("tint", "drift of colours", "grey levels", "lower", _tint, _see("")),
    Line("repetition", "seconds that repeat", "share", "lower", _repeats, _see("freeze loop")),
    Line("stable", "stable horizon", "frames", "higher", _stable, _see("noise blur freeze")),
    Line("slope", "drift per 100 frames", "real deviations", "lower", _slope, _see("freeze")),
    Line("worst", "worst segment", "real deviations", "lower", _worst, _see("freeze")),
    Line("mmd", "random-feature MMD", "of the real floor", "lower", _mmd, _see("noise blur shuffle freeze")),
    Line("frechet", "random-feature Frechet", "of real against real", "lower", _frechet,
         _see("noise blur shuffle freeze")),
    Line("coverage", "coverage", "share", "higher", _coverage, _see("noise blur freeze")),
    Line("density", "density", "of real", "real", _density, _see("blur freeze")),
)  # fmt: skip

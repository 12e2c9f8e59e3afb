"""The measures that stand on the ladder, each in a line: a figure, and the corruptions that it is known to rank.

A measure claims a rung only if it ranks it in each of three worlds, discs over a texture, `duel` and `rooms` at 32 pixels, by
64 clips of 64 frames (flow and features: of 32; repetition: 16 clips of 128). Fewer clips make a wider band of real video, and
what is seen narrowly is lost first: of `flow` and `flicker` the blur, of MMD and Frechet the cuts. Of sets of videos only
`order` ranks swapped frames in every world, only `colour` a drifting tint, only `repetition` a loop of two seconds, and only
`diversity` and `energy` that all videos are one. Features see these too, where they are strong or real video is calm.

The lines of the table of `unspool eval` are other figures, of few contexts: `lines.py` says what each of those sees.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unspool.errors import UserError
from unspool.evaluate.band import FLOOR
from unspool.evaluate.curves import check, measure
from unspool.evaluate.distance import coverage_density, frechet, mmd2
from unspool.evaluate.drift import STILL
from unspool.evaluate.features import WINDOW, random_features
from unspool.evaluate.flow import warp
from unspool.evaluate.futures import energy_score, thumbnails
from unspool.evaluate.ladder import RUNGS, SHORTEST, Measure
from unspool.evaluate.quality import ms_ssim, psnr, ssim
from unspool.evaluate.repetition import nearest, threshold_of

Distance = Callable[[np.ndarray, np.ndarray], float]
EVERY_RUNG = tuple(rung.name for rung in RUNGS)  # against its own original, any corruption shows
EVERY = 8  # frames, of those whose spread is taken: neighbours hardly differ
WINDOWS = 8  # of a video, at most, that features are taken of


def _motion(videos: np.ndarray) -> np.ndarray:
    """(N, T - 1) grey levels."""
    return measure(videos).motion[:, 1:]


def _flicker(videos: np.ndarray) -> np.ndarray:
    """(N, T - 2) grey levels."""
    return measure(videos).flicker[:, 2:]


def _still(videos: np.ndarray, real: np.ndarray) -> float:
    """Difference of the shares of pairs that move less than 99 of 100 real ones; of `_motion`."""
    limit = np.quantile(real, STILL)
    return float(abs((videos <= limit).mean() - (real <= limit).mean()))


def _sharpness(videos: np.ndarray) -> np.ndarray:
    """(N, T)."""
    return measure(videos).sharpness


def _colour(videos: np.ndarray) -> np.ndarray:
    """(N, 1, 3)."""
    return tint_of(measure(videos).rgb)[:, None]


def tint_of(rgb: np.ndarray) -> NDArray[np.float64]:
    """Mean colours (..., T, 3) -> (..., 3): their change from the first quarter of a video to its last."""
    quarter = max(rgb.shape[-2] // 4, 1)
    return rgb[..., -quarter:, :].mean(-2) - rgb[..., :quarter, :].mean(-2)


def _order(videos: np.ndarray) -> np.ndarray:
    return order_of(thumbnails(videos))


def order_of(small: np.ndarray) -> NDArray[np.float64]:
    """Thumbnails (N, T >= 3, D) -> (N,): change over one frame as a share of that over two, less for frames in order."""
    one, two = (np.abs(small[:, step:] - small[:, :-step]).mean((1, 2)) for step in (1, 2))
    return one / np.maximum(two, FLOOR)


def _jumps(videos: np.ndarray) -> np.ndarray:
    return jumps_of(measure(videos).rgb)


def jumps_of(rgb: np.ndarray) -> NDArray[np.float64]:
    """Mean colours (..., T >= 4, 3) -> (...): the largest change over those of the pairs before and after it.

    A cut comes out of nothing, where a fast turn has fast neighbours: the largest MOTION tells cuts in `duel` and none in
    `rooms`, where one turn of the head changes as much. Changes of less than one grey level are no reference. Raises
    UserError for fewer frames.
    """
    if rgb.shape[-2] < SHORTEST:
        raise UserError(f"a sudden change has changes before and after it: give {SHORTEST} frames or more, not {rgb.shape[-2]}")
    change = np.linalg.norm(np.diff(rgb, axis=-2), axis=-1)
    around = np.maximum(np.maximum(change[..., :-2], change[..., 2:]), 1)
    return (change[..., 1:-1] / around).max(-1)


def _repeats(videos: np.ndarray, real: np.ndarray) -> float:
    """Difference of the shares of windows that repeat an earlier one, as `repetition` has it; of `nearest`."""
    limit = threshold_of(real)
    return float(abs((videos <= limit).mean() - (real <= limit).mean()))


def _flow(videos: np.ndarray) -> np.ndarray:
    return warp(videos).error


def _small(videos: np.ndarray) -> np.ndarray:
    return thumbnails(videos[:, ::EVERY])


def _diversity(videos: np.ndarray, real: np.ndarray) -> float:
    found = energy_score(videos, real)
    return _log_ratio(found.diversity, 2 * found.floor)


def _energy(videos: np.ndarray, real: np.ndarray) -> float:
    """The energy distance of points (N, n, D), mean over n, in grey levels."""
    found = energy_score(videos, real)
    return float(2 * (found.score - found.floor).mean())


def _features(videos: np.ndarray) -> NDArray[np.float32]:
    """(N, 3, windows, D), of windows evenly spread that do not overlap."""
    check(videos)
    frames = videos.shape[1]
    if frames < WINDOW:
        raise UserError(f"features need videos of {WINDOW} frames or more, not {frames}")
    starts = np.linspace(0, frames - WINDOW, min(WINDOWS, frames // WINDOW)).round().astype(int)
    return np.stack([random_features(videos[:, start : start + WINDOW]) for start in starts], 2).swapaxes(0, 1)


def _by_network(distance: Distance) -> Distance:
    """The mean over the three networks, of `_features`."""

    def over(videos: np.ndarray, real: np.ndarray) -> float:
        networks = zip(videos.swapaxes(0, 1), real.swapaxes(0, 1), strict=True)
        return float(np.mean([distance(np.concatenate(made), np.concatenate(true)) for made, true in networks]))

    return over


def _uncovered(videos: np.ndarray, real: np.ndarray) -> float:
    return 1 - coverage_density(real, videos).coverage


def _lost(quality: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Distance:
    """Of a quality that is the better the higher: minus its mean, each video against its own original."""
    return lambda videos, real: -float(np.mean([quality(made[None], true) for made, true in zip(videos, real, strict=True)]))


def _log_ratio(value: np.ndarray, real: np.ndarray) -> float:
    """Of the means of two figures that are never negative, without sign: half as much is as far away as twice."""
    return float(abs(np.log(max(np.nanmean(value), FLOOR) / max(np.nanmean(real), FLOOR))))


def _as_they_are(videos: np.ndarray) -> np.ndarray:
    return videos


MEASURES = (
    Measure("motion", ("noise", "shuffle", "freeze"), _motion, _log_ratio),
    Measure("flicker", ("noise", "blur", "shuffle", "freeze"), _flicker, _log_ratio),
    Measure("still", ("freeze",), _motion, _still),
    Measure("order", ("swap", "shuffle"), _order, _log_ratio),
    Measure("jumps", ("cut",), _jumps, _log_ratio),
    Measure("flow", ("noise", "blur", "shuffle", "freeze"), _flow, _log_ratio),
    Measure("sharpness", ("noise", "blur"), _sharpness, _log_ratio),
    Measure("colour", ("colour",), _colour, _energy),
    Measure("repetition", ("freeze", "loop"), nearest, _repeats),
    Measure("diversity", ("collapse",), _small, _diversity),
    Measure("energy", ("collapse",), _small, _energy),
    Measure("mmd", ("noise", "blur", "shuffle", "freeze", "cut"), _features, _by_network(mmd2)),
    Measure("frechet", ("noise", "blur", "freeze", "cut"), _features, _by_network(frechet)),
    Measure("coverage", ("noise", "blur", "cut"), _features, _by_network(_uncovered)),
    Measure("psnr", EVERY_RUNG, _as_they_are, _lost(psnr), paired=True),
    Measure("ssim", EVERY_RUNG, _as_they_are, _lost(ssim), paired=True),
    Measure("ms-ssim", EVERY_RUNG, _as_they_are, _lost(ms_ssim), paired=True),
)

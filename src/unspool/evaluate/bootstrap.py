"""Ratios with their uncertainty: percentile bootstrap over clips or seeds (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unspool.errors import UserError

LEVELS = (0.025, 0.975)


class Interval(NamedTuple):
    """value, and the limits of its 95 % interval; NaN where a single clip gives none."""

    value: float
    low: float
    high: float


def paired_ratio(a: np.ndarray, b: np.ndarray, draws: int = 2000, seed: int = 0) -> Interval:
    """mean(a) / mean(b), where a[i] and b[i] belong together (the same context, the same seed): pairs are drawn.

    Raises UserError unless both hold as many finite figures.
    """
    top, bottom = _figures(a), _figures(b)
    if len(top) != len(bottom):
        raise UserError(f"pairs need as many figures on both sides, not {len(top)} and {len(bottom)}")
    picks = np.random.default_rng(seed).integers(len(top), size=(draws, len(top)))
    return _interval(top, bottom, top[picks].mean(1), bottom[picks].mean(1))


def mean(values: np.ndarray, draws: int = 2000, seed: int = 0) -> Interval:
    """Of one figure per clip or context, which are drawn. Raises UserError unless all are finite, and there is one."""
    return paired_ratio(values, np.ones(len(values)), draws, seed)


def ratio(a: np.ndarray, b: np.ndarray, draws: int = 2000, seed: int = 0) -> Interval:
    """mean(a) / mean(b) of unrelated clips, any number on either side: both are drawn by themselves.

    Three seeds are few: their interval is too narrow, and says how far these three differ.
    """
    top, bottom = _figures(a), _figures(b)
    rng = np.random.default_rng(seed)
    drawn = [side[rng.integers(len(side), size=(draws, len(side)))].mean(1) for side in (top, bottom)]
    return _interval(top, bottom, *drawn)


def _figures(values: np.ndarray) -> np.ndarray:
    flat = np.asarray(values, dtype=np.float64)
    if flat.ndim != 1 or not len(flat) or not np.isfinite(flat).all():
        raise UserError("a bootstrap needs a list of at least one finite figure, one per clip or seed")
    return flat


def _interval(a: np.ndarray, b: np.ndarray, tops: np.ndarray, bottoms: np.ndarray) -> Interval:
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(a.mean() / b.mean())
        if len(a) == 1:
            return Interval(value, float("nan"), float("nan"))
        low, high = np.quantile(tops / bottoms, LEVELS)
    return Interval(value, float(low), float(high))

"""Linear probes: what can be read off a model's state by a straight line, such as where the camera is after a walk.

Ridge regression, closed form, judged on layouts that no part of it has seen. A figure never stands alone: beside it are the
same regression on targets that were shuffled between walks, and on random features of the same size; both must be near zero.

Probes of a network's features: Alain and Bengio, 1610.01644; control tasks for them: Hewitt and Liang, 1909.03368. Both from
memory, not read again; the protocol here is ours. One row is one walk: N walks, D features, P targets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unspool import store
from unspool.errors import UserError
from unspool.evaluate.bootstrap import LEVELS, Interval
from unspool.evaluate.curves import check
from unspool.evaluate.memory.playing import control_of, encode, remembered
from unspool.system import System

FOLDS = 5
FEWEST = 2 * FOLDS  # groups: two in each part that is held out
SKETCH = 4096  # features that are left of a larger state
_PENALTIES = np.logspace(-5, 4, 19)  # times the mean squared singular value of the features
_DRAWS = 2000
_AT_ONCE = 16  # walks


class Probe(NamedTuple):
    """Each a tuple of P: R^2 of a target on held-out groups, with the 95 % limits of a bootstrap over whole groups.

    1 is exact, 0 is no better than the mean of the training targets; below 0 is worse. found: of these features. shuffled: of
    the same features, targets shuffled between walks. random: of random normal features of the same shape. What `found` says is
    what it has above both.
    """

    found: tuple[Interval, ...]
    shuffled: tuple[Interval, ...]
    random: tuple[Interval, ...]


def probe(features: np.ndarray, targets: np.ndarray, groups: np.ndarray, seed: int = 0) -> Probe:
    """features (N, D), targets (N, P), groups (N,): the layout that each walk went through, in numbers or names.

    Groups are dealt into 5 parts. Each part is predicted from the other four; the penalty of each target is the one that does
    best when, among these four, each is predicted from the other three. So no group is ever on both sides.

    Raises UserError for other shapes, fewer than 10 groups, values that are not finite and targets that do not vary.
    """
    x, y = (np.asarray(side, np.float64) for side in (features, targets))
    _check(x, y, np.asarray(groups))
    rng = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    fold = (rng.permutation(group.max() + 1) % FOLDS)[group]
    both = np.concatenate([y, rng.permutation(y)], 1)
    random = rng.standard_normal(x.shape)
    found = _judged(x, both, group, fold, seed)
    return Probe(found[: y.shape[1]], found[y.shape[1] :], _judged(random, y, group, fold, seed))


def pose_targets(poses: np.ndarray) -> np.ndarray:
    """(N, 3): x, y and heading in radians -> (N, 4): x, y and the cosine and sine of the heading, which has no jump."""
    return np.concatenate([poses[:, :2], np.cos(poses[:, 2:]), np.sin(poses[:, 2:])], 1).astype(np.float64)


@torch.no_grad()
def state_features(system: System, videos: np.ndarray, actions: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """(N, D) float64: the state behind each walk, uint8 (N, T, H, W, 3), with its actions (N, T, K) where the model takes them.

    All leaves of floating point in one row. Where these are more than 4096, each is added, under a random sign, to a random one
    of 4096 sums (the count sketch of Charikar et al. 2002, from memory): inner products are kept on average. What is linear in
    a sketch is linear in the state, not the reverse: a probe of it finds no more than there is.

    Raises UserError for walks or actions that do not fit the model, and for a state that is empty or not finite.
    """
    check(videos)
    control = control_of(system, actions, *videos.shape[:2])
    rows = []
    for first in range(0, len(videos), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        state = remembered(system, encode(system, videos[part]), None if control is None else control[part], seed)
        leaves = [leaf.double().flatten(1) for leaf in store.flatten(state).values() if leaf.is_floating_point()]
        if not sum(leaf.shape[1] for leaf in leaves):
            raise UserError("this model keeps no state, so there is nothing to probe: give it a memory or context")
        rows.append(_sketched(torch.cat(leaves, 1), seed).cpu().numpy())
    features = np.concatenate(rows)
    if not np.isfinite(features).all():
        raise UserError("the model's state is not finite: use an earlier checkpoint")
    return features


def _sketched(rows: Tensor, seed: int) -> Tensor:
    """(B, D) -> (B, at most SKETCH)."""
    size = rows.shape[1]
    if size <= SKETCH:
        return rows
    rng = np.random.default_rng(seed)
    place = torch.from_numpy(rng.integers(SKETCH, size=size)).to(rows.device)
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=size)).to(rows)
    return rows.new_zeros(len(rows), SKETCH).index_add(1, place, rows * sign)


def _check(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> None:
    flat = x.ndim == y.ndim == 2 and groups.ndim == 1
    if not flat or not len(x) == len(y) == len(groups) or not x.shape[1] or not y.shape[1]:
        shapes = f"{x.shape}, {y.shape}, {groups.shape}"
        raise UserError(f"a probe needs features (N, D), targets (N, P) and groups (N,), not {shapes}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("some features or targets are not finite: leave those walks out")
    if (count := len(np.unique(groups))) < FEWEST:
        raise UserError(f"a probe needs walks through at least {FEWEST} layouts, not {count}: record more")
    if len(still := np.flatnonzero(y.std(0) < 1e-12 * (1 + np.abs(y).max(0)))):
        raise UserError(f"target {still[0]} is the same in all walks, so there is nothing to find: leave it out")


def _judged(x: np.ndarray, y: np.ndarray, group: np.ndarray, fold: np.ndarray, seed: int) -> tuple[Interval, ...]:
    """R^2 of each target: every row is predicted by a regression that has not seen its group."""
    wrong, spread = np.empty_like(y), np.empty_like(y)
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        inner = np.zeros((len(_PENALTIES), y.shape[1]))
        for other in set(range(FOLDS)) - {held}:
            fit, judge = train & (fold != other), fold == other
            inner += ((_predicted(x[fit], y[fit], x[judge]) - y[judge]) ** 2).sum(1)
        best = inner.argmin(0)
        made = _predicted(x[train], y[train], x[test])[best, :, np.arange(y.shape[1])].T
        wrong[test], spread[test] = (made - y[test]) ** 2, (y[train].mean(0) - y[test]) ** 2
    sums = [np.stack([np.bincount(group, column) for column in side.T], 1) for side in (wrong, spread)]  # (groups, P)
    drawn = np.random.default_rng(seed).integers(len(sums[0]), size=(_DRAWS, len(sums[0])))
    drawn_r2 = 1 - sums[0][drawn].sum(1) / sums[1][drawn].sum(1)
    low, high = np.quantile(drawn_r2, LEVELS, axis=0)
    value = 1 - wrong.sum(0) / spread.sum(0)
    return tuple(Interval(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True))


def _predicted(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(penalties, new rows, P): ridge regression of y on x at every penalty, features and targets about their means.

    Closed form in the dual, K = X X': predictions are k (K + penalty)^-1 y, from one eigendecomposition of as many rows as
    there are walks, however many features. A feature that does not vary in training counts for nothing.
    """
    mean, spread = x.mean(0), x.std(0)
    scale = np.where(spread > 1e-12 * (1 + np.abs(mean)), 1 / np.maximum(spread, 1e-300), 0.0)
    x, new, centre = (x - mean) * scale, (new - mean) * scale, y.mean(0)
    values, vectors = np.linalg.eigh(x @ x.T)
    values = np.maximum(values, 0)
    unit = values.sum() / max(1, min(x.shape)) or 1.0  # 1: no feature varies
    seen, towards = new @ x.T @ vectors, vectors.T @ (y - centre)
    return np.stack([seen @ (towards / (values + penalty * unit)[:, None]) for penalty in _PENALTIES]) + centre

"""The figures of an arm over all contexts, and what all arms are measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.clipwise import blocks, cubic, mmd2
from unspool.evaluate.curves import Curves
from unspool.evaluate.drift import STILL, Table, series_of, tabulate
from unspool.evaluate.repetition import threshold_of
from unspool.evaluate.watch import Figures

SPLITS = 1000
"""Ways to part the real clips, from which the floor of the MMD comes."""


class Gathered:
    """The figures of an arm, leaves (K, S, ...): K contexts, S futures of each."""

    def __init__(self, contexts: Sequence[Figures]) -> None:
        names = set.intersection(*(set(figures) for figures in contexts))
        self.figures = {name: np.stack([figures[name] for figures in contexts]) for name in sorted(names)}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.figures:
            raise UserError(_MISSING.get(name, f"there are no figures of {name}"))
        return self.figures[name]

    def __len__(self) -> int:
        return len(self["motion"])

    def curves(self) -> Curves:
        """All videos, (K * S, T)."""
        return Curves(*(self[name].reshape(-1, *self[name].shape[2:]) for name in Curves._fields))

    def begun(self) -> Curves:
        """Of the last frame of each video's context, (K * S, 1)."""
        return Curves(*(np.repeat(self[f"begun_{name}"], self["motion"].shape[1], 0) for name in Curves._fields))

    def rows(self) -> np.ndarray:
        """Features, (K, S * W, 3, D)."""
        features = self["features"]
        return features.reshape(len(features), -1, *features.shape[3:])


_MISSING = {
    "lpips": "no weights",
    "psnr": "only futures of the contexts can be compared with what followed", "score": "needs 8 futures of each context",
    "diversity": "needs 8 futures of each context", "repeats": "needs videos of 60 frames", "order": "needs 3 frames",
    "jumps": "needs 4 frames, the context's last two among them", "features": "needs segments of 16 frames",
    "warp": "needs 2 frames of 16 pixels a side",
}  # fmt: skip
_MISSING |= {"ssim": _MISSING["psnr"], "ms_ssim": _MISSING["psnr"]}


class Base:
    """What all arms are measured by. real: M clips of other episodes, S = 1; truth: what followed on the K contexts; again: the
    world's own futures, where there are any. A measure is taken 1 + K + M times: of all, without each context, without each
    real clip; kept (1 + K + M, K) and kept_real (1 + K + M, M), 0 or 1, say of which."""

    def __init__(self, real: Gathered, truth: Gathered, again: Gathered | None, segment: int) -> None:
        self.real, self.truth, self.again, self.segment = real, truth, again, segment
        contexts, clips = len(truth), len(real)
        self.kept = np.concatenate([np.ones((1, contexts)), 1 - np.eye(contexts), np.ones((clips, contexts))])
        self.kept_real = np.concatenate([np.ones((1 + contexts, clips)), 1 - np.eye(clips)])

    @cached_property
    def still(self) -> np.ndarray:
        """(1 + K + M,): motion up to which a pair of frames is still, each time by the real clips that are kept."""
        return self._limits("motion", lambda motion: float(np.nanquantile(motion, STILL)))

    @cached_property
    def repeats(self) -> np.ndarray:
        """(1 + K + M,): distance under which one second repeats another, likewise."""
        return self._limits("repeats", threshold_of)

    @cached_property
    def floors(self) -> np.ndarray:
        """(3,) the MMD^2 that 95 of 100 ways to part the real clips, with those that followed, stay below."""
        both = np.concatenate([self.real.rows(), self.truth.rows()])
        rng = np.random.default_rng(1)
        order = np.argsort(rng.random((SPLITS, len(both))), 1)
        ours = (order < len(self.truth)).astype(float)
        networks = [blocks([*both[:, :, n]], cubic) for n in range(both.shape[2])]
        return np.array([np.quantile(mmd2(network, ours, 1 - ours), 0.95) for network in networks])

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """(1 + K + M, K + M) each: which of the made and the real clips, made ones first, are kept on either side."""
        made, real = len(self.truth), len(self.real)
        return np.pad(self.kept, ((0, 0), (0, real))), np.pad(self.kept_real, ((0, 0), (made, 0)))

    def _limits(self, name: str, of: Callable[[np.ndarray], float]) -> np.ndarray:
        figures = self.real[name]
        without = [of(np.delete(figures, clip, 0)) for clip in range(len(figures))]
        return np.array([*[of(figures)] * (1 + len(self.truth)), *without])


def drift_of(arm: Gathered, base: Base) -> Table:
    """Every segment of every video against the band of real video, each relative to the last frame of its own context."""
    series = series_of(arm.curves(), base.real.curves(), arm.begun(), base.real.begun())
    return tabulate(series, base.segment)

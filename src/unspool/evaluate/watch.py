"""All that is kept of one context's futures once they have been seen: figures per frame, pair and window, never the pixels.

Frames come in blocks and each is looked at once, so that memory does not grow with the length of a video but for its figures.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import final

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.band import FLOOR
from unspool.evaluate.colours import SHORTEST, jumps_of
from unspool.evaluate.curves import Curves, Meter, measure
from unspool.evaluate.drift import edges_of
from unspool.evaluate.features import LEAST, WINDOW, random_features
from unspool.evaluate.flow import STRIDE, warp
from unspool.evaluate.futures import FEWEST, score_futures, thumbnails
from unspool.evaluate.pages.sheet import columns_of
from unspool.evaluate.quality import ms_ssim, psnr, ssim
from unspool.evaluate.repetition import WINDOW as SECOND
from unspool.evaluate.repetition import Nearest

BLOCK = 16 * STRIDE
"""Frames that are looked at together: a whole number of pairs and windows."""

Figures = dict[str, np.ndarray]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(made, real), uint8 (S, n, H, W, 3) both -> (S, n)."""


@final
class Watch:
    """S futures of one context, T frames: `update(made)` or `update(made, real)` block by block, then `figures()`:

    motion, sharpness, flicker (S, T), rgb (S, T, 3): see `Curves`; begun_motion, ... (1, 1, ...): those of the last frame of
    the context (c, H, W, 3), or without one of the first frame. order (S,): change over one frame as a share of that over two,
    less for frames in order. jumps (S,): see `jumps_of`. warp, warp_motion (S, P): see `Warp`. repeats (S, T - 59): see
    `repetition`, of 60 frames and more. features (S, W, 3, D): of one window a segment. frames (S', T', H, W, 3) uint8: what a
    contact sheet shows of the first two futures.
    With the truth psnr, ssim, ms_ssim (S, T), of eight futures and more score, diversity (T,), see `Futures`, and by what
    `perceptual` says lpips (S, T).

    The last two frames of the context come before frame 0 in motion, flicker, order and jumps: a model that goes on from
    another picture than it was given has made a cut.
    keep: so many first frames of the first future stay in `kept`, (keep, H, W, 3).
    """

    def __init__(
        self, frames: int, segment: int, context: np.ndarray | None = None, *, keep: int = 0, perceptual: Distance | None = None
    ) -> None:
        self.total, self.done, self.keep, self.perceptual = frames, 0, keep, perceptual
        self._before = None if context is None else context[-2:]
        self._begun = None if context is None else measure(context[None, -2:])
        edges = edges_of(frames, segment)
        self._starts = [a + (b - a - WINDOW) // 2 for a, b in edges if b - a >= WINDOW]
        self._shown = columns_of(frames)
        self._meters: list[Meter] = []
        self._nearest: list[Nearest] = []
        self._tail = np.empty((0, 0, 0), np.float32)  # the last thumbnails
        self._changes: list[tuple[np.ndarray, np.ndarray]] = []
        self._kept: list[np.ndarray] = []
        self._windows: dict[int, list[np.ndarray]] = {start: [] for start in self._starts}
        self._features: list[np.ndarray] = []
        self._rows: dict[str, list[np.ndarray]] = {}
        self._first: list[np.ndarray] = []

    def update(self, made: np.ndarray, real: np.ndarray | None = None) -> None:
        """made: uint8 (S, n, H, W, 3), n = BLOCK but for the last; real: (n, H, W, 3), what truly followed."""
        self._meters = self._meters or [Meter(self._before) for _ in made]
        for meter, video in zip(self._meters, made, strict=True):
            meter.update(video)
        if made.shape[1] > 1 and min(made.shape[2:4]) >= LEAST:
            flow = warp(made)
            self._add(warp=flow.error, warp_motion=flow.motion)
        self._compare(thumbnails(made))
        if self.done < self.keep:
            self._first.append(made[0, : self.keep - self.done].copy())
        self._collect(made)
        if real is not None:
            self._add(psnr=psnr(made, real), ssim=ssim(made, real), ms_ssim=ms_ssim(made, real))
            if self.perceptual is not None:
                known = np.broadcast_to(real, made.shape)
                self._add(lpips=self.perceptual(made, known))
            if len(made) >= FEWEST:
                scored = score_futures(made, real)
                self._add(score=scored.score, diversity=scored.diversity)
        self.done += made.shape[1]
        _give_back()

    @property
    def kept(self) -> np.ndarray:
        return np.concatenate(self._first)

    def figures(self) -> Figures:
        """Raises UserError where fewer frames came than were announced."""
        if self.done != self.total:
            raise UserError(f"{self.total} frames were asked for and {self.done} came")
        curves = [meter.curves() for meter in self._meters]
        found = {name: np.stack([getattr(c, name) for c in curves]) for name in ("motion", "sharpness", "flicker", "rgb")}
        begun = self._begun or Curves(*(found[name][:1, :1] for name in Curves._fields))
        found |= {f"begun_{name}": leaf[0, -1:] for name, leaf in begun._asdict().items()}
        found |= {name: np.concatenate(parts, -1) for name, parts in self._rows.items()}
        rgb = found["rgb"]
        if self._begun is not None:
            rgb = np.concatenate([np.repeat(self._begun.rgb, len(rgb), 0), rgb], 1)
        if rgb.shape[1] >= SHORTEST:
            found["jumps"] = jumps_of(rgb)
        if rgb.shape[1] >= 3:
            one, two = (np.concatenate(parts, 1).mean(1) for parts in zip(*self._changes, strict=True))
            found["order"] = one / np.maximum(two, FLOOR)
        if self.total >= 2 * SECOND:
            found["repeats"] = np.stack([nearest.distances() for nearest in self._nearest])
        if self._features:
            found["features"] = np.stack(self._features, 1)
        return {**found, "frames": np.concatenate(self._kept, 1)}

    def _add(self, **rows: np.ndarray) -> None:
        for name, row in rows.items():
            self._rows.setdefault(name, []).append(row)

    def _compare(self, small: np.ndarray) -> None:
        """Thumbnails (S, n, D) with those before them."""
        self._nearest = self._nearest or [Nearest() for _ in small]
        for nearest, video in zip(self._nearest, small, strict=True):
            nearest.update(video)
        if self._before is not None and not self.done:
            self._tail = np.repeat(thumbnails(self._before[None]), len(small), 0)
        before = self._tail.shape[1]
        known = np.concatenate([self._tail, small], 1) if before else small
        one, two = (np.abs(known[:, lag:] - known[:, :-lag]).mean(2)[:, max(0, before - lag) :] for lag in (1, 2))
        self._changes.append((one, two))
        self._tail = known[:, -2:]

    def _collect(self, made: np.ndarray) -> None:
        """Features of the windows as they are complete, copies of what the contact sheet shows."""
        first, count = self.done, made.shape[1]
        for start, parts in list(self._windows.items()):
            if (part := made[:, max(0, start - first) : max(0, start + WINDOW - first)]).size:
                parts.append(part.copy())
            if parts and first + count >= start + WINDOW:
                self._features.append(random_features(np.concatenate(parts, 1)).swapaxes(0, 1))
                del self._windows[start]
        at = [t - first for t in self._shown if first <= t < first + count]
        self._kept.append(made[:2, at].copy())


def _give_back() -> None:
    """Free memory to the system, a thousandth of the time of a block: glibc keeps the holes between small blocks, as much as
    the frames themselves take up (864 MB instead of 354 after 3 572 frames of 8 futures). Elsewhere nothing happens."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def in_blocks(parts: Iterator[np.ndarray], axis: int, block: int = BLOCK) -> Iterator[np.ndarray]:
    """Arrays that come in any lengths along an axis, in blocks of one length; the last may be shorter."""
    held: list[np.ndarray] = []
    have = 0
    for part in parts:
        held.append(part)
        have += part.shape[axis]
        while have >= block:
            whole = np.concatenate(held, axis)
            ready, rest = np.split(whole, [block], axis)
            yield ready
            held, have = [rest], rest.shape[axis]
    if have:
        yield np.concatenate(held, axis)

"""Recall: how much of what a video showed and then left comes back as it was, by how long it was out of sight.

A renderer is scored on revisited pixels alone (`sights.revisits`), between two others: its memoryless twin, worth 0, and one
with the full context, worth 1 (the same model given everything, or `renderers.oracle`). The measure is this project's own.

Squared error alone can be fooled: the average of many plans errs half as much as a sharp picture of a wrong one, and would
score about 0.5 without any memory. Contrast alone can be fooled as well: a frozen frame has the colours of the right plan.
So both are measured, and recall is the lower of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.bootstrap import Interval, paired_ratio
from unspool.evaluate.memory.renderers import otherwise
from unspool.evaluate.memory.scenes import Renderer, Scene, render_like, sights
from unspool.evaluate.memory.sights import revisits

EDGES = (0, 1, 2, 4, 8, np.inf)  # windows out of sight, from .. below
CAP = 60.0  # dB: an exact renderer has no finite PSNR
GATE = 2.0  # dB between memoryless and full context: below, there is too little to remember to say how much of it is
FEWEST = 8  # scenes: a bootstrap of fewer is too narrow
_OTHERS = range(1, 5)  # plans to tell the true one from; plan 0 is what memoryless renderers put up
_WHITE = 255.0**2


class Errors(NamedTuple):
    """Of each scene and span of EDGES, (N, B) sums over revisited pixels. squared: error against the truth, mean of three
    colours, grey levels squared. contrast: the same less the error against the same views of other plans, so what is as near
    to any plan as to this one has 0. pixels: how many."""

    squared: np.ndarray
    contrast: np.ndarray
    pixels: np.ndarray


class Score(NamedTuple):
    """Of what was out of sight for `least` <= windows < `most`.

    scenes, pixels: how many show any of it. psnr: of the renderer, dB, at most CAP. gain: dB of the full context over the
    memoryless twin; own: of the renderer over it. by_error, by_contrast: (memoryless - renderer) / (memoryless - full) in
    either error; None where there is a `reason` not to say.
    """

    least: float
    most: float
    scenes: int
    pixels: int
    psnr: Interval
    gain: Interval
    own: Interval
    by_error: Interval | None
    by_contrast: Interval | None
    reason: str | None

    @property
    def recall(self) -> Interval | None:
        """The lower of the two: 1 full context, 0 memoryless, below 0 worse than that."""
        if self.by_error is None or self.by_contrast is None:
            return None
        return min(self.by_error, self.by_contrast, key=lambda found: found.value)


class Recall(NamedTuple):
    """overall: of all that was out of sight for a window or more. gaps: by how long, a score for each span of EDGES."""

    overall: Score
    gaps: tuple[Score, ...]


def errors(scenes: Sequence[Scene], renderer: Renderer, window: int) -> Errors:
    """Let the renderer make each scene's frames, and measure them; window: frames. Raises UserError for no scenes, and for a
    renderer that does not make uint8 frames of the scene's number and size."""
    if not scenes or window < 1:
        raise UserError(f"recall of {len(scenes)} scenes in windows of {window} frames: give 1 or more of both")
    found = [_errors(scene, made_by(renderer, scene), window) for scene in scenes]
    return Errors(*(np.stack(part) for part in zip(*found, strict=True)))


def recall(model: Errors, memoryless: Errors, full: Errors) -> Recall:
    """Errors of the three on the same scenes -> how much the model remembers, with 95 % intervals over scenes.

    Recall is told only where the full context is worth 2 dB or more over the memoryless twin, beyond its interval; else the
    reason says why not. Raises UserError where the three were not measured on the same scenes.
    """
    if any(not np.array_equal(arm.pixels, model.pixels) for arm in (memoryless, full)):
        raise UserError("recall compares three renderers on the same scenes: measure model, memoryless and full alike")
    last = len(EDGES) - 1

    def score(start: int, stop: int) -> Score:
        return _score(_sum(model, start, stop), _sum(memoryless, start, stop), _sum(full, start, stop), start, stop)

    return Recall(score(1, last), tuple(score(span, span + 1) for span in range(last)))


def is_worth(gain: Interval) -> bool:
    """Whether a difference to the memoryless twin, dB, is enough to tell of: at least GATE, its interval above 0."""
    return gain.value >= GATE and gain.low > 0


def made_by(renderer: Renderer, scene: Scene) -> np.ndarray:
    """The renderer's frames. Raises UserError unless they are uint8 (T - context, H, W, 3)."""
    made, shape = np.asarray(renderer(scene)), scene.frames[scene.context :].shape
    if made.dtype != np.uint8 or made.shape != shape:
        raise UserError(f"a renderer must make uint8 frames {shape} of this scene, not {made.dtype} {made.shape}")
    return made


def _errors(scene: Scene, made: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B,) each: the sums of `Errors` of one scene."""
    gap = revisits(sights(scene), scene.context)
    back = gap > 0
    bins = np.digitize(gap[back] / window, EDGES) - 1
    shown = made[back].astype(np.float64)

    def against(view: np.ndarray) -> np.ndarray:
        return ((shown - view[back]) ** 2).mean(-1)

    squared = against(scene.frames[scene.context :])
    others = np.mean([against(render_like(scene, otherwise(scene.layout, number))) for number in _OTHERS], axis=0)
    parts = (squared, squared - others, np.ones_like(squared))
    squared, contrast, pixels = (np.bincount(bins, part, len(EDGES) - 1) for part in parts)
    return squared, contrast, pixels


def _sum(errors: Errors, start: int, stop: int) -> Errors:
    """(N,) each: over some spans."""
    return Errors(*(part[:, start:stop].sum(1) for part in errors))


def _score(model: Errors, memoryless: Errors, full: Errors, start: int, stop: int) -> Score:
    """Of one span: errors (N,) each."""
    there = model.pixels > 0
    model, memoryless, full = (Errors(*(part[there] for part in arm)) for arm in (model, memoryless, full))
    least, most, scenes, pixels = EDGES[start], EDGES[stop], int(there.sum()), int(model.pixels.sum())
    nothing = Interval(np.nan, np.nan, np.nan)
    psnr = _decibels(model.pixels * _WHITE, _floored(model)) if scenes else nothing
    gain, own = (_decibels(_floored(memoryless), _floored(arm)) if scenes else nothing for arm in (full, model))
    reason = _reason(memoryless, full, gain)
    if reason is not None:
        return Score(least, most, scenes, pixels, psnr, gain, own, None, None, reason)
    by_error, by_contrast = (
        paired_ratio(none - own, none - all_)
        for none, own, all_ in ((getattr(arm, name) for arm in (memoryless, model, full)) for name in ("squared", "contrast"))
    )
    return Score(least, most, scenes, pixels, psnr, gain, own, by_error, by_contrast, None)


def _reason(memoryless: Errors, full: Errors, gain: Interval) -> str | None:
    """Why recall cannot be told, if so."""
    scenes = len(full.pixels)
    if scenes < FEWEST:
        return f"{scenes or 'no'} scenes come back after that long, recall needs {FEWEST}: give more scenes, or more windows"
    if not is_worth(gain):
        return (
            f"full context is worth {gain.value:.1f} dB over memoryless ({gain.low:.1f} to {gain.high:.1f}):"
            f" recall is told from {GATE:.0f} dB on, beyond its interval"
        )
    if not paired_ratio(memoryless.contrast - full.contrast, full.pixels).low > 0:
        return "full context is no nearer to the true plan than memoryless, only softer: nothing is seen to be remembered"
    return None


def _floored(errors: Errors) -> np.ndarray:
    """(N,) squared error, not below that of CAP."""
    return np.maximum(errors.squared, errors.pixels * _WHITE / 10 ** (CAP / 10))


def _decibels(a: np.ndarray, b: np.ndarray) -> Interval:
    return Interval(*(float(10 * np.log10(value)) for value in paired_ratio(a, b)))

"""Recall: how much of what a video showed and then left comes back as it was, by how long it was out of sight.

A renderer is scored on revisited pixels alone (`sights.revisits`), between two others: its memoryless twin, worth 0, and one
with the full context, worth 1 (the same model given everything, or `renderers.oracle`). The measure is this project's own.
What was last seen `gap` frames ago was out of sight for gap - 1 of them: a twin that sees the newest W frames sees all that was
out of sight for fewer than W, and nothing that was for longer.

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
from unspool.evaluate.quality import ssim_map

EDGES = (0, 1, 2, 4, 8, np.inf)  # windows out of sight, from .. below
CAP = 60.0  # dB: an exact renderer has no finite PSNR
GATE = 2.0  # dB between memoryless and full context: below, there is too little to remember to say how much of it is
FEWEST = 8  # scenes: a bootstrap of fewer is too narrow
_OTHERS = range(1, 5)  # plans to tell the true one from; plan 0 is what memoryless renderers put up
_WHITE = 255.0**2


class Errors(NamedTuple):
    """Of each scene and span of EDGES, (N, B) sums over revisited pixels. squared: error against the truth, mean of three
    colours, grey levels squared. contrast: the same less the error against the same views of other plans, so what is as near
    to any plan as to this one has 0. similar: structural similarity of the window about each pixel, the truth standing where
    nothing is revisited. pixels: how many."""

    squared: np.ndarray
    contrast: np.ndarray
    similar: np.ndarray
    pixels: np.ndarray


class Score(NamedTuple):
    """Of what was out of sight for `least` <= windows < `most`.

    scenes, pixels: how many show any of it. psnr: of the renderer, dB, at most CAP; ssim: its structural similarity. gain: dB
    of the full context over the memoryless twin; own: of the renderer over it; own_ssim: the same of similarity, a difference.
    by_error, by_contrast: (memoryless - renderer) / (memoryless - full) in either error; None where there is a `reason` not to
    say.
    """

    least: float
    most: float
    scenes: int
    pixels: int
    psnr: Interval
    ssim: Interval
    gain: Interval
    own: Interval
    own_ssim: Interval
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


class View(NamedTuple):
    """What any renderer is held against in a scene, computed once. back: (M, H, W) bool, revisited pixels; span: (P,) number in
    EDGES of each of these; others: (m, P, 3) uint8, how they look in other plans."""

    scene: Scene
    back: np.ndarray
    span: np.ndarray
    others: np.ndarray


def views(scenes: Sequence[Scene], window: int) -> tuple[View, ...]:
    """window: frames. Raises UserError for no scenes and no window."""
    if not scenes or window < 1:
        raise UserError(f"recall of {len(scenes)} scenes in windows of {window} frames: give 1 or more of both")
    return tuple(_view(scene, window) for scene in scenes)


def errors(scenes: Sequence[Scene], renderer: Renderer, window: int) -> Errors:
    """`errors_in` the views of these scenes."""
    return errors_in(views(scenes, window), renderer)


def errors_in(views: Sequence[View], renderer: Renderer) -> Errors:
    """Let the renderer make each scene's frames, and measure them. Raises UserError for a renderer that does not make uint8
    frames of the scene's number and size."""
    found = [_errors(view, made_by(renderer, view.scene)) for view in views]
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


def _view(scene: Scene, window: int) -> View:
    gap = revisits(sights(scene), scene.context)
    back = gap > 0
    span = np.digitize((gap[back] - 1) / window, EDGES) - 1
    return View(scene, back, span, np.stack([render_like(scene, otherwise(scene.layout, n))[back] for n in _OTHERS]))


def _errors(view: View, made: np.ndarray) -> tuple[np.ndarray, ...]:
    """(B,) each: the sums of `Errors` of one scene."""
    truth, shown = view.scene.frames[view.scene.context :], made[view.back].astype(np.float64)

    def against(colours: np.ndarray) -> np.ndarray:
        return ((shown - colours) ** 2).mean(-1)

    alone = np.where(view.back[..., None], made, truth)  # what the renderer shows elsewhere is not asked
    squared, similar = against(truth[view.back]), ssim_map(alone[None], truth)[0][view.back]
    others = np.mean([against(colours) for colours in view.others], axis=0)
    parts = (squared, squared - others, similar, np.ones_like(squared))
    return tuple(np.bincount(view.span, part, len(EDGES) - 1) for part in parts)


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
    ssim, own_ssim = (
        paired_ratio(part, model.pixels) if scenes else nothing for part in (model.similar, model.similar - memoryless.similar)
    )
    gain, own = (_decibels(_floored(memoryless), _floored(arm)) if scenes else nothing for arm in (full, model))
    reason = _reason(memoryless, full, gain)
    if reason is not None:
        return Score(least, most, scenes, pixels, psnr, ssim, gain, own, own_ssim, None, None, reason)
    by_error, by_contrast = (
        paired_ratio(none - own, none - all_)
        for none, own, all_ in ((getattr(arm, name) for arm in (memoryless, model, full)) for name in ("squared", "contrast"))
    )
    return Score(least, most, scenes, pixels, psnr, ssim, gain, own, own_ssim, by_error, by_contrast, None)


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

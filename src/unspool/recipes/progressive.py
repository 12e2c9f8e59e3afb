"""Recipes whose frames are noisy by more than one level at a time, and the baselines that they are measured against.

`progressive`, `progressive-free`, `rolling` and the three baselines share one backbone that looks both ways through its whole
window and remembers nothing else: weights of one load in the others where `size`, `resolution`, `patch` and `components` agree.
`ar-diffusion` and `acdit` look back alone and keep a key/value cache.

size: of the transformer. resolution: pixels of a frame's side. patch: pixels of a token's side. components: numbers that the
codec keeps of a patch, 0 for its pixels. chunk: frames that share a level, enter and leave together. chunks: in flight at once.
kept: clean chunks that stand in front of the flight, 0 for none. flight: frames in flight at once. before: clean frames that
stand in front of the flight. partitions: clips that the queue is long. together: frames of the queue that share a level and
leave together. steps: of a descent from noise to clean. shift: times what the tokens in flight ask for: above 1, more of the
descent is near noise. jitter: of all levels of a training window together, in gaps between two chunks. partial: share of
training windows of the beginning, of the end and of videos shorter than a window, a third each. bare: share of the beginnings
that are learned from nothing. opening: share of training windows of the beginning. clean: share of chunks that training leaves
without noise. window: frames that the key/value cache keeps. frames: of a training clip. context_noise: highest level of the
noise on the history in training, told to the model. reweigh: how much less a frame counts in training behind noisy ones, 0 for
not at all. alone: one block is learned in a pass rather than all. predict: what the network puts out, and the error is taken
of. controls: features of an action per frame that the model is told, 0 for none; then the data must have as many. text: what
prompts are made of: `captions` for the words of the data's captions, or the folder of a transformers encoder.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from unspool.blend import AlphaBlend
from unspool.codec import Codec
from unspool.errors import UserError
from unspool.grid import ByTokens
from unspool.laws import Independent, NonDecreasing, Ramp, Together
from unspool.model import VideoTransformer
from unspool.model.baselines import Partitioned, Renoised, Replaced, Replacing
from unspool.recipes.backbone import SizeName, backbone
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.text import Wording
from unspool.train.objectives import ByContext, DiffusionForcing, TeacherForcing
from unspool.train.windows import Windows
from unspool.types import Count, Natural, Share, Shift

Output = Literal["velocity", "clean"]
BASE = 64 * 16
"""Tokens in flight that need no shift of their own: 16 frames of 8 x 8."""


def progressive(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    chunk: Count = 2,
    chunks: Count = 8,
    kept: Natural = 1,
    steps: Count = 16,
    shift: Shift = 1.0,
    jitter: Share = 0.4,
    partial: Share = 0.3,
    bare: Share = 0.5,
    predict: Output = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """A window of chunks, each a little noisier than the one before, that moves up by one chunk in a few small steps.

    A clean chunk stays in front; the window grows at the beginning and shrinks at the end, and is trained so.

    Source: PA-VDM (2410.08151), its paper and public code read: levels by chunk and stage, one common random shift of 0.4 gaps,
    the clean chunk without loss, variable length, the shift of the levels. Ours: the backbone and codec, a ramp between any two
    stages so that `steps` may change in use, the shares of partial windows, beginnings from nothing, clean prediction.
    """
    flight, part = chunk * chunks, partial / 3
    if kept > chunks:
        raise UserError(f"{kept} clean chunks would stand in front of {chunks} noisy ones: set kept to 0 .. {chunks}")
    model, codec = _backbone(size, resolution, patch, components, predict, controls, flight + chunk, text, before=kept * chunk)
    grid = _grid(shift, resolution, patch)
    law = Ramp(chunk, 0, jitter, part, part, grid=grid.over(flight), brief=part)
    schedule = Staircase(steps, chunk, Fraction(1, chunks), grid=grid, grow=True)
    objective = Windows(kept * chunk, law, bare, predict)
    return System(model, codec, AlphaBlend(), schedule, euler, objective, kept * chunk + flight)


def progressive_free(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    chunk: Count = 2,
    chunks: Count = 8,
    steps: Count = 16,
    shift: Shift = 1.0,
    clean: Share = 0.25,
    predict: Output = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """The rollout of `progressive` on a model that never learned it: one level for all frames, but for those given clean.

    Its training is that of a base model of short clips; weights of `replace-clean` and the like roll out so too.

    Source: PA-VDM (2410.08151), read: a model whose pretraining mixed levels rolls out progressively without training.
    Ours: the base model, whose masks give any chunk clean, after the masks of Open-Sora, reconstructed from a description.
    """
    flight = chunk * chunks
    model, codec = _backbone(size, resolution, patch, components, predict, controls, flight + chunk, text, before=chunk)
    schedule = Staircase(steps, chunk, Fraction(1, chunks), grid=_grid(shift, resolution, patch), grow=True)
    objective = DiffusionForcing(0, Together(chunk, clean), loss=predict)
    return System(model, codec, AlphaBlend(), schedule, euler, objective, flight + chunk)


def rolling(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    flight: Count = 16,
    before: Natural = 2,
    steps: Count = 16,
    opening: Share = 0.2,
    predict: Output = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """A window of frames from clean to noise that rolls on frame by frame; at the beginning all of it is noise.

    Source: Rolling Diffusion (2402.09470), second-hand: levels rise by frame, windows of the beginning are clipped at noise and
    trained with some probability, clean frames stand in front. Reconstructed. Ours: the backbone, the mean squared error of the
    velocity without weights, and the share of beginnings.
    """
    model, codec = _backbone(size, resolution, patch, components, predict, controls, flight + before, text, before=before)
    objective = Windows(before, Ramp(1, 0, 0.0, start=opening, ahead=True), loss=predict)
    schedule = Staircase(steps, 1, Fraction(1, flight))
    return System(model, codec, AlphaBlend(), schedule, euler, objective, before + flight)


def ar_diffusion(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    window: Natural = 16,
    flight: Count = 4,
    steps: Count = 16,
    frames: Count = 22,
    reweigh: Share = 0.0,
    predict: Output = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """Levels that never fall along the clip, drawn by counting paths, so that any lag from 0 to 1 may be chosen in use.

    Source: AR-Diffusion (2503.07418), read: a level for one frame, both sides filled from counts of monotone paths, clean
    prediction, attention to the past alone, one lag in use. Ours: a causal transformer behind a cache of `window` frames, two
    clean frames in front, and CARD's loss weights (`reweigh`), reconstructed from a description.
    """
    model, codec = _backbone(size, resolution, patch, components, predict, controls, 1, text, window=window)
    objective = DiffusionForcing(2, NonDecreasing(), ByContext(reweigh) if reweigh else None, predict)
    schedule = Staircase(steps, 1, Fraction(1, flight))
    return System(model, codec, AlphaBlend(), schedule, euler, objective, frames)


def acdit(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    chunk: Count = 4,
    window: Natural = 16,
    steps: Count = 16,
    frames: Count = 22,
    context_noise: Share = 0.0,
    reweigh: Share = 0.0,
    alone: bool = False,
    predict: Output = "velocity",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """Blocks one after the other, all of them learned in one pass over a clean and a noisy copy of the clip.

    Source: ACDiT (2412.07720), read: noisy block i sees the clean blocks before it and itself, clean ones their past. Ours:
    clean frames are causal by frame, so that the cache does not depend on where blocks begin; it keeps `window` frames where
    ACDiT keeps all; velocity prediction; CARD's loss weights (`reweigh`), which count where the history is noisy.
    """
    if reweigh and not context_noise:
        raise UserError("reweigh counts frames by the noise on their history, which has none: set context_noise above 0")
    model, codec = _backbone(size, resolution, patch, components, predict, controls, chunk, text, window=window)
    weigh = ByContext(reweigh) if reweigh else None
    objective = TeacherForcing(chunk, 2, context_noise, Independent(chunk), predict, weigh=weigh, alone=alone)
    return System(model, codec, AlphaBlend(), Staircase(steps, chunk), euler, objective, frames)


def replace_noised(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    chunk: Count = 2,
    chunks: Count = 8,
    steps: Count = 16,
    shift: Shift = 1.0,
    clean: Share = 0.25,
    predict: Output = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """Clip by clip, each behind the last chunk of the one before, put back at every step with as much noise as the rest.

    Source: RW, replacement with noise, as PA-VDM (2410.08151, read) describes it. Ours: the base model, that of
    `progressive-free`, and one draw of noise for a chunk that is put back.
    """
    base = _backbone(size, resolution, patch, components, predict, controls, chunk * (chunks + 1), text)
    grid = _grid(shift, resolution, patch)
    return _clip_by_clip(Renoised, *base, steps, chunk, chunks, grid, clean, predict)


def replace_clean(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    chunk: Count = 2,
    chunks: Count = 8,
    steps: Count = 16,
    shift: Shift = 1.0,
    clean: Share = 0.25,
    predict: Output = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """Clip by clip, each behind the last chunk of the one before, put back clean at every step.

    Source: RN, replacement without noise, as PA-VDM (2410.08151, read) describes it. Ours: the base model, that of
    `progressive-free`, which is told that what is put back is clean.
    """
    base = _backbone(size, resolution, patch, components, predict, controls, chunk * (chunks + 1), text)
    grid = _grid(shift, resolution, patch)
    return _clip_by_clip(Replaced, *base, steps, chunk, chunks, grid, clean, predict)


def fifo(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    chunk: Count = 2,
    chunks: Count = 8,
    partitions: Count = 2,
    together: Count = 1,
    clean: Share = 0.25,
    predict: Output = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """A queue of frames from clean to noise, several clips long, cut into clips for a model that never learned it.

    Every step one frame leaves and one enters: a descent has as many steps as the queue has frames, 36 where `progressive` has
    16, and clips that overlap are half as many frames again. That is three times the token-forwards of `progressive`;
    `together` 3 asks for as many.

    Source: FIFO-Diffusion (2405.11473), reconstructed from descriptions: the queue, its partitions, looking ahead by half a
    clip, a queue that begins as the context, noised. Ours: the base model, that of `progressive-free`, and frames that leave
    together.
    """
    clip = chunk * (chunks + 1)
    model, codec = _backbone(size, resolution, patch, components, predict, controls, clip, text)
    queue = partitions * clip
    if queue % together:
        near = [n for n in range(1, queue + 1) if queue % n == 0]
        fits = " or ".join(str(n) for n in sorted(sorted(near, key=lambda n: abs(n - together))[:2]))
        raise UserError(f"a queue of {queue} frames does not leave by {together} frames: set together to {fits}")
    schedule = Staircase(queue // together, together, Fraction(together, queue), queued=True)
    task = DiffusionForcing(0, Together(chunk, clean), loss=predict)
    return System(Partitioned(model, clip), codec, model.blend, schedule, euler, task, clip)


def _backbone(
    size: SizeName, resolution: int, patch: int, components: int, predict: Output, controls: int, sight: int,
    text: Wording, *, before: int = 0, window: int = 0,
) -> tuple[VideoTransformer, Codec]:  # fmt: skip
    """A model of flights in which `sight` frames see each other both ways, as do the `before` clean ones in front; a cache of
    `window` frames holds the past."""
    return backbone(size, resolution, patch, components, window, sight, predict, 0, 0, controls, before=before, text=text)


def _grid(shift: float, resolution: int, patch: int) -> ByTokens:
    """The shift that the tokens in flight ask for, however many these are."""
    return ByTokens(shift, (resolution // patch) ** 2, BASE)


def _clip_by_clip(
    put_back: type[Replacing], model: VideoTransformer, codec: Codec, steps: int, chunk: int, chunks: int, grid: ByTokens,
    clean: float, predict: Output,
) -> System:  # fmt: skip
    """All chunks of a clip at one level, behind one that is there already and is put back."""
    schedule = Staircase(steps, chunk, 0, chunks, grid, redo=chunk)
    task = DiffusionForcing(0, Together(chunk, clean), loss=predict)
    return System(put_back(model, model.blend), codec, model.blend, schedule, euler, task, chunk * (chunks + 1))

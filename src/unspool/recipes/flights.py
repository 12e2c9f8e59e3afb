"""Recipes of one backbone that differ in what is noisy when: by chunk, by frame, all together, each at its own level."""

from __future__ import annotations

from fractions import Fraction

from unspool.blend import AlphaBlend
from unspool.grid import Shifted
from unspool.laws import Independent, Together
from unspool.model import Predict
from unspool.recipes.backbone import SizeName, backbone
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.text import Wording
from unspool.train.objectives import DiffusionForcing, OwnErrors, Target, TeacherForcing
from unspool.types import Count, Natural, Share, Shift


def chunk_by_chunk(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 1,
    chunk: Count = 4,
    window: Natural = 8,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    context_noise: Share = 0.2,
    anchor: Natural = 0,
    reach: Natural = 0,
    predict: Predict = "change",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """Chunks of frames denoised one after the other behind a rolling key/value cache.

    Trained by teacher forcing, all chunks of a clip in one pass, with a little told noise on the history.

    Source: ACDiT (2412.07720), read: blocks one by one, clean and noisy copies in one pass. Ours: a cache of the last
    `window` frames where it keeps all keys, the told context noise, the level shift, the newest frame as
    a channel and the prediction of the change since it.
    """
    model, codec = backbone(size, resolution, patch, components, window, chunk, predict, channels, anchor, controls, text=text)
    objective = TeacherForcing(chunk, 2, context_noise, Independent(chunk, Shifted(shift)))
    schedule = Staircase(steps=steps, chunk=chunk)
    return System(model, codec, AlphaBlend(), schedule, euler, objective, frames, anchor, reach)


def frame_by_frame(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 6,
    anchor: Natural = 1,
    window: Natural = 0,
    steps: Count = 4,
    frames: Count = 14,
    reach: Natural = 128,
    shift: Shift = 1.0,
    least: Share = 0.0,
    loss: Target = "velocity",
    own: Natural = 3,
    own_steps: Count = 1,
    predict: Predict = "change",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """One frame at a time, each denoised in full before the next begins, trained on its own errors.

    The newest frames and the first one are channels beside the noise; a cache of `window` frames can be added.

    Source: DIAMOND (2405.12399): a few newest frames as channels; recursive alpha diffusion (2024) after LGC-VD (2306.02562):
    learning behind a chunk of one's own; all reconstructed from descriptions. Ours: the first frame as an anchor, up to `reach`
    frames older than the clip in training, `own` frames made by a real rollout, and the prediction of the change.
    """
    model, codec = backbone(size, resolution, patch, components, window, 1, predict, channels, anchor, controls, text=text)
    law = Independent(1, Shifted(shift), least=least)
    objective = OwnErrors(1, 2, own, own_steps, law, loss) if own else TeacherForcing(1, 2, law=law, loss=loss)
    return System(model, codec, AlphaBlend(), Staircase(steps=steps), euler, objective, frames, anchor, reach)


def full_sequence(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 1,
    flight: Count = 8,
    window: Natural = 8,
    steps: Count = 16,
    frames: Count = 18,
    context_noise: Share = 0.2,
    anchor: Natural = 0,
    reach: Natural = 0,
    predict: Predict = "change",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """A whole flight of frames denoised together at one level, then the next flight behind it.

    Source: Video Diffusion Models (2204.03458), not read: one level for all frames, the baseline that every autoregressive
    method names, reconstructed. Ours: flights follow each other behind the cache, so that a video has no last frame.
    """
    model, codec = backbone(size, resolution, patch, components, window, flight, predict, channels, anchor, controls, text=text)
    objective = TeacherForcing(flight, 2, context_noise, law=Together())
    schedule = Staircase(steps=steps, lag=0, chunks=flight)
    return System(model, codec, AlphaBlend(), schedule, euler, objective, frames, anchor, reach)


def diffusion_forcing(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 0,
    window: Natural = 16,
    flight: Count = 4,
    steps: Count = 16,
    frames: Count = 22,
    shift: Shift = 1.0,
    clean: Share = 0.1,
    anchor: Natural = 0,
    reach: Natural = 0,
    predict: Predict = "clean",
    controls: Natural = 0,
    text: Wording = None,
) -> System:
    """Every frame of a clip at a level of its own, so that any lag may be chosen when it is used.

    The default lag of 1 / `flight` keeps so many frames under way, each a little noisier than the one before it.

    Source: Diffusion Forcing (2407.01392), reconstructed from descriptions: independent levels in training, a pyramid of
    levels in use. Ours: a causal transformer; clean frames in the flight with probability `clean` are FAR's (2503.19325, read).
    """
    model, codec = backbone(size, resolution, patch, components, window, 1, predict, channels, anchor, controls, text=text)
    objective = DiffusionForcing(2, Independent(1, Shifted(shift), clean))
    schedule = Staircase(steps=steps, lag=Fraction(1, flight))
    return System(model, codec, AlphaBlend(), schedule, euler, objective, frames, anchor, reach)

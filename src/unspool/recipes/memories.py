"""Recipes that differ in how the past is carried, and in nothing else: what recall is compared between.

All of one size have nearly as many parameters, `rad` the most (8 % more than `window` at nano, 2 % at base): in a block
attention costs four squares of the width, and so do a recurrence of half the width and half an MLP, so `rad` has MLPs of two
widths where the others have four.

prefix: share of the clips of which only what lies behind a long prefix carries loss. horizon: frames after which gradient
through the carried state is cut in training, 0 for a cut at each. delay: frames that the recurrence is read late, 0 for the
state behind the newest frame. sink: first frames of all that stay seen. capacity: frames that fit, for the whole of a video.
memory: tokens that a layer carries. segment: frames that enter them together. noise: highest level of the noise on what is
remembered, in training, told to the model. noise_on: the memory tokens themselves, or the frames that enter them. forgotten:
share of the clips that learn without any memory.
"""

from __future__ import annotations

from typing import Literal

from unspool.blend import AlphaBlend
from unspool.codec import Codec
from unspool.grid import Shifted
from unspool.laws import Independent, Law
from unspool.memory import LSTM, Delayed, Full, Latents, Memory, Window
from unspool.model import Predict, VideoTransformer
from unspool.recipes.backbone import SizeName, backbone
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.train.objectives import MemoryNoise, TeacherForcing
from unspool.train.prefix import Prefixed
from unspool.types import Count, Natural, Share, Shift

NoiseOn = Literal["memory", "frames"]


def rad(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 1,
    chunk: Count = 1,
    window: Natural = 8,
    delay: Natural = 0,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    context_noise: Share = 0.2,
    prefix: Share = 0.0,
    horizon: Natural | None = None,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """Recurrent autoregressive diffusion: attention over a window and, behind it, an LSTM over all that was, frame by frame.

    W, the frames that attention sees, is `window` + 1: the one that is made counts. With `delay` 0 the LSTM is read as it is,
    s[i-1], which is s[i-W] read again over its clean window; with `delay` = `window` as it was before the window, s[i-W], and
    not read again: that is ours.

    Source: RAD (2511.12940), reconstructed from a description, its body not read: attention, then a recurrence in each layer,
    hidden and cell carried, actions told to the recurrence, state and memory read frame by frame, states computed ahead in
    training. Ours: each clean frame enters the state at once rather than when it leaves the window; training makes every frame
    (every `chunk`) behind a clean past, as use does, where the description has windows of W frames that overlap, each frame at
    a level of its own behind the state before its window; the past is noised up to `context_noise`, told, where that state is
    of clean frames; one attention over space and time; an LSTM of half the width at each token's place; the backbone and its
    settings. `prefix` is another paper's (Po et al., 2505.20171) and no part of RAD, so it is 0.
    """

    def held(width: int, heads: int) -> list[Memory]:
        lstm = LSTM(width, horizon=horizon)
        return [Window(width, heads, window), Delayed(lstm, delay, width) if delay else lstm]

    base = backbone(size, resolution, patch, components, 0, chunk, predict, channels, 0, controls, held=held, mlp=2)
    return _system(*base, chunk, steps, frames, shift, context_noise, prefix)


def rad_chunkwise(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 0,
    chunk: Count = 4,
    window: Natural = 0,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    context_noise: Share = 0.2,
    prefix: Share = 0.0,
    horizon: Natural | None = None,
    predict: Predict = "clean",
    controls: Natural = 0,
) -> System:
    """The baseline of RAD: chunks of frames made together, and between them nothing but the LSTM.

    The network is `rad`'s, whose settings `channels 0` and `predict clean` leave memory as the one difference.

    Source: RAD (2511.12940), reconstructed from a description: chunk-wise recurrence without overlap is its baseline. Ours: all
    that is ours in `rad`; a flight takes its steps from the state behind the chunk before, and clean frames enter the state one
    by one, each attending to itself alone.
    """
    return rad(
        size=size, resolution=resolution, patch=patch, components=components, channels=channels, chunk=chunk, window=window,
        steps=steps, frames=frames, shift=shift, context_noise=context_noise, prefix=prefix, horizon=horizon,
        predict=predict, controls=controls,
    )  # fmt: skip


def malt(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 2,
    chunk: Count = 4,
    memory: Count = 64,
    segment: Count = 4,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    noise: Share = 0.2,
    noise_on: NoiseOn = "memory",
    forgotten: Share = 0.1,
    prefix: Share = 0.0,
    horizon: Natural | None = 0,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """Memory-augmented latent transformers: segments made one after the other behind memory tokens that each layer carries.

    Source: MALT (2502.12632), reconstructed from a description, its body not read: memory of fixed size written by attention
    from clean segments through the denoiser itself, noised in training, read without gradient. Ours: memory tokens are normed
    and looked at through told noise; where the noise goes is open, `noise_on` says it; `forgotten`; segments begin
    anywhere in a clip, as rollouts go on from any number of frames; the newest frames as channels, as W.A.L.T has them; the
    backbone and its settings.
    """

    def held(width: int, heads: int) -> list[Memory]:
        return [Latents(width, heads, memory, segment, horizon)]

    base = backbone(size, resolution, patch, components, 0, chunk, predict, channels, 0, controls, held=held)
    of_memory = MemoryNoise(noise if noise_on == "memory" else 0.0, forgotten)
    return _system(*base, chunk, steps, frames, shift, noise if noise_on == "frames" else 0.0, prefix, of_memory)


def malt_nomemory(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 2,
    chunk: Count = 4,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    prefix: Share = 0.0,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """The baseline of MALT: segments made one after the other behind nothing but the newest frames.

    Source: frame prediction of W.A.L.T (2312.06662), as a description of MALT has it: the last one or two latents as channels.
    Ours: no mask channel, since some frame is always there, and no frames that are encoded again; the rest is `malt` without
    its memory tokens.
    """
    return window(
        size=size, resolution=resolution, patch=patch, components=components, channels=channels, chunk=chunk, window=0,
        steps=steps, frames=frames, shift=shift, context_noise=0, prefix=prefix, predict=predict, controls=controls,
    )  # fmt: skip


def window(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 1,
    chunk: Count = 1,
    window: Natural = 8,
    sink: Natural = 0,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    context_noise: Share = 0.2,
    prefix: Share = 0.0,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """Frame by frame behind a rolling cache: what attention alone remembers, with `sink` also the first frames of all.

    Source: StreamingLLM (2309.17453), reconstructed from a description: a window and, before it, the first of all as a sink;
    without the sink it is the baseline of every memory. Ours: sink keys stand right before the window once they have left it,
    and in their place as long as they have not; the backbone and its settings.
    """

    def held(width: int, heads: int) -> list[Memory]:
        return [Window(width, heads, window, sink)]

    base = backbone(size, resolution, patch, components, 0, chunk, predict, channels, 0, controls, held=held)
    return _system(*base, chunk, steps, frames, shift, context_noise, prefix)


def full(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Natural = 1,
    chunk: Count = 1,
    capacity: Count = 128,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    context_noise: Share = 0.2,
    prefix: Share = 0.0,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """Frame by frame behind all frames that ever were, up to a fixed number: the upper bound of what can be remembered.

    Source: Po et al. (2505.20171), from a description of their table: full causal attention as the upper bound. Ours: a
    capacity, past which it is an error to go on; the backbone and its settings.
    """

    def held(width: int, heads: int) -> list[Memory]:
        return [Full(width, heads, capacity)]

    base = backbone(size, resolution, patch, components, 0, chunk, predict, channels, 0, controls, held=held)
    return _system(*base, chunk, steps, frames, shift, context_noise, prefix)


def none(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    channels: Count = 1,
    chunk: Count = 1,
    steps: Count = 8,
    frames: Count = 22,
    shift: Shift = 3.0,
    prefix: Share = 0.0,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """Frame by frame behind the newest frame alone: no memory, the lower bound.

    Source: none: what a model knows that is asked for the next frame alone. Ours: `window` with a window of no frames.
    """
    return window(
        size=size, resolution=resolution, patch=patch, components=components, channels=channels, chunk=chunk, window=0,
        steps=steps, frames=frames, shift=shift, context_noise=0, prefix=prefix, predict=predict, controls=controls,
    )  # fmt: skip


def _system(
    model: VideoTransformer, codec: Codec, chunk: int, steps: int, frames: int, shift: float, context_noise: float,
    prefix: float, memory_noise: MemoryNoise | None = None,
) -> System:  # fmt: skip
    """Chunk by chunk behind clean frames, in training as in use."""
    law = _prefixed(chunk, shift, prefix)
    objective = TeacherForcing(chunk, 2, context_noise, law, memory_noise=memory_noise)
    return System(model, codec, AlphaBlend(), Staircase(steps, chunk), euler, objective, frames)


def _prefixed(chunk: int, shift: float, prefix: float) -> Law:
    law = Independent(chunk, Shifted(shift))
    return Prefixed(law, prefix, chunk) if prefix else law

"""The systems, ten lines each: a function of named settings that returns a `System`.

The recipes share one backbone. Weights trained by one of those with `channels` and `window` load in the others where `size`,
`patch`, `components`, `channels` and `anchor` agree: they differ in what is noisy when, in training and in use. The first line
of a docstring is the summary that `unspool recipes` prints; `Source:` says whose idea it is, what was read and what is ours.

size: of the transformer. resolution: pixels of a frame's side. patch: pixels of a token's side. components: numbers that the
codec keeps of a patch, 0 for its pixels. channels: newest frames that stand beside each frame's input. anchor: first frames of
the video that stand there too, for ever. reach: frames that may lie between a training clip and its anchor. chunk: frames
denoised together. flight: frames denoised at a time. clean: share of frames that training leaves without noise. window: frames
that the key/value cache keeps. steps: of a descent from noise to clean. frames: of a training clip. shift: above 1, training
sees more of the high levels. context_noise: highest level of the noise on the history in training, told to the model. overlap:
frames of the chunk before that a chunk makes again. stages: chunks of a training clip, each behind the one before. estimate:
what a stage stands behind: the truth, or the model's guess of it, x - level v (blend) or noise - v. corrective: the target
holds the true overlap, though the model is given its own. rollouts: chunks of real rollouts that one more stage stands behind,
0 for none. gist: the global context, a memory of the whole past. unconditional: share of clips learned from nothing. own:
chunks that the model makes itself, in training, before the last one it learns; 0 is teacher forcing. own_steps: of each of
them. predict: what the network puts out. controls: features of an action per frame that the model is told, 0 for none; then
the data must have as many.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Literal, NamedTuple

from unspool.blend import AlphaBlend, Blend, Cosine
from unspool.codec import Codec, Patches, Pixels
from unspool.context import Cached, Channels, Local
from unspool.errors import UserError
from unspool.memory import Gist, Map, Memory, Window
from unspool.model import Predict, VideoTransformer
from unspool.schedule import Independent, Staircase, Together
from unspool.solver import euler
from unspool.system import System
from unspool.train.buffer import Buffer
from unspool.train.objectives import DiffusionForcing, OwnErrors, TeacherForcing
from unspool.train.stages import LGC_VD, Estimate, Mix, Stages
from unspool.types import Count, Natural, Positive, Share

SizeName = Literal["nano", "mini", "tiny", "small", "base"]
Recipe = Callable[..., System]


class Size(NamedTuple):
    width: int
    depth: int
    heads: int


SIZES: dict[str, Size] = {
    "nano": Size(128, 2, 2),
    "mini": Size(128, 6, 2),
    "tiny": Size(192, 4, 3),
    "small": Size(384, 8, 6),
    "base": Size(768, 12, 12),
}


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
    shift: Positive = 3.0,
    context_noise: Share = 0.2,
    anchor: Natural = 0,
    reach: Natural = 0,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """Chunks of frames denoised one after the other behind a rolling key/value cache.

    Trained by teacher forcing, all chunks of a clip in one pass, with a little told noise on the history.

    Source: ACDiT (2412.07720), read: blocks one by one, clean and noisy copies in one pass. Ours: a cache of the last
    `window` frames where it keeps all keys, the told context noise, the level shift, the newest frame as
    a channel and the prediction of the change since it.
    """
    model, codec = _backbone(size, resolution, patch, components, window, chunk, predict, channels, anchor, controls)
    objective = TeacherForcing(chunk, 2, context_noise, Independent(chunk, shift))
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
    shift: Positive = 1.0,
    own: Natural = 3,
    own_steps: Count = 1,
    predict: Predict = "change",
    controls: Natural = 0,
) -> System:
    """One frame at a time, each denoised in full before the next begins, trained on its own errors.

    The newest frames and the first one are channels beside the noise; a cache of `window` frames can be added.

    Source: DIAMOND (2405.12399): a few newest frames as channels; recursive alpha diffusion (2024) after LGC-VD (2306.02562):
    learning behind a chunk of one's own; all reconstructed from descriptions. Ours: the first frame as an anchor, up to `reach`
    frames older than the clip in training, `own` frames made by a real rollout, and the prediction of the change.
    """
    model, codec = _backbone(size, resolution, patch, components, window, 1, predict, channels, anchor, controls)
    law = Independent(1, shift)
    objective = OwnErrors(1, 2, own, own_steps, law) if own else TeacherForcing(1, 2, law=law)
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
) -> System:
    """A whole flight of frames denoised together at one level, then the next flight behind it.

    Source: Video Diffusion Models (2204.03458), not read: one level for all frames, the baseline that every autoregressive
    method names, reconstructed. Ours: flights follow each other behind the cache, so that a video has no last frame.
    """
    model, codec = _backbone(size, resolution, patch, components, window, flight, predict, channels, anchor, controls)
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
    shift: Positive = 1.0,
    clean: Share = 0.1,
    anchor: Natural = 0,
    reach: Natural = 0,
    predict: Predict = "clean",
    controls: Natural = 0,
) -> System:
    """Every frame of a clip at a level of its own, so that any lag may be chosen when it is used.

    The default lag of 1 / `flight` keeps so many frames under way, each a little noisier than the one before it.

    Source: Diffusion Forcing (2407.01392), reconstructed from descriptions: independent levels in training, a pyramid of
    levels in use. Ours: a causal transformer; clean frames in the flight with probability `clean` are FAR's (2503.19325, read).
    """
    model, codec = _backbone(size, resolution, patch, components, window, 1, predict, channels, anchor, controls)
    objective = DiffusionForcing(2, Independent(1, shift, clean))
    schedule = Staircase(steps=steps, lag=1 / flight)
    return System(model, codec, AlphaBlend(), schedule, euler, objective, frames, anchor, reach)


def alpha_context(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    chunk: Count = 6,
    overlap: Count = 2,
    steps: Count = 8,
    stages: Count = 4,
    estimate: Estimate = "blend",
    shift: Positive = 3.0,
    corrective: bool = True,
    rollouts: Natural = 0,
    context_noise: Share = 0.1,
    gist: bool = True,
    unconditional: Share = 0.1,
    predict: Predict = "clean",
    controls: Natural = 0,
) -> System:
    """Recursive alpha diffusion, improved: chunks behind an overlap that they make again and a gist of all that was.

    Trained in stages on its own errors: each chunk of a clip is learned behind the model's estimate of the one before.

    Source: Recursive Temporal-Consistent Content Generation via Alpha Diffusion (2024, project page), reconstructed from a
    description: chunks of 8 with 2 for overlap, position masks, a global context, two stages with two updates. Ours: the
    backbone, a gated recursion trained as it is used, more stages, context noise, `rollouts` chunks deep into real rollouts.
    """
    local = Local(overlap, overlap + chunk, told=context_noise > 0)
    model, codec = _backbone(
        size, resolution, patch, components, 0, overlap + chunk, predict, 0, 0, controls, local, Gist if gist else None
    )  # fmt: skip
    objective = Stages(
        chunk, overlap, stages, estimate, corrective=corrective, mix=Mix(1 - unconditional, unconditional),
        context_noise=context_noise, law=Independent(overlap + chunk, shift),
        buffer=Buffer(depth=rollouts) if rollouts else None,
    )  # fmt: skip
    schedule = Staircase(steps, chunk, redo=overlap)
    return System(model, codec, AlphaBlend(), schedule, euler, objective, overlap + stages * chunk)


def alpha_context_published(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    steps: Count = 8,
    estimate: Estimate = "noise",
    controls: Natural = 0,
) -> System:
    """Recursive alpha diffusion as published: two stages, two updates, a global context whose average training never sees.

    Source: as `alpha-context`. From the description: chunks of 8 with 2 for overlap, one level a clip, the estimate
    noise - v, a global context of the last chunk alone in training and averaged in use. Ours: the backbone and codec; its
    lower layers encode clean frames one by one, so that the global context is a fading mean without their order, of the chunk
    but for the overlap, which stands beside; an empty gist stands for the grey clip of the first chunk.
    """
    gist = partial(Gist, maps=(HALVED,), learned=False)
    model, codec = _backbone(size, resolution, patch, components, 0, 8, "velocity", 0, 0, controls, Local(2, 8), gist)
    objective = Stages(6, 2, 2, estimate, carry=False)
    return System(model, codec, AlphaBlend(), Staircase(steps, 6, redo=2), euler, objective, 14)


def lgc_vd(
    *,
    size: SizeName = "tiny",
    resolution: Count = 64,
    patch: Count = 8,
    components: Natural = 48,
    steps: Count = 8,
    controls: Natural = 0,
) -> System:
    """Local-global context guidance: one model that predicts, begins and fills, the baseline of recursive alpha diffusion.

    Source: LGC-VD (2306.02562, its public training code read): two stages with two updates, four tasks, v-prediction on the
    cosine path, mean absolute error, the average of encodings in use. Ours: the backbone, the tasks drawn for each clip rather
    than for the batch, deterministic sampling, a video cut where it ends, and the gist of `alpha-context-published`.
    """
    blend, gist = Cosine(), partial(Gist, maps=(HALVED,), learned=False)
    model, codec = _backbone(size, resolution, patch, components, 0, 8, "velocity", 0, 0, controls, Local(2, 8), gist, blend)
    objective = Stages(6, 2, 2, carry=False, mix=LGC_VD, absolute=True)
    return System(model, codec, blend, Staircase(steps, 6, redo=2), euler, objective, 14)


HALVED = Map(8, 1 / (1 - 0.5 ** (1 / 6)))
"""A map that forgets half in six frames, a chunk of LGC-VD: its average of the newest encoding and all before."""
CODEC_PATCH = 8
"""Pixels a side of the patches whose principal components are kept."""


def _backbone(
    size: str, resolution: int, patch: int, components: int, window: int, chunk: int, predict: Predict,
    channels: int, anchor: int, controls: int,
    local: Local | None = None, gist: Callable[[int, int], Memory] | None = None, blend: Blend | None = None,
) -> tuple[VideoTransformer, Codec]:  # fmt: skip
    """The model and codec of them all: blocks of one memory `window` and an MLP, over tokens of patch x patch pixels.

    components: principal components kept of each 8 x 8 patch; 0 works on the pixels themselves. gist: makes a second memory,
    of a width and heads, for the block in the middle.
    """
    unit = CODEC_PATCH if components else 1
    if resolution % patch or patch % unit:
        fix = f"choose a multiple of {unit} that divides it" if unit > 1 else "choose one that does, such as 8 or 16"
        raise UserError(f"patch {patch} does not fit resolution {resolution}; {fix}")
    if components > 3 * CODEC_PATCH**2:
        raise UserError(f"an 8 x 8 patch has {3 * CODEC_PATCH**2} components, not {components}; choose fewer")
    width, depth, heads = SIZES[size]
    shape = (components or 3, resolution // unit, resolution // unit)
    memories: list[list[Memory]] = [[Window(width, heads, window)] for _ in range(depth)]
    if gist is not None:
        memories[depth // 2].append(gist(width, heads))
    model = VideoTransformer(
        shape, patch=patch // unit, width=width, chunk=chunk, predict=predict, controls=controls, memories=memories,
        context=Channels(channels, anchor) if channels or anchor else Cached(), local=local, blend=blend,
    )  # fmt: skip
    return model, Patches(components, CODEC_PATCH) if components else Pixels()


RECIPES: dict[str, Recipe] = {
    function.__name__.replace("_", "-"): function
    for function in (
        alpha_context,
        alpha_context_published,
        chunk_by_chunk,
        diffusion_forcing,
        frame_by_frame,
        full_sequence,
        lgc_vd,
    )
}


def find(name: str) -> Recipe:
    """The recipe function of a name (`chunk-by-chunk`) or of a file of one's own (`my_recipe.py:recipe`).

    The file runs with all rights of its user. Raises UserError when there is no such recipe, with the nearest name.
    """
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), function)
    known = name.replace("_", "-")
    if known not in RECIPES:
        near = difflib.get_close_matches(known, RECIPES, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}?" if near else "one of your own is named as my_recipe.py:recipe"
        raise UserError(f"there is no recipe {name!r}; {meant} (recipes: {', '.join(RECIPES)})")
    return RECIPES[known]


def _from_file(path: Path, function: str) -> Recipe:
    if not path.is_file():
        raise UserError(f"there is no recipe file {path}; check the path, it is relative to where the command runs")
    spec = spec_from_file_location(f"recipe_file_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # a path that ends in .py always has a loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path} does not run: {type(error).__name__}: {error}; mend the file") from error
    recipe = getattr(module, function, None)
    if not inspect.isfunction(recipe):
        own = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
        near = difflib.get_close_matches(function, own, n=1, cutoff=0) or own
        meant = f"did you mean {path}:{near[0]}?" if near else "define one"
        raise UserError(f"{path} has no function {function!r}; {meant}")
    return recipe

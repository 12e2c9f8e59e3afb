"""Recursive alpha diffusion and its baseline: chunks behind an overlap that they make again, learned in stages."""

from __future__ import annotations

from functools import partial

from unspool.blend import AlphaBlend, Cosine
from unspool.context import Local
from unspool.grid import Shifted
from unspool.laws import Independent
from unspool.memory import Gist, Map
from unspool.model import Predict
from unspool.recipes.backbone import SizeName, backbone
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.train.buffer import Buffer
from unspool.train.objectives import Target
from unspool.train.stages import LGC_VD, Estimate, Mix, Stages
from unspool.types import Count, Natural, Share, Shift

HALVED = Map(8, 1 / (1 - 0.5 ** (1 / 6)))
"""A map that forgets half in six frames, a chunk of LGC-VD: its average of the newest encoding and all before."""


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
    shift: Shift = 3.0,
    least: Share = 0.1,
    loss: Target = "clean",
    corrective: bool = True,
    rollouts: Natural = 0,
    context_noise: Share = 0.1,
    gist: bool = True,
    unconditional: Share = 0.1,
    predict: Predict = "masked",
    controls: Natural = 0,
) -> System:
    """Recursive alpha diffusion, improved: chunks behind an overlap that they make again and a gist of all that was.

    Trained in stages on its own errors: each chunk of a clip is learned behind the model's estimate of the one before.

    Source: Recursive Temporal-Consistent Content Generation via Alpha Diffusion (2024, project page), reconstructed from a
    description: chunks of 8 with 2 for overlap, position masks, a global context, two stages with two updates. Ours: the
    backbone, a gated recursion trained as it is used, more stages, context noise, `rollouts` chunks deep into real rollouts.
    """
    local = Local(overlap, overlap + chunk, told=context_noise > 0)
    model, codec = backbone(
        size, resolution, patch, components, 0, overlap + chunk, predict, 0, 0, controls, local, Gist if gist else None
    )  # fmt: skip
    objective = Stages(
        chunk, overlap, stages, estimate, corrective=corrective, mix=Mix(1 - unconditional, unconditional),
        context_noise=context_noise, loss=loss, law=Independent(overlap + chunk, Shifted(shift), least=least),
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
    model, codec = backbone(size, resolution, patch, components, 0, 8, "velocity", 0, 0, controls, Local(2, 8), gist)
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
    model, codec = backbone(size, resolution, patch, components, 0, 8, "velocity", 0, 0, controls, Local(2, 8), gist, blend)
    objective = Stages(6, 2, 2, carry=False, mix=LGC_VD, absolute=True)
    return System(model, codec, blend, Staircase(steps, 6, redo=2), euler, objective, 14)

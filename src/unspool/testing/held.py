"""The check of `memory_kit` that asks a whole model: a memory in its place, beside a window and alone, trained and used."""

from __future__ import annotations

import torch

from unspool.memory import Window
from unspool.model.dit import VideoTransformer
from unspool.testing import parts
from unspool.testing.tools import assert_close, draw, map_state, scale_weights

SHAPE, PATCH, CONTROLS, CHUNK, FRAMES = (1, 4, 6), 2, 2, 2, 9


def a_model_trains_as_it_is_used(make: parts.MakeMemory) -> None:
    """The one truth: forward(...)[:, g] is denoise(x[:, g], level[:, g], remember(clean[:, :starts[g]], state)), under actions
    and told context noise, from nothing and behind other frames; and the state after it is that of remember."""
    width = parts.WIDTH
    memories = [[Window(width, 2, 2), make(width)], [make(width)]]
    model = VideoTransformer(SHAPE, patch=PATCH, width=width, chunk=CHUNK, controls=CONTROLS, memories=memories)
    model = scale_weights(model, 0.25).double().eval().requires_grad_(False)
    batch, empty = parts.BATCH, model.start(parts.BATCH, seed=torch.arange(parts.BATCH), device="cpu", dtype=torch.float64)
    earlier, said = draw(1, shape=(batch, 5, *SHAPE)), draw(2, shape=(batch, 5, CONTROLS))
    clean, control = draw(3, shape=(batch, FRAMES, *SHAPE)), draw(4, shape=(batch, FRAMES + CHUNK, CONTROLS))
    noise = draw(5, shape=(batch, FRAMES)).sigmoid()
    for starts in ((2, 4, 6), (0, 3, 4, 9)):
        x, level = draw(6, shape=(batch, len(starts), CHUNK, *SHAPE)), draw(7, shape=(batch, len(starts), CHUNK)).sigmoid()
        for state in (None, model.remember(earlier, empty, control=said)):
            before = {**empty, "seed": torch.zeros_like(empty["seed"])} if state is None else state
            trained, end = model(clean, x, level, starts, state, context_level=noise, control=control)
            for g, start in enumerate(starts):
                past = model.remember(clean[:, :start], before, level=noise[:, :start], control=control[:, :start])
                used = model.denoise(x[:, g], level[:, g], past, control=control[:, start : start + CHUNK])
                assert_close(trained[:, g], used, f"a model in training and in use, behind frame {start} of starts {starts}")
            after = model.remember(clean, before, level=noise, control=control[:, :FRAMES])
            assert_close(map_state(torch.Tensor.double, end), map_state(torch.Tensor.double, after), "the state of a model")

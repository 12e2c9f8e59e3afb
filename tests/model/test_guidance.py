"""History guidance: its ends are the model with its past and the model without, and states stay values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unspool import store
from unspool.blend import AlphaBlend
from unspool.context import Channels, Tokens
from unspool.errors import UserError
from unspool.model import VideoModel
from unspool.model.guidance import Guided
from unspool.noise import FrameNoise
from unspool.rollout import begin, stream
from unspool.schedule import Staircase
from unspool.snapshot import load_rollout, save_rollout
from unspool.testing import SHAPE, assert_close, assert_equal, draw, error, nano, video
from unspool.types import State, Video

X, LEVEL = draw(2, shape=(2, 4, *SHAPE)), torch.full((2, 4), 0.6, dtype=torch.float64)


def behind(model: VideoModel, clean: Video, **told: Any) -> State:
    state = model.start(2, seed=torch.tensor([5, 6]), device="cpu", dtype=torch.float64)
    for i in range(0, clean.shape[1], 2):
        state = model.remember(clean[:, i : i + 2], state, **told)
    return state


def test_weight_one_is_the_model_itself() -> None:
    model = nano(chunk=1)
    guided = Guided(model, AlphaBlend(), 1.0)
    assert_close(guided.denoise(X, LEVEL, behind(guided, video(6))), model.denoise(X, LEVEL, behind(model, video(6))))
    case = Staircase(4, 1, 0.5).plan()
    a, b = (
        torch.cat([c.frames for c in stream(m, AlphaBlend(), case, begin(m, video(3), seed=1), frames=9)], 1)
        for m in (guided, model)
    )
    assert_close(a, b)


@pytest.mark.parametrize("hidden", [1.0, 0.4])
def test_weight_zero_is_the_model_behind_a_hidden_past(hidden: float) -> None:
    """Noise of the rollout's own seed and absolute frames in place of it, and the model is told."""
    model, clean = nano(chunk=1), video(6)
    guided = Guided(model, AlphaBlend(), 0.0, hidden)
    noise = FrameNoise(SHAPE)(torch.tensor([5, 6]), torch.zeros(2, dtype=torch.int64), 6, 2).double()
    dark = behind(model, (1 - hidden) * clean + hidden * noise, level=torch.full((2, 2), hidden).double())
    assert_close(guided.denoise(X, LEVEL, behind(guided, clean)), model.denoise(X, LEVEL, dark))
    other = guided.denoise(X, LEVEL, behind(guided, clean + 1))
    assert (error(other, guided.denoise(X, LEVEL, behind(guided, clean))) < 1e-12) == (hidden == 1), "all of it is hidden"


def test_it_is_linear_in_its_weight() -> None:
    model = nano(chunk=1)
    zero, one, two = (Guided(model, AlphaBlend(), w) for w in (0.0, 1.0, 2.5))
    without, with_, far = (m.denoise(X, LEVEL, behind(m, video(6))) for m in (zero, one, two))
    assert_close(far, without + 2.5 * (with_ - without))
    assert error(far, with_) > 1e-3


def test_states_are_values_of_one_size(tmp_path: Any) -> None:
    model = nano(chunk=1)
    guided, plan = Guided(model, AlphaBlend(), 2.0), Staircase(2, 1).plan()
    chunks = list(stream(guided, AlphaBlend(), plan, begin(guided, video(3), seed=1), frames=12))
    sizes = {store.size(chunk.rollout.state) for chunk in chunks if chunk.rollout}
    assert len(sizes) == 1
    save_rollout(tmp_path / "half.safetensors", chunks[5].rollout, guided)
    back = load_rollout(tmp_path / "half.safetensors", guided).rollout
    rest = list(stream(guided, AlphaBlend(), plan, back, frames=6))
    assert_equal(torch.cat([c.frames for c in rest], 1), torch.cat([c.frames for c in chunks[6:]], 1))


@pytest.mark.parametrize("options", [{"context": Tokens(2)}, {"context": Channels(1)}, {"window": 0}], ids=str)
def test_a_past_that_cannot_be_hidden_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="through memories alone"):
        Guided(nano(chunk=1, **options), AlphaBlend(), 2.0)

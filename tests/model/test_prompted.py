"""A model that hears: one pass equals the verbs, silence is no prompt, guidance by the prompt, a past that is written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unspool.blend import AlphaBlend
from unspool.config import RolloutOptions
from unspool.context import Channels, Tokens
from unspool.errors import UserError
from unspool.memory import LSTM, Memory, Prompt, Window
from unspool.model import VideoModel, VideoTransformer
from unspool.model.guidance import Guided
from unspool.model.memoryless import Memoryless
from unspool.model.prompted import Prompted
from unspool.recipes import RECIPES
from unspool.rollout import begin, recache, stream
from unspool.schedule import Staircase
from unspool.snapshot import load_rollout, save_rollout
from unspool.testing import SHAPE, assert_close, assert_equal, draw, error, nano, scale_weights, video
from unspool.text import Vocabulary, Words
from unspool.types import State

LONGEST, ACTIONS = 3, 2
KINDS: dict[str, dict[str, Any]] = {
    "a window": {},
    "frame-causal, with actions": {"chunk": 1, "controls": ACTIONS},
    "a window that looks both ways behind clean frames": {"context": Tokens(2, joined=True), "window": 0},
    "channels": {"context": Channels(1, anchor=2)},
    "an lstm": {"also": LSTM},
}
MODELS = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())


def hearing(*, window: int = 3, also: Any = None, **options: Any) -> VideoTransformer:
    def held(width: int) -> list[Memory]:
        return [Window(width, 1, window), *([also(width)] if also else []), Prompt(width, 1)]

    text = Words(Vocabulary(("down", "left", "right", "up"), LONGEST), 16, 1)
    return nano(held=held, text=text, **options)


def said(model: VideoModel, frames: int, key: int = 5) -> Tensor:
    """Control (2, frames, K): actions, and words that change from frame to frame, no word among them."""
    words = (draw(key, shape=(2, frames, LONGEST)).abs() * 2).long().clamp(max=4).double()
    return torch.cat([draw(key, 1, shape=(2, frames, model.controls)), words], -1)


def behind(model: VideoModel, frames: int, control: Tensor | None) -> State:
    state = model.start(2, seed=torch.tensor([5, 6]), device="cpu", dtype=torch.float64)
    return model.remember(video(9)[:, :frames], state, control=control)


def flight(model: VideoModel, frames: int = 4) -> tuple[Tensor, Tensor]:
    return draw(2, shape=(2, frames, *SHAPE)), torch.full((2, frames), 0.6, dtype=torch.float64)


@MODELS
@pytest.mark.parametrize("starts", [(2, 4, 6), (0, 3), (8,), (5, 1)], ids=str)
def test_forward_is_denoise_after_remember(options: dict[str, Any], starts: tuple[int, ...]) -> None:
    model, frames = hearing(**options), 2
    control = said(model, 8 + frames)
    x, level = draw(3, shape=(2, len(starts), frames, *SHAPE)), torch.full((2, len(starts), frames), 0.4).double()
    got, after = model(video(9)[:, :8], x, level, starts, control=control)
    for g, s in enumerate(starts):
        state = behind(model, s, control[:, :s])
        assert_close(got[:, g], model.denoise(x[:, g], level[:, g], state, control=control[:, s : s + frames]), f"group {g}")
    assert_close(after, behind(model, 8, control[:, :8]) | {"seed": after["seed"]})


@MODELS
def test_what_is_said_is_heard_and_silence_is_no_prompt(options: dict[str, Any]) -> None:
    model = hearing(**options)
    (x, level), control = flight(model), said(model, 4)
    silent = torch.cat([control[..., : model.controls], torch.zeros(2, 4, LONGEST)], -1).double()
    state = behind(model, 5, None if model.controls else said(model, 5) * 0)
    heard = model.denoise(x, level, state, control=control)
    assert error(model.denoise(x, level, state, control=silent), heard) > 0.01
    if not model.controls:
        assert_equal(model.denoise(x, level, state, control=silent), model.denoise(x, level, state))
        assert_equal(behind(model, 5, None), state)


def test_a_closed_gate_hears_nothing_and_can_be_opened() -> None:
    """As every block begins: what is said changes no bit, and the first gradient reaches the gate."""
    model = hearing().requires_grad_(True)
    for block in model.blocks:
        block.bias.data[1].zero_()
    torch.nn.init.zeros_(model.modulation.weight)
    torch.nn.init.zeros_(model.modulation.bias)
    (x, level), state = flight(model), behind(model, 3, None)
    out = model.denoise(x, level, state, control=said(model, 4))
    assert_equal(out, model.denoise(x, level, state))
    out.square().sum().backward()
    assert all(block.bias.grad is not None and block.bias.grad[1, 2].any() for block in model.blocks)


def test_prompt_guidance_of_one_is_the_model_bit_for_bit() -> None:
    model = hearing(controls=ACTIONS)
    guided = Prompted(model, 1.0)
    told = said(model, 30)

    def controls(at: Tensor, frames: int) -> Tensor:
        return told[torch.arange(2)[:, None], at[:, None] + torch.arange(frames)]

    def rolled(model: VideoModel) -> Tensor:
        rollout = begin(model, video(3), seed=1, control=told[:, :3])
        made = stream(model, AlphaBlend(), Staircase(4, 2, 0.5).plan(), rollout, frames=9, controls=controls)
        return torch.cat([chunk.frames for chunk in made], 1)

    a, b = rolled(guided), rolled(model)
    assert_equal(a, b)


@MODELS
def test_prompt_guidance_goes_from_the_empty_prompt_to_the_prompt(options: dict[str, Any]) -> None:
    """weight 0 is a model that never heard a word, of the past neither; linear from there on; actions stay."""
    model = hearing(**options)
    (x, level), control, past = flight(model), said(model, 4), said(model, 5, 6)
    unsaid = [torch.cat([c[..., : model.controls], torch.zeros(2, c.shape[1], LONGEST)], -1).double() for c in (control, past)]

    def of(weight: float) -> Tensor:
        guided = Prompted(model, weight)
        return guided.denoise(x, level, behind(guided, 5, past), control=control)

    assert_close(of(0), model.denoise(x, level, behind(model, 5, unsaid[1]), control=unsaid[0]))
    assert_close(of(2.5), of(0) + 2.5 * (of(1) - of(0)))
    assert error(of(2.5), of(1)) > 1e-3


def test_guidance_by_prompt_and_by_history_together(tmp_path: Path) -> None:
    """Either may be set where the other is set already; a saved rollout goes on bit for bit."""
    system = RECIPES["diffusion-forcing"](
        size="nano", resolution=16, patch=8, components=0, steps=2, flight=2, text=Vocabulary(("left", "right"), 2)
    )
    scale_weights(system.model, 0.1).requires_grad_(False)
    both = RolloutOptions(prompt_guidance=3).apply(RolloutOptions(guidance=2).apply(system))
    model = both.model
    assert isinstance(model, Prompted) and isinstance(model.model, Guided) and model.evaluated(4) == 8
    assert (model.weight, model.model.weight) == (3, 2)
    again = RolloutOptions(guidance=4).apply(both).model
    assert isinstance(again, Prompted) and isinstance(again.model, Guided) and (again.weight, again.model.weight) == (3, 4)

    told, plan, shape = torch.tensor([[1.0, 2.0]]), both.schedule.plan(), model.shape
    rollout = begin(model, draw(1, shape=(1, 2, *shape)).float(), seed=3, control=told.expand(1, 2, 2))
    going: dict[str, Any] = {"controls": lambda at, frames: told.expand(1, frames, 2)}
    chunks = list(stream(model, both.blend, plan, rollout, frames=8, **going))
    save_rollout(tmp_path / "half.safetensors", chunks[3].rollout, model)  # type: ignore[arg-type]
    back = load_rollout(tmp_path / "half.safetensors", model).rollout
    rest = list(stream(model, both.blend, plan, back, frames=4, **going))
    assert_equal(torch.cat([c.frames for c in rest], 1), torch.cat([c.frames for c in chunks[4:]], 1))


def test_a_model_that_hears_nothing_has_no_prompt_guidance() -> None:
    with pytest.raises(UserError, match="hears prompts"):
        Prompted(nano(), 2.0)


@MODELS
def test_a_recached_state_is_one_begun_anew_from_these_frames(options: dict[str, Any]) -> None:
    """All but frames as they are (channels, an anchor), which are the same under any words."""
    model = hearing(**options)
    old = behind(model, 9, said(model, 9))
    newest, new = video(9)[:, -4:], said(model, 4, 7)
    rollout = begin(model, video(9), seed=torch.tensor([5, 6]), control=said(model, 9))
    got = recache(model, rollout, newest, new)
    fresh = model.start(2, seed=torch.tensor([5, 6]), device="cpu", dtype=torch.float64)
    fresh = model.remember(newest, {**fresh, "at": fresh["at"] + 5}, control=new)
    assert_equal(got.state, {**fresh, "context": old["context"]})
    assert_equal(got.window, rollout.window)
    guided = Prompted(model, 2.0)
    both = recache(guided, begin(guided, video(9), seed=torch.tensor([5, 6]), control=said(model, 9)), newest, new)
    assert_equal({**both.state["prompted"], "at": fresh["at"], "seed": fresh["seed"]}, {**fresh, "context": old["context"]})


def test_the_memoryless_twin_hears_as_well() -> None:
    model = hearing(controls=ACTIONS)
    twin = Memoryless(model, 4)
    (x, level), control, past = flight(model), said(model, 4), said(model, 4, 6)
    assert_close(
        twin.denoise(x, level, behind(twin, 4, past), control=control),
        model.denoise(x, level, behind(model, 4, past), control=control),
    )

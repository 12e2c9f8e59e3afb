"""Models in scenes: the action of frame t meets frame t, wherever it stands in a flight; a scene's future is one function."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from unspool.blend import AlphaBlend
from unspool.codec import Causal, Patches, Pixels
from unspool.context import Channels
from unspool.errors import UserError
from unspool.evaluate.memory import playing
from unspool.evaluate.memory.playing import control_of, encode, futures, recoded
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.model.memoryless import Memoryless
from unspool.model.video import VideoModel
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.testing import scale_weights
from unspool.train.objectives import TeacherForcing
from unspool.types import Known, Levels, State, Video

K, SIZE = 5, 8


class Scene(NamedTuple):
    frames: np.ndarray
    actions: np.ndarray
    context: int


class Echo(VideoModel):
    """Every frame is a grey that its action alone decides. It checks that what it remembers is of the action told with it."""

    shape, controls = (3, SIZE, SIZE), K

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Tensor] = []

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        return {"at": torch.zeros(batch, dtype=torch.int64), "seed": seed}

    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        assert control is not None and control.shape == (*x.shape[:2], K)
        return AlphaBlend().velocity(x, grey(control).expand_as(x), level)

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        assert control is not None and control.shape == (*clean.shape[:2], K)
        assert torch.allclose(clean, grey(control).expand_as(clean), atol=1 / 127), "another frame's action"
        self.rows.append(control[0])
        return {**state, "at": state["at"] + clean.shape[1]}


def play(system: System, asked: Scene, seed: int = 0) -> np.ndarray:
    """What the system makes of one scene."""
    return next(futures(system, [asked], seed))


def grey(control: Tensor) -> Video:
    """(B, F, K) one-hot -> (B, F, 1, 1, 1) in [-0.8, 0.8]."""
    return (0.4 * control.argmax(-1) - 0.8)[..., None, None, None]


def system_of(model: VideoModel, schedule: Staircase) -> System:
    return System(model, Pixels(), AlphaBlend(), schedule, euler, TeacherForcing(), 8)


def scene(frames: int, context: int, seed: int = 0) -> Scene:
    """Random actions, and frames of the grey that each led to."""
    rows = np.eye(K, dtype=np.float32)[np.random.default_rng(seed).integers(K, size=frames)]
    shown = (grey(torch.from_numpy(rows)[None]) + 1) * 127.5
    return Scene(np.ascontiguousarray(shown.round().byte().expand(1, frames, 3, SIZE, SIZE)[0].movedim(1, -1)), rows, context)


def transformer(shape: tuple[int, int, int] = (3, SIZE, SIZE), std: float = 0.3, **options: Any) -> VideoTransformer:
    settings: dict[str, Any] = {"patch": 4, "width": 16, "controls": K, "memories": [[Window(16, 1, 3)] for _ in range(2)]}
    return scale_weights(VideoTransformer(shape, **settings | options), std)


@pytest.mark.parametrize("redo", [0, 1, 3])
@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("m", range(5))
def test_the_action_of_a_frame_meets_that_frame(m: int, chunk: int, redo: int) -> None:
    """Every lag, with and without frames made again: an action one frame off gives another grey."""
    model, asked = Echo(), scene(17, 4)
    case = Staircase(4, chunk, Fraction(m, 4), chunks=3 if m == 0 else None, redo=redo)
    made = play(system_of(model, case), asked)
    assert made.shape == (13, SIZE, SIZE, 3) and made.dtype == np.uint8
    assert np.abs(made.astype(int) - asked.frames[4:]).max() <= 1
    rows = torch.cat(model.rows).numpy()[: len(asked.actions)]
    assert np.array_equal(rows, asked.actions[: len(rows)]) and len(rows) >= 17 - redo - chunk * 3


def test_the_flight_is_told_no_action_beyond_the_last() -> None:
    """A chunk that reaches past the scene: its last action stands for what nobody knows."""
    model, asked = Echo(), scene(10, 3)
    play(system_of(model, Staircase(2, 4)), asked)
    assert np.array_equal(torch.cat(model.rows).numpy()[10:], asked.actions[[9]])


@pytest.mark.parametrize("case", [Staircase(2, 2), Staircase(2, 2, 0.5, redo=2)], ids=["chunks", "redo"])
def test_a_future_is_a_function_of_the_past_the_seed_and_the_actions(case: Staircase) -> None:
    asked = scene(12, 4)
    system = system_of(transformer(chunk=2), case)
    made = play(system, asked, 1)
    assert np.array_equal(play(system, asked, 1), made)
    hidden = asked._replace(frames=np.where(np.arange(12)[:, None, None, None] < 4, asked.frames, 0))
    assert np.array_equal(play(system, hidden, 1), made), "it was shown the future"
    later = asked.actions.copy()
    later[8] = np.roll(later[8], 1)
    other = play(system, asked._replace(actions=later), 1)
    assert np.array_equal(other[:4], made[:4]) and (other[4:] != made[4:]).any()
    for changed in (asked._replace(frames=255 - asked.frames), asked._replace(actions=np.roll(asked.actions, 1, 1))):
        assert (play(system, changed, 1) != made).any()
    assert (play(system, asked, 2) != made).any()


def test_actions_of_the_context_are_remembered() -> None:
    asked, system = scene(8, 4), system_of(transformer(), Staircase(2))
    earlier = asked.actions.copy()
    earlier[2] = np.roll(earlier[2], 1)
    assert (play(system, asked._replace(actions=earlier)) != play(system, asked)).any()


def test_the_memoryless_twin_plays_too() -> None:
    """Where it has forgotten nothing it shows the same; with one frame it shows something else."""
    system, asked = system_of(transformer(context=Channels(1)), Staircase(2)), scene(9, 4)
    made = play(system, asked)
    close = play(replace(system, model=Memoryless(system.model, 9)), asked)
    assert np.abs(close.astype(int) - made).max() <= 1
    assert np.abs(play(replace(system, model=Memoryless(system.model, 1)), asked).astype(int) - made).max() > 1


def test_scenes_together_are_scenes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two lengths, two at a time; the noise is the same in every scene."""
    monkeypatch.setattr(playing, "TOGETHER", 2)
    system = system_of(transformer(chunk=2), Staircase(2, 2))
    scenes = [*(scene(12, 4, seed) for seed in range(3)), *(scene(9, 3, seed) for seed in range(2))]
    made = list(futures(system, scenes, 3))
    assert [len(video) for video in made] == [8, 8, 8, 6, 6] and (made[0] != made[1]).any()
    for video, asked in zip(made, scenes, strict=True):
        assert np.abs(video.astype(int) - play(system, asked, 3)).max() <= 1


def test_the_truth_through_a_codec() -> None:
    asked, system = scene(6, 2), system_of(transformer(), Staircase(2))
    assert np.array_equal(recoded(system, asked), asked.frames[2:])
    noise = np.random.default_rng(0).integers(256, size=asked.frames.shape, dtype=np.uint8)
    video = torch.from_numpy(noise).movedim(-1, -3)[None] / 127.5 - 1
    lossy = replace(system, model=transformer((8, 2, 2), patch=1), codec=Patches(8, 4))
    lossy.codec.fit(video)
    alone = lossy.codec.decode(lossy.codec.encode(video, {})[0], {})[0]
    wanted = ((alone[0].clamp(-1, 1) + 1) * 127.5).round().movedim(-3, -1).numpy()[2:]
    made = recoded(lossy, asked._replace(frames=noise))
    assert np.abs(made - wanted).max() <= 1 and np.abs(made.astype(int) - noise[2:]).max() > 1


def test_bad_input_is_refused_with_its_fix() -> None:
    system, asked = system_of(transformer(), Staircase(2)), scene(8, 4)
    with pytest.raises(UserError, match="train it with --controls K"):
        play(system_of(transformer(controls=0), Staircase(2)), asked)
    for bad, said in [
        (asked._replace(context=0), "give 1 or more"),
        (asked._replace(context=8), "one to make"),
        (asked._replace(actions=asked.actions[:, :3]), r"\(1, 8, 5\)"),
        (asked._replace(actions=asked.actions[:7]), r"\(1, 8, 5\)"),
        (asked._replace(actions=asked.actions * np.nan), "not finite"),
        (asked._replace(frames=asked.frames / 255), "uint8"),
        (asked._replace(frames=asked.frames[:, :4]), "4 x 8, the model's are 8 x 8"),
    ]:
        with pytest.raises(UserError, match=said):
            play(system, bad)
    with pytest.raises(UserError, match="give 3 or more"):
        play(system_of(transformer(), Staircase(2, redo=3)), asked._replace(context=2))
    with pytest.raises(UserError, match="broke at frame 4"):
        play(system_of(transformer(std=float("nan")), Staircase(2)), asked)
    with pytest.raises(UserError, match="give the actions"):
        control_of(system, None, 1, 8)
    with pytest.raises(UserError, match="one latent of several frames"):
        encode(replace(system, model=transformer((4, 1, 1), patch=1), codec=Causal(4, 8, 1, 2)), asked.frames[None])

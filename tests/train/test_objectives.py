"""What is learned: losses that hang on keys alone, reach every weight, and teach a small model to see motion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import AlphaBlend, Blend, Cosine
from unspool.codec import Pixels, to_video
from unspool.context import Channels
from unspool.data import Clips
from unspool.errors import UserError
from unspool.grid import Shifted
from unspool.laws import Independent, Together
from unspool.memory import Latents, Window
from unspool.model import VideoModel, VideoTransformer
from unspool.rollout import Rollout, begin, stream
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import Objective, System
from unspool.testing import SHAPE, assert_close, assert_equal, error, nano, scale_weights, video
from unspool.train.objectives import DiffusionForcing, MemoryNoise, OwnErrors, TeacherForcing, wrong_by
from unspool.train.options import TrainOptions
from unspool.train.trainer import Trainer
from unspool.types import Clip, Levels, State, Video

KEY = torch.arange(4) * 1000
OBJECTIVES: dict[str, Objective] = {
    "teacher forcing": TeacherForcing(2),
    "with context noise": TeacherForcing(2, 2, 0.3),
    "of the clean frame": TeacherForcing(2, law=Independent(2, least=0.1), loss="clean"),
    "on its own errors": OwnErrors(2, 2, stages=1, steps=2, law=Independent(2, Shifted(3.0))),
    "full sequence": TeacherForcing(6, 2, law=Together()),
    "diffusion forcing": DiffusionForcing(0, Independent(2, clean=0.1)),
    "behind a context": DiffusionForcing(2, Independent(2)),
}
ALL = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())


def loss(objective: Objective, model: VideoModel, frames: Video, key: Tensor, blend: Blend | None = None) -> Tensor:
    (only,) = objective(model, blend or AlphaBlend(), Clip(frames), key)
    assert only.of == "model" and not only.logs["loss"].requires_grad
    assert_equal(only.logs["loss"], only.value)
    return only.value


def clips(batch: int = 4) -> Video:
    return video(8, batch, dtype=torch.float32).clamp(-1, 1)


@ALL
@pytest.mark.parametrize("predict", ["clean", "velocity", "change", "masked"])
@pytest.mark.parametrize("blend", [AlphaBlend(), Cosine()], ids=lambda b: type(b).__name__)
def test_gradient_reaches_every_parameter(objective: Objective, predict: Any, blend: Blend) -> None:
    model = nano(dtype=torch.float32, std=0.1, predict=predict, blend=blend, context=Channels(1)).requires_grad_(True)
    value = loss(objective, model, clips(), KEY, blend)
    assert value.shape == () and torch.isfinite(value)
    value.backward()
    assert not [
        n for n, p in model.named_parameters() if p.grad is None or not p.grad.any() or not torch.isfinite(p.grad).all()
    ]


@ALL
@pytest.mark.parametrize("bf16", [False, True])
def test_key_decides_everything(objective: Objective, bf16: bool) -> None:
    """The same key, the same loss, whatever the global generator did; another key, another loss."""
    model = nano(dtype=torch.float32, std=0.1)
    values = []
    for seed, key in ((0, KEY), (1, KEY), (0, KEY + 1)):
        torch.manual_seed(seed)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            values.append(loss(objective, model, clips(), key))
    assert_equal(values[0], values[1])
    assert error(values[2], values[0]) > 1e-4


@ALL
def test_each_clip_has_its_own_randomness(objective: Objective) -> None:
    """In whatever order or company: a permuted batch has the same loss, and the parts weigh to the whole."""
    model = nano(std=0.1)
    frames, order = clips().double(), torch.tensor([2, 0, 3, 1])
    whole = loss(objective, model, frames, KEY)
    assert_close(loss(objective, model, frames[order], KEY[order]), whole)
    if getattr(objective.law, "clean", 0) == 0:  # frames that carry loss are then as many in every clip
        parts = [loss(objective, model, frames[i : i + 1], KEY[i : i + 1]) for i in range(4)]
        assert_close(torch.stack(parts).mean(), whole)
    assert error(loss(objective, model, frames, KEY[order]), whole) > 1e-4


class Recorded(VideoModel):
    """A model that answers with one weight times x and writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.3))
        self.calls: list[dict[str, Any]] = []

    def start(self, *args: Any, **kwargs: Any) -> State:
        raise AssertionError("training goes through forward")

    denoise = remember = start

    def forward(self, clean: Video, x: Video, level: Levels, starts: tuple[int, ...], state: State | None = None, **told: Any):
        grad = torch.is_grad_enabled()
        self.calls.append({"clean": clean, "x": x, "level": level, "starts": starts, "grad": grad, **told})
        return self.weight * x, {}


def test_teacher_forcing_groups() -> None:
    """Chunks behind clean frames 2, 4, 6 of eight; each holds its own frames, noised; no group is given its own future."""
    model = Recorded()
    value = loss(TeacherForcing(2), model, clips(), KEY)
    (call,) = model.calls
    assert call["starts"] == (2, 4, 6) and call["context_level"] is None
    assert_equal(call["clean"], clips()[:, :6])
    level, x = call["level"][..., None, None, None], call["x"]
    target = torch.stack([clips()[:, s : s + 2] for s in (2, 4, 6)], 1)
    noise = (x - (1 - level) * target) / level
    assert abs(float(noise.mean())) < 0.2 and float(noise.std()) == pytest.approx(1, abs=0.1)
    assert_close(value, (0.3 * x - (noise - target)).square().mean())


def test_one_chunk_alone() -> None:
    """Each place comes up, and nothing from it on is given as history."""
    seen = set()
    for k in range(12):
        model = Recorded()
        value = loss(TeacherForcing(2, alone=True), model, clips(), KEY + k)
        (call,) = model.calls
        (start,) = call["starts"]
        assert call["x"].shape[1:3] == (1, 2)
        assert_equal(call["clean"], clips()[:, :start])
        level = call["level"][..., None, None, None]
        target = clips()[:, None, start : start + 2]
        assert_close(value, (0.3 * call["x"] - ((call["x"] - (1 - level) * target) / level - target)).square().mean())
        seen.add(start)
    assert seen == {2, 4, 6}
    model = Recorded()
    shapes = clips().to("meta")
    next(iter(TeacherForcing(2, alone=True)(model, AlphaBlend(), Clip(shapes), KEY.to("meta"))))
    assert model.calls[0]["starts"] == (4,), "the middle one, when FLOPs are counted"


def test_context_noise_is_told() -> None:
    model = Recorded()
    loss(TeacherForcing(2, 2, 0.3), model, clips(), KEY)
    (call,) = model.calls
    level = call["context_level"]
    assert level.shape == (4, 6) and (level == level[:, :1]).all() and len(level[:, 0].unique()) == 4
    assert ((level > 0) & (level < 0.3)).all()
    noise = (call["clean"] - (1 - level[..., None, None, None]) * clips()[:, :6]) / level[..., None, None, None]
    assert abs(float(noise.mean())) < 0.2 and float(noise.std()) == pytest.approx(1, abs=0.15)


def test_clean_frames_carry_no_loss() -> None:
    """Half of the frames are given clean: the loss is the mean over the others alone."""
    model = Recorded()
    value = loss(DiffusionForcing(0, Independent(1, clean=0.5)), model, clips(), KEY)
    (call,) = model.calls
    noisy = call["level"][:, 0] > 0
    assert 4 < int(noisy.sum()) < 28
    assert_equal(call["x"][:, 0][~noisy], clips()[~noisy])
    level, x = call["level"][:, 0][noisy][:, None, None, None], call["x"][:, 0][noisy]
    noise = (x - (1 - level) * clips()[noisy]) / level
    wanted = (0.3 * x - (noise - clips()[noisy])).square().mean()
    assert value.item() == pytest.approx(wanted.item(), rel=1e-4)  # the noise was found again by a division


class Watched(VideoTransformer):
    """Notes what `forward` is given."""

    def forward(self, clean: Video, x: Video, level: Levels, starts: tuple[int, ...], state: Any = None, **told: Any):
        self.clean, self.state, self.starts = clean, state, starts
        return super().forward(clean, x, level, starts, state, **told)


def watched(**options: Any) -> Watched:
    torch.manual_seed(0)
    settings = {"patch": 2, "width": 16, "context": Channels(1), "chunk": 2} | options
    return scale_weights(Watched(SHAPE, memories=[[Window(16, 1, 3)] for _ in range(2)], **settings), 0.3)


def test_own_frames_are_what_a_rollout_makes() -> None:
    """Behind the true frames before each clip's place, two chunks from pure noise, by the loop that sampling walks; then each
    clip's are drawn towards the truth by a share of its own."""
    model = watched()
    loss(OwnErrors(2, 1, stages=2, steps=3), model, clips(), KEY)
    assert model.starts == (0, 2, 4) and model.clean.shape[1] == 4 and not model.clean.requires_grad
    places = model.state["at"].tolist()
    assert sorted(set(places)) == [1, 2] and len(places) == 4
    shares: dict[int, float] = {}
    for row, place in enumerate(places):
        for clip in set(range(4)) - shares.keys():
            true, x = clips()[clip : clip + 1], clips()[:1, :0]
            with torch.no_grad():
                state = model.start(1, seed=rng.fold(KEY[clip : clip + 1], 6), device="cpu", dtype=torch.float32)
                rollout = Rollout(model.remember(true[:, :place], state), x, x, {})
                made = torch.cat([c.frames for c in stream(model, AlphaBlend(), Staircase(3, 2).plan(), rollout, frames=4)], 1)
            here = true[:, place : place + 4]
            share = float(((model.clean[row] - here) * (made - here)).sum() / (made - here).square().sum())
            if error(model.clean[row : row + 1], here + share * (made - here)) < 1e-5:
                shares[clip] = share
                break
    assert len(shares) == 4, "every clip goes on from its own truth, under its own seed"
    assert all(0 <= share <= 1 for share in shares.values()) and len(set(shares.values())) == 4


def test_it_learns_the_truth_behind_its_own_frames() -> None:
    """The value is the velocity error of the true chunks, told by a model that answers with 0.3 x whatever stands before."""
    model = Recorded()
    model.shape = SHAPE
    model.remember = lambda clean, state, **_: {**state, "at": state["at"] + clean.shape[1]}  # type: ignore[method-assign]
    model.start = lambda batch, *, seed, **_: {"at": torch.zeros(batch, dtype=torch.int64), "seed": seed}  # type: ignore[method-assign]
    model.denoise = lambda x, level, state, **_: x  # type: ignore[method-assign]
    value = loss(OwnErrors(1, 2, stages=5, steps=2), model, clips(), KEY)  # a span of six in eight frames: one place
    (call,) = model.calls
    assert call["starts"] == (0, 1, 2, 3, 4, 5) and call["x"].shape[:3] == (4, 6, 1)
    level, x, truth = call["level"][..., None, None, None], call["x"], clips()[:, 2:, None]
    noise = (x - (1 - level) * truth) / level
    assert abs(float(noise.mean())) < 0.2 and float(noise.std()) == pytest.approx(1, abs=0.15)
    assert value.item() == pytest.approx((0.3 * x - (noise - truth)).square().mean().item(), rel=1e-4)


def test_controls_go_with_the_frames() -> None:
    """Of the rollout and of training alike: other controls in the part that is entered, another loss; elsewhere, the same."""
    model = nano(controls=2, std=0.3, chunk=1)
    objective, frames = OwnErrors(1, 5, stages=2, steps=2), clips().double()
    control = rng.normal(torch.tensor(3), 4, 8, 2).double()

    def value(told: Tensor) -> Tensor:
        (only,) = objective(model, AlphaBlend(), Clip(frames, told), KEY)
        return only.value

    whole = value(control)
    for at in range(8):
        assert error(value(control.index_add(1, torch.tensor([at]), torch.ones(4, 1, 2).double())), whole) > 1e-6, at


def test_noise_on_the_memory_hangs_on_the_key_and_on_each_clip() -> None:
    """As all randomness of training: whatever the order, the parts weigh to the whole; a share of the clips learns without."""
    task = TeacherForcing(2, 2, memory_noise=MemoryNoise(0.8, 0.5))
    model = nano(std=0.2, held=lambda width: [Latents(width, 1, 3, 1, None)])
    frames, order = clips().double(), torch.tensor([2, 0, 3, 1])
    whole = loss(task, model, frames, KEY)
    assert_close(loss(task, model, frames[order], KEY[order]), whole)
    assert_close(torch.stack([loss(task, model, frames[i : i + 1], KEY[i : i + 1]) for i in range(4)]).mean(), whole)
    assert error(loss(TeacherForcing(2, 2), model, frames, KEY), whole) > 1e-4
    empty = model.start(400, seed=torch.arange(400), device="cpu", dtype=torch.float64)
    level = MemoryNoise(0.8, 0.5)(empty, torch.arange(400))["blocks"]["1"]["0"]["level"]
    assert 0.4 < (level == 1).double().mean() < 0.6 and (level[level < 1] <= 0.8).all()


def test_own_frames_made_in_bfloat16_leave_every_gradient() -> None:
    """What the model computes without gradient must not stay in autocast's copies of its weights."""
    model = watched()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(OwnErrors(2, 2, stages=1), model, clips(), KEY)
    value.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing, missing


LONG = (TeacherForcing(4, 5), OwnErrors(2, 3, stages=2), DiffusionForcing(8))


@pytest.mark.parametrize("objective", LONG, ids=lambda objective: type(objective).__name__)
def test_clips_that_are_too_short_are_refused(objective: Objective) -> None:
    with pytest.raises(UserError, match="clips of"):
        loss(objective, nano(), clips(), KEY)


# -- learning -------------------------------------------------------------------------------------------------------------


def bars(indices: np.ndarray, frames: int, *, seed: int = 0) -> np.ndarray:
    """A bar of any brightness on a dark ring of eight columns, one further to the right in each frame."""
    out = np.full((len(indices), frames, 4, 8, 3), 20, np.uint8)
    for clip, index in zip(out, indices, strict=True):
        x, light = np.random.default_rng((seed, int(index))).integers((0, 200), (8, 256))
        for t, frame in enumerate(clip):
            frame[:, (x + t + np.arange(3)) % 8] = light
    return out


def test_a_hundred_steps_beat_a_frozen_video() -> None:
    """Rolled out behind two frames of unseen bars, the next four are nearer the truth than copies of the last one, and than
    the mean picture: both are what a model gives that has learned no motion."""
    torch.manual_seed(0)
    memories = [[Window(64, 2, 2)] for _ in range(2)]
    model = VideoTransformer((3, 4, 8), patch=4, width=64, chunk=2, memories=memories)
    schedule, objective = Staircase(4, 2), TeacherForcing(2, 2, 0.1, law=Independent(2, Shifted(3.0)))
    options = TrainOptions(steps=100, batch=24, lr=1e-2, warmup=10, decay=0.5, ema=0.9, bf16=False)
    trainer = Trainer(System(model, Pixels(), AlphaBlend(), schedule, euler, objective, 8), options)
    for step in range(options.steps):
        trainer.train_step(Clips(bars(np.arange(step * 24, step * 24 + 24), 8)))
    held_out = to_video(bars(np.arange(32), 6, seed=1))
    with trainer.averaged():
        rollout = begin(model.eval(), held_out[:, :2], seed=0)
        chunks = list(stream(model, AlphaBlend(), schedule.plan(), rollout, frames=4))
    truth = held_out[:, 2:]
    made = float((torch.cat([c.frames for c in chunks], 1) - truth).square().mean())
    frozen = float((held_out[:, 1:2] - truth).square().mean())
    mean = float((held_out.mean((0, 1), keepdim=True) - truth).square().mean())
    assert made < 0.25 * frozen and made < 0.5 * mean, (made, frozen, mean)


def test_the_error_of_the_clean_frame_is_level_times_that_of_the_velocity() -> None:
    """On the alpha blend, whatever the network says; and a perfect one is wrong by nothing."""
    clean, noise, wrong = (torch.randn(2, 3, 4, 5, 5, dtype=torch.float64) for _ in range(3))
    level = torch.rand(2, 3, dtype=torch.float64)
    blend = AlphaBlend()
    x, true = blend.blend(clean, noise, level), blend.target(clean, noise, level)
    by_velocity = wrong_by(blend, "velocity", x, true + wrong, clean, noise, level)
    by_clean = wrong_by(blend, "clean", x, true + wrong, clean, noise, level)
    assert torch.allclose(by_velocity, wrong) and torch.allclose(by_clean, -level[..., None, None, None] * wrong)
    for blend in (AlphaBlend(), Cosine()):
        x, true = blend.blend(clean, noise, level), blend.target(clean, noise, level)
        assert wrong_by(blend, "clean", x, true, clean, noise, level).abs().max() < 1e-9

"""Learning in stages: the published step against a plain one, each flag against what it says, and the buffer of rollouts."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from unspool.blend import AlphaBlend, Cosine
from unspool.codec import Pixels
from unspool.context import Local
from unspool.data import Clips
from unspool.errors import UserError
from unspool.model import VideoModel, VideoTransformer
from unspool.rollout import begin, stream
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import Loss, System
from unspool.testing import SHAPE, assert_close, assert_equal, error, nano, video
from unspool.train.buffer import Buffer, tracked
from unspool.train.checkpoints import Keeper, objective_of
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks
from unspool.train.stages import LGC_VD, Mix, Stages
from unspool.train.trainer import Trainer
from unspool.types import Clip, Levels, State, Video

KEY = torch.arange(8) * 1000


class Recorded(VideoModel):
    """Answers with one weight times x, counts frames in its state, and writes down what it is given."""

    shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.calls: list[dict[str, Any]] = []

    def start(self, batch: int, **_: Any) -> State:
        return {"frames": torch.zeros(batch), "at": torch.zeros(batch, dtype=torch.int64)}

    def denoise(self, *args: Any, **kwargs: Any) -> Video:
        raise AssertionError("training goes through forward")

    def remember(self, clean: Video, state: State, **_: Any) -> State:
        return {**state, "frames": state["frames"] + clean.shape[1]}

    def forward(self, clean: Video, x: Video, level: Levels, starts: tuple[int, ...], state: State | None = None, **told: Any):
        assert state is not None
        self.calls.append({"clean": clean, "x": x, "level": level, "starts": starts, "state": state, **told})
        return self.weight * x, self.remember(clean, state)


def clips(frames: int = 14, batch: int = 8) -> Video:
    return video(frames, batch)


def walked(objective: Stages, model: VideoModel, frames: Video | None = None, rate: float = 0.0) -> list[Loss]:
    """All stages, a step of gradient descent after each."""
    losses = []
    for loss in objective(model, AlphaBlend(), Clip(clips() if frames is None else frames), KEY):
        losses.append(loss)
        if rate:
            (gradient,) = torch.autograd.grad(loss.value, [model.weight])
            with torch.no_grad():
                model.weight -= rate * gradient
    return losses


@pytest.mark.parametrize("estimate", ["blend", "noise", "truth"])
def test_the_published_step(estimate: Any) -> None:
    """Two stages of 8 frames, 2 of them shared, in plain sums; the weight of the second is what the first update left."""
    model = Recorded()
    losses = walked(Stages(6, 2, 2, estimate, carry=False), model, rate=0.5)
    first, second = model.calls
    frames, weight = clips(), 0.3
    made = None
    for k, (call, loss) in enumerate(zip((first, second), losses, strict=True)):
        true = frames[:, 6 * k : 6 * k + 8]
        x, level = call["x"][:, 0], call["level"][:, 0]
        assert (level == level[:, :1]).all() and len(level[:, 0].unique()) == 8  # one a clip
        level = level[..., None, None, None].double()
        noise = (x - (1 - level) * true) / level
        assert float(noise.std()) == pytest.approx(1, abs=0.1) and abs(float(noise.mean())) < 0.1
        wanted = (weight * x - (noise - true)).square().mean()
        assert loss.value.item() == pytest.approx(wanted.item(), rel=1e-4)
        assert loss.logs[f"stage_{k}"] == loss.logs["loss"]
        known = call["known"]
        assert known.position.tolist() == [[[0, 1]]] * 8
        if k == 0:
            assert call["clean"].shape[1] == 0 and call["starts"] == (0,)
            assert_equal(known.frames[:, 0], true[:, :2])
        else:
            assert call["starts"] == (6,) and not call["clean"].requires_grad
            assert error(call["clean"], made[:, :6]) < 1e-4 and error(known.frames[:, 0], made[:, 6:]) < 1e-4
            assert not call["state"]["frames"].any()  # the last chunk alone
        made = {"blend": x - level * weight * x, "noise": noise - weight * x, "truth": true}[estimate].detach()
        slope = (2 * (weight * x - (noise - true)) * x).mean()
        weight = weight - 0.5 * float(slope)


def test_a_state_that_is_carried_grows_with_the_clip() -> None:
    model = Recorded()
    walked(Stages(3, 2, 4), model)
    assert [float(call["state"]["frames"][0]) for call in model.calls] == [0, 0, 3, 6]
    assert [call["clean"].shape[1] for call in model.calls] == [0, 3, 3, 3]


def test_gradient_reaches_the_encoder_of_the_last_chunk_and_no_further() -> None:
    model = nano(local=Local(2, 5), gist=True, window=0, chunk=5).requires_grad_(True)
    losses = list(Stages(3, 2, 3)(model, AlphaBlend(), Clip(clips(11)), KEY))
    encoder = model.blocks[1].memories[1].encode.weight
    for k, loss in enumerate(losses):  # each frees its graph: a state that is not detached would want the one before again
        (gradient,) = torch.autograd.grad(loss.value, [encoder], allow_unused=True)
        assert gradient is None if k == 0 else gradient.any()


def test_without_correction_there_is_nothing_to_mend() -> None:
    for corrective in (True, False):
        model = Recorded()
        walked(Stages(6, 2, 2, corrective=corrective), model)
        call = model.calls[1]
        level = call["level"][:, 0][..., None, None, None].double()
        overlap = call["known"].frames[:, 0] if not corrective else clips()[:, 6:8]
        noise = (call["x"][:, 0, :2] - (1 - level[:, :2]) * overlap) / level[:, :2]
        assert float(noise.std()) == pytest.approx(1, abs=0.15)
        other = clips()[:, 6:8] if not corrective else call["known"].frames[:, 0]
        assert error(overlap, other) > 0.1


def test_a_mix_gives_each_clip_a_task() -> None:
    model, key = Recorded(), torch.arange(2000)
    list(Stages(6, 2, 2, carry=False, mix=LGC_VD)(model, AlphaBlend(), Clip(clips(batch=1).expand(2000, -1, -1, -1, -1)), key))
    for k, call in enumerate(model.calls):
        place, known = call["known"].position[:, 0], call["known"].frames[:, 0]
        kinds = [((place == torch.tensor(p)).all(1)).double().mean().item() for p in ((0, 1), (-1, -1), (0, 7))]
        assert kinds == pytest.approx([0.45 + 0.1 / 56, 0.40, 0.05], abs=0.04)
        true = clips(batch=1)[0, 6 * k : 6 * k + 8]
        pair = ~sum((place == torch.tensor(p)).all(1) for p in ((0, 1), (-1, -1), (0, 7))).bool()
        assert ((place[pair] == -1).any(1)).double().mean().item() == pytest.approx(1 / 4, abs=0.1)  # one is missing
        assert place[pair].max() == 6 and (place[pair][:, 0] != place[pair][:, 1]).all()
        others = (place >= 0).all(1) & ~(place == torch.tensor([0, 1])).all(1)
        assert_equal(known[others], true[place[others]])  # these stand behind the truth in every stage


def test_a_video_from_nothing_goes_on_by_prediction_where_the_state_is_carried() -> None:
    model = Recorded()
    walked(Stages(3, 2, 3, mix=Mix(0.0, 1.0)), model, clips(11))
    assert [call["known"].position[0, 0].tolist() for call in model.calls] == [[-1, -1], [0, 1], [0, 1]]


def test_what_is_told_of_no_overlap_has_a_true_target_all_the_same() -> None:
    model = Recorded()
    walked(Stages(6, 2, 2, carry=False, corrective=False, mix=Mix(0.0, 1.0)), model)
    level = model.calls[1]["level"][:, 0][..., None, None, None].double()
    noise = (model.calls[1]["x"][:, 0] - (1 - level) * clips()[:, 6:]) / level
    assert float(noise[:, :2].std()) == pytest.approx(1, abs=0.15)


def test_context_noise_is_on_all_that_is_given_and_told() -> None:
    model = Recorded()
    walked(Stages(6, 2, 2, "truth", context_noise=0.5), model)
    for k, call in enumerate(model.calls):
        told = call["known"].level[:, 0]
        assert (told == told[:, :1]).all() and float(told.min()) >= 0 and float(told.max()) <= 0.5
        noise = (call["known"].frames[:, 0] - (1 - told[..., None, None, None]) * clips()[:, 6 * k : 6 * k + 2])
        assert float((noise / told[..., None, None, None]).std()) == pytest.approx(1, abs=0.2)
    assert_equal(model.calls[1]["context_level"], model.calls[1]["known"].level[:, 0, :1].expand(-1, 6))
    assert not torch.equal(model.calls[1]["clean"], clips()[:, :6])


def test_keys_decide_everything() -> None:
    model = nano(local=Local(2, 5), gist=True, dtype=torch.float32)
    values = []
    for seed, key in ((0, KEY), (1, KEY), (0, KEY + 1)):
        torch.manual_seed(seed)
        objective = Stages(3, 2, 3, context_noise=0.2, mix=Mix(0.5, 0.5), buffer=Buffer(8, 2, 2))
        losses = list(objective(model, AlphaBlend(), Clip(clips(11).float()), key))
        assert len(losses) >= 3
        values.append(torch.stack([loss.value for loss in losses]))
    assert_equal(values[0], values[1])
    assert error(values[2], values[0]) > 1e-4


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(UserError, match="2 stages of 6 frames want clips of 14, not 12"):
        walked(Stages(), Recorded(), clips(12))
    with pytest.raises(UserError, match="2 stages holds no chunk behind 2"):
        list(Stages(buffer=Buffer(depth=2))(Recorded(), AlphaBlend(), Clip(clips()), KEY))
    with pytest.raises(UserError, match="of the alpha blend"):
        list(Stages(estimate="noise")(Recorded(), Cosine(), Clip(clips()), KEY))


# -- the buffer -----------------------------------------------------------------------------------------------------------


def test_a_rollout_tracks_its_clip_until_a_frozen_frame_is_nearer() -> None:
    true = torch.arange(8.0)[None, :, None, None, None].expand(3, -1, *SHAPE).clone()  # a ramp; context 2, chunks of 3
    made = true.clone()
    made[0] += 0.1
    made[1, 5:] = 0.0  # lost in the second chunk
    made[2, 2:5] = 0.5  # worse than a still frame at once, right again later
    assert tracked(true, made, 3, 2).tolist() == [2, 1, 0]


def test_a_rollout_of_the_buffer_is_the_loops_own() -> None:
    model, buffer = nano(local=Local(2, 5), gist=True), Buffer(4, 2, 3, share=0.25)
    buffer.put(model, AlphaBlend(), Clip(clips(11)), KEY, 3, 2)
    assert buffer.count == 2 and buffer.kept["made"].shape == (4, 8, *SHAPE)
    plan, seed = Staircase(3, 3, redo=2).plan(), buffer_seeds(KEY[:2])
    chunks = stream(model, AlphaBlend(), plan, begin(model, clips(11)[:2, :2], seed=seed, redo=2), frames=6)
    shown = torch.cat([chunk.frames for chunk in chunks], 1)
    # begin() holds the context back for the overlap; the state before it is empty, as in training
    assert_close(buffer.kept["made"][:2, 2:], shown)
    entry = buffer.draw(4, KEY)
    assert entry.made.shape[0] == 4 and entry.weight.shape == (4,)
    depths = [entry.chunks]
    for _ in range(3):
        buffer.put(model, AlphaBlend(), Clip(clips(11)), KEY, 3, 2)
        depths.append(buffer.draw(4, KEY).chunks)
    assert buffer.count == 8 and depths == [1, 2, 1, 2]


class Noting(VideoTransformer):
    """Notes the state that each training pass leaves, what it was told and what it was to make."""

    def forward(self, clean: Video, x: Video, level: Levels, starts: tuple[int, ...], state: State | None = None, **told: Any):
        velocity, after = super().forward(clean, x, level, starts, state, **told)
        self.noted = {"after": after, "known": told["known"], "x": x, "level": level}
        return velocity, after


@pytest.mark.parametrize("depth", [1, 2])
def test_behind_a_rollout_stands_what_stood_there_in_use(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state and the overlap of the last stage are those of `stream` after as many chunks; its target is the true one."""
    monkeypatch.setattr("unspool.train.buffer.tracked", lambda true, *_: torch.full((len(true),), 2))
    model, frames, key = nano(local=Local(2, 5), gist=True, kind=Noting).train(), clips(11, 1), KEY[:1]
    objective = Stages(3, 2, 3, buffer=Buffer(1, 2, 2))
    for _ in range(depth):  # the number of chunks goes round
        losses = list(objective(model, AlphaBlend(), Clip(frames), key))
    assert losses[-1].logs["tracked"] == 1
    rollout = begin(model, frames[:, :2], seed=buffer_seeds(key), redo=2)
    *_, last = stream(model, AlphaBlend(), Staircase(2, 3, redo=2).plan(), rollout, frames=3 * depth)
    noted = model.noted
    assert last.rollout is not None
    assert_close(noted["known"].frames[:, 0], last.rollout.window)
    assert_close(noted["after"]["blocks"], last.rollout.state["blocks"], f"the state behind {depth} chunks")
    level = noted["level"][..., None, None, None].double()[:, 0]
    noise = (noted["x"][:, 0] - (1 - level) * frames[:, 3 * depth : 3 * depth + 5]) / level
    assert float(noise.std()) == pytest.approx(1, abs=0.3)


def buffer_seeds(key: torch.Tensor) -> torch.Tensor:
    from unspool import noise as rng

    return rng.fold(key, 6)


def system() -> System:
    torch.manual_seed(0)
    model = nano(local=Local(2, 5, told=True), gist=True, dtype=torch.float32, std=0.1).requires_grad_(True)
    objective = Stages(3, 2, 3, context_noise=0.1, buffer=Buffer(6, 2, 2))
    return System(model, Pixels(), AlphaBlend(), Staircase(2, 3, redo=2), euler, objective, 11)


SIX = TrainOptions(steps=6, batch=4, lr=1e-2, warmup=0, bf16=False)


def clip(step: int) -> Clips:
    return Clips(np.random.default_rng(step).uniform(-1, 1, (4, 11, *SHAPE)).astype(np.float32))


def test_the_buffer_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    """Six steps at once, and three, saved, loaded elsewhere and three more: the same losses, bit for bit."""
    options = SIX
    whole = Trainer(system(), options)
    wanted = [whole.train_step(clip(step)) for step in range(6)]
    assert {"stage_0", "stage_2", "rollout", "tracked"} <= wanted[0].keys()
    half = Trainer(system(), options)
    got = [half.train_step(clip(step)) for step in range(3)]
    before = {name: leaf.clone() for name, leaf in half.system.objective.state_dict().items()}
    assert "stage_0" in half.validate(clip(9)) and "rollout" not in half.validate(clip(9))
    assert_equal(half.system.objective.state_dict(), before, "the buffer after validation")
    with Keeper(tmp_path, Ranks()) as keeper:
        half.save(keeper, {})
    again = Trainer(system(), options)
    again.load(tmp_path / "checkpoints" / "last")
    got += [again.train_step(clip(step)) for step in range(3, 6)]
    assert got == wanted


def test_a_checkpoint_is_of_its_moment(tmp_path: Path) -> None:
    """It is written while training goes on, and the buffer of rollouts with it: what enters it meanwhile is not in it."""
    going = Event()
    trainer = Trainer(system(), SIX)
    for step in range(2):
        trainer.train_step(clip(step))
    before = {name: leaf.clone() for name, leaf in trainer.system.objective.state_dict().items()}
    with Keeper(tmp_path, Ranks()) as keeper:
        keeper.pool.submit(going.wait)
        trainer.save(keeper, {})
        trainer.train_step(clip(2))
        going.set()
    assert any(not torch.equal(leaf, before[name]) for name, leaf in trainer.system.objective.state_dict().items())
    assert_equal(objective_of(tmp_path / "checkpoints" / "last", 0), before, "the buffer in the checkpoint")

"""The training loop: interrupted and resumed is uninterrupted, checkpoints are whole, what is not finite is refused."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from unspool import store
from unspool.blend import AlphaBlend, Blend
from unspool.codec import Pixels, to_video
from unspool.context import Channels
from unspool.data import Clips
from unspool.errors import UserError
from unspool.grid import Shifted
from unspool.laws import Independent
from unspool.memory import Window
from unspool.model import VideoModel, VideoTransformer
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import Loss, Objective, System
from unspool.train.checkpoints import load_weights
from unspool.train.loop import train
from unspool.train.objectives import OwnErrors, TeacherForcing
from unspool.train.options import TrainOptions
from unspool.train.trainer import Trainer
from unspool.types import Clip

OPTIONS = TrainOptions(steps=6, batch=2, warmup=2, save_every=2, log_every=1, validate_every=3)
CONFIG = {"recipe": "of this test"}


def source(indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> Clips:
    shape = (anchor + frames, 4, 4, 3)
    drawn = [np.random.default_rng((seed, int(i), reach)).integers(0, 256, shape, dtype=np.uint8) for i in indices]
    return Clips(np.stack(drawn))


def system(objective: Objective | None = None) -> System:
    torch.manual_seed(0)
    model = VideoTransformer((3, 4, 4), patch=2, width=16, chunk=2, memories=[[Window(16, 1, 2)]])
    objective = objective or TeacherForcing(2, 2, 0.2, Independent(2, Shifted(3.0)))
    return System(model, Pixels(), AlphaBlend(), Staircase(2, 2), euler, objective, 6)


def anchored() -> System:
    """Nothing is kept but channels; clips come with an older frame, and the model goes on from frames of its own."""
    torch.manual_seed(0)
    context = Channels(2, anchor=1)
    model = VideoTransformer((3, 4, 4), patch=2, width=16, memories=[[Window(16, 1, 0)]], context=context)
    return System(model, Pixels(), AlphaBlend(), Staircase(2), euler, OwnErrors(stages=2, steps=2), 6, anchor=1, reach=9)


def lines(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the clock."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def contents(checkpoint: Path) -> dict[str, bytes]:
    return {str(p.relative_to(checkpoint)): p.read_bytes() for p in checkpoint.rglob("*") if p.is_file()}


class Stop(Exception):
    pass


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("killed_at", [1, 3, 4, 5])
@pytest.mark.parametrize("system", [system, anchored], ids=lambda make: make.__name__)
def test_killed_and_resumed_is_uninterrupted(tmp_path: Path, bf16: bool, killed_at: int, system: Callable[[], System]) -> None:
    """Bit for bit: weights, averages, optimiser, losses; whatever the global generator did meanwhile. Steps since the last
    checkpoint are walked again, and their lines in metrics.jsonl are not told twice."""
    options = replace(OPTIONS, bf16=bf16)
    train(system(), source, source, tmp_path / "whole", options, CONFIG)

    def kill(trainer: Trainer, logs: dict[str, float]) -> None:
        if trainer.step == killed_at:
            raise Stop

    run = tmp_path / "cut"
    with pytest.raises(Stop):
        train(system(), source, source, run, options, CONFIG, report=kill)
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 5, "lo')  # a line that a killed process left torn
    torch.manual_seed(99)
    last = run / "checkpoints" / "last"
    assert last.exists() is (killed_at >= 2)
    fresh = system()
    if last.exists():  # nothing of the new model's own weights may count
        with torch.no_grad():
            for p in fresh.model.parameters():
                p.fill_(7.0)
    train(fresh, source, source, run, options, CONFIG, resume=last if last.exists() else None)
    assert lines(run) == lines(tmp_path / "whole")
    assert [line["step"] for line in lines(run)] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines(run) if "held_out_loss" in line] == [3, 6]
    assert contents(run / "checkpoints" / "last") == contents(tmp_path / "whole" / "checkpoints" / "last")


def test_checkpoint_layout(tmp_path: Path) -> None:
    """The last two are kept, `last` points at the newest, nothing half-written lies about; the averaged weights count."""
    trainer = train(system(), source, None, tmp_path / "run", OPTIONS, CONFIG)
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(os.listdir(folder)) == ["0000004", "0000006", "last"]
    assert (folder / "last").resolve() == (folder / "0000006").resolve() and not os.path.isabs(os.readlink(folder / "last"))
    assert set(contents(folder / "last")) == {
        "config.json", "model.safetensors", "training_state/optimizer.safetensors", "training_state/progress.json",
        "training_state/weights.safetensors",
    }  # fmt: skip
    assert store.read_json(folder / "last" / "config.json") == CONFIG
    assert store.read_json(folder / "last" / "training_state" / "progress.json")["step"] == 6
    names = [name for name, _ in trainer.model.named_parameters()]
    saved = store.load_tensors(folder / "last" / "model.safetensors")[0]
    live = store.load_tensors(folder / "last" / "training_state" / "weights.safetensors")[0]
    assert sorted(saved) == sorted(live) == sorted(names)
    for name, average, p in zip(names, trainer.average, trainer.model.parameters(), strict=True):
        assert torch.equal(saved[name], average) and torch.equal(live[name], p)
    assert not all(torch.equal(saved[name], live[name]) for name in names)


def test_steps_do_not_hang_on_the_batch_before() -> None:
    """Sample i of step s is global sample s * batch + i: two steps of two and one of four draw the same levels and noise."""
    seen: list[Tensor] = []

    @dataclass(frozen=True)
    class Noted:
        def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
            seen.append(key)
            value = sum(p.sum() for p in model.parameters()) * 1.0
            yield Loss(value, {"loss": value.detach()})

    for batch, steps in ((2, 2), (4, 1)):
        trainer = Trainer(system(Noted()), replace(OPTIONS, batch=batch))
        for step in range(steps):
            trainer.train_step(source(np.arange(step * batch, (step + 1) * batch), 6))
    assert torch.equal(torch.cat(seen[:2]), seen[2])
    trainer.validate(source(np.arange(4), 6))
    assert not set(seen[-1].tolist()) & set(seen[2].tolist()), "held-out levels are drawn apart"


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_what_is_not_finite_is_refused(tmp_path: Path, poison: str) -> None:
    """In one line, and no checkpoint is written of it: the last one is still the last good one."""

    @dataclass(frozen=True)
    class Poisoned:
        def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
            p = next(model.parameters())
            bad = trainer_step[0] == 3
            trainer_step[0] += 1
            value = p.sum() * (float("nan") if bad and poison == "loss" else 1.0)
            if bad and poison == "gradient":
                value = value + (p - p.detach()).abs().sqrt().sum()  # 0, with a slope that is not finite
            yield Loss(value, {"loss": value.detach()})

    trainer_step = [0]
    with pytest.raises(UserError, match=r"step 4: .*is not finite; lower --train\.lr, resume") as error:
        train(system(Poisoned()), source, None, tmp_path, replace(OPTIONS, save_every=1), CONFIG)
    assert "\n" not in str(error.value)
    last = (tmp_path / "checkpoints" / "last").resolve()
    assert last.name == "0000003"
    for name in ("model.safetensors", "training_state/weights.safetensors"):
        assert all(torch.isfinite(t).all() for t in store.load_tensors(last / name)[0].values())


def test_learning_rate() -> None:
    """A linear warm-up, level, and a linear fall over the last `decay` share, never to zero before the end."""
    options = replace(OPTIONS, steps=20, warmup=4, decay=0.5, lr=0.1)
    trainer, rates = Trainer(system(), options), []
    for step in range(20):
        trainer.train_step(source(np.arange(step * 2, step * 2 + 2), 6))
        rates.append({group["lr"] for o in trainer.optimizers for group in o.param_groups})
    assert all(len(rate) == 1 for rate in rates)
    wanted = [0.025, 0.05, 0.075] + [0.1] * 8 + [0.1 * left / 10 for left in range(9, 0, -1)]
    assert [rate.pop() for rate in rates] == pytest.approx(wanted)


def test_average_lags_behind_and_is_swapped_in_and_out() -> None:
    trainer = Trainer(system(), replace(OPTIONS, lr=0.05, ema=0.5, warmup=0, bf16=False))
    average = [p.detach().clone() for p in trainer.model.parameters()]
    for step in range(3):
        trainer.train_step(source(np.arange(step * 2, step * 2 + 2), 6))
        decay = min(0.5, (2 + step) / (11 + step))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, trainer.model.parameters(), strict=True)]
    live = [p.detach().clone() for p in trainer.model.parameters()]
    with trainer.averaged():
        for p, a in zip(trainer.model.parameters(), average, strict=True):
            assert torch.allclose(p, a, atol=1e-6)
    assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), live, strict=True))
    assert any(not torch.equal(p, a) for p, a in zip(live, trainer.average, strict=True))


def test_validation_changes_nothing() -> None:
    trainer = Trainer(system(), OPTIONS)
    trainer.train_step(source(np.arange(2), 6))
    before = [p.detach().clone() for p in (*trainer.model.parameters(), *trainer.average)]
    first = trainer.validate(source(np.arange(4), 6))
    assert first == trainer.validate(source(np.arange(4), 6))
    assert all(torch.equal(a, b) for a, b in zip(before, (*trainer.model.parameters(), *trainer.average), strict=True))


def test_each_loss_of_a_step_sees_the_weights_of_its_moment() -> None:
    """Two yields are two steps: under bf16 too, the second loss is that of the weights after the first step."""
    seen: list[Tensor] = []

    @dataclass(frozen=True)
    class Twice:
        def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
            for _ in range(2):
                assert isinstance(model, VideoTransformer)
                out = model.enter(torch.ones(1, 12))
                seen.append(out.detach().float())
                yield Loss(out.square().sum(), {"loss": out.detach().square().sum()})

    for bf16 in (False, True):
        Trainer(system(Twice()), replace(OPTIONS, lr=0.1, warmup=0, bf16=bf16)).train_step(source(np.arange(2), 6))
    assert (seen[1] - seen[0]).abs().max() > 0.5
    assert torch.allclose(seen[3], seen[1], atol=0.05)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    net = system().model
    weights = {name: p.detach().clone() for name, p in net.named_parameters()}
    some = next(name for name, p in weights.items() if p.dim() == 2)
    wrong = {
        "missing": {n: t for n, t in weights.items() if n != some},
        "more": weights | {"other": torch.zeros(1)},
        "shape": weights | {some: weights[some][:-1]},
    }
    for tensors in wrong.values():
        with pytest.raises(UserError, match=r"here is a checkpoint of another model"):
            load_weights(net, tensors, Path("here"))
    with pytest.raises(UserError, match=f"here holds values that are not finite .{some}."):
        load_weights(net, weights | {some: weights[some] / 0}, Path("here"))
    for name, p in net.named_parameters():
        assert torch.equal(p, weights[name]), "a refused checkpoint has changed the model"


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    train(system(), source, None, tmp_path, replace(OPTIONS, steps=2), CONFIG)
    for name in ("model.safetensors", "training_state/weights.safetensors", "training_state/optimizer.safetensors"):
        path = tmp_path / "checkpoints" / "last" / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(UserError, match="not a whole safetensors file"):
            Trainer(system(), OPTIONS).load(tmp_path / "checkpoints" / "last")
        path.write_bytes(data)
    Trainer(system(), OPTIONS).load(tmp_path / "checkpoints" / "last")


def test_pixels_become_numbers_between_minus_one_and_one() -> None:
    clips = np.arange(256, dtype=np.uint8).reshape(1, 2, 8, 16, 1).repeat(3, -1)
    video = to_video(clips)
    assert video.shape == (1, 2, 3, 8, 16) and video.dtype == torch.float32
    assert video.min() == -1 and video.max() == 1
    assert torch.equal(((video + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1), torch.from_numpy(clips))


@dataclass(frozen=True)
class Wild:
    """A loss whose slope is 1, but `slope` at step `bad`; two losses a step, of which the second is always tame."""

    bad: int
    slope: float
    calls: list[int]

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        self.calls.append(0)
        p = next(model.parameters())
        for slope in (self.slope if len(self.calls) == self.bad else 1.0, 1.0):
            value = slope * p.flatten()[0]
            yield Loss(value, {f"slope_{slope}": value.detach(), "loss": value.detach()})


@pytest.mark.parametrize(("slope", "spike"), [(float("nan"), 0.0), (float("inf"), 0.0), (50.0, 20.0)])
def test_an_update_that_would_do_harm_is_skipped(slope: float, spike: float) -> None:
    """Only that one, where one is told to: what it was to be is said, and neither weights nor optimisers know of it."""
    options = replace(OPTIONS, steps=100, lr=1e-3, bf16=False, spike=spike, on_spike="skip", weight_decay=0.0)
    trainer = Trainer(system(Wild(60, slope, [])), options)
    clips = source(np.arange(2), 6)
    for _ in range(59):
        assert "skipped" not in trainer.train_step(clips)
    state = trainer.optimizers[0].state[next(trainer.model.parameters())]
    before = state["step"].clone()
    with pytest.warns(UserWarning, match=r"step 60: .*; this update is skipped"):
        logs = trainer.train_step(clips)
    assert logs["skipped"] == 1.0 and trainer.step == 60
    assert state["step"] == before + 1, "the second loss of the step is sound, and has its update"
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert "skipped" not in trainer.train_step(clips)


def test_a_spike_stops_the_run_unless_it_is_to_be_skipped() -> None:
    options = replace(OPTIONS, steps=100, bf16=False, spike=20.0)
    trainer = Trainer(system(Wild(60, 50.0, [])), options)
    clips = source(np.arange(2), 6)
    for _ in range(59):
        trainer.train_step(clips)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with pytest.raises(UserError, match=r"step 60: the gradient's norm of 50 is 50 times what is usual; .*on-spike skip"):
        trainer.train_step(clips)
    assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), before, strict=True))


def test_what_is_usual_goes_on_with_the_run(tmp_path: Path) -> None:
    options = replace(OPTIONS, bf16=False)
    trainer = train(system(), source, None, tmp_path, options, CONFIG)
    fresh = Trainer(system(), options)
    fresh.load(tmp_path / "checkpoints" / "last")
    assert fresh.usual == trainer.usual and trainer.usual.updates == 6


def test_recomputed_activations_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and gradients bit for bit, in scan and in read."""
    ran: list[str] = []

    def noted(work: Callable[..., Any], *given: Any, **told: Any) -> Any:
        ran.append(work.__name__)
        return checkpoint(work, *given, **told)

    monkeypatch.setattr("unspool.model.dit.checkpoint", noted)
    for make in (system, anchored):
        options = replace(OPTIONS, bf16=False)
        kept, again = Trainer(make(), options), Trainer(make(), replace(options, recompute=True))
        clips = source(np.arange(2), 6, anchor=make().anchor, reach=make().reach)
        assert [kept.train_step(clips) for _ in range(3)] == [again.train_step(clips) for _ in range(3)]
    assert set(ran) == {"_scan", "_read"}


def test_a_checkpoint_that_cannot_be_written_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is written behind its back: at the next step, or at the end."""

    def full(path: Path, write: Callable[[Path], None]) -> None:
        raise UserError(f"cannot write {path}: no space left on device; free space or choose another folder")

    monkeypatch.setattr("unspool.train.checkpoints.store.write_aside", full)
    with pytest.raises(UserError, match=r"cannot write .*0000002: no space left"):
        train(system(), source, None, tmp_path, OPTIONS, CONFIG)
    assert not (tmp_path / "checkpoints" / "last").exists()


def test_events_for_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say what metrics.jsonl says, and what was told of steps that are walked again is taken back."""
    from tensorboardX.proto.event_pb2 import Event
    options = replace(OPTIONS, tensorboard=True)

    def kill(trainer: Trainer, logs: dict[str, float]) -> None:
        if trainer.step == 3:
            raise Stop

    with pytest.raises(Stop):
        train(system(), source, source, tmp_path, options, CONFIG, report=kill)
    train(system(), source, source, tmp_path, options, CONFIG, resume=tmp_path / "checkpoints" / "last")
    told: dict[int, float] = {}
    for path in sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            length = int.from_bytes(data[:8], "little")
            event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
            for value in event.summary.value:
                if value.tag == "loss":
                    told[event.step] = value.simple_value
    assert told == pytest.approx({line["step"]: line["loss"] for line in lines(tmp_path)})
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"pip install 'unspool\[tensorboard\]'"):
        train(system(), source, None, tmp_path / "other", options, CONFIG)

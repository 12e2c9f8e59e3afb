"""Training a codec: figures that mean what they say, exact resume, a run folder that is whole, and the command line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unspool import noise as rng
from unspool import store
from unspool.blend import AlphaBlend
from unspool.cli import train as verb
from unspool.codec import CodecOptions, load_codec
from unspool.data import Clips
from unspool.errors import UserError
from unspool.train.codec import Reconstruction, psnr, sharpness, system_of
from unspool.train.loop import train
from unspool.train.options import TrainOptions
from unspool.train.trainer import Trainer
from unspool.training import plan_codec
from unspool.types import Clip

NANO = CodecOptions(channels=4, width=8, depth=1)
CAUSAL = replace(NANO, kind="causal")
TINY = (
    "--data", "rooms", "--resolution", "32", "--codec.width", "8", "--codec.depth", "1", "--codec.channels", "4",
    "--train.batch", "2", "--train.log-every", "1", "--train.warmup", "2",
)  # fmt: skip


def source(indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> Clips:
    drawn = [np.random.default_rng((seed, int(i))).integers(0, 256, (frames, 2, 2, 3), dtype=np.uint8) for i in indices]
    return Clips(np.stack(drawn).repeat(8, 2).repeat(8, 3))


def command(*argv: object) -> None:
    words = [str(word) for word in argv]
    verb.run(verb.parser(words).parse(words))


def lines(run: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def test_figures_mean_what_they_say() -> None:
    real = rng.normal(torch.arange(2), 3, 3, 8, 8).clamp(-0.5, 0.5)
    assert float(psnr(real + 0.02, real)) == pytest.approx(20 * math.log10(2 / 0.02), abs=1e-3)
    assert float(psnr(real, real)) == pytest.approx(106, abs=1) and float(sharpness(real, real)) == 1
    assert float(sharpness(real * 0.5 + 0.3, real)) == pytest.approx(0.5, abs=1e-5)
    ramp = torch.linspace(-1, 1, 8).expand(1, 1, 3, 8, 8)
    assert float(sharpness(ramp.mT, ramp)) == pytest.approx(1), "edges count in both directions"


@pytest.mark.parametrize("options", [NANO, CAUSAL], ids=lambda options: options.kind)
def test_a_codec_learns(options: CodecOptions) -> None:
    trainer = Trainer(system_of(options, 0), TrainOptions(steps=60, batch=4, lr=1e-2, warmup=5, bf16=False))
    clips = source(np.arange(4), trainer.system.frames)
    logs = [trainer.train_step(clips) for _ in range(60)]
    assert logs[-1]["loss"] < 0.6 * logs[0]["loss"] and logs[-1]["psnr"] > logs[0]["psnr"] + 3


def test_noise_is_for_training_only_and_hangs_on_the_key() -> None:
    codec, clip = system_of(NANO, 0).model, Clip(rng.normal(torch.arange(2), 2, 3, 8, 8))

    def loss(key: int) -> float:
        return float(next(Reconstruction(noise=0.5)(codec, AlphaBlend(), clip, torch.full((2,), key))).logs["loss"])

    assert loss(1) == loss(1) != loss(2)
    codec.eval()
    assert loss(1) == loss(2)


def test_frames_that_only_fill_up_do_not_count() -> None:
    codec, real = system_of(NANO, 0).model, rng.normal(torch.arange(2), 2, 3, 8, 8)
    key, valid = torch.zeros(2, dtype=torch.int64), torch.tensor([[True, False], [True, True]])
    other = torch.where(valid[..., None, None, None], real, 0.9)
    clips = (Clip(real, valid=valid), Clip(other, valid=valid), Clip(other))
    first, second, third = (next(Reconstruction()(codec, AlphaBlend(), clip, key)).logs for clip in clips)
    assert first["psnr"] == second["psnr"] != third["psnr"]
    assert first["sharpness"] == second["sharpness"] != third["sharpness"]


@pytest.mark.parametrize("options", [NANO, CAUSAL], ids=lambda options: options.kind)
def test_killed_and_resumed_is_uninterrupted(tmp_path: Path, options: CodecOptions) -> None:
    def kill(trainer: Trainer, logs: dict[str, float]) -> None:
        if trainer.step == 3:
            raise RuntimeError

    often = TrainOptions(steps=4, batch=2, warmup=2, save_every=2, log_every=1, validate_every=2)
    train(system_of(options, 0), source, source, tmp_path / "whole", often, {})
    with pytest.raises(RuntimeError):
        train(system_of(options, 0), source, source, tmp_path / "cut", often, {}, report=kill)
    train(system_of(options, 1), source, source, tmp_path / "cut", often, {}, resume=tmp_path / "cut" / "checkpoints" / "last")
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    ends = [(tmp_path / run / "checkpoints" / "last" / "model.safetensors").read_bytes() for run in ("cut", "whole")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("kind", ["frames", "causal"])
def test_a_run_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    run = tmp_path / "run"
    command("codec", "--out", run, *TINY, "--codec.kind", kind, "--train.steps", 2, "--json")
    figures = json.loads(capsys.readouterr().out)
    assert figures["step"] == 2 and {"held_out_psnr", "held_out_sharpness"} <= figures.keys()
    first = store.digest(load_codec(run).state_dict())
    command("--out", run, "--resume", "latest", "--train.steps", 4)
    told = capsys.readouterr()
    assert "train.steps: 2 -> 4" in told.err and "PSNR held out" in told.out
    assert store.digest(load_codec(run).state_dict()) != first
    assert [line["step"] for line in lines(run)] == [1, 2, 3, 4]
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["0000002.png", "0000004.png"]
    page = store.read_json(run / "run.json")
    assert [job["to_step"] for job in page["jobs"]] == [2, 4] and page["totals"]["flops"] > 0
    codec = load_codec(run)
    assert codec.encode(torch.zeros(1, 1, 3, 32, 32), {})[0].shape == (1, 1, 4, 4, 4)


def test_what_can_be_mended_is_said_in_one_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command("codec", "--out", run, *TINY, "--train.steps", 2)
    with pytest.raises(UserError, match="holds a run already"):
        plan_codec(run, overrides={"data": "rooms"})
    with pytest.raises(UserError, match="at step 2 already"):
        plan_codec(run, overrides={"train.steps": 1}, resume="latest")
    with pytest.raises(UserError, match="no checkpoint '5' to resume from"):
        plan_codec(run, resume="5")
    with pytest.raises(UserError, match="name the data"):
        plan_codec(tmp_path / "other")
    with pytest.raises(UserError, match=r"did you mean 'codec\.width'"):
        plan_codec(tmp_path / "other", overrides={"data": "rooms", "codec.widht": 8})
    with pytest.raises(UserError, match=r"codec.kind = 'wavelet' does not fit"):
        plan_codec(tmp_path / "other", overrides={"data": "rooms", "codec.kind": "wavelet"})
    with pytest.raises(UserError, match="another model"):
        command("codec", "--out", run, *TINY, "--codec.width", 16, "--resume", "latest", "--train.steps", 3)
    assert not (tmp_path / "other").exists()

"""`unspool bench`: figures that add up, a trace that opens, nothing else written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from unspool.cli import main
from unspool.flops import matmul_rate

TRAIN = ["bench", "train", "frame-by-frame", "--size", "nano", "--resolution", "32", "--train.batch", "2", "--device", "cpu"]


def test_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TRAIN, "--timed", "2", "--profile", "trace.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert os.listdir(tmp_path) == ["trace.json"] and json.loads(Path("trace.json").read_text())["traceEvents"]
    middle = found["tokens"] / found["tokens_per_s"]
    assert found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    assert found["flops_per_s"] == pytest.approx(found["flops_per_step"] / middle)
    assert found["mfu"] == pytest.approx(found["flops_per_s"] / found["matmul_flops_per_s"]) and 0 < found["mfu"] < 1
    assert found["clips_per_s"] == pytest.approx(2 / middle)
    parts = {"latents", "forward", "optimizer", "backward and rest", "data"}
    assert found["parts_ms"].keys() == parts and min(found["parts_ms"].values()) > 0


def test_a_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "sample", "duel-64", "--frames", "6", "--streams", "2", "--rollout.steps", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] == 6 and found["streams"] == 2 and not os.listdir(tmp_path)
    assert found["frames_per_s"] == pytest.approx(2 * found["frames_per_s_each"])
    assert list(found["resident_bytes_by_frame"]) == ["1", "2", "4"]
    parts = found["parts_ms"]
    assert sum(value for name, value in parts.items() if name != "all") == pytest.approx(parts["all"])


def test_tables_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "sample", "duel-64", "--frames", "2", "--rollout.steps", "1"]) == 0
    assert "of the best matrix product of this process" in capsys.readouterr().out
    assert main([*TRAIN, "--timed", "1"]) == 0
    assert "tokens a second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bench"], None),
        (["bench", "sample", "duel-64", "--streams", "0"], "streams is 1 to 1024, not 0"),
        (["bench", "sample", "duel-64", "--frames", "0"], "frames is 1 to"),
        (["bench", "sample", "nobody"], "there is no model 'nobody'"),
        (["bench", "sample", "duel-64", "--profile", "."], "is a folder; give the name of a file"),
        ([*TRAIN, "--timed", "0"], "timed is 1 to 10000, not 0"),
        ([*TRAIN[:-1], "gpu"], "there is no device 'gpu'"),
        (["bench", "fly"], "there is no command 'fly'"),
    ],
)
def test_bad_input(arguments: list[str], told: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == (2 if told else 0)
    captured = capsys.readouterr()
    assert told is None or (told in captured.err and captured.err.count("\n") == 1)


def test_a_rate_is_of_this_machine() -> None:
    assert matmul_rate(torch.float32, seconds=0.01, size=64) > 1e6

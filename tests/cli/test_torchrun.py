"""`torchrun -m unspool train`: what a user of several processes sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unspool import hub
from unspool.cli import PATIENCE, main

TRAIN = [
    "frame-by-frame", "--size", "nano", "--resolution", "32", "--data", "duel", "--train.batch", "2", "--train.bf16", "false",
    "--train.log-every", "1", "--train.validate-every", "100", "--device", "cpu", "--threads", "1",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def torchrun(*arguments: str) -> list[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*launch, "-m", "unspool", "train", *TRAIN, *arguments]


def said(text: str) -> list[str]:
    """Lines that are ours, not torchrun's."""
    return [line for line in text.splitlines() if line.startswith(("unspool", "effective"))]


def test_one_run_of_two_processes(tmp_path: Path) -> None:
    """One folder, one journal, one banner, and a model at the end."""
    run = tmp_path / "run"
    command = torchrun("--out", str(run), "--train.steps", "2", "--train.accumulate", "2", "--train.shard", "--json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    banner = "effective batch 8 = batch 2 x ranks 2 x accumulation 2; the learning rate is not scaled"
    assert [line for line in said(done.stderr) if line.startswith("effective")] == [banner]
    assert json.loads(done.stdout)["step"] == 2
    (job,) = json.loads((run / "run.json").read_text())["jobs"]
    assert job["ranks"] == 2 and job["clips"] == 16 and job["to_step"] == 2
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert (run / "samples" / "0000002.png").is_file()
    hub.load(hub.find(run))


def test_what_one_process_has_met(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first tells at once; by the time that another would, torchrun has ended it, unless the first has met nothing."""
    waited: list[float] = []
    monkeypatch.setattr("unspool.cli.time.sleep", waited.append)
    for rank, begins in (("0", "unspool: "), ("1", "unspool, rank 1: ")):
        monkeypatch.setenv("RANK", rank)
        assert main(["train", "nothing-of-the-kind"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(begins)
    assert waited == [PATIENCE]


def test_all_leave_when_one_dies(tmp_path: Path) -> None:
    """Within a minute, and the run goes on from its last checkpoint, in one process."""
    run = tmp_path / "run"
    command = torchrun("--out", str(run), "--train.steps", "100000", "--train.save-every", "2", "--train.shard")
    going = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        until = time.monotonic() + 240
        while not (run / "checkpoints" / "last").exists():
            assert going.poll() is None and time.monotonic() < until, going.communicate()[1]
            time.sleep(0.2)
        workers = subprocess.run(["pgrep", "-P", str(going.pid)], capture_output=True, text=True, check=True).stdout.split()
        os.kill(int(workers[-1]), signal.SIGKILL)
        died = time.monotonic()
        _, told = going.communicate(timeout=60)
        assert going.returncode and time.monotonic() - died < 60
        assert "SIGKILL" in told
    finally:
        going.kill()
    step = int((run / "checkpoints" / "last").resolve().name)
    more = ["--out", str(run), "--resume", "latest", f"--train.steps={step + 1}", "--train.shard=false"]
    again = [sys.executable, "-m", "unspool", "train", *TRAIN[1:], *more]
    done = subprocess.run(again, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "saved by 2 processes, goes on in 1" in done.stderr

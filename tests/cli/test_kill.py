"""Killed, interrupted and gone on with: the same numbers as without."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unspool import hub
from unspool.data.video import read_video
from unspool.store import load_tensors

Start = Callable[..., "subprocess.Popen[str]"]


def until(ready: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the process does not get on"
        time.sleep(0.005)


def losses(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def lines_of(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def same_tensors(a: Path, b: Path) -> bool:
    one, other = load_tensors(a)[0], load_tensors(b)[0]
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_killed_and_resumed_walks_the_same_losses(unspool, start: Start, tmp_path, tiny):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    words = ("train", "chunk-by-chunk", "--data", "duel", *tiny, "--train.steps", 40, "--train.save-every", 4,
             "--train.validate-every", 8)  # fmt: skip
    done = unspool(*words, "--out", whole)
    assert done.code == 0, done.err

    process = start(*words, "--out", torn)
    until(lambda: lines_of(torn) >= 10, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    reached = lines_of(torn)
    assert 10 <= reached < 40
    with (torn / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')  # as if the last line had been torn
    (torn / "checkpoints" / ".0000044.half").mkdir()  # and a checkpoint been half written
    hub.load(hub.find(torn))
    done = unspool("train", "--out", torn, "--resume", "latest")
    assert done.code == 0, done.err

    assert losses(torn) == losses(whole)
    for name in ("model.safetensors", "training_state/weights.safetensors", "training_state/optimizer.safetensors"):
        assert same_tensors(torn / "checkpoints" / "last" / name, whole / "checkpoints" / "last" / name)
    assert sorted(path.name for path in (torn / "checkpoints").iterdir()) == ["0000036", "0000040", "last"]


def test_training_stops_at_ctrl_c_with_a_checkpoint_of_that_step(unspool, start: Start, tmp_path, tiny):
    run = tmp_path / "run"
    words = ("train", "chunk-by-chunk", "--data", "duel", *tiny, "--train.save-every", 100_000, "--train.steps", 100_000)
    for number in (signal.SIGINT, signal.SIGTERM):
        before = lines_of(run)
        process = start(*words, "--out", run, *(() if before == 0 else ("--resume", "latest")))
        until(lambda before=before: lines_of(run) >= before + 3, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "go on with" in err and "Traceback" not in err and out == ""
        last = losses(run)[-1]["step"]
        assert hub.find(run).folder.resolve().name == f"{last:07d}"
        hub.load(hub.find(run))
        assert json.loads((run / "run.json").read_text())["jobs"][-1]["to_step"] == last


def test_sampling_stops_at_ctrl_c_with_playable_videos(start: Start, trained, tmp_path):
    process = start("sample", trained, "--context", "duel", "--frames", 1_000_000, "--seeds", 2, "--out", tmp_path)
    part = tmp_path / "future-1.part.mp4"
    until(lambda: part.exists() and part.stat().st_size > 4000, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    for k in (1, 2):
        told = json.loads((tmp_path / f"future-{k}.mp4.json").read_text())
        assert len(read_video(tmp_path / f"future-{k}.mp4")) == told["frames"] > 0
    assert not list(tmp_path.glob("*.part.mp4"))


def test_a_demo_that_is_stopped_leaves_playable_videos(start: Start, trained, tmp_path):
    process = start("demo", "--model", trained, "--frames", 20_000, "--out", tmp_path)
    part = tmp_path / "future-1.part.mp4"
    until(lambda: part.exists() and part.stat().st_size > 4000, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert len(read_video(tmp_path / "future-3.mp4")) > 0


NEW_PROCESS = """
import sys, numpy, torch, unspool
from unspool import config, sampling, snapshot
model, saved, frames, out = sys.argv[1:]
system = config.rollout_options({"lag": "1/4"}).apply(unspool.from_pretrained(model))
rollout = snapshot.load_rollout(saved, system.model).rollout
numpy.save(out, numpy.concatenate([video for video, _ in sampling.futures(system, rollout, int(frames))], 1))
"""


def test_a_rollout_saved_at_frame_400_goes_on_in_another_process_bit_for_bit(unspool, trained, tmp_path):
    import sys

    words = ("--context", "duel", "--seeds", 2, "--rollout.lag", "1/4")  # frames in flight, and 400 is within a chunk of 3
    files = {name: tmp_path / f"{name}.safetensors" for name in ("half", "resumed", "whole")}
    for frames, name in ((400, "half"), (460, "whole")):
        done = unspool("sample", trained, *words, "--frames", frames, "--out", tmp_path / name, "--rollout-out", files[name])
        assert done.code == 0, done.err
    held = load_tensors(files["half"])[0]
    assert held["window"].shape[1] > 0 and held["pending"].shape[1] > 0
    done = unspool("sample", trained, "--rollout-in", files["half"], "--frames", 60, "--out", tmp_path / "resumed",
                   "--rollout-out", files["resumed"])  # fmt: skip
    assert done.code == 0, done.err
    assert same_tensors(files["resumed"], files["whole"])

    pixels = {}
    code = [sys.executable, "-c", NEW_PROCESS, trained]
    for name in ("half", "whole"):  # frames 400 .. 499 and 460 .. 499, each in a process of its own
        count = 100 if name == "half" else 40
        subprocess.run([*map(str, code), files[name], str(count), tmp_path / f"{name}.npy"], check=True, timeout=120)
        pixels[name] = np.load(tmp_path / f"{name}.npy")
    assert np.array_equal(pixels["half"][:, 60:], pixels["whole"])
    assert (pixels["half"][0] != pixels["half"][1]).any()

"""The whole road on videos that this project did not make: record a game, train on the folder, roll out from a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unspool.data.video import probe, read_video


def unspool(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unspool", *map(str, argv)], capture_output=True, text=True, timeout=300)


def test_train_on_a_folder_of_a_games_videos_and_roll_out_from_one(
    games: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, run, out = tmp_path / "games", tmp_path / "run", tmp_path / "out"
    videos = games.record(folder)
    settings = ["--size", "nano", "--resolution", 32, "--patch", 8, "--frames", 14, "--window", 4]
    steps = ["--train.steps", 30, "--train.batch", 4, "--train.log-every", 1, "--train.warmup", 5]
    trained = unspool("train", "chunk-by-chunk", "--data", folder, "--out", run, *settings, *steps)
    assert trained.returncode == 0, trained.stderr
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])

    assert len({(probe(v).height, probe(v).width) for v in videos}) > 3, "sizes vary"
    assert len({probe(v).frames for v in videos}) > 3, "lengths vary"
    sampled = unspool("sample", run, "--context", videos[0], "--frames", 61, "--seeds", 2, "--out", out)
    assert sampled.returncode == 0, sampled.stderr
    one, two = (read_video(out / f"future-{k}.mp4") for k in (1, 2))
    assert one.shape == two.shape == (61, 32, 32, 3)
    assert not np.array_equal(one, two), "other seeds give other futures"

"""`unspool sample --clips N`: futures of many contexts, side by side and shared out among processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unspool.cli import main
from unspool.data.video import read_video

SAMPLE = ["sample", "duel-64", "--context", "duel:speed=0.5", "--frames", "5", "--seeds", "2", "--rollout.steps", "1"]


def made(out: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(out)): read_video(path) for path in sorted(out.rglob("*.mp4"))}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("many") / "out"
    assert main([*SAMPLE, "--clip", "1", "--clips", "3", "--slots", "4", "--out", str(out)]) == 0
    return out


def test_each_is_what_it_is_alone(many: Path, tmp_path: Path) -> None:
    videos = made(many)
    assert list(videos) == [f"clip-{clip}/future-{k}.mp4" for clip in (1, 2, 3) for k in (1, 2)]
    assert main([*SAMPLE, "--clip", "2", "--out", str(tmp_path)]) == 0
    for k in (1, 2):
        alone = read_video(tmp_path / f"future-{k}.mp4").astype(int)
        assert np.abs(videos[f"clip-2/future-{k}.mp4"] - alone).mean() < 0.5
    assert np.abs(videos["clip-2/future-1.mp4"].astype(int) - videos["clip-3/future-1.mp4"]).mean() > 2
    told = json.loads((many / "futures.json").read_text())["futures"]
    assert [one["video"] for one in told] == list(videos)
    assert {(one["clip"], one["seed"]) for one in told} == {(clip, seed) for clip in (1, 2, 3) for seed in (0, 1)}


def test_it_goes_on_where_it_was_stopped(many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What has a JSON beside it is whole and stays; more clips are more; other settings are refused."""
    out = tmp_path / "out"
    subprocess.run(["cp", "-rp", str(many), str(out)], check=True)
    (out / "clip-2" / "future-2.mp4.json").unlink()
    stands = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert main([*SAMPLE, "--clip", "1", "--clips", "3", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["futures"] == 6
    changed = {str(path.relative_to(out)) for path, when in stands.items() if path.stat().st_mtime_ns != when}
    assert changed == {"clip-2/future-2.mp4"}
    assert main([*SAMPLE, "--clips", "3", "--frames", "6", "--out", str(out)]) == 2
    assert "is there already, with another frames: choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--clips", "0"], "clips is 1 to 100000"),
        (["--clips", "2", "--slots", "0"], "slots 1 to 1024"),
        (["--clips", "2", "--prompt", "red kicks"], "--prompt is for one context"),
        (["--clips", "2", "--rollout.drain"], "a drained video ends by itself"),
        (["--clips", "60000"], "ask for 1 to 100000 futures"),
    ],
)
def test_bad_input(more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SAMPLE, "--out", str(tmp_path / "out"), *more]) == 2
    assert told in (said := capsys.readouterr().err) and said.count("\n") == 1
    assert not list(tmp_path.rglob("*.mp4"))


def test_two_processes_share_it_out(many: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "unspool"]
    command = [*launch, *SAMPLE, "--clip", "1", "--clips", "3", "--out", str(tmp_path), "--threads", "1", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 futures of 5 frames") == 1
    assert json.loads((tmp_path / "futures.json").read_text())["processes"] == 2
    for name, video in made(many).items():
        assert np.abs(read_video(tmp_path / name).astype(int) - video).mean() < 0.5

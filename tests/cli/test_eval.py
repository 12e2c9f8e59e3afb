"""`unspool eval`: one call, one table, one page; the same call goes on; what does not fit is told in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unspool.data.writer import VideoWriter

FEW = ("--frames", 40, "--contexts", 2, "--futures", 2, "--real", 3, "--segment", 20)
FOUR = ("--frames", 40, "--contexts", 4, "--futures", 1, "--real", 3, "--segment", 20)  # as many as an interval needs


def write(path: Path, frames: int, size: int = 32, fps: float = 30, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, size=(size, size), fps=fps) as out:
        out.write(np.random.default_rng(seed).integers(0, 255, (frames, size, size, 3), np.uint8))


@pytest.fixture(scope="module")
def judged(unspool, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run and a folder of videos, measured together."""
    home = tmp_path_factory.mktemp("judged")
    for k in range(2):
        write(home / "theirs" / f"{k}.mp4", 40, seed=k)
    done = unspool("eval", trained, "theirs", "--data", "duel", *FEW, "--out", "out", cwd=home)
    assert done.code == 0, done.err
    for words in ("motion", "PSNR", "random-feature MMD", "copy last", "world run again", "tiny, no memory", "theirs"):
        assert words in done.out, words
    assert max(map(len, done.out.splitlines())) <= 118
    return home / "out"


def test_results_say_all_that_made_them(judged: Path, trained: Path) -> None:
    found = json.loads((judged / "results.json").read_text())
    assert found["schema"] == "unspool/eval/2"
    assert found["made"]["command"].startswith("unspool eval ") and found["made"]["precision"] == "float32"
    assert {"version", "commit", "began", "seconds", "hardware"} <= set(found["made"])
    assert found["data"]["name"] == "duel" and len(found["data"]["sha256"]) == 64 and found["data"]["fps"] == 30
    assert found["protocol"] | {"frames": 40, "contexts": 2, "futures": 2, "segment": 20, "window": 16} == found["protocol"]
    arms = {arm["name"]: arm for arm in found["arms"]}
    controls = ["tiny, no memory", "real", "world run again", "copy last", "nearest training clip"]
    assert list(arms) == ["tiny", "theirs", *controls]
    assert arms["tiny"]["recipe"] == "chunk-by-chunk"
    assert arms["tiny"]["weights_sha256"] == arms["tiny, no memory"]["weights_sha256"]
    assert set(found["table"]) == set(arms)
    assert found["table"]["copy last"]["motion"]["value"] == 0
    assert found["table"]["theirs"]["psnr"] == {"skipped": "only futures of the contexts can be compared with what followed"}
    assert found["table"]["tiny"]["energy"]["skipped"] == "needs 8 futures of each context"
    assert found["differences"] == [] and found["table"]["tiny"]["motion"]["no_interval"] == "an interval needs 4 contexts"
    assert any("2 contexts give no intervals" in note for note in found["notes"])
    assert found["published"]["JEDi"] == {"network": "JEDi", "skipped": "no weights"}
    assert set(found["foretold"]) == {"tiny", "tiny, no memory"}


def test_the_page_is_one_file_with_every_arm_in_it(judged: Path) -> None:
    page = (judged / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    for arm in ("tiny", "theirs", "world run again", "nearest training clip"):
        assert arm in page
    assert page.count("data:video/mp4") == 2 * 7


def test_the_same_call_finds_everything_measured(unspool, judged: Path, trained: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in (judged / "measured").rglob("*.safetensors")}
    before = json.loads((judged / "results.json").read_text())
    done = unspool("eval", trained, "theirs", "--data", "duel", *FEW, "--out", "out", "--json", cwd=judged.parent)
    assert done.code == 0 and {path: path.stat().st_mtime_ns for path in stamps} == stamps
    after = json.loads(done.out)
    assert after["table"] == before["table"] and after["differences"] == before["differences"]


def test_the_ucf101_protocol_of_128_frames_on_a_folder_in_its_layout(unspool, trained: Path, tmp_path: Path) -> None:
    names = [f"{sport}/v_{sport}_g{k:02d}_c01.avi" for sport in ("TaiChi", "YoYo") for k in range(1, 5)]
    for k, name in enumerate(names):
        write(tmp_path / "UCF-101" / f"{name}.mp4", 128, seed=k)
        (tmp_path / "UCF-101" / f"{name}.mp4").rename(tmp_path / "UCF-101" / name)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("".join(f"{name} 1\n" for name in names[::4]))
    (lists / "testlist01.txt").write_text("".join(f"{name}\n" for k, name in enumerate(names) if k % 4))
    torch.jit.script(StandIn()).save(str(tmp_path / "i3d.pt"))
    few = ("--frames", 126, "--contexts", 2, "--futures", 1, "--real", 4, "--segment", 63)
    done = unspool("eval", trained, "--data", ".", *few, "--i3d", "i3d.pt", "--out", "out", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)["published"]
    assert found["JEDi"]["skipped"] == "no weights"
    curve = found["FVD of windows of 16 (UCF-101)"]
    assert len(curve["arms"]["tiny"]) == 8 and len(curve["sha256"][0]) == 64
    assert curve["note"] == "N = 2 of the 2 048 that published figures use"
    assert curve["verified"].startswith("golden figure 151.2")
    assert len(found["FVD of 128 frames (StyleGAN-V, UCF-101)"]["arms"]["copy last"]) == 1
    assert curve["arms"]["tiny"][0] == pytest.approx(found["FVD of 16 frames (StyleGAN-V)"]["arms"]["tiny"][0])


class StandIn(torch.nn.Module):
    """Called as I3D is; black and white are as far apart as that has them."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        mean = x.mean((1, 2, 3, 4))
        return torch.stack([mean * 6.1493, x[:, 0].std((1, 2, 3)), x[:, :, 0].mean((1, 2, 3)) - mean], 1)


# ---- what does not fit


def refused(unspool, *argv: object, cwd: Path) -> str:
    done = unspool("eval", *argv, cwd=cwd)
    lines = done.err.splitlines()
    assert done.code == 2 and done.out == "" and lines[-1].startswith("unspool: "), (done.out, done.err)
    assert not (cwd / "out" / "results.json").exists()
    return lines[-1]


def test_bad_input_is_told_in_one_line(unspool, trained: Path, tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / "short" / f"{k}.mp4", 20, seed=k)
        write(tmp_path / "slow" / f"{k}.mp4", 60, fps=10, seed=k)
    write(tmp_path / "uneven" / "0.mp4", 60)
    write(tmp_path / "uneven" / "1.mp4", 30)
    (tmp_path / "wrong.pt").write_bytes(b"not weights")
    small = ("--data", "duel", "--out", "out", *FEW)

    def told(*argv: object) -> str:
        return refused(unspool, *argv, cwd=tmp_path)

    assert "there is no model 'nothing'" in told("nothing", *small)
    assert "choose --contexts 3" in told(trained, "slow", *small, "--contexts", 4)
    assert "has 10 frames a second, the data 30" in told(trained, "slow", *small)
    assert "1.mp4 has 30 frames: choose --frames 30" in told("uneven", *small)
    assert "has 42 frames, context included" in told(trained, "--data", "short", "--out", "out", *FEW)
    assert "frames of different sizes" in told(trained, "duel-64", *small)
    assert "wrong.pt" in told(trained, *small, "--i3d", "wrong.pt")
    assert "real" in told(trained, *small, "--real", 2)
    assert "frames is 1 to" in told(trained, *small, "--frames", 0)
    assert "at most 100000" in told(trained, *small, "--contexts", 10**8)
    shutil.copytree(trained, tmp_path / "half")
    config = (tmp_path / "half" / "checkpoints" / "last").resolve() / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"fps": 15}))
    assert "half was trained on 15 frames a second, and duel has 30" in told("half", *small)
    assert not (tmp_path / "out").exists()


def test_a_model_that_breaks_is_named_before_anything_is_told_of_it(unspool, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "broken")
    weights = (tmp_path / "broken" / "checkpoints" / "last").resolve() / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "enter" in name)
    tensors[name].fill_(float("nan"))
    save_file(tensors, weights)
    told = refused(unspool, "broken", "--data", "duel", "--out", "out", *FEW, cwd=tmp_path)
    assert "finite" in told


def test_a_model_beside_itself_makes_other_futures_and_names_of_controls_are_not_taken(
    unspool, trained: Path, tmp_path: Path
) -> None:
    for k in range(4):
        write(tmp_path / "real" / f"{k}.mp4", 40, seed=k)
    done = unspool("eval", trained, trained, "real", "--data", "duel", *FOUR, "--out", "out", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [arm["name"] for arm in found["arms"]][:3] == ["tiny", "tiny again", "real given"]
    assert found["table"]["tiny"] != found["table"]["tiny again"]
    same = [d for d in found["differences"] if (d["a"], d["b"]) == ("tiny", "tiny again")]
    assert len(same) > 8 and not any(d["apart"] for d in same)

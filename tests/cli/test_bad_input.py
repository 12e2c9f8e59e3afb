"""What a user can mend: exit code 2, one line on standard error, nothing half-written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unspool.data.writer import VideoWriter


def write(path: Path, frames: int = 6, size: tuple[int, int] = (48, 64)) -> Path:
    with VideoWriter(path, size=size) as out:
        out.write(np.random.default_rng(0).integers(0, 255, (frames, *size, 3), np.uint8))
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        for i in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 8000, 1024 * i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


# ---- the context


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "no such file"), ("empty.mp4", "empty"), ("cut.mp4", "truncated"), ("sound.mp4", "no pictures"),
        ("one.mp4", "1 frame"), ("text.mp4", "not a video"), ("folder", "holds 0 videos"),
        ("dual", "did you mean the world 'duel'"),
        ("duel:figthers=1", "fighters"),
    ],
)  # fmt: skip
def test_a_context_that_cannot_be_read(refused, trained, tmp_path, name, says):
    (tmp_path / "empty.mp4").touch()
    whole = write(tmp_path / "whole.mp4", 60).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    sound_only(tmp_path / "sound.mp4")
    write(tmp_path / "one.mp4", 1)
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "folder").mkdir()
    assert says in refused("sample", trained, "--context", name, "--frames", 4, "--out", "out")


# ---- the model


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A checkpoint folder to be spoilt."""
    return Path(shutil.copytree((trained / "checkpoints" / "last").resolve(), tmp_path / "model"))


def spoil_truncated(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def spoil_no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def spoil_no_config(model: Path) -> None:
    (model / "config.json").unlink()


def spoil_torn_config(model: Path) -> None:
    (model / "config.json").write_text('{"recipe": "chunk')


def spoil_other_kind(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 768}))


def spoil_other_model(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["arguments"]["size"] = "tiny"
    (model / "config.json").write_text(json.dumps(config))


def spoil_unknown_recipe(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({"recipe": "chunk-by-chunks", "arguments": {}}))


def spoil_unknown_argument(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({"recipe": "chunk-by-chunk", "arguments": {"windw": 4}}))


def spoil_pickle(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def spoil_nan(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["leave.weight"][0, 0] = torch.nan
    save_file(weights, model / "model.safetensors")


def spoil_with_code(model: Path) -> None:
    (model / "code.py").write_text("raise SystemExit('ran')")
    (model / "config.json").write_text(json.dumps({"recipe": f"{model}/code.py:recipe"}))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_truncated, "not a whole safetensors file"), (spoil_no_weights, "does not exist"),
        (spoil_no_config, "no config.json"),
        (spoil_torn_config, "JSON"), (spoil_other_kind, "another kind"), (spoil_other_model, "another model"),
        (spoil_unknown_recipe, "did you mean 'chunk-by-chunk'"), (spoil_unknown_argument, "of another version"),
        (spoil_pickle, "pickle"), (spoil_nan, "not finite"), (spoil_with_code, "brings its own recipe"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_used(refused, copy, spoil, says):
    spoil(copy)
    for command in (("sample", copy, "--context", "duel", "--frames", 4), ("demo", "--model", copy)):
        assert says in refused(*command, "--out", "out")


@pytest.mark.parametrize(
    ("name", "says"),
    [("model.pt", "pickle"), ("weights.safetensors", "give the folder"), ("duell-64", "no model"),
     ("some-org/no-such-model", "Hub")],
)  # fmt: skip
def test_a_model_that_is_no_folder(refused, tmp_path, name, says):
    for file in ("model.pt", "weights.safetensors"):
        (tmp_path / file).write_bytes(b"\x80\x04}.")
    assert says in refused("sample", name, "--context", "duel", "--frames", 4, "--out", "out")


# ---- numbers and names


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--frames 0", "frames is 1 to"), ("--frames -3", "not -3"),
        ("--frames 1000000000000", "go on from a saved rollout"),
        ("--frames ten", "invalid int"), ("--frames 4 --seeds 0", "seeds"), ("--frames 4 --seeds 100000", "seeds"),
        ("--frames 4 --context-frames 0", "context-frames"), ("--frames 4 --clip -1", "clip"),
        ("--frames 4 --upscale 0", "upscale"),
        ("--frames 4 --threads 0", "threads"), ("--frames 4 --rollout.lag 0.3", "nearest lags"),
        ("--frames 4 --rollout.lag 2", "lag"),
        ("--frames 4 --rollout.steps 0", "steps"), ("--frames 4 --rollout.lga 1", "did you mean '--rollout.lag'"),
        ("--frames 4 --rollout.solver eular", "euler"), ("--frames 4 --recipe frame-by-fram", "frame-by-frame"),
        ("--frames 4 --split none", "choose from"), ("--frames 4 surplus", "surplus"),
        ("--frames 4 --sede 1", "did you mean '--seed"), ("--frams 4", "did you mean '--frames'"),
        ("--frames 4 --rollout.chunks 10000", "under way at once"), ("--frames 4 --context-frames 100000", "context-frames"),
        ("--frames 4 --rollout-out file/saved", "is a file"), ("--frames 4 --rollout-out /", "is a folder"),
        ("", "required: --frames"),
    ],
)  # fmt: skip
def test_sample_refuses(refused, trained, tmp_path, words, says):
    (tmp_path / "file").touch()
    assert says in refused("sample", trained, "--context", "duel", "--out", "out", *words.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("chunk-by-chunks --data duel", "did you mean 'chunk-by-chunk'"),
        ("chunk-by-chunk --data dual", "did you mean 'duel'"),
        ("chunk-by-chunk --data duel --windoww 4", "did you mean '--window'"),
        ("chunk-by-chunk --data duel --frames 10000000", "at most 4096 frames"),
        ("frame-by-frame --data duel --anchor 200", "longer than the clips"),
        ("chunk-by-chunk --data duel:fighters=2.0", "a whole number"), ("chunk-by-chunk --data rooms:plans=0", "floor plan"),
        ("chunk-by-chunk --data nowhere/at/all", "no such folder"),
        ("chunk-by-chunk --data empty", "no usable"), ("chunk-by-chunk", "name the data"), ("", "name a recipe"),
        ("chunk-by-chunk --data duel --train.stepz 4", "did you mean '--train.steps'"),
        ("chunk-by-chunk --data duel --train.steps 0", "train.steps"),
        ("chunk-by-chunk --data duel --train.lr nan", "train.lr"),
        ("chunk-by-chunk --data duel --size huge", "'nano'"), ("chunk-by-chunk --data duel --patch 7", "patch 7"),
        ("chunk-by-chunk --data duel --resolution 48", "48"), ("chunk-by-chunk --data duel --frames 3", "too short"),
        ("chunk-by-chunk --data duel --rollout.lag 0.3", "nearest lags"),
        ("chunk-by-chunk --data duel --resume latest", "no run"),
        ("chunk-by-chunk --data duel --init nowhere-64", "no model"), ("mine.py:recipe --data duel", "no recipe file"),
        ("broken.py:recipe --data duel", "does not run"),
        ("other.py:recipe --data duel", "did you mean other.py:recipes"),
        ("wrong.py:recipe --data duel", "not a System"), ("--config none.yaml", "does not exist"),
        ("--config bad.yaml", "not YAML"),
        ("--config odd.yaml", "did you mean 'window'"), ("--config list.yaml", "holds no names"),
        ("chunk-by-chunk --data shorts --size nano", "frames"),
    ],
)  # fmt: skip
def test_train_refuses(refused, tmp_path, words, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "shorts").mkdir()
    for k in range(2):
        write(tmp_path / "shorts" / f"{k}.mp4", 4)
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "other.py").write_text("def recipes():\n    pass\n")
    (tmp_path / "wrong.py").write_text("def recipe():\n    return 3\n")
    (tmp_path / "bad.yaml").write_text("recipe: [")
    (tmp_path / "odd.yaml").write_text("recipe: chunk-by-chunk\ndata: duel\nwidnow: 4\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert says in refused("train", *words.split(), "--out", "run")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--resolution 60", "60 x 60 do not divide by 8"), ("--codec.channels 500", "codec.channels is 1 to 192"),
        ("--codec.kind causal --codec.channels 500", "codec.channels is 1 to 384"),
        ("--codec.width 1", "greater than or equal to 2"), ("--codec.width 100000", "less than or equal to 1024"),
    ],
)  # fmt: skip
def test_train_codec_refuses(refused, tmp_path, words, says):
    (tmp_path / "videos").mkdir()
    for k in range(2):
        write(tmp_path / "videos" / f"{k}.mp4", 4)
    assert says in refused("train", "codec", "--data", "videos", "--out", "run", *words.split())


def test_prepare_refuses_a_size_that_the_codec_cannot_take(refused, tmp_path):
    (tmp_path / "videos").mkdir()
    write(tmp_path / "videos" / "0.mp4")
    words = ("data", "prepare", "videos", "--codec", "duel-64", "--size", 60, "--out", "out")
    assert "60 x 60 do not divide by 8" in refused(*words)


@pytest.mark.parametrize("codec", [{}, {"name": "a", "sha256": "b"}, {"name": "a", "sha256": "b", "options": 3}, 3])
def test_a_manifest_whose_codec_says_too_little(refused, unspool, tmp_path, codec):
    (tmp_path / "videos").mkdir()
    for k in range(2):
        write(tmp_path / "videos" / f"{k}.mp4", 20)
    done = unspool("data", "prepare", "videos", "--size", 16, "--out", "shards", cwd=tmp_path)
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    told["settings"]["codec"] = codec
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(told))
    words = ("train", "frame-by-frame", "--data", "shards", "--resolution", 16, "--size", "nano", "--out", "run")
    assert "not a manifest of shards" in refused(*words)
    if isinstance(codec, dict) and codec:
        return
    assert "not a manifest of shards" in refused("data", "prepare", "videos", "--size", 16, "--out", "shards")


@pytest.mark.parametrize(
    ("words", "says"),
    [("--frames 1", "frames is 2 to"), ("--frames 10000000", "unspool sample"), ("--minutes -1 --size nano", "minutes"),
     ("--size huge", "choose from"), ("--seeds -1", "seeds"), ("--clip -1", "clip"), ("--data dual", "judges against a world"),
     ("--out", "expected one argument"), ("--model none --size nano", "one of them"), ("--minutes 3", "--size nano as well")],
)  # fmt: skip
def test_demo_refuses(refused, trained, words, says):
    model = () if "--size" in words else ("--model", trained)
    assert says in refused("demo", *model, "--out", "out", *words.split())


def test_an_unknown_verb(refused):
    assert "did you mean 'sample'" in refused("sampel")


# ---- places


def test_places_that_cannot_be_written(refused, trained, tmp_path):
    (tmp_path / "file").touch()
    for out in ("file", "file/out", "/proc/out"):
        assert out.split("/")[0] in refused("sample", trained, "--context", "duel", "--frames", 4, "--out", out)
        refused("train", "chunk-by-chunk", "--data", "duel", "--size", "nano", "--train.batch", 1, "--out", out)
        refused("demo", "--model", trained, "--frames", 4, "--out", out)


def test_a_run_that_exists_is_not_overwritten(refused, trained):
    before = (trained / "metrics.jsonl").read_bytes()
    assert "--resume latest" in refused("train", "chunk-by-chunk", "--data", "duel", "--out", trained)
    assert "no checkpoint '3'" in refused("train", "--out", trained, "--resume", 3)
    assert "another model" in refused("train", "--out", trained, "--resume", "latest", "--size", "tiny")
    assert "at step 8 already" in refused("train", "--out", trained, "--resume", "latest", "--train.steps", 7)
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_two_jobs_cannot_write_one_run(unspool, trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run", symlinks=True))
    with (run / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = unspool("train", "--out", run, "--resume", "latest", "--train.steps", 9)
    assert done.code == 2 and "another process" in done.err
    assert (run / "run.json").read_bytes() == (trained / "run.json").read_bytes()


# ---- a saved rollout


def test_a_rollout_that_cannot_be_gone_on_from(refused, unspool, trained, copy, tmp_path):
    saved = tmp_path / "saved.safetensors"
    done = unspool("sample", trained, "--context", "duel", "--frames", 4, "--out", tmp_path / "first", "--rollout-out", saved)
    assert done.code == 0, done.err
    going_on = ("--frames", 4, "--out", "out", "--rollout-in")
    weights = load_file(copy / "model.safetensors")
    save_file({name: w * 1.01 for name, w in weights.items()}, copy / "model.safetensors")
    assert "another model" in refused("sample", copy, *going_on, saved)
    assert "not a saved rollout" in refused("sample", trained, *going_on, copy / "model.safetensors")
    assert "own" in refused("sample", trained, *going_on, saved, "--seeds", 2)
    assert "one of them" in refused("sample", trained, *going_on, saved, "--context", "duel")
    going_on_otherwise = (saved, "--rollout.lag", "1/4", "--rollout-out", "lag.safetensors")
    done = unspool("sample", trained, *going_on, *going_on_otherwise, cwd=tmp_path)
    assert done.code == 0, done.err  # between two chunks nothing is in flight
    shutil.rmtree(tmp_path / "out")
    assert "under way at other levels" in refused("sample", trained, *going_on, "lag.safetensors", "--rollout.lag", "1/2")
    saved.write_bytes(saved.read_bytes()[:-100])
    assert "not a whole" in refused("sample", trained, *going_on, saved)
    assert "does not exist" in refused("sample", trained, *going_on, "gone.safetensors")


# ---- a full disk


@contextlib.contextmanager
def small_disk(path: Path, kilobytes: int) -> Iterator[Path]:
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path)], capture_output=True)
    if made.returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_leaves_nothing_half_written(refused, trained, tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        sample = ("sample", trained, "--context", "duel", "--frames", 2000, "--seeds", 4, "--upscale", 8)
        assert re.search("[Nn]o space", refused(*sample, "--out", disk / "out"))


def test_training_on_a_full_disk_keeps_the_last_checkpoint(unspool, trained, tmp_path, tiny):
    from unspool import hub

    with small_disk(tmp_path / "disk", 14_000) as disk:  # a checkpoint is 9.5 MB: one fits, two do not
        done = unspool("train", "chunk-by-chunk", "--data", "duel", "--out", disk / "run", *tiny,
                       "--window", 4, "--train.steps", 4, "--train.save-every", 2)  # fmt: skip
        assert done.code == 2 and len(done.err.splitlines()) == 1, done.err
        assert hub.find(disk / "run").folder.resolve().name == "0000002"
        hub.load(hub.find(disk / "run"))
        assert {path.name for path in (disk / "run" / "checkpoints").iterdir()} == {"0000002", "last"}

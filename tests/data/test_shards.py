"""Clips out of shards: the frames, actions and poses that were recorded, in an order that no worker or rank enters."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from unspool import config, encoding, hub, openings, preparation, sampling, store, training
from unspool.codec import load_codec
from unspool.data.folder import open_folder
from unspool.data.how import Preparation
from unspool.data.layouts import open_episodes
from unspool.data.prepare import prepare
from unspool.data.shards import Shards
from unspool.data.splits import held_out
from unspool.data.video import read_video
from unspool.data.writer import VideoWriter
from unspool.errors import UserError
from unspool.noise import fold
from unspool.train.clips import to_clip
from unspool.train.codec import prepare_codec, train_codec
from unspool.types import Clip

LENGTHS = (9, 14, 20, 31, 12, 17)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six episodes with actions and poses; the pose of a frame is its number."""
    root = tmp_path_factory.mktemp("recording")
    for i, length in enumerate(LENGTHS):
        rng = np.random.default_rng(i)
        with VideoWriter(root / f"{i}.mp4", size=(16, 16), fps=10) as out:
            out.write(rng.integers(0, 256, (length, 1, 1, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2))
        poses = torch.stack([torch.arange(length), torch.full((length,), i)], 1)
        store.save_tensors(root / f"{i}.safetensors", {"actions": torch.arange(length) % 3, "poses": poses.float()})
    lines = [{"file_name": f"{i}.mp4", "text": f"episode {i}", "split": "test" if i == 5 else "train"} for i in range(6)]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (root / "recording.json").write_text(json.dumps({"actions": ["stay", "left", "right"]}))
    return root


@pytest.fixture(scope="module")
def shards(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    prepare(open_episodes(recording), out, Preparation(16, shard_bytes=30 * 16 * 16 * 3))
    assert len(list(out.glob("*.safetensors"))) > 2
    return out


def test_clips_carry_what_was_recorded(recording: Path, shards: Path) -> None:
    source = Shards(shards)
    indices = np.arange(40)
    clips = source(indices, 8, anchor=1, reach=5)
    assert clips.actions is not None and clips.poses is not None and clips.text is not None and clips.valid is None
    for frames, actions, poses, text in zip(clips.frames, clips.actions, clips.poses, clips.text, strict=True):
        number, at = int(poses[0, 1]), poses[:, 0].astype(int)
        assert number != 5 and (text == f"episode {number}").all() and len(text) == 9
        assert at[0] <= at[1] and np.array_equal(at[1:], at[1] + np.arange(8))
        assert np.array_equal(frames, read_video(recording / f"{number}.mp4")[at])
        led = np.where(at[:, None] > 0, np.eye(3)[(at - 1) % 3], 0)
        assert np.array_equal(actions, led), "what led to a frame, nothing to the first"
    assert Shards(shards, "test").episodes[0].name == "5.mp4" and source.manifest.names == ["stay", "left", "right"]


def test_order_is_the_same_for_any_workers_ranks_and_batches(shards: Path) -> None:
    source, indices = Shards(shards), np.arange(64)
    whole = source(indices, 8, seed=3)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda at: Shards(shards)(indices[at : at + 4], 8, seed=3), range(0, 64, 4)))
    for name in ("frames", "actions", "poses"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    ranks = [source(indices[rank::2], 8, seed=3).frames for rank in range(2)]
    assert all(np.array_equal(ranks[rank], whole.frames[rank::2]) for rank in range(2))


def test_short_episodes_are_filled_up_and_do_not_count(shards: Path) -> None:
    source = Shards(shards, pad=True)
    clips = source(np.arange(60), 16)
    assert clips.valid is not None and clips.poses is not None
    short = ~clips.valid.all(1)
    assert 0 < short.sum() < 60
    for poses, valid in zip(clips.poses[short], clips.valid[short], strict=True):
        count = LENGTHS[int(poses[0, 1])]
        assert count < 16 and valid.sum() == count and (poses[count:] == poses[count - 1]).all()
    assert {m.frames for m in Shards(shards).episodes} == {m.frames for m in source.episodes}

    system = config.resolve("diffusion-forcing", {"size": "nano", "resolution": 16, "frames": 16, "patch": 8}).build()
    for p in system.model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    rows = np.flatnonzero(short)[:2]
    clip, key = to_clip(system, source(rows, 16)), fold(torch.tensor(0), torch.arange(2))

    def loss(frames: torch.Tensor, valid: torch.Tensor | None) -> float:
        (one,) = system.objective(system.model, system.blend, Clip(frames, valid=valid), key)
        return float(one.value.detach())

    assert clip.valid is not None
    other = torch.where(clip.valid[..., None, None, None], clip.frames, 0.3)
    assert loss(other, clip.valid) == pytest.approx(loss(clip.frames, clip.valid), abs=1e-6), "causal: nothing of it is seen"
    assert abs(loss(other, None) - loss(clip.frames, None)) > 1e-3


def test_latents_bring_their_codec(recording: Path, tmp_path: Path) -> None:
    """A model trained on pixels, its latents prepared, a second one trained on them: one codec, and clips that are its own."""
    first = tmp_path / "first"
    settings = {"size": "nano", "resolution": 16, "components": 5, "own": 0, "frames": 6, "reach": 3, "data": str(recording),
                "train.steps": 1, "train.batch": 2}  # fmt: skip
    training.run(training.prepare(training.plan("frame-by-frame", first, overrides=settings)))
    how = preparation.plan(codec=str(first))
    assert how.size == 16
    manifest = prepare(open_episodes(recording), tmp_path / "latents", how)
    assert manifest.shape == [5, 2, 2] and manifest.dtype == "float16"
    source = Shards(tmp_path / "latents")
    again = training.plan("frame-by-frame", tmp_path / "second", overrides=settings | {"data": str(source.root)})
    prepared = training.prepare(again)
    clips, pixels = source(np.arange(4), 6), as_pixels(recording, tmp_path / "pixels")(np.arange(4), 6)
    encoded, stored = (to_clip(prepared.system, batch).frames for batch in (pixels, clips))
    assert torch.allclose(encoded, stored, atol=2e-3 * float(encoded.abs().max()))
    training.run(prepared)
    assert (tmp_path / "second" / "samples" / "0000001.png").is_file()
    with pytest.raises(UserError, match="choose --components 5"):
        training.prepare(training.plan("frame-by-frame", tmp_path / "third", overrides=settings | {
            "data": str(source.root), "components": 7}))  # fmt: skip
    with torch.no_grad():
        next(prepared.system.codec.parameters()).add_(1)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="another codec"):
        encoding.check_codec(prepared.system, source)


def test_a_trained_codec_goes_with_its_latents(recording: Path, tmp_path: Path) -> None:
    """Trained, prepared with, trained on, and loaded again with the model, which rolls out into pictures through it."""
    nano = {"data": str(recording), "train.steps": 2, "train.batch": 2, "resolution": 16}
    job = training.plan_codec(tmp_path / "codec", overrides=nano | {"codec.width": 8, "codec.channels": 4, "codec.depth": 1})
    train_codec(prepare_codec(job))
    prepare(open_episodes(recording), tmp_path / "latents", preparation.plan(codec=str(tmp_path / "codec")))
    settings = nano | {"size": "nano", "components": 4, "own": 0, "frames": 6, "reach": 3, "data": str(tmp_path / "latents")}
    run = training.run(training.prepare(training.plan("frame-by-frame", tmp_path / "run", overrides=settings)))
    system = hub.from_pretrained(run)
    kept = load_codec(tmp_path / "codec").state_dict()
    assert all(torch.equal(p, kept[name]) for name, p in system.codec.named_parameters())
    context = read_video(recording / "0.mp4", frames=2)
    rollout = sampling.start(system, context, 2, 0)
    made = np.concatenate([frames for frames, _ in sampling.futures(system, rollout, 5)], 1)
    assert made.shape == (2, 5, 16, 16, 3)
    more = training.plan(None, run, resume="latest", overrides={"train.steps": 4})
    training.run(training.prepare(more))
    joining = nano | {"codec.kind": "causal", "codec.width": 8, "codec.depth": 1}
    train_codec(prepare_codec(training.plan_codec(tmp_path / "causal", overrides=joining)))
    shorter = preparation.plan(codec=str(tmp_path / "causal"))
    manifest = prepare(open_episodes(recording), tmp_path / "shorter", shorter)
    assert {m.name: m.frames for m in manifest.episodes} == {f"{i}.mp4": 1 + (n - 1) // 2 for i, n in enumerate(LENGTHS)}
    poses = Shards(tmp_path / "shorter")(np.arange(20), 4).poses
    assert poses is not None and (np.diff(poses[..., 0]) == 2).all(), "a latent has the pose of its last frame"


def as_pixels(recording: Path, out: Path) -> Shards:
    prepare(open_episodes(recording), out, Preparation(16))
    return Shards(out)


def test_shards_are_safetensors(shards: Path) -> None:
    """Any reader of the format opens them: names, shapes and all values."""
    from safetensors.numpy import load_file

    source = Shards(shards)
    for member in source.episodes:
        tensors, rows = load_file(shards / member.shard), slice(member.first, member.first + member.frames)
        assert tensors.keys() == {"frames", "actions", "poses"}
        assert np.array_equal(tensors["poses"][rows, 0], np.arange(member.frames))
        assert tensors["frames"][rows].shape == (member.frames, 16, 16, 3)


def test_training_from_shards_needs_no_video_library(shards: Path, tmp_path: Path) -> None:
    """Nor Pillow: only the picture of its samples is then missing, and it says so."""
    code = f"""
import sys
sys.modules["av"] = sys.modules["PIL"] = None
from pathlib import Path
from unspool import training
job = training.plan("frame-by-frame", Path({str(tmp_path / "run")!r}), overrides={{
    "size": "nano", "resolution": 16, "components": 5, "own": 0, "frames": 6, "reach": 3, "data": {str(shards)!r},
    "train.steps": 1, "train.batch": 2}})
training.run(training.prepare(job))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoints" / "last" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "samples").exists() and "needs Pillow" in done.stderr


@pytest.mark.parametrize(
    "lie",
    [
        {"first": 99999}, {"frames": "a"}, {"shape": [8, 8, 3]}, {"dtype": "float16"}, {"actions": 7}, {"settings": {}},
        {"settings": []}, {"fps": "x"},
    ],
)  # fmt: skip
def test_a_manifest_that_lies_is_refused(shards: Path, tmp_path: Path, lie: dict[str, object]) -> None:
    copy = shutil.copytree(shards, tmp_path / "copy")
    told = json.loads((copy / "manifest.json").read_text())
    for member in told["episodes"]:
        member |= {key: value for key, value in lie.items() if key in member}
    told |= {key: value for key, value in lie.items() if key in told}
    (copy / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="prepare"):
        Shards(copy)


def test_a_smaller_set_keeps_its_test_share(tmp_path: Path) -> None:
    """Which episodes are carried elsewhere is drawn apart from which are held out."""
    for i in range(40):
        with VideoWriter(tmp_path / f"clip-{i}.mp4", size=(16, 16)) as out:
            out.write(np.full((4, 16, 16, 3), i, np.uint8))
    whole, shares = open_episodes(tmp_path), []
    for most in (10, 20, 40):
        room = 2500 + most * (4 * 16 * 16 * 3 + 200)
        manifest = prepare(whole, tmp_path / f"shards-{most}", Preparation(16, most_bytes=room))
        names = {member.name for member in manifest.episodes}
        assert len(names) == most
        shares.append(len(names & held_out({e.name for e in whole.episodes}, 0.5)) / most)
    assert all(0.2 < share < 0.8 for share in shares)


@pytest.mark.filterwarnings("error")
def test_several_processes_open_one_folder(recording: Path, tmp_path: Path) -> None:
    """At first use and after it: one prepares, the others wait, and nothing is written a second time."""
    code = f"""
import sys
from unspool.data.folder import open_folder
for _ in range(3):
    print(open_folder({str(recording)!r}, 16, cache={str(tmp_path)!r}).frames)
"""
    crowd = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    told = [process.communicate(timeout=120) for process in crowd]
    assert {out for out, _ in told} == {b"86\n" * 3}, told
    (manifest,) = tmp_path.glob("*/manifest.json")
    before = manifest.stat().st_mtime_ns
    open_folder(recording, 16, cache=tmp_path)
    assert manifest.stat().st_mtime_ns == before


def test_a_context_comes_from_what_can_be_trained_on(recording: Path, shards: Path, tmp_path: Path) -> None:
    system = config.resolve("frame-by-frame", {"size": "nano", "resolution": 16, "components": 0, "patch": 8}).build()
    nested = tmp_path / "nested" / "deeper"
    nested.mkdir(parents=True)
    shutil.copy(recording / "2.mp4", nested / "clip.mp4")
    (nested / ".0.part.mp4").write_bytes(b"torn")
    opening = openings.context_of(str(tmp_path / "nested"), system, 3)
    assert np.array_equal(opening.frames, read_video(recording / "2.mp4", frames=3)) and opening.fps == 10
    held = openings.context_of(str(shards), system, 3)
    assert np.array_equal(held.frames, read_video(recording / "5.mp4", frames=3)) and held.name.endswith("5.mp4")
    for where, clip, words in ((shards, 1, "holds 1 videos"), (nested, 7, "holds 1 videos"), (shards, 0, "are needed")):
        with pytest.raises(UserError, match=words):
            openings.context_of(str(where), system, 3 if clip else 99, clip=clip)


def test_a_context_comes_at_the_rate_that_the_model_knows(recording: Path, shards: Path, tmp_path: Path) -> None:
    """A video, an episode and a world are brought to it; shards of another rate are refused, for their frames are gone."""
    system = config.resolve("frame-by-frame", {"size": "nano", "resolution": 16, "components": 0, "patch": 8}).build()
    whole = read_video(recording / "2.mp4")
    (tmp_path / "2.mp4").write_bytes((recording / "2.mp4").read_bytes())
    for where in (tmp_path / "2.mp4", tmp_path):
        opening = openings.context_of(str(where), system, 3, fps=5)
        assert opening.fps == 5 and np.array_equal(opening.frames, whole[[0, 2, 4]])
        assert np.array_equal(openings.context_of(str(where), system, 3, fps=10.05).frames, whole[:3]), "nearly the same"
    with pytest.raises(UserError, match="frames at the model's 1 fps"):
        openings.context_of(str(tmp_path / "2.mp4"), system, 9, fps=1)
    with pytest.raises(UserError, match=r"10 frames a second, the model was trained on 5: prepare .* again with --fps 5"):
        openings.context_of(str(shards), system, 3, fps=5)
    system = config.resolve("frame-by-frame", {"size": "nano", "resolution": 32, "components": 0}).build()
    world = openings.context_of("duel", system, 5)
    slow = openings.context_of("duel", system, 3, fps=15)
    assert (world.fps, slow.fps) == (30, 15) and len(slow.frames) == 3
    assert openings.nothing(system, 12).fps == 12 and openings.nothing(system).fps == 30


def test_a_checkpoint_tells_the_rate_of_its_data(recording: Path, shards: Path, tmp_path: Path) -> None:
    for name, data, fps in (("shards", str(shards), 10.0), ("world", "duel", 30)):
        given = {"size": "nano", "resolution": 16 if name == "shards" else 32, "components": 0, "patch": 8, "own": 0,
                 "frames": 6, "reach": 3, "train.steps": 1, "train.batch": 1, "data": data}  # fmt: skip
        training.run(training.prepare(training.plan("frame-by-frame", tmp_path / name, overrides=given)))
        assert hub.find(tmp_path / name).config["fps"] == fps


def test_order_is_the_same_after_a_resume(shards: Path, tmp_path: Path) -> None:
    """Four steps on shards, and two, a stop and two more: the same weights, to the bit."""
    given = {"size": "nano", "resolution": 16, "components": 0, "patch": 8, "own": 0, "frames": 6, "reach": 3, "train.batch": 2,
             "train.save_every": 2, "train.decay": 0, "data": str(shards)}  # fmt: skip
    for name, first in (("whole", 4), ("stopped", 2)):
        settings = given | {"train.steps": first}
        training.run(training.prepare(training.plan("frame-by-frame", tmp_path / name, overrides=settings)))
    training.run(training.prepare(training.plan(None, tmp_path / "stopped", overrides={"train.steps": 4}, resume="latest")))
    files = (tmp_path / name / "checkpoints" / "last" / "model.safetensors" for name in ("whole", "stopped"))
    whole, stopped = (store.load_tensors(file)[0] for file in files)
    assert whole.keys() == stopped.keys() and all(torch.equal(whole[key], stopped[key]) for key in whole)


def test_a_recorded_episode_without_its_line_is_left_out(recording: Path, tmp_path: Path) -> None:
    """It could be one for testing."""
    for i in range(2):
        shutil.copy(recording / f"{i}.mp4", tmp_path / f"00000{i}.mp4")
    shutil.copy(recording / "recording.json", tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "000000.mp4", "split": "train"}\n{"file_na')
    found = open_episodes(tmp_path)
    assert [episode.name for episode in found.episodes] == ["000000.mp4"]
    assert "record` again" in dict(found.skipped)["000001.mp4"]


def test_a_model_that_takes_actions_needs_data_that_has_them(shards: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "steered.py"
    recipe.write_text("""
from unspool import recipes
from unspool.codec import Pixels
from unspool.model import VideoTransformer
from unspool.memory import Window
from dataclasses import replace

def steered(*, controls: int = 3):
    system = recipes.diffusion_forcing(size="nano", resolution=16, components=0, patch=8, frames=6)
    model = VideoTransformer((3, 16, 16), patch=8, width=32, controls=controls, memories=[[Window(32, 1, 4)]])
    return replace(system, model=model)
""")
    settings = {"data": str(shards), "train.steps": 1, "train.batch": 2}
    run = training.run(training.prepare(training.plan(f"{recipe}:steered", tmp_path / "run", overrides=settings)))
    assert (run / "checkpoints" / "last").exists()
    with pytest.raises(UserError, match="actions of 4 numbers and the data has 3"):
        training.prepare(training.plan(f"{recipe}:steered", tmp_path / "four", overrides=settings | {"controls": 4}))
    steered, context = hub.from_pretrained(run, recipe=f"{recipe}:steered"), np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(UserError, match="takes actions of 3 numbers and is given none"):
        sampling.start(steered, context, 1, 0)
    with pytest.raises(UserError, match="takes actions of 3 numbers, and the data's have 4"):
        sampling.start(steered, context, 1, 0, np.zeros((9, 4)))
    rollout = sampling.start(steered, context, 2, 0, np.zeros((9, 3)))
    assert next(sampling.futures(steered, rollout, 1, np.zeros((9, 3))))[0].shape == (2, 1, 16, 16, 3)

"""A folder of videos as a source: what a clip is, which side it is on, what is cached, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from unspool.data import open_source
from unspool.data.clips import gaps
from unspool.data.folder import open_folder
from unspool.data.how import Preparation
from unspool.data.layouts import open_episodes
from unspool.data.prepare import prepare
from unspool.data.shards import Shards
from unspool.data.splits import held_out
from unspool.data.video import read_frames, read_video
from unspool.errors import UserError

SIZES = ((32, 48), (33, 31), (64, 40), (20, 20), (48, 90), (31, 57))


@pytest.fixture
def folder(tmp_path, draw, encode) -> Path:
    """Twelve videos of several sizes, lengths and containers, in folders within the folder."""
    root = tmp_path / "videos"
    for i in range(12):
        name = f"{'ab'[i % 2]}/{'ä' * (i == 4)}clip-{i}.{('mp4', 'mkv', 'webm')[i % 3]}"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        codec, pixels = ("libvpx-vp9", "yuv420p") if i % 3 == 2 else ("libx264", "yuv444p")
        encode(root / name, draw(10 + 3 * i, *SIZES[i % 6], seed=i), codec, pixels=pixels)
    return root


@pytest.fixture
def source(tmp_path):
    return lambda root, size=16, **settings: open_folder(root, size, cache=tmp_path / "cache", **settings)


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_clips_are_the_frames_of_the_files(folder, source):
    videos = source(folder)
    clips = videos(np.arange(50), 8).frames
    assert clips.shape == (50, 8, 16, 16, 3) and clips.dtype == np.uint8
    for clip, video, start in zip(clips, *videos.where(np.arange(50), 8), strict=True):
        path = folder / videos.episodes[video].name
        assert np.array_equal(clip, read_video(path, frames=8, start=int(start), size=16))


def test_an_anchor_lies_further_back_as_far_as_the_video_goes(folder, source):
    videos, indices = source(folder), np.arange(50)
    clips, back = videos(indices, 8, anchor=2, reach=6).frames, gaps(indices, 0, 6)
    firsts = []
    for clip, video, start, gap in zip(clips, *videos.where(indices, 8), back, strict=True):
        path, firsts = folder / videos.episodes[video].name, [*firsts, max(0, start - gap)]
        whole = read_video(path, frames=int(start) + 8, size=16)
        assert np.array_equal(clip[:2], whole[firsts[-1] : firsts[-1] + 2])
        assert np.array_equal(clip[2:], whole[start:])
    assert (np.array(firsts) < videos.where(indices, 8)[1]).sum() > 10


def test_a_clip_is_a_function_of_seed_and_index(folder, source):
    videos, again = source(folder), source(folder)
    whole = videos(np.arange(40), 6, seed=5).frames
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(again(order, 6, seed=5).frames, whole[order])
    assert all(np.array_equal(again(np.array([i]), 6, seed=5).frames[0], whole[i]) for i in (0, 17, 39))
    assert not np.array_equal(videos(np.arange(40), 6, seed=6).frames, whole)
    assert len(np.unique(whole.reshape(40, -1), axis=0)) > 30
    videos(np.array([2**62]), 6, seed=2**62)


def test_every_start_is_as_likely_as_every_other(folder, source):
    """Chi-squared over all starts of all videos; a video weighted once, or by its frames, fails it by far."""
    videos = source(folder)
    video, start = videos.where(np.arange(40_000), 9)
    places = [(v, s) for v, entry in enumerate(videos.episodes) for s in range(entry.frames - 8)]
    count = {place: 0 for place in places}
    for place in zip(video.tolist(), start.tolist(), strict=True):
        count[place] += 1
    expected = 40_000 / len(places)
    chi = sum((n - expected) ** 2 / expected for n in count.values())
    assert abs(chi - len(places)) < 5 * np.sqrt(2 * len(places))


def test_no_file_is_on_both_sides(folder, source):
    names = {split: {v.name for v in source(folder, split=split, holdout=0.4).episodes} for split in ("train", "test")}
    assert names["train"] and names["test"] and not names["train"] & names["test"]
    assert len(names["train"] | names["test"]) == 12
    for path in sorted(folder.rglob("*.*"))[::3]:  # the others stay where they are when some go
        path.unlink()
    for split, before in names.items():
        assert {v.name for v in source(folder, split=split, holdout=0.4).episodes} <= before


@pytest.mark.parametrize("holdout", [0.001, 0.999])
def test_a_small_folder_has_both_sides(folder, source, holdout):
    counts = [len(source(folder, split=split, holdout=holdout).episodes) for split in ("train", "test")]
    assert sorted(counts) == [1, 11]


def test_the_share_of_test_files_is_the_holdout():
    names = [f"shot-{i:05}.mp4" for i in range(5000)]
    assert abs(len(held_out(names, 0.1)) / 5000 - 0.1) < 0.02


def test_the_cache_is_reused_and_follows_changes(folder, source, draw, encode, monkeypatch):
    steps: list[tuple[int, int]] = []
    first = source(folder, on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i + 1, 12) for i in range(12)]
    before = stamps(first.root)
    monkeypatch.setattr("unspool.data.layouts.videos.read_frames", lambda *_, **__: pytest.fail("decoded again"))
    again = source(folder)
    assert stamps(first.root) == before
    assert np.array_equal(again(np.arange(9), 5).frames, first(np.arange(9), 5).frames)
    monkeypatch.undo()

    name, decoded = first.episodes[3].name, []
    encode(folder / name, draw(21, 50, 50, seed=99), "libx264" if name[-1] != "m" else "libvpx-vp9")

    def counted(path: Path, *, size: int):
        decoded.append(path)
        return read_frames(path, size=size)

    monkeypatch.setattr("unspool.data.layouts.videos.read_frames", counted)
    changed = source(folder)
    assert decoded == [folder / name], "the others are copied"
    assert [episode.frames for episode in changed.episodes] == [21 if e.name == name else e.frames for e in first.episodes]
    assert len(stamps(first.root)) == 1, "what no episode lies in is gone"
    (folder / name).unlink()
    assert name not in {episode.name for episode in source(folder).episodes}
    assert source(folder, size=20).root != first.root != source(folder, fps=15).root


def test_an_interrupted_preparation_leaves_only_whole_shards(folder, tmp_path, monkeypatch):
    """Stopped in the middle of the fifth video: what was in whole shards stays, and the end is that of one that was not."""
    from unspool.data.layouts import videos as module

    def interrupted(path, *, size):
        for i, frame in enumerate(read_frames(path, size=size)):
            if done.append(path) or (len(set(done)) == 5 and i == 3):
                raise KeyboardInterrupt
            yield frame

    how, done = Preparation(16, shard_bytes=2 * 16 * 16 * 3 * 19), []
    prepare(open_episodes(folder), tmp_path / "whole", how)
    monkeypatch.setattr(module, "read_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(open_episodes(folder), tmp_path / "shards", how)
    monkeypatch.undo()
    kept = stamps(tmp_path / "shards")
    assert len(kept) == 2
    with pytest.raises(UserError, match="not prepared to the end"):
        Shards(tmp_path / "shards")
    prepare(open_episodes(folder), tmp_path / "shards", how)
    assert stamps(tmp_path / "shards").items() >= kept.items()
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()} == files


@pytest.mark.filterwarnings("ignore:skipped")
def test_broken_videos_are_skipped_and_named(folder, source, draw, encode):
    whole = (folder / "a" / "clip-0.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[:-40])
    (folder / "text.avi").write_text("no video")
    (folder / "empty.gif").touch()
    encode(folder / "short.mp4", draw(5, 32, 32))
    encode(folder / "sound.mp4", None, sound=True)
    encode(folder / ".hidden.mp4", draw(9, 32, 32))
    (folder / "running.part.mp4").write_bytes(whole[:900])
    (folder / "notes.txt").write_text("not a video, and not meant as one")
    found = {}
    for split in ("train", "test"):
        with pytest.warns(UserWarning, match="skipped"):
            videos = source(folder, split=split, holdout=0.5, frames_min=6)
        found |= dict(videos.skipped)
        assert all(entry.frames >= 6 for entry in videos.episodes)
    assert sorted(found) == ["cut.mp4", "empty.gif", "short.mp4", "sound.mp4", "text.avi"]
    for name, reason in zip(sorted(found), ("truncated", "empty", "has 5 frames", "no pict", "not a v"), strict=True):
        assert reason in found[name]


def test_rates_are_matched_by_time_stamps(tmp_path, draw, encode, source):
    """Uneven time stamps, resampled: each tick shows the frame nearest in time."""
    video = draw(12, 16, 16)
    times = [0, 1, 2, 3, 10, 11, 12, 13, 20, 42, 43, 60]  # in 1/60 s; no tick lies midway between two
    (tmp_path / "v").mkdir()
    encode(tmp_path / "v" / "a.mkv", video, "ffv1", pixels="bgr0", rate=60, times=times)
    for fps in (7, 30, 100):
        videos = source(tmp_path / "v", fps=fps)
        ticks = np.arange(fps + 1) / fps
        nearest = np.abs(np.array(times) / 60 - ticks[:, None]).argmin(1)
        (clip,) = videos(np.zeros(1, int), len(ticks)).frames
        assert videos.episodes[0].frames == len(ticks)
        assert np.array_equal(clip, video[nearest])


def test_metadata(folder, tmp_path):
    path, said = folder / "metadata.jsonl", {"file_name": "a/äclip-4.mkv", "text": "two waves", "fps": 60, "split": "test"}
    path.write_text(json.dumps(said | {"actions": list(range(22))}) + '\n\n{"file_name": "b/clip-1.mkv", "extra": 1}\n')
    prepare(open_episodes(folder), tmp_path / "all", Preparation(16))
    (test,) = Shards(tmp_path / "all", "test").episodes
    assert (test.name, test.text, test.frames) == ("a/äclip-4.mkv", "two waves", 22)
    (clip,) = Shards(tmp_path / "all", "test")(np.zeros(1, int), 22).actions
    assert clip.shape == (22, 22) and not clip[0].any() and np.array_equal(clip[1:, :21], np.eye(21)), "what LED to each frame"
    others = Shards(tmp_path / "all")
    assert len(others.episodes) == 11 and not others(np.arange(4), 5).actions.any()

    prepare(open_episodes(folder), tmp_path / "half", Preparation(16, fps=30))
    halved = {member.name: member.frames for split in ("train", "test") for member in Shards(tmp_path / "half", split).episodes}
    assert halved["a/äclip-4.mkv"] == 11 and halved["b/clip-1.mkv"] == 13  # 22 frames that last 22/60 s; 13 at 30
    (clip,) = Shards(tmp_path / "half", "test")(np.zeros(1, int), 11).actions
    assert np.array_equal(clip[1:], (np.eye(22)[:-2:2] + np.eye(22)[1:-1:2]) / 2), "both actions between two frames, halved"


@pytest.mark.filterwarnings("ignore:skipped")
def test_a_line_of_metadata_that_lies_is_named_and_its_video_stays(folder, source):
    path = folder / "metadata.jsonl"
    video = '{"file_name": "a/clip-0.mp4", '
    for line in ('{"file_name": "a/clip-99.mp4"}', '{"text": "x"}', "{", "[]", '{"file_name": 3}',
                 '{"file_name": "b/clip-1.mkv"}', video + '"fps": 0}', video + '"fps": 1e9}', video + '"split": "val"}',
                 video + '"text": 5}'):  # fmt: skip
        path.write_text('{"file_name": "b/clip-1.mkv", "text": "fine"}\n' + line + "\n")
        train, test = (source(folder, split=split) for split in ("train", "test"))
        assert [name for name, _ in train.skipped] == ["metadata.jsonl, line 2"]
        assert len(train.episodes) + len(test.episodes) == 12
        assert any(member.text == "fine" for member in (*train.episodes, *test.episodes))
    lies = (([1] * 8, "8 actions"), ([[1, 2], [3]], "not numbers"), (["left"] * 10, "not numbers"), ([-1] * 10, "below 0"))
    for actions, reason in lies:
        path.write_text(json.dumps({"file_name": "a/clip-0.mp4", "actions": actions}))
        with pytest.warns(UserWarning, match=reason):
            train, test = (source(folder, split=split) for split in ("train", "test"))
        assert [name for name, _ in train.skipped] == ["a/clip-0.mp4"] and len(train.episodes) + len(test.episodes) == 11


def test_refusals(tmp_path, folder, source, unprivileged):
    def message(root: Path, **settings) -> str:
        with pytest.raises(UserError) as caught:
            source(root, **settings)
        assert "\n" not in str(caught.value) and str(root) in str(caught.value)
        return str(caught.value)

    assert "no such folder" in message(tmp_path / "missing")
    assert "not a folder" in message(folder / "a" / "clip-0.mp4")
    (tmp_path / "none").mkdir()
    assert "no usable" in message(tmp_path / "none")
    (tmp_path / "none" / "bad.mp4").write_text("bad")
    assert "bad.mp4" in message(tmp_path / "none")
    assert "limit is 0.0 GB" in message(folder, cache_limit=20_000)
    assert not stamps(tmp_path / "cache")  # before anything is decoded
    for settings in ({"split": "val"}, {"holdout": 1.0}, {"holdout": -0.1}):
        message(folder, **settings)
    for settings in ({"size": 0}, {"fps": 0.0}, {"size": 5000}):
        with pytest.raises(UserError, match=next(iter(settings))):
            source(folder, **settings)
    with pytest.raises(UserError, match="1 to 43 frames"):
        source(folder)(np.arange(3), 44)


def test_a_cache_that_cannot_be_written(folder):
    with pytest.raises(UserError, match="cannot write"):
        open_folder(folder, 16, cache="/dev/null/cache")


def test_open_source(folder, source, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert np.array_equal(open_source(folder, 16)(np.arange(4), 7).frames, source(folder)(np.arange(4), 7).frames)
    seen, test = (open_source(str(folder), 16, split)(np.arange(4), 7).frames for split in ("seen", "test"))
    assert np.array_equal(seen, test) and np.array_equal(test, source(folder, split="test")(np.arange(4), 7).frames)
    assert stamps(tmp_path / "home" / "unspool" / "videos")
    for data, meant in (("duell", "'duel'"), ("dule:fighters=1", "'duel'"), ("zzz", "worlds: duel"),
                        ("duel:fihgters=1", "'fighters'"), ("duel:fighters=two", "number"),
                        ("no/such/folder", "check the path")):  # fmt: skip
        with pytest.raises(UserError, match=meant):
            open_source(data, 32)
    with pytest.raises(UserError, match="split"):
        open_source("duel", 32, "validation")  # type: ignore[arg-type]


def test_open_source_gives_a_world_its_options():
    from unspool.data.worlds.duel import Duel

    index = np.arange(3)
    for data, split, same in (
        ("duel", "train", Duel(size=32)),
        ("duel:fighters=1,clutter=0", "seen", Duel(size=32, fighters=1, clutter=0, split="seen")),
        ("duel:speed=0.5", "test", Duel(size=32, speed=0.5, split="unseen")),
    ):
        clips = open_source(data, 32, split)(index, 4, seed=1).frames
        assert np.array_equal(clips, same(index, 4, seed=1).frames) and clips.shape == (3, 4, 32, 32, 3)


def test_videos_of_a_game_that_nobody_here_wrote(tmp_path, source, games):
    """Eight recordings of ViZDoom, of eight sizes and lengths: the same bytes from the same seeds, and moving clips."""
    first, again = games.record(tmp_path / "one"), games.record(tmp_path / "two", clips=2)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in first[:2]]
    shapes = {path.name: read_video(path).shape for path in first}
    assert len(set(shapes.values())) == 8 and any(side % 2 for shape in shapes.values() for side in shape[1:3])
    videos = source(tmp_path / "one", size=64)
    assert not videos.skipped and len(videos.episodes) < 8
    clips = videos(np.arange(32), 16).frames.astype(float)
    assert np.abs(np.diff(clips, axis=1)).mean() > 2
    shutil.rmtree(tmp_path / "one")
    assert np.array_equal(videos(np.arange(32), 16).frames, clips)  # what is cached needs the files no more

"""Preparing what goes wrong on the way: interrupted, refused, spoilt by hand, and gone on with to the same bytes."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from unspool.cli import main
from unspool.data.episodes import Episode, EpisodeSet
from unspool.data.how import Encoder, Preparation
from unspool.data.layouts import open_episodes, videos
from unspool.data.prepare import prepare
from unspool.data.shards import Manifest, Shards, ShardWriter
from unspool.data.video import Frame, VideoInfo, read_frames
from unspool.errors import UserError

HOW = Preparation(16, shard_bytes=20 * 16 * 16 * 3)  # two or three episodes a shard


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from unspool.data.writer import VideoWriter

    root = tmp_path_factory.mktemp("made")
    for i in range(8):
        with VideoWriter(root / f"{i}.mp4", size=(16, 16), fps=10) as out:
            out.write(np.random.default_rng(i).integers(0, 256, (9 + i, 4, 4, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2))
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Eight videos of 9 to 16 frames, to be spoilt."""
    root = tmp_path / "videos"
    root.mkdir()
    for path in made.iterdir():
        os.link(path, root / path.name)
    return root


@pytest.fixture
def ready(folder: Path, tmp_path: Path) -> Path:
    prepare(open_episodes(folder), tmp_path / "ready", HOW)
    return tmp_path / "ready"


def replace(folder: Path, name: str, other: str) -> None:
    """Give a video the content of another one."""
    content = (folder / other).read_bytes()
    (folder / name).unlink()  # a link to what other tests use
    (folder / name).write_bytes(content)


def damage(content: bytes) -> bytes:
    """A hole that only the decoder sees, in the last pictures."""
    end = content.rindex(b"moov") - 4
    return content[: end - 60] + bytes(60) + content[end:]


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- stopped


def test_control_c_keeps_whole_shards(folder, ready, tmp_path, monkeypatch, capsys) -> None:
    """A real signal in the middle of the sixth video."""
    seen: list[Path] = []

    def interrupted(path: Path, *, size: int) -> Iterator[Frame]:
        for i, frame in enumerate(read_frames(path, size=size)):
            if i == 3 and (seen.append(path) or len(seen) == 6):
                os.kill(os.getpid(), signal.SIGINT)
            yield frame

    out = tmp_path / "out"
    words = ["data", "prepare", str(folder), "--out", str(out), "--size", "32", "--shard-mb", "0.1"]
    assert main([*words[:4], str(tmp_path / "whole"), *words[5:]]) == 0
    monkeypatch.setattr(videos, "read_frames", interrupted)
    capsys.readouterr()
    assert main(words) == 130
    told = capsys.readouterr().err.splitlines()[-1]  # behind what progress a busy machine has time to tell of
    assert told == "unspool: stopped; whole shards are kept; the same command goes on"
    monkeypatch.undo()
    kept = files_of(out)
    assert {"00000.safetensors", "manifest.json"} <= kept.keys() < files_of(tmp_path / "whole").keys()
    assert "at work, or run it again" in refusal(lambda: Shards(out))
    assert main(words) == 0
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.parametrize("write", range(1, 8, 2))
def test_a_disk_that_fills_on_the_way(folder, ready, tmp_path, monkeypatch, write) -> None:
    """At any write: what was whole stays, the rest comes with the same call, nothing is skipped for it."""
    calls: list[int] = []

    def full(self: ShardWriter, frames: np.ndarray) -> None:
        calls.append(self.file.write(frames.tobytes()[:100]))
        if len(calls) == write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.file.seek(-100, os.SEEK_CUR)
        whole(self, frames)

    whole = ShardWriter.write
    monkeypatch.setattr(ShardWriter, "write", full)
    assert "No space left on device; free space" in refusal(lambda: prepare(open_episodes(folder), tmp_path / "out", HOW))
    monkeypatch.undo()
    kept = files_of(tmp_path / "out")
    assert all(kept[name] == content for name, content in files_of(ready).items() if name in kept and name != "manifest.json")
    assert [path for path in (tmp_path / "out").iterdir() if path.is_dir()] == []
    prepare(open_episodes(folder), tmp_path / "out", HOW)
    assert files_of(tmp_path / "out") == files_of(ready)


def test_an_old_manifest_does_not_speak_for_new_shards(folder, ready, monkeypatch) -> None:
    """Killed after a shard took the place of another, but before the manifest said so."""
    for i in range(8):
        replace(folder, f"{i}.mp4", f"{(i + 1) % 8}.mp4")

    def killed(self: Manifest, root: Path) -> None:
        if self.episodes:
            raise KeyboardInterrupt
        write(self, root)

    write = Manifest.write
    monkeypatch.setattr(Manifest, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(open_episodes(folder), ready, HOW)
    monkeypatch.undo()
    assert "not prepared to the end" in refusal(lambda: Shards(ready))


def test_only_one_at_a_time(folder, ready, capsys) -> None:
    with (ready / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["data", "prepare", str(folder), "--out", str(ready), "--size", "16"]) == 2
    out, err = capsys.readouterr()
    assert err == f"unspool: another process is preparing in {ready}; wait for it, or choose another --out\n" and not out


def test_a_reader_keeps_what_it_has_opened(folder, ready) -> None:
    reader, fresh = Shards(ready), Shards(ready)
    before, told = fresh(np.arange(40), 5).frames, []
    for i in range(0, 8, 2):
        replace(folder, f"{i}.mp4", f"{(i + 1) % 8}.mp4")
    prepare(open_episodes(folder), ready, HOW, lambda at: told.append(at) or (at.frames and refusal(lambda: Shards(ready))))
    assert told and np.array_equal(reader(np.arange(40), 5).frames, before)
    assert not np.array_equal(Shards(ready)(np.arange(40), 5).frames, before)


# ---- refused


def test_a_folder_that_holds_something_else(folder, tmp_path) -> None:
    for name in ("notes.txt", "7b.safetensors", "00000.safetensors"):
        out = tmp_path / name.replace(".", "-")
        out.mkdir()
        (out / name).write_text("mine")
        assert name in refusal(lambda: prepare(open_episodes(folder), out, HOW))  # noqa: B023
        assert (out / name).read_text() == "mine"
    assert "0.mp4" in refusal(lambda: prepare(open_episodes(folder), folder, HOW))
    assert "cannot write" in refusal(lambda: prepare(open_episodes(folder), folder / "0.mp4", HOW))


def test_another_way_to_prepare(folder, ready, tmp_path) -> None:
    def codec(name: str, sha: str) -> Encoder:
        def encode(frames: np.ndarray, state: object) -> tuple[np.ndarray, object]:
            return frames[:, ::8, ::8, :1].transpose(0, 3, 1, 2).astype(np.float16), state

        return Encoder(encode, name, sha, {})

    found = open_episodes(folder)
    assert "with size 16, not 32" in refusal(lambda: prepare(found, ready, Preparation(32)))
    assert "with fps None, not 5" in refusal(lambda: prepare(found, ready, Preparation(16, fps=5)))
    assert "not mine (0123abcd)" in refusal(lambda: prepare(found, ready, Preparation(16, encoder=codec("mine", "0123abcd"))))
    prepare(found, tmp_path / "latents", Preparation(16, encoder=codec("mine", "0123abcd" * 8)))
    retrained = Preparation(16, encoder=codec("mine", "fedc4321" * 8))
    line = refusal(lambda: prepare(found, tmp_path / "latents", retrained))
    assert "with codec mine (0123abcd), not mine (fedc4321); choose another --out" in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"format": 99, "future": true}', "another version"), ("{", "JSON"), ("[]", "not a manifest"), ("3", "not a manifest"),
        ('{"format": 1}', "not a manifest"), ('{"format": 1, "episodes": [3], "skipped": []}', "not a manifest"),
        ('{"format": 1, "episodes": [{"name": 3}], "skipped": []}', "not a manifest"), ("", "JSON"), ("\udcff", "JSON"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_used(folder, ready, text, says) -> None:
    """It is refused, not overwritten: a newer version may have written it."""
    (ready / "manifest.json").write_text(text, errors="surrogateescape")
    before = files_of(ready)
    assert says in refusal(lambda: prepare(open_episodes(folder), ready, HOW))
    assert says in refusal(lambda: Shards(ready))
    assert files_of(ready) == before


# ---- spoilt by hand, and mended


def spoil_deleted(shard: Path) -> None:
    shard.unlink()


def spoil_cut(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-1])


def spoil_empty(shard: Path) -> None:
    shard.write_bytes(b"")


def spoil_header(shard: Path) -> None:
    shard.write_bytes((1000).to_bytes(8, "little") + b"[" * 1000)


def spoil_kind(shard: Path) -> None:
    shard.write_bytes((2).to_bytes(8, "little") + b"[]")


@pytest.mark.parametrize("spoil", [spoil_deleted, spoil_cut, spoil_empty, spoil_header, spoil_kind])
def test_a_shard_spoilt_by_hand_is_made_again(folder, ready, monkeypatch, spoil) -> None:
    whole, decoded = files_of(ready), []
    spoil(ready / "00001.safetensors")
    line = refusal(lambda: Shards(ready, holdout=0))
    assert "00001.safetensors" in line and line.endswith("run the same `unspool data prepare` again")

    def counted(path: Path, *, size: int) -> Iterator[Frame]:
        decoded.append(path.name)
        return read_frames(path, size=size)

    monkeypatch.setattr(videos, "read_frames", counted)
    manifest = prepare(open_episodes(folder), ready, HOW)
    assert files_of(ready) == whole and not manifest.skipped
    assert decoded == [m.name for m in manifest.episodes if m.shard == "00001.safetensors"], "the others are left alone"


def test_what_is_said_of_skipped_files_is_true_now(folder, tmp_path) -> None:
    out, good = tmp_path / "out", (folder / "0.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(good[:-9])
    (folder / "damaged.mp4").write_bytes(damage(good))
    (folder / "gone.mp4").write_bytes(good[:-9])
    (folder / "metadata.jsonl").write_text('{"file_name": "nobody.mp4"}\n')

    def skipped() -> dict[str, str]:
        rows = prepare(open_episodes(folder), out, HOW).skipped
        assert rows == Manifest.read(out).skipped and len({name for name, *_ in rows}) == len(rows)
        return {name: why for name, _, why in rows}

    first = skipped()
    assert list(first) == ["cut.mp4", "damaged.mp4", "gone.mp4", "metadata.jsonl, line 1"] and skipped() == first
    (folder / "cut.mp4").write_bytes(good)
    (folder / "damaged.mp4").write_bytes(b"now text")
    (folder / "gone.mp4").unlink()
    (folder / "metadata.jsonl").unlink()
    assert {name: why.partition(";")[0] for name, why in skipped().items()} == {
        "damaged.mp4": "it is not a video that can be decoded"
    }
    assert {member.name for member in Manifest.read(out).episodes} == {f"{i}.mp4" for i in range(8)} | {"cut.mp4"}


# ---- how much


def test_too_little_room_for_one(folder, tmp_path, capsys) -> None:
    assert main(["data", "prepare", str(folder), "--out", str(tmp_path / "out"), "--size", "16", "--max-mb", "0.005"]) == 2
    err = capsys.readouterr().err
    assert err == f"unspool: no episode of {folder} fits into 0.005 MB; raise --max-mb\n"
    assert files_of(tmp_path / "out") == {}


def test_the_same_ones_at_every_call(folder, tmp_path) -> None:
    """Also where a file turns out to be damaged, or the rate makes other counts than expected."""
    for i in (1, 4, 6):
        content = damage((folder / f"{i}.mp4").read_bytes())
        (folder / f"{i}.mp4").unlink()
        (folder / f"{i}.mp4").write_bytes(content)
    manifest = prepare(open_episodes(folder), tmp_path / "all", HOW)
    assert {name: why for name, _, why in manifest.skipped}.keys() == {f"{i}.mp4" for i in (1, 4, 6)}
    chosen: set[str] = set()
    for frames in range(12, 48, 3):
        how, out = Preparation(16, fps=7, most_bytes=4000 + frames * 16 * 16 * 3), tmp_path / f"{frames}"
        names = [{member.name for member in prepare(open_episodes(folder), out, how).episodes} for _ in range(2)]
        assert names[0] == names[1] and chosen <= names[0]
        chosen = names[0]
    assert 1 < len(chosen) < 5


def test_all_that_is_carried_fits(folder, tmp_path) -> None:
    """Frames, actions, poses, the codec's weights, headers and the manifest."""
    import torch
    from safetensors.numpy import save_file

    for i in range(8):
        tracks = {"actions": np.zeros((9 + i, 40), np.float32), "poses": np.zeros((9 + i, 6), np.float32)}
        save_file(tracks, folder / f"{i}.safetensors")
    weights = {"weight": torch.zeros(300)}
    encoder = Encoder(lambda frames, state: (frames[:, ::8, ::8].astype(np.float16), state), "small", "0" * 64, weights)
    for kilobytes in (8, 12, 20, 40):
        for name, how in (("pixels", HOW), ("latents", Preparation(16, encoder=encoder))):
            out = tmp_path / f"{name}-{kilobytes}"
            how = dataclasses.replace(how, most_bytes=1000 * kilobytes)
            if name == "pixels" and kilobytes < 20:
                assert "raise --max-mb" in refusal(lambda: prepare(open_episodes(folder), out, how))  # noqa: B023
                continue
            episodes = prepare(open_episodes(folder), out, how).episodes
            weight = sum(map(len, files_of(out).values()))
            assert weight <= 1000 * kilobytes and (len(episodes) == 8 or weight > 400 * kilobytes)
    line = refusal(lambda: Preparation(16, encoder=encoder, most_bytes=1300))
    assert "codec alone fills" in line and line.endswith("raise --max-mb, or leave --codec away")


def test_less_room_than_before_is_refused_rather_than_episodes_deleted(folder, tmp_path) -> None:
    out = tmp_path / "out"
    prepare(open_episodes(folder), out, dataclasses.replace(HOW, most_bytes=45_000))
    before = files_of(out)
    held = len(Manifest.read(out).episodes)
    assert held > 2
    line = refusal(lambda: prepare(open_episodes(folder), out, dataclasses.replace(HOW, most_bytes=20_000)))
    assert f"of the {held} episodes that {out} holds do not fit into 0.02 MB; raise --max-mb" in line
    assert files_of(out) == before
    prepare(open_episodes(folder), out, dataclasses.replace(HOW, most_bytes=90_000))
    assert len(Manifest.read(out).episodes) > held


def test_rates_that_differ_are_told_with_the_fix(made, tmp_path, recwarn) -> None:
    from unspool.data.writer import VideoWriter

    for name, fps in (("a", 10), ("b", 10.05), ("c", 25)):
        with VideoWriter(tmp_path / f"{name}.mp4", size=(16, 16), fps=fps) as out:
            out.write(np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8))
    prepare(open_episodes(made), tmp_path / "same", HOW)
    prepare(open_episodes(tmp_path), tmp_path / "asked", Preparation(16, fps=10))
    assert not recwarn.list
    with pytest.warns(UserWarning, match="differ, 10 to 25 fps, and every frame is kept: .* --fps 10`$"):
        prepare(open_episodes(tmp_path), tmp_path / "kept", HOW)


def test_the_manifest_tells_where_it_came_from(folder, ready) -> None:
    manifest = Manifest.read(ready)
    assert manifest.source == "videos" and manifest.origin["folder"] == "videos" and len(manifest.origin["sha256"]) == 64
    replace(folder, "0.mp4", "1.mp4")
    assert prepare(open_episodes(folder), ready, HOW).origin["sha256"] != manifest.origin["sha256"]
    told = json.loads((ready / "manifest.json").read_text())
    del told["origin"]
    (ready / "manifest.json").write_text(json.dumps(told))
    assert Manifest.read(ready).origin == {} and len(Shards(ready).episodes) > 3
    prepare(open_episodes(folder), ready, HOW)
    assert Manifest.read(ready).origin["folder"] == "videos"


def test_no_size_is_not_the_default(folder, tmp_path, capsys) -> None:
    assert main(["data", "prepare", str(folder), "--out", str(tmp_path / "out"), "--size", "0"]) == 2
    assert "size is 8 to 4096 pixels, not 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def reel(name: str, *times: float | None) -> Episode:
    """An episode by its clock."""
    frames = [Frame(time, lambda i=i: np.full((16, 16, 3), i, np.uint8)) for i, time in enumerate(times)]
    return Episode(name, "1", lambda: VideoInfo(len(frames), 16, 16, 10.0, "raw"), lambda size: iter(frames))


@pytest.mark.parametrize(
    ("times", "says"),
    [((0.0, 61.0), "from 0 to 61 s"), ((0.0, 0.1, 0.0), "from 0.1 to 0 s"), ((0.0, float("nan")), "from 0 to nan s"),
     ((None, None), "no time stamps")],
)  # fmt: skip
def test_a_clock_that_lies_fills_no_disk(tmp_path, times, says) -> None:
    found = EpisodeSet(Path("films"), "reels", (reel("bad", *times), reel("good", 0.0, 0.5, 59.0)))
    manifest = prepare(found, tmp_path / "out", Preparation(16, fps=30))
    ((name, _, why),) = manifest.skipped
    assert name == "bad" and says in why and "--fps" in why and why.endswith("; leave that away"), "reels have no metadata"
    assert [member.frames for member in manifest.episodes] == [59 * 30 + 1]
    assert prepare(found, tmp_path / "all", Preparation(16)).episodes[0].frames == len(times)
    alone = EpisodeSet(Path("films"), "reels", found.episodes[:1])
    assert says in refusal(lambda: prepare(alone, tmp_path / "none", Preparation(16, fps=30)))


def test_poses_of_another_kind(folder, tmp_path) -> None:
    from safetensors.numpy import save_file

    for i, width in enumerate((6, 6, 9)):
        save_file({"poses": np.ones((9 + i, width), np.float32)}, folder / f"{i}.safetensors")
    manifest = prepare(open_episodes(folder), tmp_path / "out", HOW)
    said = [(name, why) for name, _, why in manifest.skipped]
    assert said == [("2.mp4", "its poses are 9 numbers, others are 6; mend its poses")]
    assert manifest.poses == 6 and len(manifest.episodes) == 7


@pytest.mark.parametrize(("height", "width", "most"), [(4320, 7680, 1), (1080, 1920, 10), (64, 64, 32)])
def test_large_pictures_wait_in_small_numbers(tmp_path, height, width, most) -> None:
    """Decoded, but not yet made small: 64 MiB of them at most, whatever their size."""
    waiting: list[int] = []
    seen: list[int] = []

    def small(i: int) -> np.ndarray:
        waiting.remove(i)
        return np.full((16, 16, 3), i, np.uint8)

    def frames(size: int | None) -> Iterator[Frame]:
        for i in range(70):
            waiting.append(i)
            seen.append(len(waiting))
            yield Frame(i / 10, partial(small, i))

    one = Episode("a", "1", lambda: VideoInfo(70, height, width, 10.0, "raw"), frames)
    prepare(EpisodeSet(Path("films"), "reels", (one,)), tmp_path / "out", Preparation(16))
    assert max(seen) == most
    (clip,) = Shards(tmp_path / "out", holdout=0)(np.zeros(1, int), 70).frames
    assert np.array_equal(clip[:, 0, 0, 0], np.arange(70))


def test_the_manifest_is_json_for_any_name(folder, tmp_path) -> None:
    odd = [os.fsdecode(b"caf\xe9.mp4"), "line\nbreak.mp4", "\u4e16\u754c.mp4"]
    for name in odd:
        os.link(folder / "0.mp4", folder / name)
    prepare(open_episodes(folder), tmp_path / "out", HOW)
    assert {entry["name"] for entry in json.loads((tmp_path / "out" / "manifest.json").read_bytes())["episodes"]} > set(odd)
    assert {member.name for member in Shards(tmp_path / "out", holdout=0).episodes} > set(odd)

"""Sets as others lay them on disk: small ones are written here with PyAV, numpy, Pillow and pyarrow alone, and read back."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from unspool.data.episodes import Episode, EpisodeSet
from unspool.data.layouts import bair, lerobot, memory_maze, open_episodes, teco, ucf101
from unspool.errors import UserError


def film(episode: Episode, size: int | None = None) -> np.ndarray:
    return np.stack([frame.pixels() for frame in episode.frames(size)])


def named(found: EpisodeSet) -> dict[str, Episode]:
    return {episode.name: episode for episode in found.episodes}


def complaint(found: EpisodeSet, name: str) -> str:
    """Why `name` cannot be used: said when it is listed, or when it is read. All others can be read."""
    for episode in found.episodes:
        if episode.name != name:
            assert len(film(episode)) == episode.info().frames
            episode.tracks()
    if said := [reason for skipped, reason in found.skipped if skipped == name]:
        (reason,) = said
    else:
        with pytest.raises(UserError) as error:
            episode = named(found)[name]
            episode.info()
            film(episode)
            episode.tracks()
        reason = str(error.value)
    assert "\n" not in reason and ";" in reason
    return reason


def cut_short(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def rewrite(path: Path, **changes: Any) -> None:
    """Other arrays in a .npz; None takes one away."""
    with np.load(path) as old:
        arrays = {key: old[key] for key in old}
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


# ---- LeRobot


LENGTHS = (20, 15, 25)
CAMERA = "observation.images.front"


def shared_film(path: Path, video: np.ndarray, fps: int, codec: str = "libx264") -> None:
    """An mp4 with B-frames and a key frame every 12, so that no episode but the first begins at one."""
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps, options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], "yuv420p"
        for i, picture in enumerate(video):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def rows_of_episodes(fps: int = 10) -> list[dict[str, Any]]:
    ends = np.cumsum(LENGTHS)
    return [
        {"episode_index": i, "tasks": [f"pick the cube {i}"], "length": length, "data/chunk_index": 0, "data/file_index": 0,
         "dataset_from_index": int(end - length), "dataset_to_index": int(end),
         f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": 0,
         f"videos/{CAMERA}/from_timestamp": (end - length) / fps + 1e-6, f"videos/{CAMERA}/to_timestamp": end / fps + 1e-6,
         "stats/action/mean": [0.0, 0.0]}
        for i, (length, end) in enumerate(zip(LENGTHS, ends, strict=True))
    ]  # fmt: skip


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


ROWS = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"
FILM = f"videos/{CAMERA}/chunk-000/file-000.mp4"
ACTIONS = np.random.default_rng(0).normal(size=(sum(LENGTHS), 2)).astype(np.float32)


def frame_rows() -> list[dict[str, Any]]:
    of = np.repeat(np.arange(3), LENGTHS)
    return [
        {"episode_index": int(e), "index": i, "action": ACTIONS[i].tolist(), "next.reward": float(i), "task_index": int(e)}
        for i, e in enumerate(of)
    ]


def change_info(root: Path, **changes: Any) -> None:
    path = root / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def robot(tmp_path: Path, draw: Callable[..., np.ndarray]) -> Path:
    pytest.importorskip("pyarrow")
    root = tmp_path / "robot"
    info = {
        "codebase_version": "v3.0", "fps": 10, "total_episodes": 3, "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            "observation.images.wrist": {"dtype": "video", "shape": [48, 64, 3]},
            "observation.images.a_depth": {"dtype": "video", "shape": [48, 64, 1], "info": {"is_depth_map": True}},
            CAMERA: {"dtype": "video", "shape": [48, 64, 3]},
            "action": {"dtype": "float32", "shape": [2]},
            "next.reward": {"dtype": "float32", "shape": [1]},
        },
    }  # fmt: skip
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    write_table(root / ROWS, rows_of_episodes())
    write_table(root / DATA, frame_rows())
    shared_film(root / FILM, draw(sum(LENGTHS), 48, 64), 10)
    return root


def test_an_episode_is_cut_out_of_a_shared_film_to_the_frame(robot: Path) -> None:
    found = open_episodes(robot)
    assert found.layout == "lerobot" and not found.skipped
    assert [episode.name for episode in found.episodes] == ["episode_000000", "episode_000001", "episode_000002"]
    whole = decoded(robot / FILM)
    ends = np.cumsum(LENGTHS)
    for episode, length, end in zip(found.episodes, LENGTHS, ends, strict=True):
        assert np.array_equal(film(episode), whole[end - length : end])
        assert episode.info()[:5] == (length, 48, 64, 10.0, "h264")
        tracks = episode.tracks()
        assert tracks["actions"].dtype == np.float32 and np.array_equal(tracks["actions"], ACTIONS[end - length : end])
        assert np.array_equal(tracks["rewards"], np.arange(end - length, end, dtype=np.float32))
    middle = found.episodes[1]
    assert middle.text == "pick the cube 1" and middle.split is None
    assert [frame.time for frame in middle.frames(None)][:2] == [0.0, 0.1]
    assert film(middle, 16).shape == (15, 16, 16, 3)


def test_a_shared_film_is_entered_near_the_episode(robot: Path) -> None:
    """What is damaged far before it does not matter, and is not decoded."""
    last = open_episodes(robot).episodes[2]
    whole = film(last)
    damaged = bytearray((robot / FILM).read_bytes())
    damaged[100:900] = bytes(800)
    (robot / FILM).write_bytes(damaged)
    assert np.array_equal(film(last), whole)
    with pytest.raises(UserError, match=r"damaged|are there"):
        film(open_episodes(robot).episodes[0])


def test_a_robot_set_may_say_its_splits_and_have_one_number_an_action(robot: Path) -> None:
    change_info(robot, splits={"train": "0:2", "test": "2:3"})
    write_table(robot / DATA, [row | {"action": float(row["index"])} for row in frame_rows()])
    found = open_episodes(robot)
    assert [episode.split for episode in found.episodes] == ["train", "train", "test"]
    assert np.array_equal(found.episodes[1].tracks()["actions"], np.arange(20, 35, dtype=np.float32)[:, None])


def test_a_stamp_changes_with_its_file_alone(robot: Path) -> None:
    before = [episode.stamp for episode in open_episodes(robot).episodes]
    assert len(set(before)) == 3 and before == [episode.stamp for episode in open_episodes(robot).episodes]
    os.utime(robot / FILM, (1, 1))
    assert not set(before) & {episode.stamp for episode in open_episodes(robot).episodes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"codebase_version": "v2.1"}, "convert_dataset_v21_to_v30"),
        ({"codebase_version": "v4.0"}, "only version 3"),
        ({"codebase_version": None}, "no codebase_version"),
        ({"features": {"observation.image": {"dtype": "image"}}, "video_path": None}, "convert_image_to_video"),
        ({"features": 3}, "lacks a usable"),
        ({"fps": 0}, "lacks a usable"),
        ({"splits": {"train": "most"}}, "lacks a usable"),
        ({"video_path": None}, "lacks a usable"),
    ],
)
def test_a_robot_set_that_cannot_be_read_at_all(robot: Path, changes: dict[str, Any], says: str) -> None:
    change_info(robot, **changes)
    with pytest.raises(UserError, match=says) as error:
        open_episodes(robot)
    assert "\n" not in str(error.value)


def test_a_robot_set_needs_pyarrow_tables_and_whole_json(robot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'unspool\[lerobot\]'"):
        open_episodes(robot)
    monkeypatch.undo()
    (robot / ROWS).unlink()
    with pytest.raises(UserError, match="no tables in meta/episodes"):
        open_episodes(robot)
    cut_short(robot / "meta" / "info.json")
    with pytest.raises(UserError, match="JSON"):
        open_episodes(robot)


def lie(column: str, value: Any) -> Callable[[Path], None]:
    """Another value in the row of episode 1."""
    first, middle, last = rows_of_episodes()
    return lambda root: write_table(root / ROWS, [first, middle | {column: value}, last])


@pytest.mark.parametrize(
    ("damage", "name", "says"),
    [
        (lambda root: cut_short(root / ROWS), ROWS, "damaged"),
        (lambda root: write_table(root / ROWS, [{"episode_index": 0}]), ROWS, "no column data/chunk_index"),
        (lie("length", 16), f"{ROWS}, row 1", "do not fit"),
        (lie("length", None), f"{ROWS}, row 1", "do not fit"),
        (lie("episode_index", 0), f"{ROWS}, row 1", "has a row before"),
        (lie("data/file_index", 7), f"{ROWS}, row 1", "No such file"),
        (lie(f"videos/{CAMERA}/file_index", 1), f"{ROWS}, row 1", "No such file"),
        (lie(f"videos/{CAMERA}/from_timestamp", float("nan")), f"{ROWS}, row 1", "do not fit"),
        (lie("length", 12), "episode_000001", "15 actions of episode 1 for 12 frames"),
        (lie(f"videos/{CAMERA}/to_timestamp", 1.0), f"{ROWS}, row 1", "do not fit"),
    ],
)
def test_a_robot_episode_that_cannot_be_used(robot: Path, damage: Callable[[Path], None], name: str, says: str) -> None:
    damage(robot)
    assert says in complaint(open_episodes(robot), name)


def test_films_and_tables_of_robots_that_are_cut_short(robot: Path) -> None:
    found = open_episodes(robot)
    whole = (robot / FILM).read_bytes()
    cut_short(robot / FILM)
    for read in (found.episodes[1].info, lambda: film(found.episodes[1])):
        with pytest.raises(UserError, match="damaged"):
            read()
    (robot / FILM).write_bytes(whole)
    write_table(robot / DATA, [row for row in frame_rows() if row["index"] != 21])
    assert "14 actions of episode 1 for 15 frames" in complaint(found, "episode_000001")
    write_table(robot / DATA, [row | {"action": [1.0] * (1 + row["index"] % 2)} for row in frame_rows()])
    with pytest.raises(UserError, match="another form"):
        found.episodes[0].tracks()
    cut_short(robot / DATA)
    with pytest.raises(UserError, match="damaged"):
        found.episodes[0].tracks()


def test_a_shared_film_that_ends_early_is_not_half_read(robot: Path, draw: Callable[..., np.ndarray]) -> None:
    (robot / FILM).unlink()
    (robot / FILM).parent.rmdir()
    shared_film(robot / FILM, draw(55, 48, 64), 10)
    assert "25 frames are told, 20 are there" in complaint(open_episodes(robot), "episode_000002")


# ---- Memory Maze


def maze(path: Path, frames: int = 12, **changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(frames)
    turn = rng.uniform(-3, 3, frames)
    arrays = {
        "image": rng.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8),
        "action": np.eye(6, dtype=np.uint8)[rng.integers(0, 6, frames)],
        "reward": rng.integers(0, 2, frames).astype(np.float64),
        "agent_pos": rng.uniform(0, 9, (frames, 2)),
        "agent_dir": np.stack([np.cos(turn), np.sin(turn)], 1),
        "maze_layout": np.repeat(rng.integers(0, 2, (1, 9, 9), dtype=np.uint8), frames, 0),
        "target_color": rng.uniform(0, 1, (frames, 3)),
    }
    arrays["action"][0] = 0  # nothing had been done yet
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return arrays | {"turn": turn}


def test_actions_and_rewards_of_a_maze_move_to_the_frame_they_follow(tmp_path: Path) -> None:
    arrays = maze(tmp_path / "train" / "0.npz")
    maze(tmp_path / "eval" / "1.npz", 7)
    found = open_episodes(tmp_path)
    assert found.layout == "memory_maze" and found.actions[1:3] == ("ahead", "left")
    first = named(found)["train/0.npz"]
    assert {name: e.split for name, e in named(found).items()} == {"train/0.npz": "train", "eval/1.npz": "test"}
    assert first.info()[:5] == (12, 64, 64, 4.0, "npz") and np.array_equal(film(first), arrays["image"])
    assert [frame.time for frame in first.frames(None)][:3] == [0.0, 0.25, 0.5]
    tracks = first.tracks()
    assert tracks["actions"].dtype == np.int64 and tracks["actions"].tolist() == [*arrays["action"][1:].argmax(1), 0]
    assert tracks["rewards"].tolist() == [*arrays["reward"][1:], 0]
    assert np.allclose(tracks["poses"], np.column_stack([arrays["agent_pos"], arrays["turn"]]), atol=1e-5)
    assert tracks["poses"].dtype == np.float32 and np.array_equal(tracks["map"], arrays["maze_layout"][0])


def test_listing_reads_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maze(tmp_path / "0.npz")
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("read"))
    (episode,) = open_episodes(tmp_path).episodes
    assert episode.info().frames == 12


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action": np.eye(6)[[0, 1, 2]]}, "3 actions for 12 frames"),
        ({"action": np.ones((12, 6))}, "not one-hot"),
        ({"action": np.zeros(12)}, "shape (12,)"),
        ({"reward": np.float64(3)}, "no rewards for 12 frames"),
        ({"reward": np.full(12, np.nan)}, "finite"),
        ({"agent_dir": None}, "no array 'agent_dir'"),
        ({"image": np.zeros((12, 64, 64), np.uint8)}, "pictures (T, H, W, 3)"),
        ({"image": np.zeros((12, 64, 64, 3))}, "float64"),
        ({"image": np.full((12, 4, 4, 3), 256)}, "beyond 0 to 255"),
        ({"agent_pos": np.array([{}] * 12)}, "Python objects"),
    ],
)
def test_a_maze_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    maze(tmp_path / "0.npz")
    maze(tmp_path / "1.npz", **changes)
    assert says in complaint(open_episodes(tmp_path), "1.npz")


def test_files_of_mazes_that_are_damaged(tmp_path: Path) -> None:
    for name in ("cut", "empty", "flipped", "huge", "whole"):
        maze(tmp_path / f"{name}.npz")
    cut_short(tmp_path / "cut.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "lost.npz").symlink_to(tmp_path / "nowhere.npz")
    flipped = bytearray((tmp_path / "flipped.npz").read_bytes())
    flipped[5000:5100] = bytes(100)
    (tmp_path / "flipped.npz").write_bytes(flipped)
    (tmp_path / "huge.npz").unlink()
    promise_much(tmp_path / "huge.npz")
    found = open_episodes(tmp_path)
    assert "whole.npz" in named(found) and dict(found.skipped).keys() == {"empty.npz", "lost.npz"}
    for name, says in (("cut", "damaged"), ("flipped", "damaged"), ("huge", "shorter than its header says")):
        with pytest.raises(UserError, match=says):
            film(named(found)[f"{name}.npz"])


def promise_much(path: Path) -> None:
    """Pictures of terabytes, by the header."""
    import zipfile

    header = str({"descr": "|u1", "fortran_order": False, "shape": (10**9, 64, 64, 3)}).ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode() + bytes(100))


# ---- TECO


def test_minecraft_actions_move_to_the_frame_they_follow(tmp_path: Path, draw: Any, encode: Any) -> None:
    video = draw(9, 32, 32)
    for split in ("train", "test"):
        (tmp_path / split / "3").mkdir(parents=True)
        encode(tmp_path / split / "3" / "000000.mp4", video, "mpeg4", rate=20)
        np.savez_compressed(tmp_path / split / "3" / "000000.npz", actions=np.array([0, 1, 1, 2, 3, 1, 1, 2, 1], np.int32))
    found = open_episodes(tmp_path)
    assert found.layout == "teco" and found.actions == ("stay", "ahead", "left", "right")
    assert {name: e.split for name, e in named(found).items()} == {"test/3/000000.mp4": "test", "train/3/000000.mp4": "train"}
    episode = found.episodes[0]
    assert episode.info()[:5] == (9, 32, 32, 20.0, "mpeg4")
    assert np.array_equal(film(episode), decoded(tmp_path / episode.name))
    assert episode.tracks()["actions"].tolist() == [1, 1, 2, 3, 1, 1, 2, 1, 0]
    assert episode.tracks()["actions"].dtype == np.int64


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda film: film.with_suffix(".npz").unlink(), "actions are missing"),
        (lambda film: cut_short(film), "truncated"),
        (lambda film: film.write_bytes(b""), "empty"),
        (lambda film: film.write_bytes(b"nothing of the kind" * 9), "not a video"),
        (lambda film: cut_short(film.with_suffix(".npz")), "damaged"),
        (lambda film: rewrite(film.with_suffix(".npz"), actions=np.zeros(8, int)), "8 actions for 9 frames"),
        (lambda film: rewrite(film.with_suffix(".npz"), actions=np.full(9, 4)), "0 to 3"),
        (lambda film: rewrite(film.with_suffix(".npz"), actions=np.zeros((9, 4))), "0 to 3"),
        (lambda film: rewrite(film.with_suffix(".npz"), actions=np.array(["a"] * 9, object)), "Python objects"),
        (lambda film: rewrite(film.with_suffix(".npz"), actions=None, other=np.zeros(9)), "no array 'actions'"),
    ],
)
def test_minecraft_that_cannot_be_used(tmp_path: Path, draw: Any, encode: Any, damage: Any, says: str) -> None:
    (tmp_path / "train" / "0").mkdir(parents=True)
    for i in range(2):
        path = encode(tmp_path / "train" / "0" / f"{i}.mp4", draw(9, 32, 32), "mpeg4")
        np.savez(path.with_suffix(".npz"), actions=np.ones(9, np.int32))
    damage(path)
    assert says in complaint(open_episodes(tmp_path), "train/0/1.mp4")


def test_dmlab_keeps_its_actions_and_knows_renamed_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    video, actions = rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8), np.array([2, 2, 0, 1, 2, 2])
    for split in ("training", "validation"):
        (tmp_path / split / "0").mkdir(parents=True)
        np.savez(tmp_path / split / "0" / "7.npz", video=video, actions=actions)
    found = open_episodes(tmp_path)
    assert found.layout == "teco" and found.actions == ("left", "right", "ahead")
    assert [(e.name, e.split) for e in found.episodes] == [("training/0/7.npz", "train"), ("validation/0/7.npz", "test")]
    episode = found.episodes[0]
    assert episode.info()[:5] == (6, 64, 64, 7.5, "npz") and np.array_equal(film(episode), video)
    assert np.array_equal(episode.tracks()["actions"], actions)
    rewrite(tmp_path / "training" / "0" / "7.npz", actions=actions[:5])
    assert "5 actions for 6 frames" in complaint(open_episodes(tmp_path), "training/0/7.npz")
    rewrite(tmp_path / "training" / "0" / "7.npz", video=None)
    assert "no array 'video'" in complaint(open_episodes(tmp_path), "training/0/7.npz")


# ---- BAIR


def number(value: int) -> bytes:
    """A varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(index: int, value: bytes) -> bytes:
    return number(index << 3 | 2) + number(len(value)) + value


def example(features: dict[str, bytes | list[float]], packed: bool = True) -> bytes:
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = field(1, field(1, value))
        elif packed:
            feature = field(2, field(1, struct.pack(f"<{len(value)}f", *value)))
        else:
            feature = field(2, b"".join(number(1 << 3 | 5) + struct.pack("<f", x) for x in value))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def record(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + b"crc1" + data + b"crc2"


def pushing(seed: int, frames: int = 5) -> tuple[np.ndarray, np.ndarray, dict[str, bytes | list[float]]]:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8)
    actions = rng.normal(size=(frames, 4)).astype(np.float32)
    features: dict[str, bytes | list[float]] = {}
    for i in range(frames):
        features |= {f"{i}/image_aux1/encoded": pictures[i].tobytes(), f"{i}/image_main/encoded": bytes(64 * 64 * 3)}
        features |= {f"{i}/action": actions[i].tolist(), f"{i}/endeffector_pos": [0.0, 1.0, 2.0]}
    return pictures, actions, features


@pytest.mark.parametrize("packed", [True, False])
def test_bair_is_read_from_tfrecords(tmp_path: Path, packed: bool) -> None:
    home = tmp_path / "softmotion30_44k"
    for split, seeds in (("train", (0, 1)), ("test", (2,))):
        (home / split).mkdir(parents=True)
        records = b"".join(record(example(pushing(seed)[2], packed)) for seed in seeds)
        (home / split / "traj_0_to_255.tfrecords").write_bytes(records)
    found = open_episodes(tmp_path)
    assert found.layout == "bair" and not found.skipped
    assert {name.removeprefix("softmotion30_44k/"): e.split for name, e in named(found).items()} == {
        "test/traj_0_to_255/1": "test", "train/traj_0_to_255/1": "train", "train/traj_0_to_255/2": "train",
    }  # fmt: skip
    second = named(found)["softmotion30_44k/train/traj_0_to_255/2"]
    pictures, actions, _ = pushing(1)
    assert second.info()[:4] == (5, 64, 64, 0.0) and np.array_equal(film(second), pictures)
    assert np.array_equal(second.tracks()["actions"], actions) and second.tracks()["actions"].dtype == np.float32
    assert film(second, 16).shape == (5, 16, 16, 3) and next(second.frames(None)).time is None


def write_records(path: Path, *features: dict[str, Any]) -> None:
    path.write_bytes(b"".join(record(example(f)) for f in features))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(record(b"\x0f" * 40)), "damaged"),
        (lambda path: path.write_bytes(record(b"\x0a\xff\xff\x03abc")), "damaged"),
        (lambda path: path.write_bytes(record(b"\xff" * 12)), "damaged"),
        (lambda path: path.write_bytes(record(field(1, field(1, b"")))), "damaged"),
        (lambda path: write_records(path, {"0/image_main/encoded": b"x"}), "lacks image_aux1"),
        (lambda path: write_records(path, pushing(0)[2] | {"1/image_aux1/encoded": b"x"}), "lacks image_aux1"),
        (lambda path: write_records(path, pushing(0)[2] | {"7/image_aux1/encoded": bytes(12288)}), "lacks image_aux1"),
        (lambda path: write_records(path, pushing(0)[2] | {"2/action": [1.0]}), "4 actions a frame"),
        (lambda path: write_records(path, pushing(0)[2] | {"2/action": b"1234"}), "4 actions a frame"),
        (lambda path: write_records(path, pushing(0)[2] | {"2/action": [0.0, 1.0, 2.0, float("nan")]}), "finite"),
    ],
)
def test_a_record_that_cannot_be_used(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    (tmp_path / "train").mkdir()
    write_records(tmp_path / "train" / "traj_9_to_9.tfrecords", pushing(3)[2])
    damage(tmp_path / "train" / "traj_0_to_1.tfrecords")
    assert says in complaint(open_episodes(tmp_path), "train/traj_0_to_1/1")


def test_files_of_records_that_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("0_to_1", "2_to_3", "4_to_5", "6_to_7"):
        write_records(tmp_path / "train" / f"traj_{name}.tfrecords", pushing(0)[2], pushing(1)[2])
    cut_short(tmp_path / "train" / "traj_0_to_1.tfrecords", 0.9)
    (tmp_path / "train" / "traj_2_to_3.tfrecords").write_bytes(b"\xff" * 400)
    (tmp_path / "train" / "traj_4_to_5.tfrecords").write_bytes(b"")
    found = open_episodes(tmp_path)
    assert list(named(found)) == ["train/traj_6_to_7/1", "train/traj_6_to_7/2"]
    for name, says in (("0_to_1", "record 2 is cut short"), ("2_to_3", "record 1 is cut short"), ("4_to_5", "empty")):
        assert says in complaint(found, f"train/traj_{name}.tfrecords")


def unpack(folder: Path, seed: int, frames: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """As SVG and VideoGPT do."""
    folder.mkdir(parents=True)
    pictures, actions, _ = pushing(seed, frames)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i}.png")
    np.save(folder / "actions.npy", actions)
    return pictures, actions


def test_bair_is_read_from_pictures_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    home = tmp_path / "processed_data"
    pictures, actions = unpack(home / "train" / "traj_0_to_255" / "1", 0)
    unpack(home / "test" / "traj_0_to_255" / "1", 1)
    (home / "test" / "traj_0_to_255" / "1" / "actions.npy").unlink()
    test, train = open_episodes(home).episodes
    assert (test.name, test.split, test.tracks()) == ("test/traj_0_to_255/1", "test", {})
    assert train.split == "train" and train.info()[:4] == (12, 64, 64, 0.0)
    assert np.array_equal(film(train), pictures) and np.array_equal(train.tracks()["actions"], actions)
    assert named(open_episodes(tmp_path)).keys() == {f"processed_data/{e.name}" for e in (test, train)}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "3.png").rename(folder / "30.png"), "No such file"),
        (lambda folder: (folder / "11.png").rename(folder / "30.png"), "0.png, 1.png"),
        (lambda folder: cut_short(folder / "3.png"), "not a whole PNG"),
        (lambda folder: (folder / "0.png").write_bytes(b"GIF89a" * 9), "not a whole PNG"),
        (lambda folder: np.save(folder / "actions.npy", np.zeros((11, 4))), "11 actions for 12 frames"),
        (lambda folder: np.save(folder / "actions.npy", np.zeros((12, 3))), "shape (12, 3)"),
        (lambda folder: np.save(folder / "actions.npy", np.array([{}] * 12)), "Python objects"),
        (lambda folder: cut_short(folder / "actions.npy"), "shorter than its header says"),
        (lambda folder: (folder / "actions.npy").write_bytes(b"junk"), "not a numpy file"),
    ],
)
def test_folders_of_pictures_that_cannot_be_used(tmp_path: Path, damage: Callable[[Path], Any], says: str) -> None:
    for i in range(2):
        unpack(tmp_path / "train" / "traj_0_to_255" / str(i), i)
    damage(tmp_path / "train" / "traj_0_to_255" / "1")
    assert says in complaint(open_episodes(tmp_path), "train/traj_0_to_255/1")


def test_bair_is_read_from_arrays_of_wide_integers(tmp_path: Path) -> None:
    """The published script saves int64."""
    (tmp_path / "train").mkdir()
    pictures, actions, _ = pushing(0)
    path = tmp_path / "train" / "traj_00007.npz"
    np.savez_compressed(path, image=np.zeros_like(pictures), aux1_image=pictures.astype(np.int64), action=actions)
    (episode,) = open_episodes(tmp_path).episodes
    assert film(episode).dtype == np.uint8 and np.array_equal(film(episode), pictures)
    assert np.array_equal(episode.tracks()["actions"], actions) and episode.split == "train"
    rewrite(path, aux1_image=None)
    assert "no array 'aux1_image'" in complaint(open_episodes(tmp_path), "train/traj_00007.npz")


# ---- UCF-101


@pytest.fixture
def sport(tmp_path: Path, draw: Any, encode: Any) -> Path:
    home = tmp_path / "UCF-101"
    for name in ("HandstandPushups/v_HandStandPushups_g01_c01.avi", "TaiChi/v_TaiChi_g08_c02.avi", "YoYo/v_YoYo_g25_c01.avi"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        encode(home / name, draw(7, 32, 48), "mpeg4", rate=25)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    train = "HandstandPushups/v_HandStandPushups_g01_c01.avi 37\r\nTaiChi/v_TaiChi_g08_c02.avi 91\n"
    (lists / "trainlist01.txt").write_text(train)
    (lists / "testlist01.txt").write_text("YoYo/v_YoYo_g25_c01.avi\n")
    return tmp_path


@pytest.mark.parametrize("prefix", ["UCF-101/", ""])
def test_sports_have_captions_and_the_published_split(sport: Path, prefix: str) -> None:
    found = open_episodes(sport if prefix else sport / "UCF-101")
    assert found.layout == "ucf101" and not found.skipped
    assert [(e.name.removeprefix(prefix), e.text, e.split) for e in found.episodes] == [
        ("HandstandPushups/v_HandStandPushups_g01_c01.avi", "handstand pushups", "train"),
        ("TaiChi/v_TaiChi_g08_c02.avi", "tai chi", "train"),
        ("YoYo/v_YoYo_g25_c01.avi", "yo yo", "test"),
    ]
    path = sport / "UCF-101" / "TaiChi" / "v_TaiChi_g08_c02.avi"
    assert found.episodes[1].info()[:5] == (7, 32, 48, 25.0, "mpeg4")
    assert np.array_equal(film(found.episodes[1]), decoded(path))
    assert film(found.episodes[1], 16).shape == (7, 16, 16, 3)


def test_sports_that_were_moved_are_split_by_their_folders(sport: Path) -> None:
    (sport / "UCF-101").rename(sport / "test")
    for path in (sport / "ucfTrainTestlist").iterdir():
        path.unlink()
    found = open_episodes(sport)
    assert {e.split for e in found.episodes} == {"test"} and found.episodes[0].text == "handstand pushups"


def test_sports_that_cannot_be_used(sport: Path) -> None:
    home = sport / "UCF-101"
    cut_short(home / "YoYo" / "v_YoYo_g25_c01.avi")
    (home / "TaiChi" / "v_TaiChi_g08_c02.avi").write_bytes(b"")
    (home / "YoYo" / "holiday.avi").write_bytes(b"RIFF")
    (home / "YoYo" / "v_YoYo_g25_c02.avi").write_bytes(b"no film" * 99)
    lists = sport / "ucfTrainTestlist"
    (lists / "testlist01.txt").write_bytes(b"\xff\xfe\n\nTaiChi/v_TaiChi_g08_c02.avi\nYoYo/v_YoYo_g25_c01.avi\n")
    found = open_episodes(sport)
    reasons = dict(found.skipped)
    assert "empty" in reasons["UCF-101/TaiChi/v_TaiChi_g08_c02.avi"]
    assert "not named" in reasons["UCF-101/YoYo/holiday.avi"]
    assert "names no" in reasons["testlist01.txt, line 1"] and "trained on" in reasons["testlist01.txt, line 3"]
    assert named(found)["UCF-101/YoYo/v_YoYo_g25_c01.avi"].split == "test"
    for name, says in (("v_YoYo_g25_c01", "truncated"), ("v_YoYo_g25_c02", "not a video")):
        with pytest.raises(UserError, match=says):
            named(found)[f"UCF-101/YoYo/{name}.avi"].info()


# ---- which is which


def test_other_folders_are_none_of_these(tmp_path: Path, encode: Any, draw: Any) -> None:
    (tmp_path / "train").mkdir()
    encode(tmp_path / "train" / "a.mp4", draw(3, 16, 16))
    np.savez(tmp_path / "train" / "a.npz", depth=np.zeros(3))
    (tmp_path / "b.npz").write_bytes(b"no archive")
    assert not any(layout.is_here(tmp_path) for layout in (lerobot, memory_maze, teco, bair, ucf101))

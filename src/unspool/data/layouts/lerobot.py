"""LeRobot datasets, version 3: many episodes in one mp4 and one parquet, told apart by tables of where each begins.

    meta/info.json                              version, rate, features, templates of paths, splits
    meta/episodes/chunk-CCC/file-FFF.parquet    a row for each episode: length, tasks, files, time in the mp4
    data/chunk-CCC/file-FFF.parquet             a row for each frame: episode_index, action, next.reward, ...
    videos/CAMERA/chunk-CCC/file-FFF.mp4        episodes behind each other

Source: lerobot-dataset-v3.mdx, dataset_metadata.py, dataset_reader.py and dataset_writer.py of huggingface/lerobot (2026), read
directly with pyarrow. The camera is the first by name that is no depth map. An action follows the frame that it lies beside.
LeRobot writes splits {"train": "0:N"} of every set, which says nothing; they count where they name a test part too.
Reconstructed: that next.reward is what the step after a frame gave (its name says so).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from unspool.data import files
from unspool.data.episodes import Episode, EpisodeSet, Tracks
from unspool.data.video import Frame, VideoInfo, cut
from unspool.errors import UserError
from unspool.store import read_json

TRACKS = {"action": "actions", "next.reward": "rewards"}


class Told(NamedTuple):
    """What meta/info.json says of the whole set. test: indices of the test part, None where there is none."""

    fps: float
    camera: str
    columns: tuple[str, ...]
    data: str
    video: str
    test: range | None


class Place(NamedTuple):
    """Where one episode lies. begin: seconds into the mp4."""

    number: int
    length: int
    data: Path
    video: Path
    begin: float
    fps: float


def is_here(root: Path) -> bool:
    return (root / "meta" / "info.json").is_file()


def read(root: Path) -> EpisodeSet:
    """Raises UserError for another version, for a set without videos, and where pyarrow is missing."""
    told = _told(root / "meta" / "info.json", read_json(root / "meta" / "info.json"))
    _pyarrow()
    found: dict[int, Episode] = {}
    skipped: list[tuple[str, str]] = []
    tables = files.find(root, "meta/episodes/*/*.parquet")
    if not tables:
        raise UserError(f"{root} has no tables in meta/episodes; copy or download it again")
    for path in tables:
        name = path.relative_to(root).as_posix()
        try:
            rows = _rows(path, told)
        except UserError as error:
            skipped.append((name, str(error).removeprefix(f"cannot read {path}: ")))
            continue
        for number, row in enumerate(rows):
            try:
                place = _place(root, row, told)
                if place.number in found:
                    raise UserError(f"episode {place.number} has a row before; keep one of them")
                found[place.number] = _episode(place, row, told)
            except UserError as error:
                skipped.append((f"{name}, row {number}", str(error)))
    return EpisodeSet(root, "lerobot", tuple(found[number] for number in sorted(found)), skipped=tuple(skipped))


def _told(path: Path, info: Any) -> Told:
    version = re.match(r"v?(\d+)\.", str(info.get("codebase_version"))) if isinstance(info, dict) else None
    if not version:
        raise UserError(f"{path} has no codebase_version; give the folder of a LeRobot dataset")
    if int(version[1]) != 3:
        old = "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=NAME --root=FOLDER --push-to-hub=false"
        mend = f"convert it: {old}" if int(version[1]) < 3 else "give one of version 3"
        raise UserError(f"{path.parent.parent} is LeRobot {info['codebase_version']}, only version 3 is read; {mend}")
    told = None
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        features = {str(name): dict(feature) for name, feature in info["features"].items()}
        films = (name for name, feature in features.items() if feature["dtype"] == "video" and not _is_depth(feature))
        spans = {files.SPLITS.get(name): _span(text) for name, text in (info.get("splits") or {}).items()}
        columns = tuple(name for name in TRACKS if name in features)
        camera, paths = min(films, default=""), (info["data_path"], info["video_path"])
        told = Told(float(info["fps"]), camera, columns, *paths, spans.get("test"))
    if told and not told.camera:
        mend = "convert pictures with: lerobot-edit-dataset --operation.type convert_image_to_video"
        raise UserError(f"{path.parent.parent} has no videos; {mend}")
    if not told or not 0 < told.fps < 1e4 or not isinstance(told.data, str) or not isinstance(told.video, str):
        raise UserError(f"{path} lacks a usable fps, features, data_path, video_path or splits; copy or download it again")
    return told


def _is_depth(feature: dict[str, Any]) -> bool:
    told = (feature.get("info") or {}) | (feature.get("video_info") or {})
    return bool(told.get("is_depth_map") or told.get("video.is_depth_map"))


def _span(text: str) -> range:
    first, last = text.split(":")
    return range(int(first), int(last))


def _columns(told: Told) -> list[str]:
    of_video = [f"videos/{told.camera}/{key}" for key in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
    return ["episode_index", "length", "data/chunk_index", "data/file_index", *of_video]


def _rows(path: Path, told: Told) -> list[dict[str, Any]]:
    with _parquet(path) as parquet:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if missing := set(_columns(told)) - set(names):
            raise UserError(f"cannot read {path}: it has no column {min(missing)}; copy or download it again")
        tasks = ["tasks"] if "tasks" in names else []
        return file.read(columns=[*_columns(told), *tasks]).to_pylist()


def _place(root: Path, row: dict[str, Any], told: Told) -> Place:
    try:
        number, length, chunk, file, film_chunk, film_file = (int(row[name]) for name in _columns(told)[:6])
        begin, end = (float(row[name]) for name in _columns(told)[6:])
        data = root / told.data.format(chunk_index=chunk, file_index=file)
        video = root / told.video.format(video_key=told.camera, chunk_index=film_chunk, file_index=film_file)
        whole = number >= 0 and length > 0 and 0 <= begin < 1e9 and (end - begin) * told.fps > length - 0.5
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        whole = False
    if not whole:
        raise UserError("its length, files and time in the mp4 do not fit together; copy or download the set again")
    return Place(number, length, data, video, begin, told.fps)


def _episode(place: Place, row: dict[str, Any], told: Told) -> Episode:
    stamp = f"{files.stamp(place.data, place.video)}|{place.begin}|{place.length}"
    tasks = row.get("tasks")
    text = "; ".join(map(str, tasks)) if isinstance(tasks, list) else tasks
    split: files.Split | None = None if told.test is None else "test" if place.number in told.test else "train"
    name, tracks = f"episode_{place.number:06d}", partial(_tracks, place, told.columns)
    return Episode(name, stamp, partial(_info, place), partial(_frames, place), tracks, text, split)


def _info(place: Place) -> VideoInfo:
    with _film(place.video) as (_, stream):
        codec = stream.codec_context
        return VideoInfo(place.length, codec.height, codec.width, place.fps, codec.codec.canonical_name)


def _frames(place: Place, size: int | None) -> Iterator[Frame]:
    """The pictures from `begin` on. The file is entered at the key frame before, not decoded from its start."""
    early = place.begin - 0.5 / place.fps  # half a frame: stored times are rounded
    count = 0
    with _film(place.video) as (container, stream):
        container.seek(max(0, int(early / stream.time_base)), stream=stream)
        for picture in container.decode(stream):
            if picture.is_corrupt:
                break
            if picture.time is None or picture.time < early:
                continue
            yield Frame(count / place.fps, partial(_pixels, picture, size))
            count += 1
            if count == place.length:
                return
    raise UserError(f"cannot read {place.video}: {place.length} frames are told, {count} are there; copy or download it again")


def _pixels(picture: Any, size: int | None) -> np.ndarray:
    array = picture.to_ndarray(format="rgb24")
    return array if size is None else cut(array, (size, size))


def _tracks(place: Place, columns: tuple[str, ...]) -> Tracks:
    with _parquet(place.data):
        table = _table(place.data, columns, files.stamp(place.data))
        rows = table.filter(table["episode_index"].to_numpy() == place.number)
        found = {name: np.asarray(rows[name].to_pylist(), np.float32) for name in columns}
    for name, values in found.items():
        files.per_frame(place.data, f"{name}s of episode {place.number}", values, place.length)
        found[name] = files.vectors(place.data, name, values, *(values.shape[1:] if name == "action" else ()))
    return {TRACKS[name]: values.reshape(place.length, -1) if name == "action" else values for name, values in found.items()}


@lru_cache(maxsize=1)  # episodes of one file come one after the other, and to find one costs as much as to read all
def _table(path: Path, columns: tuple[str, ...], stamp: str) -> Any:
    with _parquet(path) as parquet:
        return parquet.ParquetFile(path).read(columns=["episode_index", *columns])


@contextmanager
def _film(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, stream of pictures). Metadata is none of ours: damage there is left alone."""
    settings: Any = {"options": {"format_whitelist": "mov"}, "metadata_errors": "replace"}
    try:
        with open(path, "rb") as file, av.open(file, **settings) as container:
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise UserError(f"cannot read {path}: it has no pictures that can be decoded; copy or download it again")
            yield container, container.streams.video[0]
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"cannot read {path}: it is damaged; copy or download it again") from error


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    pyarrow = _pyarrow()
    try:
        yield pyarrow.parquet
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path}: it is damaged or of another form; copy or download it again") from error


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("the tables of LeRobot need pyarrow; install it: pip install 'unspool[lerobot]'") from None
    return pyarrow

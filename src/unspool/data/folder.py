"""A folder of videos of any size, length and format as a source of training clips.

On first use every video of the split is decoded once, cut to a square, and kept as raw uint8 in a cache from which
clips are mapped at memory speed (thousands a second, against about a hundred from mp4). Each video has a file of its
own there, named after what it was made from, so a changed video is decoded again and the others are not; an
interrupted preparation goes on where it stopped. Which clip is which is arithmetic over that list: no order, worker or
rank enters.
"""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch

from unspool.data.clips import gaps
from unspool.data.video import Frame, probe, read_frames
from unspool.errors import UserError
from unspool.noise import fold
from unspool.store import write_aside

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".m4v")
CACHE_LIMIT = 8 << 30
_FORMAT = 1  # of the cache: count up when the same video would give other pixels


class Note(NamedTuple):
    """What metadata.jsonl says of one video. text: a caption; fps: its true rate, where the time stamps are wrong;
    actions: kept as they stand, one per frame."""

    text: str | None = None
    fps: float | None = None
    actions: Sequence[Any] | None = None


class Entry(NamedTuple):
    """One usable video. name: path relative to the folder; frames: as cached; note: its line of metadata.jsonl."""

    name: str
    frames: int
    note: Note
    cached: Path


@final
class VideoFolder:
    """Clips from the videos under `root`; `VideoFolder(...)(indices, frames, seed=0)` is (B, T, size, size, 3) uint8.

    Clip i is a pure function of (seed, i): one start among all starts of all videos, each as likely as any other.
    Train and test are split by file, by a hash of its name relative to `root`: a file keeps its side when others come
    and go. (Where a small folder would leave one side empty, the file nearest to the border changes over.)

    size: pixels of a side, after a centre cut. frames_min: shorter videos are skipped. holdout: share of test files.
    target_fps: choose the frames nearest to this rate by their time stamps; None takes every frame. cache_dir: where
    decoded videos are kept ($XDG_CACHE_HOME/unspool/videos). cache_limit: bytes of it that the split may fill.
    on_progress(done, total) is called after each video of the preparation.

    A metadata.jsonl in `root` is read where present. `skipped` lists (path, reason) of what could not be used, and a
    warning names it. Raises UserError: no such folder, nothing usable, metadata that does not fit, too large a cache.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int,
        *,
        split: str = "train",
        holdout: float = 0.1,
        frames_min: int = 2,
        target_fps: float | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_limit: int = CACHE_LIMIT,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.root, self.size, self.split = Path(root), size, split
        rate_fits = target_fps is None or target_fps > 0
        if split not in ("train", "test") or not 0 <= holdout < 1 or size < 1 or not rate_fits:
            raise UserError(f"cannot use {root}: split is train or test, 0 <= holdout < 1, size >= 1, target_fps > 0")
        names = _names(self.root)
        notes = _notes(self.root / "metadata.jsonl", names)
        self._target_fps = target_fps
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unspool" / "videos"
        self._cache = Path(cache_dir or home) / _digest(f"{self.root.resolve()}|{size}|{target_fps}|{_FORMAT}")
        self.skipped: list[tuple[Path, str]] = []
        members = {name: notes.get(name, Note()) for name in sorted(_members(names, split, holdout))}
        self._survey(members, cache_limit)
        self.videos = self._prepare(members, max(1, frames_min), on_progress)
        self._report(len(names))
        self._lengths = np.array([entry.frames for entry in self.videos])

    def __call__(self, indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> np.ndarray:
        """Clips of the global sample indices (B,) int64: (B, frames, size, size, 3) uint8, a copy.

        anchor, reach: `anchor` frames more stand in front, from up to `reach` frames before, as far as the video goes.
        """
        clips = np.empty((len(indices), anchor + frames, self.size, self.size, 3), np.uint8)
        back = gaps(indices, seed, reach)
        for clip, video, start, gap in zip(clips, *self.where(indices, frames, seed=seed), back, strict=True):
            entry = self.videos[video]
            whole, first = _mapped(entry.cached, entry.frames, self.size), max(0, start - gap)
            clip[:anchor] = whole[first : first + anchor]
            clip[anchor:] = whole[start : start + frames]
        return clips

    def where(self, indices: np.ndarray, frames: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Which clips these are: (B,) positions in `videos` and (B,) first frames."""
        starts = np.maximum(self._lengths - frames + 1, 0)
        ends = np.cumsum(starts)
        if frames < 1 or not ends[-1]:
            longest = self._lengths.max()
            raise UserError(f"no video of {self.root} has {frames} frames: use clips of 1 to {longest} frames")
        key = fold(torch.tensor(seed), torch.as_tensor(np.asarray(indices), dtype=torch.int64))
        pick = (key.numpy().view(np.uint64) % np.uint64(ends[-1])).astype(np.int64)
        video = np.searchsorted(ends, pick, side="right")
        return video, pick - (ends - starts)[video]

    def _cached(self, name: str, note: Note) -> Path:
        stat = (self.root / name).stat()
        return self._cache / (_digest(f"{name}|{stat.st_size}|{stat.st_mtime_ns}|{note.fps}") + ".rgb")

    def _survey(self, members: dict[str, Note], limit: int) -> None:
        """Refuse a set that is too large before it is decoded, not after; drop what cannot even be opened."""
        need = 0
        for name, note in list(members.items()):
            cached = self._cached(name, note)
            if cached.exists():
                need += cached.stat().st_size
                continue
            try:
                info = probe(self.root / name)
            except UserError as error:
                self._skip(name, error)
                del members[name]
                continue
            fps = note.fps or info.fps
            ratio = self._target_fps / fps if self._target_fps and fps else 1.0
            need += round(info.frames * ratio) * self.size**2 * 3
        if need > limit:
            raise UserError(
                f"the videos of {self.root} would fill {need / 1e9:.1f} GB decoded at {self.size} px, the limit is "
                f"{limit / 1e9:.1f} GB: use fewer videos, a smaller size or target_fps, or raise cache_limit"
            )

    def _prepare(
        self, members: dict[str, Note], frames_min: int, on_progress: Callable[[int, int], None] | None
    ) -> list[Entry]:
        videos = []
        for done, (name, note) in enumerate(members.items(), 1):
            cached = self._cached(name, note)
            try:
                if not cached.exists():
                    self._decode(name, note, cached)
                frames = cached.stat().st_size // (self.size**2 * 3)
                if frames < frames_min:
                    has = f"has {frames} frame{'s' * (frames != 1)}"
                    raise UserError(f"{has}, {frames_min} are needed; give a longer video")
                videos.append(Entry(name, frames, note, cached))
            except UserError as error:
                self._skip(name, error)
            if on_progress:
                on_progress(done, len(members))
        return videos

    def _decode(self, name: str, note: Note, cached: Path) -> None:
        frames = read_frames(self.root / name, size=self.size)
        if note.fps:
            frames = (Frame(i / note.fps, frame.pixels) for i, frame in enumerate(frames))
        if self._target_fps:
            frames = _at_rate(frames, self._target_fps)
        write_aside(cached, lambda aside: _write(aside, frames))

    def _skip(self, name: str, error: UserError) -> None:
        path = self.root / name
        self.skipped.append((path, str(error).removeprefix(f"cannot read {path}: ")))

    def _report(self, files: int) -> None:
        listed = "; ".join(f"{path.name} ({reason.split(';')[0]})" for path, reason in self.skipped[:10])
        more = f"; and {len(self.skipped) - 10} more" if len(self.skipped) > 10 else ""
        if not self.videos:
            why = f"all were skipped: {listed}{more}" if self.skipped else f"it holds {files} videos in all"
            raise UserError(f"no usable {self.split} video in {self.root} ({why}); add videos or mend these")
        if self.skipped:
            warnings.warn(f"skipped {len(self.skipped)} videos of {self.root}: {listed}{more}", stacklevel=3)


def _names(root: Path) -> list[str]:
    """Names of the videos under `root`, relative and sorted. Hidden ones and unfinished recordings are left alone."""
    if not root.is_dir():
        fix = "give the folder that it lies in" if root.exists() else "check the path"
        raise UserError(f"cannot read {root}: {'it is not a folder' if root.exists() else 'no such folder'}; {fix}")
    found = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    names = (path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    return sorted(name for name in names if not name.endswith(".part.mp4"))


def _notes(path: Path, names: list[str]) -> dict[str, Note]:
    """Lines of {"file_name": ..., "text": ..., "fps": ..., "actions": [...]}, by name; other keys are left alone."""
    if not path.exists():
        return {}
    same = {unicodedata.normalize("NFC", name): name for name in names}  # an accent is one character or two
    notes: dict[str, Note] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            name = same[unicodedata.normalize("NFC", record["file_name"])]
        except KeyError as error:
            what = "names no file_name" if error.args == ("file_name",) else f"names {error}, which is not a video here"
            raise UserError(f"{path}, line {number} {what}; mend or delete the line") from None
        except (ValueError, TypeError):
            raise UserError(f'{path}, line {number} is not {{"file_name": "...", ...}}; mend the line') from None
        note = Note(*(record.get(key) for key in Note._fields))
        fits = isinstance(note.text, str | None) and isinstance(note.actions, list | None)
        if not fits or not (note.fps is None or (isinstance(note.fps, int | float) and note.fps > 0)):
            types = "text is a string, fps a number above 0, actions a list"
            raise UserError(f"{path}, line {number}: {types}; mend the line")
        if name in notes:
            raise UserError(f"{path}, line {number} names {name!r} a second time; keep one line of it")
        notes[name] = note
    return notes


def _members(names: list[str], split: str, holdout: float) -> set[str]:
    place = {name: int(_digest(name)[:16], 16) / 2**64 for name in names}  # the test files are those below `holdout`
    test = {name for name in names if place[name] < holdout}
    if holdout and len(names) > 1 and not test:
        test = {min(names, key=lambda name: place[name])}
    elif len(names) > 1 and len(test) == len(names):
        test -= {max(names, key=lambda name: place[name])}
    return test if split == "test" else set(names) - test


def _at_rate(frames: Iterator[Frame], fps: float) -> Iterator[Frame]:
    """For each tick of a clock of `fps`, from the first to the last frame, the frame nearest in time."""
    tick, first, last = 0, 0.0, 0.0
    previous: Frame | None = None
    for frame in frames:
        if frame.time is None:
            raise UserError("its frames have no time stamps; give its fps in metadata.jsonl")
        if previous is None:
            first = frame.time
        else:
            while first + tick / fps <= (last + frame.time) / 2:
                yield previous
                tick += 1
        previous, last = frame, frame.time
    while previous is not None and first + tick / fps <= last + 1e-6:
        yield previous
        tick += 1


def _write(path: Path, frames: Iterator[Frame]) -> None:
    with open(path, "wb") as file:
        for frame in frames:
            file.write(frame.pixels().data)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@lru_cache(maxsize=256)  # not all at once: every map holds a file descriptor
def _mapped(path: Path, frames: int, size: int) -> np.ndarray:
    return np.memmap(path, np.uint8, "r", shape=(frames, size, size, 3))

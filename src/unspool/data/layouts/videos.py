"""A folder of videos of any size, length and format, with what is known of them beside them.

metadata.jsonl, a line for a video: {"file_name": ..., "text": a caption, "fps": its true rate where the time stamps are wrong,
"actions": [...] one for each frame, "split": "train" or "test"}; other keys are left alone. NAME.safetensors beside NAME.mp4
holds arrays by the names of `episodes.Tracks`. recording.json, as `unspool data record` writes it, names the actions.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unspool.data.episodes import Episode, EpisodeSet, Tracks, reason
from unspool.data.video import Frame, VideoInfo, is_video, open_file, probe, read_frames
from unspool.errors import UserError
from unspool.store import read_json

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".mts", ".m2ts")
MOST_FPS = 1000
_FILMED = re.compile(r"\d{6}\.mp4")  # by `unspool data record`, which tells the split of each: some maps are for testing


class Note(NamedTuple):
    """A line of metadata.jsonl."""

    text: str | None = None
    fps: float | None = None
    actions: list[Any] | None = None
    split: str | None = None


def is_here(root: Path) -> bool:
    return any(map(_is_named, _walk(root)[0]))


def read(root: Path) -> EpisodeSet:
    """Lines of metadata that cannot be used are among what is skipped; their videos are not."""
    names, odd = _walk(root)
    videos = list(filter(_is_named, names))
    notes, lies = _notes(root / "metadata.jsonl", videos)
    episodes = []
    for name in videos:
        if "recording.json" in names and _FILMED.fullmatch(name) and (name not in notes or notes[name].split is None):
            odd.append((name, "metadata.jsonl does not tell its split; run the same `unspool data record` again"))
            continue
        try:
            episodes.append(_episode(root, name, notes.get(name, Note())))
        except UserError as error:
            odd.append((name, reason(error, root / name)))
    misnamed = (name for name in names if _is_misnamed(root, name))
    odd += [(name, "it is a video by its content; let its name end in .mp4 or the like") for name in misnamed]
    actions: list[str] = []
    if "recording.json" in names:
        try:
            actions = _action_names(root / "recording.json")
        except UserError as error:
            odd.append(("recording.json", str(error)))
    return EpisodeSet(root, "videos", tuple(episodes), tuple(actions), tuple(sorted(odd) + lies))


def _walk(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the files under `root`, relative and sorted, and (folder, reason) of folders that are left out.

    Hidden files and unfinished recordings are left alone. Links to folders are followed, after the folders themselves; none is
    read twice, for it could be in both splits then, or a loop.
    """
    names: list[str] = []
    odd: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        try:
            stat = os.stat(root / folder)
            if (stat.st_dev, stat.st_ino) in seen:
                odd.append((folder, "it is a link to a folder that is read already; delete it"))
                continue
            seen.add((stat.st_dev, stat.st_ino))
            inside = sorted(os.listdir(root / folder), reverse=True)
        except OSError as error:
            if not folder:
                raise UserError(f"cannot read {root}: {error.strerror}; make it readable (chmod +rx)") from None
            odd.append((folder, f"{error.strerror}; make it readable (chmod +rx)"))
            continue
        for name in (f"{folder}/{name}" if folder else name for name in inside if not name.startswith(".")):
            if os.path.isdir(root / name):
                (links if os.path.islink(root / name) else folders).append(name)
            elif not name.endswith(".part.mp4"):
                names.append(name)
    return sorted(names), odd


def _is_named(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_misnamed(root: Path, name: str) -> bool:
    """Whether a file is a video whose name does not say so."""
    if _is_named(name) or not os.path.isfile(root / name):
        return False
    try:
        with open(root / name, "rb") as file:
            return is_video(file.read(12))
    except OSError:
        return False


def _action_names(path: Path) -> list[str]:
    try:
        told = read_json(path)
        if not isinstance(told, dict) or not all(isinstance(name, str) for name in told.get("actions", [])):
            raise UserError("its actions are not names")
    except (UserError, RecursionError, TypeError) as error:
        raise UserError("it is not JSON with a list of names as actions; mend or delete it") from error
    return list(told.get("actions", []))


def _episode(root: Path, name: str, note: Note) -> Episode:
    path = root / name
    beside = path.with_suffix(".safetensors")
    with open_file(path) as file:
        stat = os.fstat(file.fileno())
    said = sha256(json.dumps([note.fps, note.actions]).encode()).hexdigest()[:8]
    stamp = f"{stat.st_size}|{stat.st_mtime_ns}|{said}"
    if os.path.isfile(beside):  # pathlib raises where the name is too long for any file
        stamp += f"|{beside.stat().st_size}|{beside.stat().st_mtime_ns}"
    split: Any = note.split
    tracks = partial(_tracks, note, beside)
    return Episode(name, stamp, partial(_info, path, note), partial(_frames, path, note), tracks, note.text, split)


def _info(path: Path, note: Note) -> VideoInfo:
    info = probe(path)
    return info if note.fps is None else info._replace(fps=note.fps)


def _frames(path: Path, note: Note, size: int | None) -> Iterator[Frame]:
    for i, frame in enumerate(read_frames(path, size=size)):
        yield frame if note.fps is None else Frame(i / note.fps, frame.pixels)


def _tracks(note: Note, beside: Path) -> Tracks:
    tracks: Tracks = {}
    if os.path.isfile(beside):
        from safetensors.numpy import load_file

        try:
            tracks = load_file(beside)
        except Exception as error:
            raise UserError(f"{beside.name} beside it is not whole ({error}); copy that again, or delete it") from error
    if note.actions is not None:
        try:
            discrete = all(isinstance(action, int) for action in note.actions)
            tracks["actions"] = np.asarray(note.actions, np.int64 if discrete else np.float32)
        except (ValueError, TypeError, OverflowError) as error:
            raise UserError("its actions in metadata.jsonl are not numbers of one shape; mend the line") from error
    return tracks


def _notes(path: Path, names: list[str]) -> tuple[dict[str, Note], list[tuple[str, str]]]:
    """Notes by name, and (line, reason) of each line that cannot be used."""
    notes: dict[str, Note] = {}
    odd: list[tuple[str, str]] = []
    if not os.path.lexists(path):
        return notes, odd
    try:
        with open_file(path) as file:
            text = file.read().decode("utf-8-sig", "replace")
    except UserError as error:
        return notes, [(path.name, reason(error, path))]
    same = {unicodedata.normalize("NFC", name): name for name in names}  # an accent is one character or two
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a caption may hold other line breaks
        if not line.strip():
            continue
        try:
            name, note = _note(line, same)
            if name in notes:
                raise UserError(f"it names {name!r} a second time; keep one line of it")
            notes[name] = note
        except UserError as error:
            odd.append((f"{path.name}, line {number}", str(error)))
    return notes, odd


def _note(line: str, names: Mapping[str, str]) -> tuple[str, Note]:
    try:
        record = json.loads(line)
        name = names[unicodedata.normalize("NFC", record["file_name"])]
    except KeyError as error:
        what = "names no file_name" if error.args == ("file_name",) else f"names {error}, which is not a video here"
        raise UserError(f"it {what}; mend or delete the line") from None
    except (ValueError, TypeError, RecursionError):
        raise UserError('it is not {"file_name": "...", ...}; mend the line') from None
    note = Note(*(record.get(key) for key in Note._fields))
    rate = note.fps is None or (type(note.fps) in (int, float) and 0 < note.fps <= MOST_FPS)
    fits = isinstance(note.text, str | None) and isinstance(note.actions, list | None) and note.split in (None, "train", "test")
    if not rate or not fits:
        types = f"text is a string, fps above 0 and at most {MOST_FPS}, actions a list, split train or test"
        raise UserError(f"{types}; mend the line")
    return name, note

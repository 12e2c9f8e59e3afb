"""A folder of recorded episodes, filmed by one or many processes; killed anywhere, the same call goes on and ends with the
same bytes.

NNNNNN.mp4           the pictures: H.264, a key frame every 15
NNNNNN.safetensors   the tracks (see `episodes.Tracks`), with the episode's line of metadata.jsonl; written last: without it
                     an episode is not there
metadata.jsonl       a line per episode, with the size of its film
recording.json       what all of them are functions of
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from unspool.data.episodes import listed
from unspool.data.record.crew import crew
from unspool.data.record.film import SHORT, SIZE, Camera, Settings, Take, film
from unspool.errors import UserError
from unspool.store import locked, read_json, write_json, write_text

FORMAT = 1  # count up when the same settings would give other episodes
# Of all packages these can change a picture. Only those that a world has loaded are noted.
_PACKAGES = {
    "numpy": "numpy", "av": "av", "PIL": "pillow", "vizdoom": "vizdoom", "memory_maze": "memory-maze", "mujoco": "mujoco",
    "dm_control": "dm-control", "crafter": "crafter", "miniworld": "miniworld", "ale_py": "ale-py", "gymnasium": "gymnasium",
}  # fmt: skip
_OURS = re.compile(r"\.?\d{6}(\.\d+)?(\.part)?\.mp4|\.(\d{6}\.safetensors|metadata\.jsonl|recording\.json)\..*")

Open = Callable[[Settings], Camera]


class Report(NamedTuple):
    """What a folder holds, and how fast this call filmed its part of it.

    episodes, frames, test: in all, and episodes for testing. layouts: see `Simulator`; shared: how many both sides show. short:
    episodes of fewer than SHORT frames. filmed: episodes of this call; again: tries of them that were thrown away.
    simulator_fps: the world stepped and its picture brought to size; encoder_fps; each alone, in one process. recording_fps:
    frames (of all tries) by the clock, all processes together. efficiency: recording_fps over what simulator and encoder
    taking turns would reach in as many processes as filmed.
    """

    episodes: int
    frames: int
    test: int
    layouts: int | None
    shared: int
    short: int
    filmed: int
    again: int
    simulator_fps: float
    encoder_fps: float
    recording_fps: float
    efficiency: float


def open_camera(settings: Settings) -> Camera:
    """A world by what a user types. Raises UserError for an unknown one, and for options that it does not have."""
    from unspool.data.record import SIMULATORS, open_simulator
    from unspool.data.record.film import SimulatorCamera
    from unspool.data.record.rooms import RoomsCamera

    name = settings.world.partition(":")[0]
    if name == "rooms":
        return RoomsCamera(settings)
    if name not in SIMULATORS:
        import difflib

        worlds = (*SIMULATORS, "rooms")
        near = difflib.get_close_matches(name, worlds, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(worlds)}"
        raise UserError(f"there is no world {name!r}; {meant}")
    return SimulatorCamera(open_simulator(settings.world, settings.size), settings)


def record(
    folder: Path,
    settings: Settings,
    episodes: int,
    workers: int = 1,
    *,
    opens: Open = open_camera,
    report: Callable[[int, int, float], None] = lambda done, total, fps: None,
) -> Report:
    """Film `episodes` episodes into `folder`, less those that are there, with `workers` processes (1: this one).

    Episode i is a function of (settings, i) alone. opens: makes a camera, in each process anew. report(done, total, fps) is
    called at the start and after each episode. Raises UserError: another recorder at work in the folder, a folder that was
    recorded with other settings or is no recording, a world that breaks down, a full disk. Whatever is raised, whole episodes
    stay.
    """
    with closing(opens(settings)) as camera, locked(folder, "recording", ()):
        _agree(folder, settings, camera)
        lines = _found(folder)
        missing = [n for n in range(episodes) if n not in lines]
        groups = _groups(camera, missing, workers)
        done, total = len(lines), len(lines) + len(missing)
        report(done, total, 0.0)
        takes: list[Take] = []
        begun = time.perf_counter()
        try:
            with closing(_takes(camera, settings, groups, folder, workers, opens)) as filmed:
                for take in filmed:
                    takes.append(take)
                    _append(folder / "metadata.jsonl", take.line)
                    report(done + len(takes), total, _per(sum(t.filmed for t in takes), time.perf_counter() - begun))
        finally:
            seconds = time.perf_counter() - begun
            lines = _found(folder)
            _list(folder / "metadata.jsonl", lines)
        return _report(camera, lines, takes, seconds, max(1, min(workers, len(groups))))


def _groups(camera: Camera, missing: list[int], workers: int) -> list[list[int]]:
    """Episodes that one worker films in a row."""
    size = max(1, min(camera.batch, len(missing) // workers))
    return [missing[at : at + size] for at in range(0, len(missing), size)]


def _takes(
    camera: Camera, settings: Settings, groups: list[list[int]], folder: Path, workers: int, opens: Open
) -> Generator[Take, None, None]:
    if workers == 1 or len(groups) < 2:
        for episode in chain.from_iterable(groups):
            yield film(camera, episode, settings.frames, folder, lambda place: None)
        return
    camera.close()
    yield from crew(groups, settings, folder, min(workers, len(groups)), opens, camera.place)


def _report(
    camera: Camera, lines: dict[int, dict[str, Any]], takes: list[Take], seconds: float, workers: int
) -> Report:
    filmed = sum(take.filmed for take in takes)
    world, encoder = sum(take.world for take in takes), sum(take.encoder for take in takes)
    maps = {side: {line["layout"] for line in lines.values() if line["split"] == side} for side in ("train", "test")}
    return Report(
        episodes=len(lines), frames=sum(line["frames"] for line in lines.values()),
        test=sum(line["split"] == "test" for line in lines.values()),
        layouts=camera.layouts, shared=len(maps["train"] & maps["test"]),
        short=sum(line["frames"] < SHORT for line in lines.values()),
        filmed=len(takes), again=sum(take.line["tries"] - 1 for take in takes),
        simulator_fps=_per(filmed, world), encoder_fps=_per(filmed, encoder), recording_fps=_per(filmed, seconds),
        efficiency=round(_per(world + encoder, seconds * workers, 3), 3),
    )  # fmt: skip


def _per(count: float, seconds: float, digits: int = 1) -> float:
    return round(count / seconds, digits) if seconds > 0 else 0.0


# ---- the folder


def _agree(folder: Path, settings: Settings, camera: Camera) -> None:
    """Note what is recorded here, or refuse what would not fit to what was noted."""
    versions = {package: version(package) for module, package in _PACKAGES.items() if module in sys.modules}
    note = {
        "format": FORMAT, **settings._asdict(), "fps": camera.fps, "actions": list(camera.actions),
        "layouts": camera.layouts, "versions": versions,
    }  # fmt: skip
    path = folder / "recording.json"
    if not path.exists():
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise UserError(f"{folder} holds other files and no recording; give --out a new folder")
        write_json(path, note)
        return
    before = read_json(path)
    if not isinstance(before, dict) or not isinstance(before.get("versions"), dict):
        raise UserError(f"{path} does not tell what was recorded; give --out a new folder")
    flats = [{key: value for key, value in {**one, **one["versions"]}.items() if key != "versions"} for one in (before, note)]
    for key in flats[1] | flats[0]:
        was, now = (flat.get(key) for flat in flats)
        if was != now:
            raise UserError(f"{folder} was recorded with {key} {was}, now it is {now}; use that again, or another --out")


def _found(folder: Path) -> dict[int, dict[str, Any]]:
    """The lines of the episodes that are whole, by number; what is not whole is deleted, and told where it once was."""
    lines, sizes, damaged = {}, _sizes(folder / "metadata.jsonl"), list[tuple[str, str]]()
    for path in sorted(folder.glob("[0-9]" * 6 + ".safetensors")):
        line, video = _line(path), path.with_suffix(".mp4")
        size = video.stat().st_size if video.exists() else None
        if size is not None and sizes.get(video.name, size) != size:
            damaged.append((video.name, f"{size} bytes, {sizes[video.name]} were written"))
            video.unlink()
            size = None
        if line and size is not None:
            lines[int(path.stem)] = line | {SIZE: size}
        else:
            path.unlink()
    if damaged:
        warnings.warn(f"{len(damaged)} films of {folder} are damaged and are filmed again: {listed(damaged)}", stacklevel=3)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and not path.with_suffix(".safetensors").exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return lines


def _line(tracks: Path) -> dict[str, Any] | None:
    """What a file of tracks says of its episode; None where it is torn. Raises UserError where it cannot be read at all."""
    try:
        with safe_open(tracks, "numpy") as file:
            line = json.loads(file.metadata()["episode"])
    except (SafetensorError, KeyError, TypeError, ValueError):  # by a crash of the whole machine
        return None
    except OSError as error:
        raise UserError(f"cannot read {tracks}: {error}; make it readable, then the same command goes on") from error
    return line if isinstance(line, dict) else None


def _sizes(path: Path) -> dict[str, int]:
    """Bytes of the films by name, as far as metadata.jsonl tells them; an older one does not, and one may be torn."""
    sizes = {}
    for text in path.read_text("utf-8", "replace").splitlines() if path.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            line = json.loads(text)
            sizes[line["file_name"]] = int(line[SIZE])
    return sizes


def _append(path: Path, line: dict[str, Any]) -> None:
    """A whole line or, on a full disk, none."""
    text = (json.dumps(line) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            file.truncate(before)
            raise UserError(f"cannot write {path}: {error.strerror}; free some space, then the same command goes on") from error


def _list(path: Path, lines: dict[int, dict[str, Any]]) -> None:
    """All lines, in order."""
    text = "".join(json.dumps(line) + "\n" for line in lines.values())
    if lines and (not path.exists() or path.read_text() != text):
        write_text(path, text)

"""One episode on film: pictures into an mp4 as they come, all else that is known of it into a safetensors file beside it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, final

import numpy as np
import torch

from unspool.data.episodes import Tracks
from unspool.data.record.explore import Action, explore, flat
from unspool.data.record.simulator import Simulator
from unspool.data.video import cut
from unspool.data.worlds.hashing import bits, mix, uniform
from unspool.data.writer import VideoWriter
from unspool.errors import UserError
from unspool.store import save_tensors

SHORT = 16  # frames; what ends sooner is filmed again
TRIES = 4  # on a map
MAPS = 3  # that are tried at most
MOST_FLAT = 0.05  # share of views that show next to nothing; with more of them an episode is filmed again
SIZE = "bytes"  # of the film, in its line of metadata.jsonl, by which damage is noticed later
CRF = 8  # with full colours 47 dB at 64 pixels of our finest textures; halved ones end at 31 dB
_BLOCK = 32  # frames that are handed to the encoder at once

Write = Callable[[np.ndarray], None]


class Settings(NamedTuple):
    """What an episode is a function of, its number beside it."""

    world: str
    size: int = 64
    frames: int = 1000
    seed: int = 0
    holdout: float = 0.1


class Place(NamedTuple):
    """Where and from what seed an episode begins. layout: the number of its map."""

    episode: int
    seed: int
    layout: int
    split: Literal["train", "test"]


class Camera(Protocol):
    """A world that is filmed. batch: so many neighbouring episodes are best filmed by one worker. seconds: spent in the world
    so far. All else: see `Simulator`."""

    fps: float
    batch: int
    seconds: float

    @property
    def actions(self) -> tuple[str, ...]: ...

    @property
    def layouts(self) -> int | None: ...

    def place(self, episode: int, attempt: int) -> Place:
        """Arithmetic: it can be asked of a closed camera as well."""
        ...

    def shoot(self, place: Place, frames: int, write: Write) -> Tracks:
        """Film up to `frames` frames, handed to `write` in blocks (T, size, size, 3) uint8."""
        ...

    def close(self) -> None:
        """A second call does nothing."""
        ...


class Take(NamedTuple):
    """A filmed episode. line: its line of metadata.jsonl. filmed: frames of all tries; world, encoder: seconds spent on them in
    the simulator and in the encoder."""

    line: dict[str, Any]
    filmed: int
    world: float
    encoder: float


def film(camera: Camera, episode: int, frames: int, folder: Path, begins: Callable[[Place], object]) -> Take:
    """Leave NNNNNN.mp4 and then NNNNNN.safetensors in `folder`; the second one says that both are whole.

    An episode of fewer than SHORT frames, or with too many flat views, is filmed again from another seed, and after TRIES on
    another map of its side where there is one; of all tries the best is kept, a longer one rather than a short one. begins:
    told of each try. Raises UserError where none has two frames, or the disk is full.
    """
    world, encoder, filmed, longest = camera.seconds, 0.0, 0, 0
    target, best = folder / f"{episode:06d}.mp4", None
    tries = TRIES if camera.layouts == 1 else TRIES * MAPS
    for attempt in range(tries):
        place = camera.place(episode, attempt)
        begins(place)
        path = folder / f".{episode:06d}.{attempt}.mp4"
        with _Reel(path, camera.fps) as reel:
            tracks = camera.shoot(place, frames, reel.write)
        encoder, filmed, longest = encoder + reel.seconds, filmed + reel.frames, max(longest, reel.frames)
        lack, flat_share = max(0, SHORT - reel.frames), reel.flat / max(1, reel.frames)
        if reel.frames > 1 and (best is None or (lack, flat_share) < (best.lack, best.flat)):
            best = _Try(lack, flat_share, tracks, _line(place, camera.fps, reel.frames))
            os.replace(path, target)
        path.unlink(missing_ok=True)
        if best and not best.lack and best.flat <= MOST_FLAT:
            break
    if best is None:
        raise UserError(
            f"episode {episode} of this world ends within {longest} frames, from {tries} seeds: choose another world"
        )
    line = {**best.line, "tries": attempt + 1}
    try:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(track)) for name, track in best.tracks.items()}
        save_tensors(target.with_suffix(".safetensors"), tensors, {"episode": json.dumps(line)})
    except UserError:
        target.unlink()
        raise
    return Take(line | {SIZE: target.stat().st_size}, filmed, camera.seconds - world, encoder)


class _Try(NamedTuple):
    lack: int
    flat: float
    tracks: Tracks
    line: dict[str, Any]


def _line(place: Place, fps: float, frames: int) -> dict[str, Any]:
    return {
        "file_name": f"{place.episode:06d}.mp4", "fps": fps, "frames": frames, "seed": place.seed,
        "layout": place.layout, "split": place.split,
    }  # fmt: skip


@final
class _Reel:
    """A video on its way to disk: how many frames, how many of them flat, how long the encoder took."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.frames = self.flat = 0
        self.seconds = 0.0
        self._out: VideoWriter | None = None

    def write(self, frames: np.ndarray) -> None:
        begun = time.perf_counter()
        if self._out is None:
            self._out = VideoWriter(self.path, size=frames.shape[1:3], fps=self.fps, crf=CRF, full_colour=True)
        self._out.write(frames)
        self.seconds += time.perf_counter() - begun
        self.frames += len(frames)
        self.flat += int(flat(frames).sum())

    def __enter__(self) -> _Reel:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        begun = time.perf_counter()
        if self._out is not None:
            self._out.discard() if kind else self._out.close()
        self.seconds += time.perf_counter() - begun


@final
class SimulatorCamera:
    """Any `Simulator`, walked through by an explorer."""

    batch = 1

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.fps, self.actions, self.layouts = simulator.fps, simulator.actions, simulator.layouts
        self.seconds = 0.0
        self._simulator, self._settings, self._open = simulator, settings, True
        self._key = mix(np.asarray([settings.seed], np.int64).astype(np.uint64))
        self._closed = np.array(simulator.closed, np.uint64)
        self._border = _border(simulator.layouts, self._closed, settings.holdout)

    def place(self, episode: int, attempt: int) -> Place:
        seed = int(bits(self._key, 1, episode, attempt)[0] >> np.uint64(33))  # 31 bits: simulators want no more
        split = split_of(episode, self._settings.holdout)
        return Place(episode, seed, self._layout(episode, split, attempt // TRIES), split)

    def shoot(self, place: Place, frames: int, write: Write) -> Tracks:
        rng = np.random.default_rng([self._settings.seed % 2**63, place.episode, place.seed])
        with self._inside(place):
            view = self._simulator.reset(place.seed, place.layout)
            world_map = None if self._simulator.map is None else np.array(self._simulator.map)
            steps = explore(self._simulator, rng, view)
            taken: dict[str, list[Any]] = {"actions": [], "poses": [], "rewards": []}
            block: list[np.ndarray] = []
        for t in range(frames):
            if view.done:
                break
            with self._inside(place):
                block.append(cut(view.frame, (self._settings.size,) * 2))
            action: Action = next(steps) if t == 0 else steps.send(view)
            taken["actions"].append(action)
            if view.pose is not None:
                taken["poses"].append(view.pose)
            with self._inside(place):
                view = self._simulator.step(action)
            taken["rewards"].append(view.reward)
            if len(block) == _BLOCK:
                write(np.stack(block))
                block.clear()
        if block:
            write(np.stack(block))
        return _tracks(taken, world_map)

    def close(self) -> None:
        if self._open:
            self._simulator.close()
        self._open = False

    def _layout(self, episode: int, split: str, again: int) -> int:
        """A map of the right side, drawn among all of them; another one for each number `again`, while there are more."""
        if self.layouts == 1:
            return 0
        for draw in count():
            layouts = bits(self._key, 2, episode, np.arange(1024), draw) % np.uint64(self.layouts or 2**31)
            fits = layouts[((_chance(layouts) < self._border) == (split == "test")) & ~np.isin(layouts, self._closed)]
            if len(fits):
                maps = list(dict.fromkeys(fits.tolist()))  # in the order in which they were drawn
                return int(maps[again % len(maps)])
        raise AssertionError("endless")

    @contextmanager
    def _inside(self, place: Place) -> Iterator[None]:
        """Time spent in the simulator, and what goes wrong there in one line."""
        begun = time.perf_counter()
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(crash(self._settings.world, place, what)) from error
        finally:
            self.seconds += time.perf_counter() - begun


def crash(world: str, place: Place, what: str) -> str:
    """What to say when a world breaks down."""
    where = f"episode {place.episode} (seed {place.seed}, layout {place.layout})"
    return f"{world} crashed in {where}: {what}; what was recorded stays, the same command goes on from there"


def split_of(episode: int, holdout: float) -> Literal["train", "test"]:
    """Test episodes come at an even pace, and one of the first two is one of them: any number of episodes has its share, and
    those of before keep their side when more are added."""

    def tests(episodes: int) -> int:
        return min(episodes - 1, max(1, int(episodes * holdout + 0.5))) if episodes > 1 and holdout else 0

    return "test" if tests(episode + 1) > tests(episode) else "train"


def _border(layouts: int | None, closed: np.ndarray, holdout: float) -> float:
    """Maps whose hash lies below it are for testing. It is `holdout`, moved so far that a world of few maps has both sides."""
    maps = np.arange(min(layouts or 4096, 4096)).astype(np.uint64)
    places = np.sort(_chance(np.setdiff1d(maps, closed)))
    if len(places) < 2 or not holdout:
        return holdout
    return float(np.clip(holdout, np.nextafter(places[0], np.float32(2)), places[-1]))


def _chance(layouts: np.ndarray) -> np.ndarray:
    """In 0 .. 1 for every map, the same in every set: what is held out of one is held out of all."""
    return uniform(mix(layouts), 0)


def _tracks(taken: dict[str, list[Any]], world_map: np.ndarray | None) -> Tracks:
    discrete = not isinstance(taken["actions"][0], np.ndarray) if taken["actions"] else True
    tracks = {"actions": np.array(taken["actions"], np.int64 if discrete else np.float32)}
    if taken["poses"]:
        tracks["poses"] = np.array(taken["poses"], np.float32)
    tracks["rewards"] = np.array(taken["rewards"], np.float32)
    return tracks if world_map is None else {**tracks, "map": world_map}

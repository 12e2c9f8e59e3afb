"""Our own world `rooms` on film: whole batches of walks at once, drawn frame by frame as they are written."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import final

import numpy as np

from unspool.data import open_world
from unspool.data.episodes import Tracks
from unspool.data.record.film import Place, Settings, Write, split_of
from unspool.data.worlds.hashing import bits, mix
from unspool.data.worlds.rooms import ACTIONS, Episode, Rooms

_BLOCK = 64  # frames that are drawn at once


@final
class RoomsCamera:
    """See `Camera`. Test episodes are walks through plans that training never shows, those of the world's own split `unseen`.

    Poses are those of the world: x and y in cells, heading in radians from east to south, so that `right` makes it grow. map:
    (13, 13) bool, the solid cells [y, x]. Raises UserError for a size or an option that the world does not have.
    """

    actions = ACTIONS
    batch = 16  # walks of a batch cost a third of what each costs alone

    def __init__(self, settings: Settings) -> None:
        self._worlds = {"train": _rooms(settings, "train"), "test": _rooms(settings, "unseen")}
        self._holdout, self._frames = settings.holdout, settings.frames
        self._key = mix(np.asarray([settings.seed], np.int64).astype(np.uint64))
        self.fps, self.layouts, self.seconds = float(Rooms.fps), self._worlds["train"].plans, 0.0
        self._walks = lru_cache(1)(self._walk)

    def place(self, episode: int, attempt: int) -> Place:
        split = split_of(episode, self._holdout)
        seed = self._seed(episode, attempt)
        layout = int(self._worlds[split].numbers(np.array([seed]))[0])
        return Place(episode, seed, layout, split)

    def shoot(self, place: Place, frames: int, write: Write) -> Tracks:
        world, episode = self._worlds[place.split], self._episode(place)
        poses, actions = episode.walk
        for start in range(0, frames, _BLOCK):
            begun = time.perf_counter()
            walk = episode.walk._replace(poses=poses[:, start : start + _BLOCK])
            block = np.ascontiguousarray(world.render(Episode(episode.layout, walk))[0])
            self.seconds += time.perf_counter() - begun
            write(block)
        return {"actions": actions[0], "poses": poses[0], "map": episode.layout.solid[0]}

    def close(self) -> None:
        self._walks.cache_clear()

    def _episode(self, place: Place) -> Episode:
        """One walk, out of a batch of neighbours unless it is filmed again."""
        begun = time.perf_counter()
        first = place.episode - place.episode % self.batch
        if place.seed == self._seed(place.episode, 0):
            neighbours = [n for n in range(first, first + self.batch) if split_of(n, self._holdout) == place.split]
            walks, row = self._walks(place.split, tuple(self._seed(n, 0) for n in neighbours)), neighbours.index(place.episode)
        else:
            walks, row = self._walk(place.split, (place.seed,)), 0
        self.seconds += time.perf_counter() - begun
        return Episode(_row(walks.layout, row), _row(walks.walk, row))

    def _walk(self, split: str, seeds: tuple[int, ...]) -> Episode:
        return self._worlds[split].episodes(np.array(seeds), self._frames)

    def _seed(self, episode: int, attempt: int) -> int:
        return int(bits(self._key, 1, episode, attempt)[0] >> np.uint64(33))


def _rooms(settings: Settings, split: str) -> Rooms:
    world = open_world(settings.world, settings.size, "unseen" if split == "unseen" else "train")
    assert isinstance(world, Rooms)
    return world


def _row(batch, row: int):
    """One of a batch, as a batch of one."""
    return type(batch)(*(array[row : row + 1] for array in batch))

"""Whole held-out videos to measure on, frame after frame: of a world, of a folder, of prepared shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, final

import numpy as np

from unspool.data import WORLDS, open_source, open_world
from unspool.data.clips import FILM, Split, World
from unspool.data.shards import Shards
from unspool.errors import NothingThere, UserError

MANY = 1 << 20
"""Reels that a world is said to have: it has no last one."""


class Reels(Protocol):
    """Videos of `frames` frames at least, numbered; what is asked of one is a pure function of its number."""

    fps: float
    frames: int

    def __len__(self) -> int: ...

    def name(self, reel: int) -> str: ...

    def blocks(self, reel: int) -> Iterator[np.ndarray]:
        """All its `frames` frames, uint8 (n, H, W, 3) at a time."""
        ...

    def beginnings(self, reels: Sequence[int], frames: int) -> np.ndarray:
        """Only the first frames of some, uint8 (len(reels), frames, H, W, 3)."""
        ...

    def actions(self, reel: int) -> np.ndarray | None:
        """(frames, K) float32, what led to each frame; None where it is not known."""
        ...

    def again(self, reel: int, at: int, futures: int) -> Iterator[np.ndarray] | None:
        """What else could have followed its first `at` frames: uint8 (futures, n, H, W, 3) at a time, frames - at in all. None
        where nothing but what happened is known."""
        ...


def open_reels(
    data: str, size: int, frames: int, split: Split = "seen", on_progress: Callable[[int, int], None] | None = None
) -> Reels:
    """By what a user types, as `open_source`; split: a folder knows train and, else, what is held out of it.

    Raises UserError where no video has so many frames, and for latents, which are not what anyone looks at.
    """
    if data.partition(":")[0] in WORLDS:
        return WorldReels(open_world(data, size, split), data, frames)
    source = open_source(data, size, "train" if split == "train" else "test", on_progress)
    assert isinstance(source, Shards)
    if len(source.shape) != 3 or source.shape[-1] != 3:
        raise UserError(f"{data} holds latents, and what is measured are pictures; name the videos that they were made of")
    return ShardReels(source, frames)


@final
class WorldReels:
    """Clip number k of a world, as `sample --clip k` begins with it."""

    def __init__(self, world: World, name: str, frames: int) -> None:
        self.world, self.title, self.fps, self.frames = world, name, float(world.fps), frames

    def __len__(self) -> int:
        return MANY

    def __repr__(self) -> str:
        return repr(self.world)

    def name(self, reel: int) -> str:
        return f"{self.title}, clip {reel}"

    def blocks(self, reel: int) -> Iterator[np.ndarray]:
        return (block[0] for block in self.world.film(self._seeds(reel, 1), self.frames))

    def beginnings(self, reels: Sequence[int], frames: int) -> np.ndarray:
        return self.world(np.asarray(reels, np.int64), frames).frames

    def actions(self, reel: int) -> np.ndarray | None:
        led = self.world(np.array([reel]), self.frames).actions
        return None if led is None else led[0]

    def again(self, reel: int, at: int, futures: int) -> Iterator[np.ndarray] | None:
        others = self.world.seeds(np.arange(futures), seed=1 + reel)
        return self.world.film(self._seeds(reel, futures), self.frames - at, at=at, again=others)

    def _seeds(self, reel: int, count: int) -> np.ndarray:
        return self.world.seeds(np.full(count, reel))


@final
class ShardReels:
    """Stretches of `frames` frames that do not overlap, the first of every episode before the second of any."""

    def __init__(self, shards: Shards, frames: int) -> None:
        self.shards, self.fps, self.frames = shards, shards.fps or 30.0, frames
        held = [(part, number) for number, m in enumerate(shards.episodes) for part in range(m.frames // frames)]
        self.places = sorted(held)
        if not held:
            longest = max(member.frames for member in shards.episodes)
            raise NothingThere(
                f"no such video of {shards.name} has {frames} frames, context included; the longest has {longest}: "
                "choose fewer --frames, or give longer videos"
            )

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return repr(self.shards)

    def name(self, reel: int) -> str:
        part, number = self.places[reel]
        return self.shards.episodes[number].name + (f", from frame {part * self.frames}" if part else "")

    def blocks(self, reel: int) -> Iterator[np.ndarray]:
        part, number = self.places[reel]
        for start in range(0, self.frames, FILM):
            yield self.shards.stretch(number, part * self.frames + start, min(FILM, self.frames - start))

    def beginnings(self, reels: Sequence[int], frames: int) -> np.ndarray:
        places = [self.places[reel] for reel in reels]
        return np.stack([self.shards.stretch(number, part * self.frames, frames) for part, number in places])

    def actions(self, reel: int) -> np.ndarray | None:
        part, number = self.places[reel]
        if not self.shards.manifest.actions:
            return None
        return self.shards.stretch(number, part * self.frames, self.frames, "actions")

    def again(self, reel: int, at: int, futures: int) -> Iterator[np.ndarray] | None:
        return None


@final
class Later:
    """The reels behind the first `by`."""

    def __init__(self, reels: Reels, by: int) -> None:
        self.reels, self.by, self.fps, self.frames = reels, by, reels.fps, reels.frames

    def __len__(self) -> int:
        return len(self.reels) - self.by

    def name(self, reel: int) -> str:
        return self.reels.name(self.by + reel)

    def blocks(self, reel: int) -> Iterator[np.ndarray]:
        return self.reels.blocks(self.by + reel)

    def beginnings(self, reels: Sequence[int], frames: int) -> np.ndarray:
        return self.reels.beginnings([self.by + reel for reel in reels], frames)

    def actions(self, reel: int) -> np.ndarray | None:
        return self.reels.actions(self.by + reel)

    def again(self, reel: int, at: int, futures: int) -> Iterator[np.ndarray] | None:
        return self.reels.again(self.by + reel, at, futures)

"""Whole held-out videos to measure on, frame after frame: of a world, of a folder, of prepared shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import ClassVar, NamedTuple, Protocol, final

import numpy as np

from unspool import __version__
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

    @property
    def identity(self) -> str:
        """Changes when the pictures do."""
        ...

    @property
    def resize(self) -> str:
        """What was done to the size of its pictures."""
        ...

    def __len__(self) -> int: ...

    def episode(self, reel: int) -> int:
        """Number of the recording that a reel is cut from."""
        ...

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

    @property
    def identity(self) -> str:
        return f"{self.world!r} {__version__} {sha256(self.beginnings(range(4), 2).tobytes()).hexdigest()}"

    resize: ClassVar[str] = "none"

    def __len__(self) -> int:
        return MANY

    def __repr__(self) -> str:
        return repr(self.world)

    def episode(self, reel: int) -> int:
        return reel

    def name(self, reel: int) -> str:
        return f"{self.title}, clip {reel}"

    def blocks(self, reel: int) -> Iterator[np.ndarray]:
        return (block[0] for block in self.world.film(self._seeds(reel, 1), self.frames))

    def beginnings(self, reels: Sequence[int], frames: int) -> np.ndarray:
        return self.world(np.asarray(reels, np.int64), frames).frames

    def actions(self, reel: int) -> np.ndarray | None:
        led = self.world.actions(self._seeds(reel, 1), self.frames)
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

    @property
    def identity(self) -> str:
        members = [(m.name, m.stamp, m.frames) for m in self.shards.episodes]
        return sha256(repr((members, self.shards.manifest.settings, self.frames)).encode()).hexdigest()

    @property
    def resize(self) -> str:
        return f"the centre square of each frame, at {self.shards.shape[0]} pixels"

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return repr(self.shards)

    def episode(self, reel: int) -> int:
        return self.places[reel][1]

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
class Chosen:
    """Some of the reels, by their numbers."""

    def __init__(self, reels: Reels, numbers: Sequence[int]) -> None:
        self.reels, self.numbers, self.fps, self.frames = reels, numbers, reels.fps, reels.frames

    @property
    def identity(self) -> str:
        return f"{self.reels.identity} {list(self.numbers)}"

    @property
    def resize(self) -> str:
        return self.reels.resize

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        return repr(self.reels)

    def episode(self, reel: int) -> int:
        return self.reels.episode(self.numbers[reel])

    def name(self, reel: int) -> str:
        return self.reels.name(self.numbers[reel])

    def blocks(self, reel: int) -> Iterator[np.ndarray]:
        return self.reels.blocks(self.numbers[reel])

    def beginnings(self, reels: Sequence[int], frames: int) -> np.ndarray:
        return self.reels.beginnings([self.numbers[reel] for reel in reels], frames)

    def actions(self, reel: int) -> np.ndarray | None:
        return self.reels.actions(self.numbers[reel])

    def again(self, reel: int, at: int, futures: int) -> Iterator[np.ndarray] | None:
        return self.reels.again(self.numbers[reel], at, futures)


class Parted(NamedTuple):
    """contexts to go on from, and others to compare with, never of one recording."""

    contexts: Chosen
    others: Chosen


def part(reels: Reels, contexts: int, others: int, fewest: int) -> Parted:
    """Reels for both, each recording on one side; as many as there are, where those are fewer.

    Raises NothingThere where there are too few recordings for one context and `fewest` others.
    """
    if len(reels) >= MANY:
        return Parted(Chosen(reels, range(contexts)), Chosen(reels, range(contexts, contexts + others)))
    episodes = list(dict.fromkeys(map(reels.episode, range(len(reels)))))
    if len(episodes) < 1 + fewest:
        raise NothingThere(
            f"{len(episodes)} held-out videos have {reels.frames} frames, context included; 1 to go on from and {fewest} "
            "others are needed: choose fewer --frames, or give more videos"
        )
    share = round(len(episodes) * contexts / (contexts + others))
    first = set(episodes[: min(max(1, share), len(episodes) - fewest)])
    sides = [[k for k in range(len(reels)) if (reels.episode(k) in first) is wanted] for wanted in (True, False)]
    return Parted(Chosen(reels, sides[0][:contexts]), Chosen(reels, sides[1][:others]))

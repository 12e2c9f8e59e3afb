"""The world `rooms`: what it can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from unspool.data.clips import FILM, SPLITS, Clips, Split, columns
from unspool.errors import UserError

from ..hashing import bits, mix, sample_seeds
from .layout import Layout, layouts
from .raycast import render
from .walk import ACTIONS, Walk, walk

SIZES = (32, 64)


class Episode(NamedTuple):
    """Walks through plans: what is true of every frame."""

    layout: Layout
    walk: Walk


@final
@dataclass(frozen=True)
class Rooms:
    """Nine rooms with walls, floors and signs of their own, walked through by agents who go, look and come back: a world in
    which remembering can be measured.

    `size` pixels, `plans`: how many different floor plans training knows; `split`: `train`; `seen` (new walks through those
    plans); `unseen` (walks through plans that training never shows). Raises `UserError` on anything else.
    """

    fps: ClassVar[int] = 15
    action_names: ClassVar[tuple[str, ...]] = ACTIONS

    size: Literal[32, 64] = 64
    plans: int = 10_000
    split: Split = "train"

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise UserError(f"rooms are drawn at 32 or 64 pixels, not {self.size}: set size to one of them")
        if not 1 <= self.plans < 1 << 62:
            raise UserError(f"rooms need at least one floor plan, not {self.plans}: set plans to 1 or more, of at most 62 bits")
        if self.split not in SPLITS:
            raise UserError(f"rooms have no split {self.split!r}: use train, seen or unseen")

    def episodes(self, seeds: NDArray[np.int64], frames: int) -> Episode:
        """The walks with `seeds` (B,): each a function of (plans, split, its seed) alone, its beginning of any length."""
        if frames < 1:
            raise UserError(f"a walk lasts at least one frame, not {frames}: ask for frames >= 1")
        keys = self._keys(seeds)
        layout = layouts(mix(self.numbers(seeds).astype(np.uint64)))
        return Episode(layout, walk(layout, keys, frames))

    def numbers(self, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers (B,) of the floor plans that these walks go through: those of `unseen` are odd, all others even."""
        plan = bits(self._keys(seeds), 1) % np.uint64(self.plans)
        return (plan * np.uint64(2) + np.uint64(self.split == "unseen")).astype(np.int64)

    def _keys(self, seeds: NDArray[np.int64]) -> NDArray[np.uint64]:
        return mix(np.asarray(seeds, np.int64).astype(np.uint64) * np.uint64(4) + np.uint64(SPLITS.index(self.split)))

    def render(self, episode: Episode) -> NDArray[np.uint8]:
        """Views (B, T, size, size, 3) uint8."""
        return render(episode.layout, episode.walk.poses, self.size)

    def actions(self, seeds: NDArray[np.int64], frames: int) -> NDArray[np.float32]:
        """See `World`."""
        return _led(self.episodes(seeds, frames).walk, np.tile(np.arange(frames), (len(seeds), 1)))

    def film(
        self, seeds: NDArray[np.int64], frames: int, *, at: int = 0, again: NDArray[np.int64] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """See `World`: those who go on by other seeds choose another goal at once."""
        layout, keys = layouts(mix(self.numbers(seeds).astype(np.uint64))), self._keys(seeds)
        whole = walk(layout, keys, at + frames, at, None if again is None else self._keys(again))
        for start in range(at, at + frames, FILM):
            yield render(layout, whole.poses[:, start : start + FILM], self.size)

    def __call__(
        self, indices: NDArray[np.int64], frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0
    ) -> Clips:
        """Clips of the global samples `indices` with their actions and poses; see `unspool.data.ClipSource`."""
        episode = self.episodes(self.seeds(indices, seed=seed), frames + reach)
        at = columns(indices, frames, seed, anchor, reach)
        poses = np.take_along_axis(episode.walk.poses, at[..., None], 1)
        return Clips(render(episode.layout, poses, self.size), _led(episode.walk, at), poses)

    def seeds(self, indices: NDArray[np.int64], *, seed: int = 0) -> NDArray[np.int64]:
        """The seeds (B,) of the global samples `indices` (B,)."""
        return sample_seeds(indices, seed)


def _led(walk: Walk, at: NDArray[np.int64]) -> NDArray[np.float32]:
    """(B, n, 6) one-hot: the actions that led to frames (B, n); to the first of all, none."""
    led = np.take_along_axis(walk.actions, np.maximum(at - 1, 0), 1)
    return (np.eye(len(ACTIONS), dtype=np.float32)[led] * (at > 0)[..., None]).astype(np.float32)

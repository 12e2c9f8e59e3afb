"""The world `duel`: what it can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from unspool.data.clips import FILM, SPLITS, Clips, Split, columns
from unspool.errors import UserError

from ..hashing import mix, sample_seeds
from .captions import captions_of, sentences
from .render import render
from .simulation import Keys, opening, step
from .splits import Combinations, combinations_of
from .state import DuelState, Trajectory

SIZES = (32, 64, 128)
_BURN_IN = 48  # frames: after three to five moves nothing of the opening is left


@final
@dataclass(frozen=True)
class Duel:
    """Articulated fighters who never stop: simulated, rendered and described exactly, many fights at once.

    `size` pixels, `fighters` 1-4, `clutter` in [0, 1] (objects in the background), `speed` (1 = lifelike at 30 fps),
    `split`: `train`; `seen` (new fights of training combinations); `unseen` (held-out backgrounds, colour pairs and
    replies, see `combinations`). Raises `UserError` on anything else.
    """

    fps: ClassVar[int] = 30
    action_names: ClassVar[tuple[str, ...]] = ()

    size: Literal[32, 64, 128] = 64
    fighters: int = 2
    clutter: float = 0.5
    speed: float = 1.0
    split: Split = "train"

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise UserError(f"duel is drawn at 32, 64 or 128 pixels, not {self.size}: set size to one of them")
        if self.fighters not in (1, 2, 3, 4):
            raise UserError(f"duel has 1 to 4 fighters, not {self.fighters}: set fighters to 1, 2, 3 or 4")
        if not 0 <= self.clutter <= 1:
            raise UserError(f"clutter is a share of background objects, not {self.clutter}: set it between 0 and 1")
        if not 0.1 <= self.speed <= 3:
            raise UserError(f"speed {self.speed} is out of range: set it between 0.1 and 3 (1 is lifelike)")
        if self.split not in SPLITS:
            raise UserError(f"duel has no split {self.split!r}: use train, seen or unseen")

    def simulate(
        self, seeds: NDArray[np.int64], frames: int, *, start: DuelState | None = None, burn_in: bool = True
    ) -> Trajectory:
        """`frames` frames of the fights with `seeds` (B,), leaves (B, frames, ...).

        With `start` the fights go on from there, frame 0 being the one after it: with the same seeds exactly as they
        would have, with new seeds as another draw from the true distribution of futures. Without, they begin in
        mid-fight, unless `burn_in` is False. Randomness is a function of (split, seed, absolute frame, fighter).
        """
        seeds = np.atleast_1d(np.asarray(seeds, np.int64))
        if seeds.ndim != 1 or not len(seeds):
            raise UserError(f"seeds of shape {seeds.shape} name no fights: give a row of at least one integer")
        if frames < 1:
            raise UserError(f"a fight lasts at least one frame, not {frames}: ask for frames >= 1")
        keys = self._keys(seeds)
        if start is None:
            state = opening(keys, self.split, self.fighters, frame=-_BURN_IN - 1 if burn_in else -1)
            for _ in range(_BURN_IN if burn_in else 0):
                step(state, keys, self.split, self.speed)
        else:
            if start.x.shape != (len(seeds), self.fighters):
                raise UserError(
                    f"the start holds {start.x.shape} (fights, fighters), the call {len(seeds)} seeds and "
                    f"{self.fighters} fighters: give one seed to each fight, and the world it came from"
                )
            state = start.copy()
        leaves: list[np.ndarray] = list(state)
        tracks = [np.empty((len(seeds), frames, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
        for t in range(frames):
            step(state, keys, self.split, self.speed)
            for track, leaf in zip(tracks, leaves, strict=True):
                track[:, t] = leaf
        return Trajectory._make(tracks)

    def render(self, trajectory: Trajectory) -> NDArray[np.uint8]:
        """Pictures (B, T, size, size, 3) uint8, RGB."""
        return render(trajectory, self.size, self.clutter)

    def actions(self, seeds: NDArray[np.int64], frames: int) -> None:
        """See `World`: nobody but the fighters acts."""
        return None

    def film(
        self, seeds: NDArray[np.int64], frames: int, *, at: int = 0, again: NDArray[np.int64] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """See `World`."""
        if again is None:
            whole = self.simulate(seeds, frames)
        else:
            whole = self.simulate(again, frames, start=self.simulate(seeds, at).at(-1))
        for start in range(0, frames, FILM):
            yield self.render(Trajectory._make(leaf[:, start : start + FILM] for leaf in whole))

    def captions(self, trajectory: Trajectory) -> list[list[str]]:
        """One sentence a frame, as B lists of T, such as `red kicks high, blue falls`."""
        return captions_of(trajectory)

    def __call__(
        self, indices: NDArray[np.int64], frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0
    ) -> Clips:
        """Clips of the global samples `indices` (B,); see `ClipSource`.

        Pure in (world, seed, index): neither the batch nor the number of frames changes a byte of what is common.
        """
        whole = self.simulate(self.seeds(indices, seed=seed), frames + reach)
        at = columns(indices, frames, seed, anchor, reach)
        shown = Trajectory._make(leaf[np.arange(len(leaf))[:, None], at] for leaf in whole)
        return Clips(self.render(shown), text=np.array(self.captions(shown)))

    def wording(self) -> list[str]:
        """See `Captioned`."""
        return sentences(self.fighters)

    def seeds(self, indices: NDArray[np.int64], *, seed: int = 0) -> NDArray[np.int64]:
        """The seeds (B,) of the global samples `indices` (B,)."""
        return sample_seeds(indices, seed)

    def combinations(self, split: Split | None = None) -> Combinations:
        """The backgrounds, colour pairs and replies of a split (this world's by default)."""
        return combinations_of(split or self.split)

    def _keys(self, seeds: NDArray[np.int64]) -> Keys:
        """One stream a fight, never the same in two splits: the split takes the two lowest bits before mixing."""
        with np.errstate(over="ignore"):
            return mix(seeds.astype(np.uint64) * np.uint64(4) + np.uint64(SPLITS.index(self.split)))

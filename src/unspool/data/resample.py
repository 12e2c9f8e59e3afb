"""Frames on their way from a file into a shard: counted, chosen by a clock, made small, few in memory at once; and what of
their tracks goes with those that were chosen."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from unspool.data.episodes import Frame, Tracks
from unspool.errors import UserError

LONGEST = 60.0  # seconds that a frame may stand; a clock that jumps further would fill the disk with one frame


SAME = 0.01  # share by which frame rates may differ: 29.97 is 30


def same_rate(one: float, other: float) -> bool:
    return abs(one / other - 1) <= SAME


class Counted(Iterator[tuple[int, Frame]]):
    """Frames with their numbers; count: how many there were."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.frames, self.count = frames, 0

    def __next__(self) -> tuple[int, Frame]:
        frame = next(self.frames)
        self.count += 1
        return self.count - 1, frame


def converted(
    frames: Iterator[tuple[int, Frame]], pool: ThreadPoolExecutor, most: int
) -> Iterator[tuple[int, np.ndarray]]:  # fmt: skip
    """Pixels of each frame, `most` frames at a time."""
    while some := list(islice(frames, most)):
        once = dict(some)  # two threads may not convert one frame
        pixels = dict(zip(once, pool.map(lambda frame: frame.pixels(), once.values()), strict=True))
        yield from ((index, pixels[index]) for index, _ in some)


def at_rate(frames: Iterator[tuple[int, Frame]], fps: float, fix: str) -> Iterator[tuple[int, Frame]]:
    """For each tick of a clock of `fps`, from the first to the last frame, the frame nearest in time.

    Raises UserError for a clock that is missing, runs backwards or jumps. fix: what to do then.
    """
    tick, first, last = 0, 0.0, 0.0
    previous: tuple[int, Frame] | None = None
    for item in frames:
        time = item[1].time
        if time is None:
            raise UserError(f"its frames have no time stamps, which --fps goes by; {fix}")
        if previous is not None and not 0 <= time - last <= LONGEST:
            raise UserError(f"its clock, which --fps goes by, jumps from {last:.6g} to {time:.6g} s; {fix}")
        if previous is None:
            first = time
        else:
            while first + tick / fps <= (last + time) / 2:
                yield previous
                tick += 1
        previous, last = item, time
    while previous is not None and first + tick / fps <= last + 1e-6:
        yield previous
        tick += 1


def tracks_at(said: Tracks, chosen: np.ndarray, actions: int, poses: int) -> Tracks:
    """Tracks that `check_tracks` passed, at the frames `chosen`: actions (n, actions), the mean of those since the frame chosen
    before, and poses (n, poses). What an episode does not have is 0 and NaN; where the set has none, 0 numbers, it is left out.
    """
    rows: Tracks = {}
    if actions:
        rows["actions"] = np.zeros((len(chosen), actions), np.float32)
        if "actions" in said:
            done = _vectors(said["actions"], actions)
            total = np.concatenate([np.zeros((1, actions)), np.cumsum(done, 0, dtype=np.float64)])
            since, until = chosen[:-1], chosen[1:]
            rows["actions"][1:] = (total[until] - total[since]) / np.maximum(1, until - since)[:, None]
    if poses:
        rows["poses"] = np.full((len(chosen), poses), np.nan, np.float32)
        if "poses" in said:
            if (width := said["poses"].shape[1]) != poses:
                raise UserError(f"its poses are {width} numbers, others are {poses}; mend its poses")
            rows["poses"][:] = said["poses"][chosen]
    return rows


def _vectors(actions: np.ndarray, width: int) -> np.ndarray:
    """(T,) integers or (T, k) numbers, as `check_tracks` passes them -> (T, width) float32."""
    if actions.ndim == 1 and np.issubdtype(actions.dtype, np.integer):
        return np.eye(width, dtype=np.float32)[actions]
    columns = actions.reshape(len(actions), -1).astype(np.float32)
    return np.pad(columns, ((0, 0), (0, width - columns.shape[1])))


def width_of(actions: np.ndarray) -> int:
    """Numbers that an action of this track becomes."""
    if actions.ndim == 2:
        return actions.shape[1]
    return int(actions.max(initial=0)) + 1 if np.issubdtype(actions.dtype, np.integer) else 1

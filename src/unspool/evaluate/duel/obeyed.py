"""Did a video of `duel` show what was said? Moves as the reader finds them, against those that its prompts name.

Judged by the prompts of another video the same moves are right by chance alone: some moves are common, and a fighter who lies
is often the last that fell. Only the difference says that a prompt was heard.

N videos, T frames, F = 2 fighters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unspool.data.worlds.duel import COLOURS, MOVES, parse
from unspool.data.worlds.duel.render import CLOTH
from unspool.errors import UserError
from unspool.evaluate.bootstrap import LEVELS, Interval
from unspool.evaluate.duel.identity import cloth
from unspool.evaluate.duel.reader import FIGHTERS, Reading

_NAMED = cache(parse)


class Obeyed(NamedTuple):
    """right: (N, T) share of the two fighters whose move is the one that is said of their colour. said: (N, T, F) that move,
    an index into MOVES, in the order of the reading. hit: (N, T, F) whether it was read."""

    right: NDArray[np.float64]
    said: NDArray[np.int64]
    hit: NDArray[np.bool_]


class Segment(NamedTuple):
    """Seconds from - to; accuracy, that under shuffled prompts, and their difference, each with a 95 % interval."""

    begin: float
    end: float
    right: Interval
    shuffled: Interval
    gain: Interval


def obeyed(videos: NDArray[np.uint8], reading: Reading, captions: NDArray[np.str_]) -> Obeyed:
    """videos (N, T, H, W, 3), what was read of them, and what was said of each frame (N, T), two fighters in each caption.

    Which of the two is meant by a colour is decided once a video, by the colour of the cloth in all of it. Raises UserError for
    captions of another kind, of another number of fighters, or whose colours change along a video.
    """
    count, frames = captions.shape
    colours, moves = (np.empty((count, frames, FIGHTERS), np.int64) for _ in range(2))
    for n, t in np.ndindex(count, frames):
        named = _NAMED(str(captions[n, t]))
        if len(named) != FIGHTERS:
            raise UserError(f"{str(captions[n, t])!r} names {len(named)} fighters, and the reader reads {FIGHTERS}")
        for f, (colour, move) in enumerate(sorted(named)):  # by colour: lanes may be told in any order
            colours[n, t, f], moves[n, t, f] = COLOURS.index(colour), MOVES.index(move)
    if (colours != colours[:, :1]).any():
        raise UserError("the colours that the prompts name change along a video: judge each part as a video of its own")
    tints = CLOTH[colours[:, 0]] / 255  # (N, F, 3)
    worn = np.median(cloth(videos, reading.joints), axis=1)  # (N, F, 3)
    apart = [np.abs(worn - order).sum((1, 2)) for order in (tints, tints[:, ::-1])]
    turned = apart[1] < apart[0]
    said = np.where(turned[:, None, None], moves[..., ::-1], moves)
    hit = reading.move == said
    return Obeyed(hit.mean(-1), said, hit)


def segments(right: NDArray[np.float64], shuffled: NDArray[np.float64], fps: float, seconds: float = 10) -> list[Segment]:
    """(N, T) of true prompts and (M, T) of others, judged by the same videos in the same order again and again (M a multiple of
    N), -> a row for each `seconds`. Intervals by a bootstrap over videos, drawn alike for both."""
    count, frames = right.shape
    if count < 2 or len(shuffled) % count or shuffled.shape[1] != frames:
        raise UserError("intervals need at least 2 videos, and shuffled prompts of each as often as of any other")
    others = shuffled.reshape(-1, count, frames).mean(0)
    picks = np.random.default_rng(0).integers(count, size=(2000, count))
    rows, step = [], round(seconds * fps)
    for begin in range(0, frames, step):
        one, two = (part[:, begin : begin + step].mean(1) for part in (right, others))
        told = [_interval(figures, picks) for figures in (one, two, one - two)]
        rows.append(Segment(begin / fps, min(begin + step, frames) / fps, *told))
    return rows


def by_move(judged: Obeyed, chance: Sequence[Obeyed]) -> list[tuple[str, int, float, float]]:
    """For each move that was said: its name, in how many fighters' frames, the share of these in which it was read, and that
    share under shuffled prompts; the most frequent first."""
    hits, others, said = judged.hit, [other.hit for other in chance], [other.said for other in chance]
    rows = []
    for m, name in enumerate(MOVES):
        here, there = judged.said == m, [s == m for s in said]
        wrong = sum(int(t.sum()) for t in there)
        share = sum(int(h[t].sum()) for h, t in zip(others, there, strict=True)) / wrong if wrong else float("nan")
        if here.any():
            rows.append((name, int(here.sum()), float(hits[here].mean()), share))
    return sorted(rows, key=lambda row: -row[1])


def _interval(figures: NDArray[np.float64], picks: NDArray[np.int64]) -> Interval:
    low, high = np.quantile(figures[picks].mean(1), LEVELS)
    return Interval(float(figures.mean()), float(low), float(high))

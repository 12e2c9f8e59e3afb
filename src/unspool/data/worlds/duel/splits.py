"""What is held out of training (backgrounds, colour pairs, move pairs), and how the next move is drawn."""

from __future__ import annotations

from functools import cache
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unspool.data.clips import Split

from .moves import MOVE, MOVES, REACTIONS, STRIKES

BACKGROUNDS = ("meadow", "dusk", "dojo", "night", "desert", "temple", "snow", "harbour", "hall", "orchard")
COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "cyan", "white")

HELD_OUT_BACKGROUNDS = ("hall", "orchard")
HELD_OUT_COLOURS = tuple(
    frozenset(pair)
    for pair in (("red", "cyan"), ("blue", "yellow"), ("green", "purple"), ("orange", "white"), ("red", "green"))
)
# (what the other is doing, the reply)
HELD_OUT_REPLIES = (
    ("low kick", "jump"), ("high kick", "duck"), ("jab", "dodge back"), ("roundhouse", "sweep"),
    ("duck", "uppercut"), ("block high", "low kick"), ("taunt", "dash"), ("cross", "push"),
)  # fmt: skip
_UNSEEN_FAVOUR = 40.0  # how much likelier a held-out reply is in `unseen`, so that short clips contain some


class Combinations(NamedTuple):
    """What episodes of a split are made of, by name. `replies`: (the other's move, own move) that can be chosen."""

    backgrounds: tuple[str, ...]
    colours: frozenset[frozenset[str]]
    replies: frozenset[tuple[str, str]]


def combinations_of(split: Split) -> Combinations:
    """The backgrounds, colour pairs and replies that a split draws from; `unseen` lists the held-out ones only."""
    chosen = [name for name in MOVES if name not in REACTIONS]
    replies = frozenset((other, own) for other in MOVES for own in chosen)
    pairs = frozenset(frozenset(pair) for pair in combinations(COLOURS, 2))
    if split == "unseen":
        return Combinations(HELD_OUT_BACKGROUNDS, frozenset(HELD_OUT_COLOURS), frozenset(HELD_OUT_REPLIES))
    kept = tuple(name for name in BACKGROUNDS if name not in HELD_OUT_BACKGROUNDS)
    return Combinations(kept, pairs - frozenset(HELD_OUT_COLOURS), replies - frozenset(HELD_OUT_REPLIES))


@cache
def background_choices(split: Split) -> NDArray[np.int64]:
    return np.array([BACKGROUNDS.index(name) for name in combinations_of(split).backgrounds])


@cache
def colour_choices(split: Split, fighters: int) -> NDArray[np.int64]:
    """Ordered colour tuples (N, fighters): no held-out pair among them, or in `unseen` at least one."""
    held = {frozenset(COLOURS.index(name) for name in pair) for pair in HELD_OUT_COLOURS}
    rows = [
        row
        for row in permutations(range(len(COLOURS)), fighters)
        if fighters == 1 or any(frozenset(pair) in held for pair in combinations(row, 2)) == (split == "unseen")
    ]
    return np.array(rows)


NEAR, MIDDLE, FAR = range(3)  # how far the other is
_BY_DISTANCE = (
    "idle .8, step forward .3, step back 2, jab 4, cross 4, hook 4, uppercut 3, low kick 2.5, front kick 1.5, "
    "high kick 2, roundhouse 1.5, jump kick .4, sweep 2, push 2.5, jump 1.4, duck 1, block high 1, block low 1, "
    "dodge back 2, dash .1, taunt .1",
    "idle 1, step forward 4, step back 1.2, jab 2.5, cross 3, hook 1.2, uppercut .6, low kick 3, front kick 4, "
    "high kick 4, roundhouse 4, jump kick 3, sweep 2.5, push .8, jump 1, duck .5, block high .6, block low .6, "
    "dodge back .8, dash 1.5, taunt .5",
    "idle 1.2, step forward 8, step back .2, jab .2, cross .2, hook .1, uppercut .1, low kick .2, front kick .6, "
    "high kick .4, roundhouse .8, jump kick 5, sweep .2, push .1, jump 1.6, duck .1, block high .2, block low .1, "
    "dodge back .1, dash 6, taunt 1.8",
)
_REPLY = {
    "jab": "block high 6, duck 4, dodge back 4, cross 1.5",
    "cross": "block high 6, duck 5, dodge back 4, push 2",
    "hook": "block high 4, duck 6, dodge back 4, low kick 1.5",
    "uppercut": "dodge back 6, block high 4, step back 3",
    "low kick": "jump 6, block low 7, step back 2, cross 1.5",
    "front kick": "block low 6, dodge back 5, step back 2",
    "high kick": "duck 7, block high 5, sweep 2.5",
    "roundhouse": "duck 6, block high 5, sweep 3, dodge back 3",
    "jump kick": "block high 5, dodge back 4, uppercut 4, duck 3",
    "sweep": "jump 9, block low 6, step back 2, jump kick 2",
    "push": "dodge back 4, sweep 2, step back 2",
    "jump": "uppercut 4, high kick 2, step back 2, block high 2",
    "duck": "low kick 4, uppercut 3, front kick 2, sweep 2, hook .3, high kick .3",
    "block high": "low kick 4, sweep 3, push 4, front kick 2, jab .5",
    "block low": "hook 3, high kick 3, cross 2, jump kick 2, low kick .3",
    "dodge back": "step forward 3, front kick 2, dash 2, jump kick 2",
    "taunt": "dash 4, jump kick 2.5, roundhouse 2, step forward 2",
    "stagger high": "hook 2, uppercut 2.5, roundhouse 2.5, front kick 2, cross 2",
    "stagger low": "uppercut 3.5, high kick 2.5, push 2, jab 1.5",
}
_CHAIN = {  # what follows one's own move
    "idle": "idle .15, step forward 1.5, dash 1.3",
    "jab": "cross 4, low kick 2, jab 1.3",
    "cross": "hook 3.5, high kick 2",
    "hook": "uppercut 3, low kick 2",
    "low kick": "high kick 3, cross 2",
    "front kick": "roundhouse 2.5, jab 2",
    "block high": "cross 2.5, low kick 2, front kick 2",
    "block low": "uppercut 2.5, hook 2",
    "duck": "uppercut 5, sweep 3.5",
    "dodge back": "roundhouse 3, front kick 3, jump kick 2",
    "step back": "step back .2, jump kick 2, front kick 2",
    "step forward": "jab 1.6, front kick 1.5",
    "dash": "push 2.5, hook 2, jump kick 1.5, dash .3",
    "jump": "sweep 2.5, jump .2",
    "taunt": "taunt 0",
    "get up": "step forward 2, dash 2, taunt .5",
}


def _weights(text: str, fill: float) -> NDArray[np.float64]:
    out = np.full(len(MOVES), fill)
    for entry in text.split(", "):
        name, value = entry.rsplit(" ", 1)
        out[MOVE[name]] = float(value)
    return out


@cache
def branch_table(split: Split) -> NDArray[np.float32]:
    """Cumulative chances (3 distances, M own last move, M the other's move, M next move)."""
    distance = np.stack([_weights(text, 0.0) for text in _BY_DISTANCE])
    reply, chain = np.ones((len(MOVES), len(MOVES))), np.ones((len(MOVES), len(MOVES)))
    for name, text in _REPLY.items():
        reply[MOVE[name]] = _weights(text, 1.0)
    for name in ("fall", "lie"):  # nobody strikes one who is down: they wait, gloat, or make room
        reply[MOVE[name], [MOVE[strike] for strike in STRIKES]] = 0.04
        reply[MOVE[name], [MOVE["taunt"], MOVE["idle"]]] = 4.0, 2.0
        reply[MOVE[name], [MOVE["step back"], MOVE["jump"]]] = 5.0, 2.0
    for name, text in _CHAIN.items():
        chain[MOVE[name]] = _weights(text, 1.0)
    for other, own in HELD_OUT_REPLIES:
        reply[MOVE[other], MOVE[own]] *= _UNSEEN_FAVOUR if split == "unseen" else 0.0
    weight = distance[:, None, None] * reply[None, None] * chain[None, :, None]
    for now, then in (("fall", "lie"), ("lie", "get up")):
        weight[:, MOVE[now]] = np.eye(len(MOVES))[MOVE[then]]
    total = np.cumsum(weight, axis=-1)
    return (total / total[..., -1:]).astype(np.float32)

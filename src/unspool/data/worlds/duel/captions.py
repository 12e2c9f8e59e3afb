"""What is to be seen, in words."""

from __future__ import annotations

from unspool.errors import UserError

from .moves import MOVES
from .splits import COLOURS
from .state import Trajectory

VERBS = {
    "idle": "waits", "step forward": "steps forward", "step back": "steps back", "jab": "jabs",
    "cross": "throws a cross", "hook": "throws a hook", "uppercut": "throws an uppercut", "low kick": "kicks low",
    "front kick": "kicks", "high kick": "kicks high", "roundhouse": "kicks round", "jump kick": "jumps and kicks",
    "sweep": "sweeps", "push": "pushes", "jump": "jumps", "duck": "ducks", "block high": "guards high",
    "block low": "guards low", "dodge back": "dodges", "dash": "dashes", "taunt": "taunts",
    "stagger high": "staggers", "stagger low": "doubles up", "fall": "falls", "lie": "lies", "get up": "gets up",
}  # fmt: skip
_PHRASES = [VERBS[name] for name in MOVES]


def captions_of(trajectory: Trajectory) -> list[list[str]]:
    """B lists of T sentences: colour and verb of every fighter, from the nearest to the farthest lane."""
    return [
        [
            ", ".join(f"{COLOURS[c]} {_PHRASES[m]}" for c, m in zip(colours, moves, strict=True))
            for colours, moves in zip(palette, track, strict=True)
        ]
        for palette, track in zip(trajectory.colours.tolist(), trajectory.move.tolist(), strict=True)
    ]


def parse(caption: str) -> list[tuple[str, str]]:
    """The inverse: (colour, name of the move) of each fighter. Raises UserError for what is no caption of `duel`."""
    moves = {verb: move for move, verb in VERBS.items()}
    said = [part.strip().partition(" ") for part in caption.lower().split(",")]
    if odd := [" ".join(part) for part in said if part[0] not in COLOURS or part[2].strip() not in moves]:
        raise UserError(f"{odd[0].strip()!r} says nothing of duel: name a colour and what it does, such as 'red kicks'")
    return [(colour, moves[verb.strip()]) for colour, _, verb in said]


def sentences(fighters: int) -> list[str]:
    """Every colour with every verb, as of so many fighters alike: captions that hold all words, the longest among them."""
    return [", ".join([f"{colour} {verb}"] * fighters) for colour in COLOURS for verb in _PHRASES]


def vocabulary() -> list[str]:
    """Every word that a caption can hold, sorted, commas aside."""
    return sorted({word for phrase in (*COLOURS, *_PHRASES) for word in phrase.split()})

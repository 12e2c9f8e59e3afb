"""What is to be seen, in words."""

from __future__ import annotations

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


def vocabulary() -> list[str]:
    """Every word that a caption can hold, sorted, commas aside."""
    return sorted({word for phrase in (*COLOURS, *_PHRASES) for word in phrase.split()})

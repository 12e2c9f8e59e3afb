"""The full state of a fight, at one instant and along time.

B episodes, T frames, F fighters, J = 21 joints, A = 16 angles. Picture units: 1 is the picture's side, x right, y DOWN.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class _Leaves(NamedTuple):
    """What is known of a fight. Leading axes: (B,) in a `DuelState`, (B, T) in a `Trajectory`; below, what follows."""

    frame: Ints  # () absolute frame number; frame 0 is the first after burning in
    background: Ints  # () index into BACKGROUNDS
    scene: Floats  # (6,) where things stand and how they are tinted, each in [0, 1)
    colours: Ints  # (F,) index into COLOURS
    x: Floats  # (F,) pelvis, picture units
    velocity: Floats  # (F,) knock-back that is dying out, picture units a frame
    side: Ints  # (F,) -1 or +1: where the fighter means to face
    turn: Floats  # (F,) in [-1, 1]: how far the body has turned there
    target: Ints  # (F,) the opponent attended to (oneself when alone)
    move: Ints  # (F,) index into MOVES
    phase: Floats  # (F,) frames into the move at its nominal tempo
    tempo: Floats  # (F,) nominal frames a frame
    stride: Floats  # (F,) factor on the move's travel
    travel: Floats  # (F,) travelled so far in this move, body heights
    reply_to: Ints  # (F,) the opponent's move when this one was CHOSEN; -1 if it was imposed or begun unseen
    landed: Bools  # (F,) this move's blow has hit or was parried
    struck: Ints  # (F,) who hit this fighter in this very frame, or -1
    parried: Bools  # (F,) that blow met a guard
    health: Floats  # (F,) in (0, 1]; a fighter without any falls and is restored
    origin: Floats  # (F, A) degrees, the pose in which the move began
    sway: Floats  # (F, A) degrees, how this performance of the move differs from the script
    angles: Floats  # (F, A) degrees
    joints: Floats  # (F, J, 2) picture units


@final
class DuelState(_Leaves):
    """One instant of B fights; everything that the future depends on besides the seeds. Leaves (B, ...)."""

    __slots__ = ()

    def copy(self) -> DuelState:
        """The same instant in memory of its own."""
        return DuelState._make(leaf.copy() for leaf in self)


@final
class Trajectory(_Leaves):
    """T frames of B fights. Leaves (B, T, ...)."""

    __slots__ = ()

    def at(self, t: int) -> DuelState:
        """The instant at index `t`: hand it to `Duel.simulate(seeds, start=...)` to let the fight go another way."""
        return DuelState._make(leaf[:, t].copy() for leaf in self)

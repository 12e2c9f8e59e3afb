"""`duel`: a procedural world of articulated fighters, exact and restartable."""

from __future__ import annotations

from .captions import VERBS, parse, vocabulary
from .moves import MOVES
from .skeleton import ANGLES, JOINTS, LIMITS
from .splits import BACKGROUNDS, COLOURS, Combinations, Split
from .state import DuelState, Trajectory
from .world import Duel

__all__ = [
    "ANGLES", "BACKGROUNDS", "COLOURS", "JOINTS", "LIMITS", "MOVES", "VERBS",
    "Combinations", "Duel", "DuelState", "Split", "Trajectory", "parse", "vocabulary",
]  # fmt: skip

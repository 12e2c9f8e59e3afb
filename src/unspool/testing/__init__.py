"""What parts are tested against: `memory_kit`, which every memory must pass, slow models that need no
cache at all, and the small things that tests of models are made of."""

from unspool.testing.memory import MakeMemory, memory_kit, young_state_is_a_small_one
from unspool.testing.nano import SHAPE, nano, video
from unspool.testing.slow import Banded, Replayed
from unspool.testing.tools import assert_close, assert_equal, draw, error, map_state, scale_weights

__all__ = [
    "SHAPE",
    "Banded",
    "MakeMemory",
    "Replayed",
    "assert_close",
    "assert_equal",
    "draw",
    "error",
    "map_state",
    "memory_kit",
    "nano",
    "scale_weights",
    "video",
    "young_state_is_a_small_one",
]

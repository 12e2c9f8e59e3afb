"""What parts are tested against: `memory_kit`, which every memory must pass, slow models that need no
cache at all, and the small things that tests of models are made of."""

from unspool.testing.held import a_model_trains_as_it_is_used
from unspool.testing.lasting import the_number_of_a_frame_does_not_matter, values_stay_bounded
from unspool.testing.memory import MakeMemory, memory_kit, past_is_remembered, young_state_is_a_small_one
from unspool.testing.nano import SHAPE, nano, video
from unspool.testing.slow import Banded, Replayed
from unspool.testing.tools import assert_close, assert_equal, draw, error, map_state, scale_weights

__all__ = [
    "SHAPE",
    "Banded",
    "MakeMemory",
    "Replayed",
    "a_model_trains_as_it_is_used",
    "assert_close",
    "assert_equal",
    "draw",
    "error",
    "map_state",
    "memory_kit",
    "nano",
    "past_is_remembered",
    "scale_weights",
    "the_number_of_a_frame_does_not_matter",
    "values_stay_bounded",
    "video",
    "young_state_is_a_small_one",
]

"""A world for memory research: rooms seen through the eyes of someone who walks through them, by ray casting on a CPU."""

from .layout import Layout
from .walk import ACTIONS, Walk
from .world import Episode, Rooms

__all__ = ["ACTIONS", "Episode", "Layout", "Rooms", "Walk"]

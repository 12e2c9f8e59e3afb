"""Memories: what a layer carries of the past. One a file; all keep the contract of `Memory`."""

from unspool.memory.base import Memory
from unspool.memory.gist import Gist, Map
from unspool.memory.window import Window

__all__ = ["Gist", "Map", "Memory", "Window"]

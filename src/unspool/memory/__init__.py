"""Memories: what a layer carries of the past. One a file; all keep the contract of `Memory`."""

from unspool.memory.base import Memory
from unspool.memory.delayed import Delayed
from unspool.memory.full import Full
from unspool.memory.gist import Gist, Map
from unspool.memory.latents import Latents, noised, shifted
from unspool.memory.lstm import LSTM
from unspool.memory.prompt import Prompt
from unspool.memory.window import Window

__all__ = ["LSTM", "Delayed", "Full", "Gist", "Latents", "Map", "Memory", "Prompt", "Window", "noised", "shifted"]

"""Procedural worlds: exact, endless sources of video with their full state beside every frame."""

from __future__ import annotations

from .duel import Duel
from .rooms import Rooms

__all__ = ["Duel", "Rooms"]

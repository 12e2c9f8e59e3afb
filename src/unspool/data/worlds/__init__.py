"""Procedural worlds: exact, endless sources of video with their full state beside every frame."""

from __future__ import annotations

from .duel import Duel

__all__ = ["Duel"]

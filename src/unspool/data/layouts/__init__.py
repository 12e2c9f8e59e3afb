"""Sets of episodes as others lay them on disk, one layout a file. Each file has two functions: `is_here(root)`, cheap and
without side effects, and `read(root)`, which lists the episodes without decoding any."""

from __future__ import annotations

from pathlib import Path

from unspool.data.episodes import EpisodeSet
from unspool.data.layouts import bair, lerobot, memory_maze, teco, ucf101, videos
from unspool.data.shards import MANIFEST
from unspool.errors import UserError

LAYOUTS = (lerobot, memory_maze, teco, bair, ucf101, videos)
"""In order of how telling their marks are; a folder of videos comes last."""


def open_episodes(root: str | Path) -> EpisodeSet:
    """The episodes under a folder, whatever its layout. Raises UserError for a folder that is missing or holds none."""
    root = Path(root)
    if not root.is_dir():
        fix = "give the folder that it lies in" if root.exists() else "check the path"
        raise UserError(f"cannot read {root}: {'it is not a folder' if root.exists() else 'no such folder'}; {fix}")
    if (root / MANIFEST).is_file():
        raise UserError(f"{root} holds prepared shards: train on them, or give the videos that they were made of")
    layout = next(layout for layout in LAYOUTS if layout is videos or layout.is_here(root))
    return layout.read(root)

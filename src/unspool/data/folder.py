"""A folder of videos, or of episodes in any layout, as a source of clips: prepared into a cache on first use.

A changed video is decoded again and the others are not; an interrupted preparation goes on where it stopped.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from unspool.data.episodes import listed
from unspool.data.how import Preparation
from unspool.data.layouts import open_episodes
from unspool.data.prepare import Progress, prepare
from unspool.data.shards import Shards
from unspool.errors import UserError

CACHE_LIMIT = 8 << 30
_FORMAT = 2  # of the cache: count up when the same video would give other pixels


def open_folder(
    root: str | os.PathLike[str],
    size: int,
    split: str = "train",
    *,
    holdout: float = 0.1,
    frames_min: int = 2,
    pad: bool = False,
    fps: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    cache_limit: int = CACHE_LIMIT,
    on_progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Clips of the episodes under `root`, through the cache ($XDG_CACHE_HOME/unspool/videos).

    cache_limit: bytes that the set may fill there. on_progress(done, total) is called after each episode that is prepared; the
    other settings are those of `Preparation` and `Shards`. A warning names what was skipped. Raises UserError: no such folder,
    nothing usable, too large a cache.
    """
    root = Path(root)
    found = open_episodes(root)
    home = Path(cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unspool" / "videos")
    out = home / sha256(f"{root.resolve()}|{size}|{fps}|{_FORMAT}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
    if not found.episodes and not found.skipped:
        raise UserError(f"no usable {split} video in {root}: it holds none; add videos, or check the path")

    def report(at: Progress) -> None:
        if on_progress and at.done:
            on_progress(at.done, at.total)

    prepare(found, out, Preparation(size, fps, refuse_bytes=cache_limit), report, wait=True)
    shards = Shards(out, split, holdout=holdout, frames_min=frames_min, pad=pad, named=root)
    if shards.skipped:
        warnings.warn(f"skipped {len(shards.skipped)} videos of {root}: {listed(shards.skipped)}", stacklevel=3)
    return shards

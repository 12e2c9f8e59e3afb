"""Minecraft and DMLab as TECO published them (Yan, Hafner, James and Abbeel, arXiv:2210.02396): {train,test}/*/NAME.

Minecraft: NAME.mp4 and NAME.npz with actions. DMLab: NAME.npz with video (T, 64, 64, 3) and actions.
Source: data.py of wilson1yan/teco (folders, files, keys), collect.py of wilson1yan/collect-minecraft (actions begin with a 0
for the reset, then 1 ahead, 2 left, 3 right, each beside the frame that it LED to; 20 frames a second) and
random_agent_traverse.py of wilson1yan/lab (0 left, 1 right, 2 ahead, each beside the frame that it FOLLOWED; 4 ticks of 1/30 s
a frame). The folders training and validation, to which the loader of diffusion-forcing renames them, are understood too.
Reconstructed: that the released DMLab was collected at the script's default of 30 ticks a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from unspool.data import files
from unspool.data.episodes import Episode, EpisodeSet, Tracks
from unspool.data.video import Frame, probe, read_frames
from unspool.errors import UserError

MINECRAFT = ("stay", "ahead", "left", "right")
DMLAB = ("left", "right", "ahead")
DMLAB_FPS = 7.5


def is_here(root: Path) -> bool:
    return any(_is_episode(path) for split in files.SPLITS for path in islice(root.glob(f"{split}/*/*.npz"), 16))


def read(root: Path) -> EpisodeSet:
    """Minecraft where there is any mp4, else DMLab. A film without actions is skipped."""
    if films := _find(root, "mp4"):
        episodes, skipped = files.each(root, films, _minecraft)
        return EpisodeSet(root, "teco", episodes, MINECRAFT, skipped)
    episodes, skipped = files.each(root, _find(root, "npz"), _dmlab)
    return EpisodeSet(root, "teco", episodes, DMLAB, skipped)


def _find(root: Path, suffix: str) -> list[Path]:
    return sorted(path for split in files.SPLITS for path in files.find(root, f"{split}/*/*.{suffix}"))


def _is_episode(path: Path) -> bool:
    try:
        names = files.keys(path)
    except UserError:
        return False
    return "actions" in names and ("video" in names or path.with_suffix(".mp4").is_file())


def _minecraft(name: str, path: Path) -> list[Episode]:
    beside = path.with_suffix(".npz")
    if not beside.is_file():
        raise UserError(f"cannot read {path}: its actions are missing ({beside.name}); copy or download them again")
    frames = partial(_frames, path)
    tracks = partial(_minecraft_tracks, path, beside)
    return [Episode(name, files.stamp(path, beside), partial(probe, path), frames, tracks, split=files.split_of(name))]


def _frames(path: Path, size: int | None) -> Iterator[Frame]:
    return read_frames(path, size=size)


def _minecraft_tracks(path: Path, beside: Path) -> Tracks:
    """Actions move one frame up, from the frame that they led to; after the last frame nothing was done."""
    (actions,) = files.arrays(beside, "actions")
    files.per_frame(beside, "actions", actions, probe(path).frames)
    return {"actions": np.append(files.choices(beside, actions, MINECRAFT)[1:], 0)}


def _dmlab(name: str, path: Path) -> list[Episode]:
    return [files.film_episode(name, path, "video", DMLAB_FPS, _dmlab_tracks)]


def _dmlab_tracks(path: Path) -> Tracks:
    (actions,) = files.arrays(path, "actions")
    files.per_frame(path, "actions", actions, files.film_info(path, "video", DMLAB_FPS).frames)
    return {"actions": files.choices(path, actions, DMLAB)}

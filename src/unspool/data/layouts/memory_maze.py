"""The offline dataset of Memory Maze (Pasukonis, Lillicrap and Hafner, arXiv:2210.13383): one .npz for each trajectory.

Source: the README of jurgisp/memory-maze (arrays, shapes, that action and reward are the LAST ones, 29k trajectories to train
on and 1k to evaluate on), its tasks.py (which action is which, 4 steps a second, what the target's colour does to the border)
and wrappers.py (agent_pos in cells of the maze, agent_dir the unit vector ahead, maze_layout 1 where there is no wall).
Reconstructed: the names of the folders of the two splits; train, eval and their like are understood at any depth.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from unspool.data import files
from unspool.data.episodes import Episode, EpisodeSet, Tracks
from unspool.errors import UserError

ACTIONS = ("stay", "ahead", "left", "right", "ahead left", "ahead right")
FPS = 4.0
_MARKS = {"image", "action", "agent_pos", "maze_layout"}


def is_here(root: Path) -> bool:
    return any(map(_is_trajectory, islice(root.rglob("*.npz"), 16)))


def read(root: Path) -> EpisodeSet:
    episodes, skipped = files.each(root, files.find(root, "**/*.npz"), _episode)
    return EpisodeSet(root, "memory_maze", episodes, ACTIONS, skipped)


def _is_trajectory(path: Path) -> bool:
    try:
        return files.keys(path) >= _MARKS
    except UserError:
        return False


def _episode(name: str, path: Path) -> list[Episode]:
    return [files.film_episode(name, path, "image", FPS, _tracks)]


def _tracks(path: Path) -> Tracks:
    """Actions and rewards move one frame up, from the frame that they led to; after the last frame nothing was done."""
    frames = files.film_info(path, "image", FPS).frames
    action, reward, position, ahead, layout = files.arrays(path, "action", "reward", "agent_pos", "agent_dir", "maze_layout")
    every = (("actions", action), ("rewards", reward), ("positions", position), ("directions", ahead), ("layouts", layout))
    for what, values in every:
        files.per_frame(path, what, values, frames)
    action = files.vectors(path, "actions", action, len(ACTIONS))[1:]
    if not (np.isin(action, (0, 1)).all() and (action.sum(1) == 1).all()):
        raise UserError(f"cannot read {path}: its actions are not one-hot; give a file of this set")
    position, ahead = files.vectors(path, "positions", position, 2), files.vectors(path, "directions", ahead, 2)
    return {
        "actions": np.append(action.argmax(1), 0),
        "rewards": np.append(files.vectors(path, "rewards", reward)[1:], np.float32(0)),
        "poses": np.column_stack([position, np.arctan2(ahead[:, 1], ahead[:, 0])]),
        "map": layout[0],
    }

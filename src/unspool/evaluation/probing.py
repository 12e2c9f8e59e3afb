"""What can be read off models' states after walks in the world `rooms`: the way from where they began, and a small map.

Walks are through plans that training never shows. See `unspool.evaluate.memory.probes` for the regression and its controls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unspool.data.worlds.rooms import Layout, Rooms
from unspool.errors import UserError
from unspool.evaluate.bootstrap import Interval
from unspool.evaluate.memory.probes import pose_targets, probe, state_features
from unspool.system import System

WALKS = 192
STEPS = 32
"""Frames of a walk."""
TARGETS = ("ahead", "right", "cos", "sin", "map")
REACH = 2
"""Cells of the map on each side of the viewer."""


def probes_of(systems: Mapping[str, System], world: Rooms, seed: int = 0) -> dict[str, Any]:
    """R^2 with its interval, in the order of TARGETS, of each model. found: of its state; shuffled, random: the controls of
    `probe`; scrambled: the state of `scrambled`. A model of which nothing can be read is {"skipped": why}."""
    indices = np.arange(WALKS)
    seeds = world.seeds(indices, seed=seed)
    clips, groups = world(indices, STEPS, seed=seed), world.numbers(seeds)
    assert clips.poses is not None and clips.actions is not None
    around = surroundings(world.episodes(seeds, 1).layout, clips.poses[:, -1])
    targets = np.concatenate([pose_targets(since(clips.poses)), around], 1)

    def read(system: System) -> dict[str, list[Interval]]:
        actions = clips.actions if system.model.controls else None
        found = probe(state_features(system, clips.frames, actions, seed), targets, groups, seed)
        return {name: _with_map(figures) for name, figures in found._asdict().items()}

    def both(system: System) -> dict[str, list[Interval]]:
        return {**read(system), "scrambled": read(scrambled(system, seed))["found"]}

    cells: dict[str, Any] = {}
    for name, system in systems.items():
        try:
            cells[name] = both(system)
        except UserError as error:
            cells[name] = {"skipped": str(error)}
    return {"walks": WALKS, "layouts": len(np.unique(groups)), "frames": STEPS, "targets": TARGETS, "models": cells}


def _with_map(figures: Sequence[Interval]) -> list[Interval]:
    """Those of the pose, then one for the map: means over its cells. The mean of the limits is no narrower than a mean's."""
    pose = len(TARGETS) - 1
    return [*figures[:pose], Interval(*(float(mean) for mean in np.mean(figures[pose:], 0)))]


def since(poses: np.ndarray) -> np.ndarray:
    """Poses (N, T, 3) -> (N, 3): the last one as seen from the first, cells ahead, cells to the right, radians to the right.

    In a plan that nobody knows, the place in the plan itself cannot be known; the way from where one began can.
    """
    heading, moved = poses[:, 0, 2].astype(np.float64), (poses[:, -1, :2] - poses[:, 0, :2]).astype(np.float64)
    cos, sin = np.cos(heading), np.sin(heading)
    ahead, right = moved[:, 0] * cos + moved[:, 1] * sin, moved[:, 1] * cos - moved[:, 0] * sin
    return np.stack([ahead, right, poses[:, -1, 2] - heading], 1)


def surroundings(layout: Layout, poses: np.ndarray) -> np.ndarray:
    """Plans and poses (N, 3) -> (N, 24) 1.0 where a cell is solid, of the 5 x 5 around the viewer, whose own is left out.

    Rows from far ahead to far behind, columns from left to right, in the grid's axis that is nearest to the viewer's heading.
    """
    quarter = np.round(poses[:, 2] / (np.pi / 2)).astype(np.int64) % 4
    x, y = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]  # ahead; to the right is (-y, x)
    ahead, right = (part.ravel()[:, None] for part in np.mgrid[REACH : -REACH - 1 : -1, -REACH : REACH + 1])
    beyond = np.pad(layout.solid, ((0, 0), (REACH, REACH), (REACH, REACH)), constant_values=True)
    column, line = (np.floor(poses[:, axis]).astype(np.int64) + REACH for axis in (0, 1))
    cells = beyond[np.arange(len(poses)), line + ahead * y + right * x, column + ahead * x - right * y]
    own = (2 * REACH + 1) ** 2 // 2
    return np.delete(cells, own, 0).T.astype(np.float64)


@torch.no_grad()
def scrambled(system: System, seed: int) -> System:
    """The system with the numbers of each of its model's parameters in random order: as large as trained ones, untaught."""
    model, draw = deepcopy(system.model), torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        order = torch.randperm(parameter.numel(), generator=draw).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return replace(system, model=model)

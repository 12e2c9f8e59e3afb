"""Worlds to record in tests: a floor with pillars, and a dial. They lie beside the tests, where a new process finds them."""

from __future__ import annotations

import os
from functools import partial

import numpy as np

from unspool.data.record.film import Settings, SimulatorCamera
from unspool.data.record.simulator import View

PACE, TURN, SIDE = 0.25, np.pi / 12, 12


class Grid:
    """knows: what it tells beside its pictures. ends: steps until it is over. fog: share of seeds that show nothing,
    foggy: layouts that do. breaks: what to do in the tenth step of an episode whose seed is a multiple of three."""

    fps, actions = 10.0, ("ahead", "left", "right", "ahead left", "ahead right", "back", "stay")

    def __init__(self, layouts=None, knows=("poses", "free"), ends=None, fog=0.0, breaks=None, closed=(), foggy=()):
        self.layouts, self.knows, self.ends, self.fog, self.breaks = layouts, knows, ends, fog, breaks
        self.closed, self.foggy = closed, foggy
        self.map = None

    def reset(self, seed, layout):
        rng = np.random.default_rng([layout, 7])
        self.map = np.zeros((SIDE, SIDE), np.uint8)
        self.map[[0, -1]] = self.map[:, [0, -1]] = 1
        self.map[tuple(rng.integers(2, SIDE - 2, (2, 8)))] = 1
        self.paint = rng.integers(0, 256, (SIDE, SIDE, 3))
        rng = np.random.default_rng(seed)
        free = np.argwhere(self.map == 0)
        self.pose = np.array([*(free[rng.integers(len(free))][::-1] + 0.5), rng.uniform(-np.pi, np.pi)])
        self.blind, self.steps, self.seed = rng.random() < self.fog or layout in self.foggy, 0, seed
        return self._view()

    def step(self, action):
        name = self.actions[int(action)]
        self.steps += 1
        if self.breaks and self.steps == 10 and self.seed % 3 == 0:
            self.breaks()
        self.pose[2] += TURN * (("left" in name) - ("right" in name))
        way = ("ahead" in name) - (name == "back")
        to = self.pose[:2] + way * PACE * np.array([np.cos(self.pose[2]), np.sin(self.pose[2])])
        if not self._solid(to + 0.2).any() and not self._solid(to - 0.2).any():
            self.pose[:2] = to
        return self._view()

    def draw(self, rng):
        return int(rng.integers(len(self.actions)))

    def close(self):
        self.map = None

    def _solid(self, at):
        x, y = np.floor(np.asarray(at)).astype(int).T
        return self.map[np.clip(y, 0, SIDE - 1), np.clip(x, 0, SIDE - 1)] > 0

    def _cast(self, off):
        far = np.arange(0.05, SIDE * 1.5, 0.05)
        way = np.stack([np.cos(self.pose[2] + off), np.sin(self.pose[2] + off)], -1)
        at = self.pose[:2] + far[:, None, None] * way
        hit = self._solid(at.reshape(-1, 2)).reshape(len(far), -1).argmax(0)
        x, y = np.floor(at[hit, np.arange(len(off))]).astype(int).T.clip(0, SIDE - 1)
        return far[hit], self.paint[y, x]

    def _view(self):
        far, colour = self._cast(np.linspace(0.6, -0.6, 32))
        high = np.abs(np.arange(24)[:, None] - 11.5) < 8 / far
        frame = np.where(high[..., None], colour, np.array([200, 90, 40]))
        if self.blind:
            frame[:] = 60
        free = self._cast(np.array([np.pi / 4, 0, -np.pi / 4]))[0] / PACE
        return View(
            frame.astype(np.uint8), self.pose.copy() if "poses" in self.knows else None, reward=float(self.steps % 5 == 0),
            done=self.ends is not None and self.steps >= self.ends, free=free if "free" in self.knows else None,
        )  # fmt: skip


class Dial:
    """Two knobs between -1 and 1; nobody knows what they do."""

    fps, actions, layouts, closed, map = 30.0, (), 1, (), None

    def reset(self, seed, layout):
        self.rng = np.random.default_rng(seed)
        return View(self.rng.integers(0, 255, (20, 20, 3), np.uint8))

    def step(self, action):
        assert action.shape == (2,) and np.abs(action).max() <= 1
        return View(self.rng.integers(0, 255, (20, 20, 3), np.uint8))

    def draw(self, rng):
        return rng.uniform(-1, 1, 2)

    def close(self):
        pass


def die():
    os._exit(9)


def fail():
    raise ZeroDivisionError("the floor gave way")


def opens(settings: Settings, **options):
    return SimulatorCamera(Grid(**options), settings)


def grids(**options):
    return partial(opens, **options)


def dials(settings: Settings):
    return SimulatorCamera(Dial(), settings)

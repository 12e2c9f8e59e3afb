"""Walks worth filming through any world: actions are held, walls are left alone, and places are seen again.

Each way of moving is a generator that yields actions and is sent views, so that a habit of many frames reads as one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import final

import numpy as np

from unspool.data.record.simulator import Simulator, View

Action = int | np.ndarray
Steps = Generator[Action, View, None]

FLAT = 8.0  # of 255 levels: the standard deviation of luminance below which a view shows one surface and nothing else
_GRID = 32  # pixels a side are enough to judge that
NEAR, OPEN = 6.0, 16.0  # steps ahead that are too few to go on; that are worth turning to
_SHUT_IN, _REACH = 2, 3.0  # places: who knows no more tries every closed way as a door; from so many steps away
_CRUMB = 4.0  # steps between two remembered places
_SAME = 0.6  # of that: how near a remembered place is the same place; less than any wall is thick, the walker's width included
_WIDE = np.radians(35)  # a target further aside is turned to on the spot
_LEAST_TURN = np.radians(0.5)  # a frame; less is drift, or a turn against something
_STUCK = 2  # steps ahead without getting on, until a way counts as closed; the first may be spent on gaining speed


def flat(frames: np.ndarray) -> np.ndarray:
    """Which frames (..., H, W, 3) uint8 show next to nothing, (...) bool: a wall at the nose's tip, fog, a fade, the sky."""
    every = max(1, frames.shape[-2] // _GRID)
    luminance = frames[..., ::every, ::every, :] @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return luminance.std((-2, -1)) < FLAT


def explore(simulator: Simulator, rng: np.random.Generator, first: View) -> Steps:
    """Actions for an episode that begins with the view `first`; send each view that follows. It never ends."""
    if {"ahead", "left", "right"} <= set(simulator.actions):
        return _Walker(simulator.actions, rng, first).walk()
    return _held(simulator, rng)


def _held(simulator: Simulator, rng: np.random.Generator) -> Steps:
    """Where nobody knows what actions mean: any, each held for a while."""
    while True:
        action = simulator.draw(rng)
        for _ in range(rng.integers(2, 13)):
            yield action


@final
class _Walker:
    """Somebody who can turn and go ahead. With poses, the places passed are joined to a graph that ways back are found in."""

    def __init__(self, actions: tuple[str, ...], rng: np.random.Generator, first: View) -> None:
        self.ids, self.rng, self.view = {name: i for i, name in enumerate(actions)}, rng, first
        self.pace, self.turn = 0.0, float(np.radians(7.5))  # a frame; pace is learned, turn a guess until it is
        self.near = NEAR if self._bends() else (NEAR + OPEN) / 2
        self.stuck, self.veer, self.veered = 0, "", 0
        self.places: list[np.ndarray] = []
        self.joined: list[set[int]] = []
        self.here = 0
        self._remember()

    def walk(self) -> Steps:
        while True:
            yield from self._wander()
            habit = self.rng.random()
            if habit < 0.35 and len(self.places) > 8:
                yield from self._return()
            elif habit > 0.8:
                yield from self._look_round()

    # ---- habits

    def _wander(self) -> Steps:
        """A few legs, each to where the way is open."""
        for _ in range(self.rng.integers(2, 7)):
            if self._blocked() or self.rng.random() < 0.1:
                yield from self._turn_to_open()
                yield from self._squeeze()
            for _ in range(self.rng.integers(3, 9)):
                bend = self._bend()
                for _ in range(self.rng.integers(3, 9)):
                    if self._blocked():
                        break
                    yield from self._do(self._veered(bend))
            if self._blocked() and "use" in self.ids and self.view.pose is not None:
                yield from self._try_door()

    def _turn_to_open(self) -> Steps:
        """Turn to one side until the way ahead is open; the further one has turned, the less is asked of it."""
        if self.stuck and self.view.free is None and "back" in self.ids:
            for _ in range(self.rng.integers(2, 6)):
                yield from self._do("back")
        side = self._side()
        least = self.rng.uniform(0, 0.5) if self.view.free is not None else self.rng.uniform(0.6, 2.4)
        for turned in np.arange(0, 2 * np.pi, self.turn):
            wanted = OPEN + (self.near - OPEN) * turned / np.pi
            closed = self.view.free[1] < wanted if self.view.free is not None else self._stares()
            if turned >= least and not closed:
                break
            yield from self._do(side)
        self.stuck = 0

    def _squeeze(self) -> Steps:
        """Out of a tight corner, where no way is open: ahead, for as long as one gets on."""
        for _ in range(12):
            if self.stuck >= _STUCK or not self._blocked():
                break
            yield from self._do("ahead")

    def _look_round(self) -> Steps:
        """Look aside or all the way round, and back to where one looked before."""
        side, back = ("left", "right") if self.rng.random() < 0.5 else ("right", "left")
        frames = round(self.rng.uniform(0.8, 3.2) / self.turn)
        for name, count in ((side, frames), ("stay", self.rng.integers(0, 4)), (back, frames)):
            if name in self.ids:
                for _ in range(count):
                    yield from self._do(name)

    def _return(self) -> Steps:
        """To a place of before, by the shortest way over places passed: often the path itself, backwards."""
        goal = int(self.rng.integers(len(self.places)))
        for place in self._path(goal)[:60]:
            for _ in range(60):
                off = self.places[place] - self._at()
                if np.hypot(*off) < 0.5 * _CRUMB * self.pace:
                    break
                yield from self._do(self._towards(float(np.arctan2(off[1], off[0]))))
                if self.stuck >= _STUCK:
                    return

    def _try_door(self) -> Steps:
        """Walk up and knock, the less often the more places are known already; wait only if something moves then."""
        if self.rng.random() > _SHUT_IN / len(self.places):
            return
        for _ in range(8):
            if self.stuck or (self.view.free is not None and self.view.free[1] < _REACH):
                break
            yield from self._do("ahead")
        yield from self._do("use")
        for _ in range(16):
            before = self.view.frame
            yield from self._do("stay")
            if self._same(before) or not self._blocked():
                break
        self.stuck = 0

    # ---- choices

    def _bend(self) -> str:
        """Ahead, with a bend for a while; away from a wall at one side."""
        if not self._bends():
            return "ahead"
        bends = ("ahead left", "ahead right")
        if self.view.free is not None and min(self.view.free[0], self.view.free[2]) < NEAR:
            return bends[int(self.view.free[0] < self.view.free[2])]
        return bends[int(self.rng.integers(2))] if self.rng.random() < 0.35 else "ahead"

    def _veered(self, bend: str) -> str:
        """The bend, or one to the side with more room where a wall comes near: most corners are then taken at a walk."""
        free = self.view.free
        if free is None or free[1] >= OPEN or not self._bends():
            self.veer, self.veered = "", 0
            return bend
        self.veer, self.veered = self.veer or f"ahead {self._side()}", self.veered + 1
        return self.veer if self.veered < np.pi / self.turn else "ahead"  # or one would go round and round

    def _side(self) -> str:
        """Where there is more room, and fewer places known."""
        free, left = self.view.free, 0.5
        if free is not None and min(free[0], free[2]) < OPEN:
            left = 0.9 if free[0] > free[2] else 0.1
        elif self.places:
            off = np.array(self.places) - self._at()
            off = off[np.hypot(*off.T) < 10 * _CRUMB * self.pace]
            across = off @ np.array([-np.sin(self._heading()), np.cos(self._heading())])
            left = 0.2 if (across > 0).sum() > (across < 0).sum() else 0.8
        return "left" if self.rng.random() < left else "right"

    def _towards(self, heading: float) -> str:
        off = (heading - self._heading() + np.pi) % (2 * np.pi) - np.pi
        if abs(off) < 0.75 * self.turn:
            return "ahead"
        side = "left" if off > 0 else "right"
        return f"ahead {side}" if abs(off) < _WIDE and f"ahead {side}" in self.ids else side

    def _bends(self) -> bool:
        """Whether one can turn at a walk; else a turn takes longer, and begins further from the wall."""
        return {"ahead left", "ahead right"} <= self.ids.keys()

    def _blocked(self) -> bool:
        if self.stuck >= _STUCK:
            return True
        return bool(self.view.free[1] < self.near) if self.view.free is not None else self._stares()

    def _stares(self) -> bool:
        return bool(flat(self.view.frame))

    # ---- what is known

    def _do(self, name: str) -> Steps:
        before = self.view
        self.view = yield self.ids[name]
        moved, turned = self._moved(before)
        if "ahead" in name:
            if moved < 3 * self.pace or not self.pace:  # else it was a leap
                self.pace = max(self.pace, moved)
            got_on = moved > 0.25 * self.pace if self.view.pose is not None else not self._same(before.frame)
            self.stuck = 0 if got_on else self.stuck + 1
        elif name in ("left", "right") and turned > _LEAST_TURN:
            self.turn = turned
        if moved:
            self._remember()

    def _moved(self, before: View) -> tuple[float, float]:
        """(distance, angle) since then; zeros where no pose is known."""
        if self.view.pose is None or before.pose is None:
            return 0.0, 0.0
        x, y, heading = self.view.pose[:3] - before.pose[:3]
        return float(np.hypot(x, y)), float(abs((heading + np.pi) % (2 * np.pi) - np.pi))

    def _same(self, frame: np.ndarray) -> bool:
        """Whether nothing to speak of has changed in the picture."""
        return bool(np.abs(self.view.frame[::4, ::4].astype(np.int16) - frame[::4, ::4]).mean() < 1)

    def _remember(self) -> None:
        """Drop a crumb once the last one lies behind, or join the one that lies here already."""
        if self.view.pose is None:
            return
        at, reach = self._at(), _CRUMB * self.pace
        if not self.places:
            self.places, self.joined = [at], [set()]
        off = at - self.places[self.here]
        if off @ off < reach**2 or not reach:
            return
        far = np.hypot(*(np.array(self.places) - at).T)
        near = int(far.argmin())
        if far[near] > _SAME * reach:
            near = len(self.places)
            self.places.append(at)
            self.joined.append(set())
        if far[self.here] < 3 * reach:  # a leap cannot be walked back
            self.joined[near].add(self.here)
            self.joined[self.here].add(near)
        self.here = near

    def _path(self, goal: int) -> list[int]:
        """Places on the shortest way from here to the goal; empty where none is known."""
        before, queue = {goal: goal}, deque([goal])
        while queue and self.here not in before:
            place = queue.popleft()
            for other in sorted(self.joined[place] - before.keys()):
                before[other] = place
                queue.append(other)
        return list(_follow(before, self.here, goal)) if self.here in before else []

    def _at(self) -> np.ndarray:
        assert self.view.pose is not None
        return np.asarray(self.view.pose[:2], float)

    def _heading(self) -> float:
        assert self.view.pose is not None
        return float(self.view.pose[2])


def _follow(links: dict[int, int], start: int, end: int) -> Iterator[int]:
    yield start
    while start != end:
        start = links[start]
        yield start

"""Walks through `rooms` to measure memory on: away from a place and back to it, on by other ways past what was seen, or round
in place until what was seen comes back from the other side.

All are in plans of the split `unseen`, which training never shows, and move as the world moves (`walk.move`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from unspool.data.worlds.rooms import ACTIONS, Episode, Layout, Rooms
from unspool.data.worlds.rooms.raycast import Seen, render, surfaces
from unspool.data.worlds.rooms.walk import TURN, move
from unspool.errors import UserError
from unspool.evaluate.memory.sights import revisits

HALF = round(np.pi / TURN)  # frames of a half turn
_STAY, _AHEAD, _LEFT, _RIGHT = (ACTIONS.index(name) for name in ("stay", "ahead", "left", "right"))
_TURNS = np.array([0, 0, -1, 1, -1, 1])  # of each action: left, none, right
_AHEADS = np.array([0, 1, 0, 0, 1, 1])
_ACTION = np.array([[_LEFT, ACTIONS.index("ahead left")], [_STAY, _AHEAD], [_RIGHT, ACTIONS.index("ahead right")]])
_EXACT = 1e-3  # cells: a way back that grazes a wall slides along it and ends elsewhere
_SHARE = 0.05  # of the pixels after the context, shown again after a window or more: less is not worth a scene
_BLOCK, _TRIES = 32, 64  # walks drawn at once; walks tried for each scene
_T = TypeVar("_T")


class Scene(NamedTuple):
    """One video with its truth. frames: (T, H, W, 3) uint8, the first `context` of them given to the model. poses: (T, 3) x, y
    in cells, heading in radians. actions: (T, 6) float32 one-hot, what led to each frame, 0 for the first. layout: its floor
    plan, a batch of one."""

    frames: NDArray[np.uint8]
    poses: NDArray[np.float32]
    actions: NDArray[np.float32]
    layout: Layout
    context: int


Renderer = Callable[[Scene], NDArray[np.uint8]]
"""Whoever makes the frames after a scene's context: (T - context, H, W, 3) uint8."""


def retrieval(
    scenes: int, *, window: int, windows: int, size: Literal[32, 64] = 32, seed: int = 0
) -> tuple[Scene, ...]:
    """Go out, turn round, come back, all within a context of `windows` windows of `window` frames; then turn round and go the
    same way again, so that the same places are seen from the same side. What lay ahead was seen when going out and is behind
    one's back since. A context too short for two half turns is a turn away in place, and the rest the turn back.

    A pure function of its arguments; fewer scenes are the first of more. Raises UserError for what cannot be walked.
    """
    return first(scenes, there_and_back(_context(window, windows), size, seed), "come back exactly: take another seed")


def reasoning(
    scenes: int, *, window: int, windows: int, size: Literal[32, 64] = 32, seed: int = 0
) -> tuple[Scene, ...]:
    """A walk like those of training; after a context of `windows` windows of `window` frames it goes on as long by new ways,
    of which at least 5 % of the pixels show again what was out of sight for a window or more.

    A pure function of its arguments; fewer scenes are the first of more. Raises UserError where walks seldom do.
    """
    context = _context(window, windows)

    def on() -> Iterator[Scene | None]:
        for layout, walk in _walks(2 * context, size, seed):
            for b in range(_BLOCK):
                scene = _film(layout, walk.poses, walk.actions[:, :-1], b, context, size)
                seen_again = (revisits(sights(scene), context) > window).mean() >= _SHARE
                yield scene if seen_again else None

    return first(scenes, on(), f"show again what was out of sight for {window} frames: use more windows")


def around(scenes: int, *, window: int, size: Literal[32, 64] = 32, seed: int = 0) -> tuple[Scene, ...]:
    """Turn in place to one side: through a context of `window` frames and on, until a whole turn behind it. So each frame of
    the context comes back as it was, from the side that it did not leave by; what lies between is seen for the first time.

    A pure function of its arguments; fewer scenes are the first of more. Raises UserError for what cannot be walked.
    """
    context = _context(window, 1)
    side = np.where(np.arange(_BLOCK) % 2, _LEFT, _RIGHT)[:, None].repeat(context - 1 + 2 * HALF, 1)

    def turned() -> Iterator[Scene]:
        for layout, walk in _walks(1, size, seed):
            poses = _follow(layout, walk.poses[:, 0], side)
            yield from (_film(layout, poses, side, b, context, size) for b in range(_BLOCK))

    return first(scenes, turned(), "turn round: take another seed")


def there_and_back(context: int, size: Literal[32, 64], seed: int) -> Iterator[Scene | None]:
    """The walks of `retrieval`, without end; None for one that grazed a wall and so did not come back exactly."""
    out = (context - HALF - 2) // 2
    side = np.where(np.arange(_BLOCK) % 2, _LEFT, _RIGHT)[:, None]
    for layout, walk in _walks(max(out, 1), size, seed):
        actions = _out_and_back(walk.actions[:, :out], side, context) if out > 0 else _pan(side, context)
        poses = _follow(layout, walk.poses[:, 0], actions)
        begun = poses[:, : max(out, 0) + 1, :2]  # of a turn in place, the first frame: that is where it ends
        exact = np.abs(poses[:, -begun.shape[1] :, :2] - begun).max((1, 2)) < _EXACT
        yield from (_film(layout, poses, actions, b, context, size) if exact[b] else None for b in range(_BLOCK))


def first(count: int, found: Iterator[_T | None], what: str) -> tuple[_T, ...]:
    """The first `count` that are not None. Raises UserError where fewer are found among 64 walks for each; what: do these."""
    if count < 1:
        raise UserError(f"{count} scenes: ask for 1 or more")
    tries = max(_TRIES * count, _BLOCK)
    kept = tuple(islice((one for one in islice(found, tries) if one is not None), count))
    if len(kept) < count:
        raise UserError(f"only {len(kept)} of {tries} walks {what}")
    return kept


def sights(scene: Scene) -> Seen:
    """What each pixel of the scene's frames shows, (T, H, W)."""
    seen = surfaces(scene.layout, scene.poses[None], scene.frames.shape[1])
    return Seen(*(part[0] for part in seen))


def render_like(scene: Scene, layout: Layout) -> NDArray[np.uint8]:
    """The frames after the context as they would look in another plan, seen from the same poses."""
    return render(layout, scene.poses[None, scene.context :], scene.frames.shape[1])[0]


def _context(window: int, windows: int) -> int:
    if min(window, windows) < 1 or window * windows < 2:
        raise UserError(f"a context of {windows} windows of {window} frames: ask for 2 frames or more in all")
    return window * windows


def _walks(frames: int, size: Literal[32, 64], seed: int) -> Iterator[Episode]:
    world = Rooms(size=size, split="unseen")
    for block in count():
        yield world.episodes(world.seeds(block * _BLOCK + np.arange(_BLOCK), seed=seed), frames)


def _out_and_back(out: NDArray[np.int64], side: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """Actions (B, n) of a way out -> all of the scene's. Going back undoes the last step first: a move and the turn that came
    BEFORE it, so each frame of the way back moves as one frame of the way out and turns against the one after it."""
    turns, aheads = _TURNS[out][:, ::-1], _AHEADS[out][:, ::-1]
    back = _ACTION[np.pad(-turns, ((0, 0), (1, 0))) + 1, np.pad(aheads, ((0, 0), (0, 1)))]
    rest = np.full((len(out), context - 2 * out.shape[1] - HALF - 2), _STAY)
    around = side.repeat(HALF, 1)
    return np.concatenate([out, rest, around, back, around, out], 1)


def _pan(side: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """Turn away and back again, (B, 2 * (context - 1)) actions."""
    away = side.repeat(context - 1, 1)
    return np.concatenate([away, _LEFT + _RIGHT - away], 1)


def _follow(layout: Layout, pose: NDArray[np.float32], actions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Poses (B, n + 1, 3) from the first (B, 3) on, by actions (B, n)."""
    poses = [pose]
    for action in actions.T:
        poses.append(move(layout, poses[-1], action))
    return np.stack(poses, 1)


def _film(
    layouts: Layout, poses: NDArray[np.float32], actions: NDArray[np.int64], b: int, context: int, size: int
) -> Scene:
    """Walk b of a batch: poses (B, T, 3), actions (B, T - 1) between them."""
    layout = Layout._make(part[b : b + 1] for part in layouts)
    led = np.zeros((poses.shape[1], len(ACTIONS)), np.float32)
    led[np.arange(1, len(led)), actions[b]] = 1
    return Scene(render(layout, poses[b : b + 1], size)[0], poses[b], led, layout, context)

"""One frame of every fight at once: decide, move, keep apart, strike.

All randomness is hashed from (key, frame, fighter, purpose), so that a fight can be taken up again at any frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..hashing import uniform
from .moves import MOVE, SCRIPT
from .skeleton import ANGLES, JOINT, LIMITS, RADII, joint_positions
from .splits import FAR, MIDDLE, NEAR, Split, background_choices, branch_table, colour_choices
from .state import DuelState, Floats, Ints

Keys = NDArray[np.uint64]

# purposes of a draw: the last counter of the hash
_BACKGROUND, _COLOURS, _SCENE, _PLACE, _FIRST, _PHASE, _CHOICE, _TEMPO, _STRIDE, _FELL, _AIM, _SWAY = range(12)

_HEIGHTS = {1: 0.62, 2: 0.60, 3: 0.54, 4: 0.50}  # of a fighter, picture units
_FLOOR = 0.90  # picture units, where the nearest fighter stands
_LANE = 0.022  # every further fighter stands this much higher up
_MARGIN = 0.035  # no joint comes nearer to the picture's edge
_APART = 0.42  # body heights between pelvises
_FRICTION = 0.86  # of the knock-back is left after a frame
_TURN = 0.34  # half a turn is 2
_SWAY_DEGREES = np.float32(7.0)
_REACH = np.float32(0.055)  # thickness of fist and foot plus a graze, body heights
_DOWN = np.array([MOVE["fall"], MOVE["lie"], MOVE["get up"]])
# what a blow can touch: bones as joint pairs (the head is a bone without length)
_TARGETS = np.array(
    [(JOINT[a], JOINT[b]) for a, b in (
        ("head", "head"), ("neck", "chest"), ("chest", "waist"), ("waist", "pelvis"), ("hip", "knee"),
        ("hip_far", "knee_far"), ("knee", "ankle"), ("knee_far", "ankle_far"))]
)  # fmt: skip


def height_of(fighters: int) -> float:
    """Body height in picture units: more fighters are drawn a little smaller."""
    return _HEIGHTS[fighters]


def floor_of(fighters: int) -> NDArray[np.float32]:
    """(F,) the y of the floor under each fighter; fighter 0 is nearest to the viewer."""
    return (_FLOOR - _LANE * np.arange(fighters)).astype(np.float32)


def opening(keys: Keys, split: Split, fighters: int, frame: int) -> DuelState:
    """A state in mid-fight at absolute frame `frame`, to be shaken into a plausible one by burning in."""
    batch, everyone = len(keys), np.arange(fighters)
    key, shape = keys[:, None], (len(keys), fighters)
    backgrounds, palettes = background_choices(split), colour_choices(split, fighters)
    background = backgrounds[(uniform(keys, 0, 0, _BACKGROUND) * len(backgrounds)).astype(np.int64)]
    colours = palettes[(uniform(keys, 0, 0, _COLOURS) * len(palettes)).astype(np.int64)]
    # places: an even row in random order, shaken
    order = np.argsort(uniform(key, 1, everyone, _PLACE), axis=1, kind="stable")
    x = (0.5 + (order - (fighters - 1) / 2) * (0.42 / max(1, fighters - 1))).astype(np.float32)
    x = x + (uniform(key, 0, everyone, _PLACE) - np.float32(0.5)) * np.float32(0.3)
    side = np.where(x < 0.5, 1, -1)
    # everyone is somewhere in some move, a good part of them down, or the first blows would all fall together
    chances = np.cumsum(SCRIPT.length * np.where(np.isin(np.arange(len(SCRIPT.length)), _DOWN), 2, 1))
    draw = uniform(key, 0, everyone, _FIRST)[..., None]
    move = (chances / chances[-1] <= draw).sum(axis=-1)
    phase = uniform(key, 0, everyone, _PHASE) * SCRIPT.length[move]
    angles = np.broadcast_to(SCRIPT.pose[MOVE["idle"], 2], (*shape, len(ANGLES))).copy()
    zeros = np.zeros(shape, np.float32)
    state = DuelState(
        frame=np.full(batch, frame, np.int64),
        background=background,
        scene=uniform(key, 0, np.arange(6), _SCENE),
        colours=colours,
        x=x,
        velocity=zeros,
        side=side,
        turn=side.astype(np.float32),
        target=np.broadcast_to((everyone + 1) % fighters, shape).copy(),
        move=move,
        phase=phase,
        tempo=zeros + 1,
        stride=zeros + 1,
        travel=zeros,
        reply_to=np.full(shape, -1, np.int64),
        landed=np.zeros(shape, bool),
        struck=np.full(shape, -1, np.int64),
        parried=np.zeros(shape, bool),
        health=zeros + 1,
        origin=angles,
        sway=np.zeros_like(angles),
        angles=angles,
        joints=np.zeros((*shape, len(RADII), 2), np.float32),
    )
    return state.copy()  # `step` writes in place: no two leaves may share memory


def step(state: DuelState, keys: Keys, split: Split, speed: float) -> None:
    """Advance `state` IN PLACE by one frame. `keys` (B,) are the streams of randomness."""
    state.frame[...] += 1
    state.phase[...] += state.tempo * np.float32(speed)
    _decide(state, keys, split)
    _perform(state, speed)
    _strike(state, keys)


def _decide(state: DuelState, keys: Keys, split: Split) -> None:
    """Whose move is over draws the next one from the distance, the own last move and what the other is doing."""
    fighters = state.x.shape[1]
    b, f = np.nonzero(state.phase >= SCRIPT.length[state.move])
    if not len(b):
        return
    key, frame, x = keys[b], state.frame[b], state.x[b, f]
    if fighters > 1:
        away = np.abs(state.x[b] - x[:, None])
        away += np.isin(state.move[b], _DOWN) * np.float32(0.35)  # those who still stand come first
        away += uniform(key[:, None], frame[:, None], np.arange(fighters), _AIM) * np.float32(0.15)
        away[np.arange(len(b)), f] = 9.0
        other = np.argmin(away, axis=1)
        gap, theirs = state.x[b, other] - x, state.move[b, other]
        side, distance = np.where(gap >= 0, 1, -1), np.abs(gap) / np.float32(height_of(fighters))
    else:  # shadow boxing: imagines an idle opponent on the roomier side
        other, theirs, draw = f, np.full(len(b), MOVE["idle"]), uniform(key, frame, f, _AIM)
        side = np.where(draw < (x - np.float32(0.15)) / np.float32(0.7), -1, 1)
        distance = uniform(key, frame, f + 1, _AIM)
    reach = np.where(distance < 0.46, NEAR, np.where(distance < 0.74, MIDDLE, FAR))
    chances = branch_table(split)[reach, state.move[b, f], theirs]
    move = (chances <= uniform(key, frame, f, _CHOICE)[:, None]).sum(axis=1)

    imposed = np.isin(move, _DOWN)
    state.side[b, f] = np.where(imposed, state.side[b, f], side)
    state.target[b, f] = np.where(imposed, state.target[b, f], other)
    state.reply_to[b, f] = np.where(imposed, -1, theirs)
    _begin(state, keys, b, f, move)


def _begin(state: DuelState, keys: Keys, b: Ints, f: Ints, move: Ints) -> None:
    """Fighters (b, f) start `move` from the pose they are in, each performance a little different."""
    key, frame = keys[b], state.frame[b]
    low, high = SCRIPT.stride[move].T
    sway = uniform(key[:, None], frame[:, None], f[:, None], _SWAY + np.arange(len(ANGLES))) * 2 - 1
    state.move[b, f] = move
    state.phase[b, f] = 0
    state.travel[b, f] = 0
    state.landed[b, f] = False
    state.tempo[b, f] = np.float32(0.68) + uniform(key, frame, f, _TEMPO) * np.float32(0.34)
    state.stride[b, f] = low + (high - low) * uniform(key, frame, f, _STRIDE)
    state.origin[b, f] = state.angles[b, f]
    state.sway[b, f] = sway * _SWAY_DEGREES


def _perform(state: DuelState, speed: float) -> None:
    """Pose and place every body: interpolate the keys, travel, turn, keep apart, stand on the floor, stay inside."""
    fighters = state.x.shape[1]
    height, turn = np.float32(height_of(fighters)), np.float32(_TURN * speed)
    move, phase = state.move, state.phase
    at = np.maximum((phase[..., None] >= SCRIPT.start[move]).sum(axis=-1) - 1, 0)
    u = np.minimum((phase - SCRIPT.start[move, at]) * SCRIPT.scale[move, at], np.float32(1))
    u = u * u * (3 - 2 * u)
    first = (at == 0)[..., None]
    goal = SCRIPT.pose[move, at + 1] + state.sway
    past = np.where(first, state.origin, SCRIPT.pose[move, at] + state.sway)
    angles = past + (goal - past) * u[..., None]
    np.clip(angles, LIMITS[:, 0], LIMITS[:, 1], out=state.angles)

    travel = SCRIPT.x[move, at] + (SCRIPT.x[move, at + 1] - SCRIPT.x[move, at]) * u
    state.velocity[...] *= np.float32(_FRICTION**speed)
    state.x[...] += state.side * (travel - state.travel) * state.stride * height + state.velocity * np.float32(speed)
    state.travel[...] = travel
    state.turn[...] += np.clip(state.side - state.turn, -turn, turn).astype(np.float32)

    leap = SCRIPT.leap[move]
    aloft = np.clip((phase - leap[..., 0]) / (leap[..., 1] - leap[..., 0]), 0, 1).astype(np.float32)
    rise = 4 * leap[..., 2] * aloft * (1 - aloft)
    _keep_apart(state, rise, height)

    offset = joint_positions(np.ascontiguousarray(np.moveaxis(state.angles, -1, 0))) * height  # (J, 2, B, F)
    offset[:, 0] *= state.turn
    thick = (RADII * height)[:, None, None]
    low = (offset[:, 1] + thick).max(axis=0)
    state.joints[..., 1] = np.moveaxis(offset[:, 1] + (floor_of(fighters) - rise * height - low), 0, -1)
    left, right = state.x + offset[:, 0].min(axis=0), state.x + offset[:, 0].max(axis=0)
    inside = np.maximum(_MARGIN - left, 0) - np.maximum(right - (1 - _MARGIN), 0)
    state.x[...] += inside.astype(np.float32)
    state.joints[..., 0] = np.moveaxis(offset[:, 0] + state.x, 0, -1)


def _keep_apart(state: DuelState, rise: Floats, height: np.float32) -> None:
    """Two who both stand on the floor push each other aside; one who leaps or lies can be crossed."""
    solid = (rise < 0.05) & ~np.isin(state.move, _DOWN)
    for i in range(state.x.shape[1]):
        for j in range(i + 1, state.x.shape[1]):
            gap = state.x[:, j] - state.x[:, i]
            close = np.float32(_APART) * height - np.abs(gap)
            push = np.where(solid[:, i] & solid[:, j] & (close > 0), close, 0) * np.float32(0.35)
            push *= np.where(gap >= 0, 1, -1)
            state.x[:, i] -= push.astype(np.float32)
            state.x[:, j] += push.astype(np.float32)


def _strike(state: DuelState, keys: Keys) -> None:
    """Blows under way that touch a body land: a guard takes them, or the other staggers or falls."""
    state.struck[...] = -1
    state.parried[...] = False
    fighters = state.x.shape[1]
    height = np.float32(height_of(fighters))
    blow = SCRIPT.blow[state.move]
    active = (SCRIPT.joint[state.move] >= 0) & (state.phase >= blow[..., 0]) & (state.phase <= blow[..., 1])
    for k in range(1, fighters):
        b, f = np.nonzero(active & ~state.landed)
        if not len(b):
            return
        v = (f + k) % fighters
        point = state.joints[b, f, SCRIPT.joint[state.move[b, f]]]
        ends = state.joints[b[:, None, None], v[:, None, None], _TARGETS]  # (n, bones, 2, xy)
        thick = (RADII[_TARGETS].mean(axis=1) + _REACH) * height
        immune = np.isin(state.move[b, v], _DOWN)
        hit = (_distance(point[:, None], ends[:, :, 0], ends[:, :, 1]) < thick).any(axis=1) & ~immune
        _land(state, keys, b[hit], f[hit], v[hit])


def _distance(point: Floats, a: Floats, b: Floats) -> Floats:
    """From points to segments (..., 2)."""
    along, out = b - a, point - a
    t = (along * out).sum(axis=-1) / np.maximum((along * along).sum(axis=-1), np.float32(1e-9))
    return np.sqrt(((out - along * np.clip(t, 0, 1)[..., None]) ** 2).sum(axis=-1))


def _land(state: DuelState, keys: Keys, b: Ints, f: Ints, v: Ints) -> None:
    """Fighters (b, f) hit (b, v)."""
    if not len(b):
        return
    move, theirs = state.move[b, f], state.move[b, v]
    power, fell, high = SCRIPT.blow[move, 2], SCRIPT.blow[move, 3], SCRIPT.high[move]
    away = np.where(state.x[b, v] >= state.x[b, f], 1, -1)
    guard = ((theirs == MOVE["block high"]) & high) | ((theirs == MOVE["block low"]) & ~high)
    parried = guard & (state.phase[b, v] > 1.5) & (state.side[b, v] == -away)
    state.landed[b, f] = True
    state.struck[b, v] = f
    state.parried[b, v] = parried
    push = power * np.where(parried, np.float32(0.4), np.float32(0.6)) * away
    state.velocity[b, v] += push.astype(np.float32)

    b, v, fell, high, away = b[~parried], v[~parried], fell[~parried], high[~parried], away[~parried]
    state.health[b, v] -= np.float32(0.10) + fell * np.float32(0.2)
    aloft = (state.joints[b, v, :, 1] + RADII * np.float32(height_of(state.x.shape[1]))).max(axis=1)
    aloft = aloft < floor_of(state.x.shape[1])[v] - np.float32(0.02)
    falls = (state.health[b, v] <= 0) | aloft | (uniform(keys[b], state.frame[b], v, _FELL) < fell * np.float32(0.7))
    state.health[b, v] = np.where(falls, np.float32(1), state.health[b, v])
    state.side[b, v] = -away
    state.reply_to[b, v] = -1
    reel = np.where(high, MOVE["stagger high"], MOVE["stagger low"])
    _begin(state, keys, b, v, np.where(falls, MOVE["fall"], reel))

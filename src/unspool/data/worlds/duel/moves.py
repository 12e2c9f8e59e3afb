"""The 26 moves: keyframed joint angles, travel, leaps and strikes.

A move is a list of keys; a key says how many frames it takes to reach a pose from the one before. The first key starts
wherever the body happens to be, so that any move can follow, or interrupt, any other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .skeleton import ANGLES, JOINT, LIMITS

_STANCE = {
    "lean": 6, "spine": 8, "neck": -6, "head": -4,
    "shoulder": 58, "elbow": 92, "shoulder_far": 34, "elbow_far": 112,
    "hip": 38, "knee": 42, "hip_far": -6, "knee_far": 16,
}  # fmt: skip


class Key(NamedTuple):
    """Reach `pose` in `frames` frames, having travelled `x` body heights forward since the move began."""

    frames: float
    pose: dict[str, float]
    x: float = 0.0


class Strike(NamedTuple):
    """A blow: while the phase is in [begin, end], `joint` hurts whom it touches."""

    joint: str
    begin: float
    end: float
    high: bool  # what guard stops it, and how the other reels
    power: float  # knock-back, body heights per frame
    fell: float  # chance that it throws the other down


class Move(NamedTuple):
    name: str
    keys: list[Key]
    strike: Strike | None = None
    leap: tuple[float, float, float] | None = None  # leaves the floor, lands (frames), height in body heights
    stride: tuple[float, float] = (0.85, 1.2)  # range of the random factor on travel


def _pose(**change: float) -> dict[str, float]:
    """The stance with some angles changed; feet are laid flat unless an ankle is given."""
    pose = {name: float(_STANCE.get(name, 0)) for name in ANGLES} | change
    for side in ("", "_far"):
        if "ankle" + side not in change:
            pose["ankle" + side] = pose["lean"] - pose["hip" + side] + pose["knee" + side]
    return pose


_GUARD = _pose()
_BOB = _pose(lean=9, hip=52, knee=66, hip_far=8, knee_far=40, shoulder=50, shoulder_far=28, elbow=100)
_CROUCH = _pose(lean=22, spine=16, hip=104, knee=118, hip_far=58, knee_far=124, shoulder=70, shoulder_far=50, elbow=110)
_TUCK = _pose(lean=12, hip=95, knee=105, hip_far=60, knee_far=115, ankle=-25, ankle_far=-30, shoulder=80)
_ON_BACK = _pose(lean=-90, spine=0, neck=8, head=6, shoulder=28, elbow=12, shoulder_far=150, elbow_far=25,
                 hip=22, knee=38, hip_far=4, knee_far=8, ankle=-30, ankle_far=-30)  # fmt: skip
_SITTING = _pose(lean=-28, spine=30, neck=10, hip=112, knee=100, hip_far=96, knee_far=112, shoulder=-35, elbow=15,
                 shoulder_far=70, elbow_far=30, ankle=-8, ankle_far=-8)  # fmt: skip

MOVE_LIST: tuple[Move, ...] = (
    Move("idle", [Key(4, _BOB), Key(4, _GUARD)]),
    Move("step forward", [
        Key(4, _pose(lean=12, hip=66, knee=58, hip_far=-14, knee_far=12, ankle=-5), 0.10),
        Key(4, _pose(lean=8, hip=30, knee=24, hip_far=4, knee_far=44), 0.19),
        Key(3, _GUARD, 0.22)]),
    Move("step back", [
        Key(4, _pose(lean=-4, hip=30, knee=14, hip_far=-34, knee_far=36, ankle_far=-40), -0.10),
        Key(4, _pose(lean=2, hip=56, knee=70, hip_far=-12, knee_far=14), -0.19),
        Key(3, _GUARD, -0.22)]),
    Move("jab", [
        Key(2, _pose(shoulder=38, elbow=118, lean=2)),
        Key(3, _pose(shoulder=103, elbow=4, lean=14, spine=12, hip=48, knee=42, hip_far=-20, knee_far=10), 0.08),
        Key(2, _pose(shoulder=100, elbow=8, lean=13, spine=12, hip=48, knee=42, hip_far=-20, knee_far=10), 0.08),
        Key(4, _GUARD, 0.03)], Strike("hand", 3, 7, True, 0.018, 0.02)),
    Move("cross", [
        Key(3, _pose(shoulder_far=-12, elbow_far=120, lean=-4, spine=0, shoulder=70)),
        Key(3, _pose(shoulder_far=112, elbow_far=3, shoulder=20, elbow=125, lean=22, spine=16, hip=56, knee=50,
                     hip_far=-28, knee_far=14, ankle_far=-20), 0.10),
        Key(2, _pose(shoulder_far=110, elbow_far=6, shoulder=20, elbow=125, lean=22, spine=16, hip=56, knee=50,
                     hip_far=-28, knee_far=14, ankle_far=-20), 0.10),
        Key(5, _GUARD, 0.04)], Strike("hand_far", 4, 8, True, 0.024, 0.06)),
    Move("hook", [
        Key(4, _pose(shoulder=-40, elbow=80, lean=-8, spine=-8, shoulder_far=60)),
        Key(3, _pose(shoulder=112, elbow=38, lean=18, spine=18, hip=50, knee=48, hip_far=-20, knee_far=16), 0.07),
        Key(2, _pose(shoulder=135, elbow=95, lean=20, spine=20, hip=50, knee=48, hip_far=-20, knee_far=16), 0.08),
        Key(5, _GUARD, 0.03)], Strike("hand", 5.5, 8.5, True, 0.026, 0.10)),
    Move("uppercut", [
        Key(4, _pose(shoulder_far=-30, elbow_far=60, lean=26, spine=20, hip=88, knee=96, hip_far=36, knee_far=88)),
        Key(3, _pose(shoulder_far=128, elbow_far=42, lean=-6, spine=-6, hip=18, knee=10, hip_far=-14, knee_far=6,
                     shoulder=15, elbow=110), 0.10),
        Key(3, _pose(shoulder_far=165, elbow_far=25, lean=-12, spine=-10, hip=10, knee=6, hip_far=-14, knee_far=6,
                     shoulder=0, elbow=100), 0.11),
        Key(5, _GUARD, 0.05)], Strike("hand_far", 5, 9, True, 0.022, 0.5)),
    Move("low kick", [
        Key(4, _pose(lean=0, hip_far=-25, knee_far=70, ankle_far=-20, shoulder=75, hip=20, knee=18)),
        Key(3, _pose(lean=-12, hip_far=52, knee_far=6, ankle_far=-10, hip=6, knee=16, shoulder=20, elbow=60,
                     shoulder_far=70), 0.08),
        Key(2, _pose(lean=-12, hip_far=56, knee_far=12, ankle_far=-10, hip=6, knee=16, shoulder=20, elbow=60,
                     shoulder_far=70), 0.08),
        Key(5, _GUARD, 0.04)], Strike("toe_far", 5, 9, False, 0.016, 0.05)),
    Move("front kick", [
        Key(4, _pose(lean=-6, hip=100, knee=115, ankle=0, hip_far=-2, knee_far=16)),
        Key(3, _pose(lean=-24, spine=-4, hip=78, knee=4, ankle=5, hip_far=-22, knee_far=14, shoulder=15, elbow=70,
                     shoulder_far=10, elbow_far=90), 0.08),
        Key(2, _pose(lean=-24, spine=-4, hip=80, knee=8, ankle=5, hip_far=-22, knee_far=14, shoulder=15, elbow=70,
                     shoulder_far=10, elbow_far=90), 0.09),
        Key(6, _GUARD, 0.05)], Strike("toe", 5, 9, False, 0.034, 0.15)),
    Move("high kick", [
        Key(4, _pose(lean=-10, hip=108, knee=120, ankle=-15, hip_far=-6, knee_far=14)),
        Key(3, _pose(lean=-36, spine=-12, neck=20, hip=100, knee=4, ankle=-30, hip_far=-34, knee_far=10, shoulder=-20,
                     elbow=50, shoulder_far=20, elbow_far=80), 0.08),
        Key(2, _pose(lean=-36, spine=-12, neck=20, hip=103, knee=8, ankle=-30, hip_far=-34, knee_far=10, shoulder=-20,
                     elbow=50, shoulder_far=20, elbow_far=80), 0.08),
        Key(6, _GUARD, 0.04)], Strike("toe", 5, 9, True, 0.028, 0.3)),
    Move("roundhouse", [
        Key(5, _pose(lean=14, spine=16, hip_far=-40, knee_far=105, ankle_far=-40, hip=32, knee=40, shoulder=85,
                     elbow=40, shoulder_far=-40, elbow_far=30)),
        Key(4, _pose(lean=-34, spine=-8, neck=16, hip_far=88, knee_far=12, ankle_far=-35, hip=-28, knee=14,
                     shoulder=-50, elbow=20, shoulder_far=95, elbow_far=15), 0.12),
        Key(3, _pose(lean=-22, spine=0, neck=10, hip_far=108, knee_far=55, ankle_far=-35, hip=-16, knee=16,
                     shoulder=-30, elbow=40, shoulder_far=60, elbow_far=60), 0.14),
        Key(6, _GUARD, 0.10)], Strike("toe_far", 7, 10.5, True, 0.036, 0.7)),
    Move("jump kick", [
        Key(4, _CROUCH),
        Key(4, _pose(lean=4, hip=100, knee=110, hip_far=40, knee_far=80, ankle=-20, ankle_far=-40, shoulder=20), 0.14),
        Key(3, _pose(lean=-18, hip=74, knee=3, ankle=-10, hip_far=70, knee_far=130, ankle_far=-40, shoulder=-30,
                     elbow=30, shoulder_far=60, elbow_far=70), 0.28),
        Key(3, _pose(lean=-14, hip=70, knee=6, ankle=-10, hip_far=60, knee_far=125, ankle_far=-40, shoulder=-30,
                     elbow=30, shoulder_far=60, elbow_far=70), 0.36),
        Key(4, _CROUCH, 0.42), Key(5, _GUARD, 0.44)],
        Strike("toe", 9, 14, True, 0.034, 0.75), leap=(4, 17, 0.26)),
    Move("sweep", [
        Key(5, _pose(lean=30, spine=20, hip=112, knee=125, hip_far=70, knee_far=138, shoulder=60, elbow=40)),
        Key(4, _pose(lean=14, spine=20, hip=86, knee=4, ankle=-10, hip_far=72, knee_far=140, ankle_far=20, shoulder=40,
                     elbow=20, shoulder_far=-30, elbow_far=10), 0.06),
        Key(3, _pose(lean=18, spine=20, hip=82, knee=10, ankle=-10, hip_far=72, knee_far=140, ankle_far=20,
                     shoulder=60, elbow=30, shoulder_far=-40, elbow_far=10), 0.08),
        Key(7, _GUARD, 0.06)], Strike("toe", 7, 12, False, 0.012, 0.85)),
    Move("push", [
        Key(4, _pose(shoulder=20, elbow=140, shoulder_far=15, elbow_far=140, lean=-6, hip=50, knee=56)),
        Key(3, _pose(shoulder=100, elbow=6, shoulder_far=108, elbow_far=6, lean=24, spine=10, hip=60, knee=50,
                     hip_far=-30, knee_far=8, ankle_far=-25), 0.14),
        Key(3, _pose(shoulder=98, elbow=10, shoulder_far=104, elbow_far=10, lean=22, spine=10, hip=60, knee=50,
                     hip_far=-30, knee_far=8, ankle_far=-25), 0.15),
        Key(5, _GUARD, 0.10)], Strike("hand", 5, 10, True, 0.055, 0.35)),
    Move("jump", [
        Key(4, _CROUCH),
        Key(5, _pose(lean=2, hip=30, knee=20, hip_far=-10, knee_far=20, ankle=-40, ankle_far=-40, shoulder=140,
                     elbow=30, shoulder_far=120, elbow_far=40), 0.16),
        Key(5, _TUCK, 0.36), Key(4, _CROUCH, 0.48), Key(4, _GUARD, 0.5)],
        leap=(4, 16, 0.27), stride=(-0.5, 1.4)),
    Move("duck", [Key(4, _CROUCH), Key(4, _pose(**(_CROUCH | {"lean": 30, "spine": 24}))), Key(4, _GUARD)]),
    Move("block high", [
        Key(3, _pose(lean=-4, spine=6, shoulder=96, elbow=88, shoulder_far=88, elbow_far=92, hip=48, knee=56)),
        Key(5, _pose(lean=-7, spine=4, shoulder=102, elbow=90, shoulder_far=94, elbow_far=92, hip=52, knee=62)),
        Key(4, _GUARD)]),
    Move("block low", [
        Key(3, _pose(lean=18, spine=18, shoulder=52, elbow=12, shoulder_far=66, elbow_far=8, hip=74, knee=84,
                     hip_far=24, knee_far=66)),
        Key(5, _pose(lean=22, spine=20, shoulder=46, elbow=14, shoulder_far=62, elbow_far=10, hip=80, knee=92,
                     hip_far=28, knee_far=72)),
        Key(4, _GUARD)]),
    Move("dodge back", [
        Key(4, _pose(lean=-28, spine=-14, neck=12, hip=20, knee=20, hip_far=-10, knee_far=50, shoulder=80, elbow=60),
            -0.16),
        Key(3, _pose(lean=-20, spine=-8, hip=34, knee=34, hip_far=-20, knee_far=40, shoulder=70, elbow=70), -0.22),
        Key(4, _GUARD, -0.24)]),
    Move("dash", [
        Key(3, _pose(lean=26, spine=14, hip=86, knee=80, ankle=0, hip_far=-30, knee_far=20, ankle_far=-30,
                     shoulder=-45, elbow=80, shoulder_far=70, elbow_far=80), 0.12),
        Key(3, _pose(lean=28, spine=14, hip=0, knee=30, hip_far=80, knee_far=95, ankle_far=0, shoulder=60, elbow=80,
                     shoulder_far=-45, elbow_far=70), 0.28),
        Key(3, _pose(lean=26, spine=12, hip=80, knee=70, ankle=0, hip_far=-30, knee_far=40, ankle_far=-30,
                     shoulder=-40, elbow=80, shoulder_far=70, elbow_far=80), 0.42),
        Key(4, _GUARD, 0.5)]),
    Move("taunt", [
        Key(4, _pose(lean=-6, spine=-8, hip=20, knee=14, shoulder=168, elbow=12, shoulder_far=-20, elbow_far=70)),
        Key(4, _pose(lean=-2, spine=-6, hip=34, knee=40, shoulder=150, elbow=80, shoulder_far=-20, elbow_far=80)),
        Key(4, _pose(lean=-8, spine=-10, hip=18, knee=10, shoulder=172, elbow=8, shoulder_far=150, elbow_far=12)),
        Key(4, _pose(lean=0, spine=-4, hip=40, knee=50, shoulder=140, elbow=80, shoulder_far=130, elbow_far=90)),
        Key(4, _GUARD)]),
    Move("stagger high", [
        Key(3, _pose(lean=-26, spine=-22, neck=-32, head=-20, shoulder=100, elbow=40, shoulder_far=60, elbow_far=30,
                     hip=24, knee=30, hip_far=-34, knee_far=24, ankle_far=-20), -0.06),
        Key(4, _pose(lean=-16, spine=-10, neck=-16, shoulder=30, elbow=40, shoulder_far=-30, elbow_far=30, hip=44,
                     knee=50, hip_far=-26, knee_far=40), -0.14),
        Key(5, _GUARD, -0.16)]),
    Move("stagger low", [
        Key(3, _pose(lean=36, spine=40, neck=22, head=16, shoulder=46, elbow=60, shoulder_far=56, elbow_far=50, hip=70,
                     knee=40, hip_far=14, knee_far=30), -0.08),
        Key(5, _pose(lean=30, spine=36, neck=16, head=12, shoulder=30, elbow=80, shoulder_far=36, elbow_far=80, hip=78,
                     knee=66, hip_far=12, knee_far=50), -0.13),
        Key(5, _GUARD, -0.14)]),
    Move("fall", [
        Key(4, _pose(lean=-38, spine=-16, neck=-10, shoulder=110, elbow=20, shoulder_far=80, elbow_far=20, hip=40,
                     knee=30, hip_far=10, knee_far=40, ankle=-20, ankle_far=-20), -0.10),
        Key(5, _pose(lean=-82, spine=-6, neck=16, shoulder=120, elbow=20, shoulder_far=150, elbow_far=10, hip=72,
                     knee=30, hip_far=46, knee_far=40, ankle=-30, ankle_far=-30), -0.26),
        Key(4, _pose(**(_ON_BACK | {"hip": 40, "knee": 60, "hip_far": 16, "knee_far": 20, "neck": 14})), -0.32)],
        leap=(1, 9, 0.07)),
    Move("lie", [
        Key(5, _ON_BACK),
        Key(5, _pose(**(_ON_BACK | {"hip": 42, "knee": 80, "shoulder": 50, "elbow": 40, "neck": 18}))),
        Key(4, _pose(**(_ON_BACK | {"hip": 50, "knee": 95, "spine": 8})))]),
    Move("get up", [
        Key(6, _SITTING, 0.02),
        Key(6, _pose(**(_CROUCH | {"lean": 34, "spine": 30, "shoulder": 20, "elbow": 20})), 0.10),
        Key(5, _BOB, 0.12), Key(3, _GUARD, 0.12)]),
)  # fmt: skip

MOVES = tuple(move.name for move in MOVE_LIST)
MOVE = {name: index for index, name in enumerate(MOVES)}
STRIKES = tuple(move.name for move in MOVE_LIST if move.strike)
REACTIONS = ("stagger high", "stagger low", "fall", "lie", "get up")  # imposed, never chosen


class Script(NamedTuple):
    """All moves as padded tables; M moves, K keys. Times in frames at speed 1, lengths in body heights."""

    start: np.ndarray  # (M, K) when key k begins
    scale: np.ndarray  # (M, K) one over its length
    pose: np.ndarray  # (M, K + 1, 16) degrees; entry 0 is unused (the pose found), k + 1 is where key k leads
    x: np.ndarray  # (M, K + 1) travel
    length: np.ndarray  # (M,) frames in all
    leap: np.ndarray  # (M, 3) take-off, landing, height
    stride: np.ndarray  # (M, 2)
    joint: np.ndarray  # (M,) the striking joint or -1
    blow: np.ndarray  # (M, 4) begin, end, power, chance to fell
    high: np.ndarray  # (M,) bool


def compile_script() -> Script:
    """Lay the moves out as arrays, every angle inside its limit."""
    many, most = len(MOVE_LIST), max(len(move.keys) for move in MOVE_LIST)
    start, scale = np.full((many, most), 1e9, np.float32), np.zeros((many, most), np.float32)
    pose, x = np.zeros((many, most + 1, len(ANGLES)), np.float32), np.zeros((many, most + 1), np.float32)
    leap, stride = np.tile(np.array([0, 1, 0], np.float32), (many, 1)), np.zeros((many, 2), np.float32)
    joint, blow, high = np.full(many, -1), np.zeros((many, 4), np.float32), np.zeros(many, bool)
    length = np.zeros(many, np.float32)
    for m, move in enumerate(MOVE_LIST):
        for k, key in enumerate(move.keys):
            start[m, k], scale[m, k] = length[m], 1 / key.frames
            pose[m, k + 1] = [key.pose[name] for name in ANGLES]
            x[m, k + 1], length[m] = key.x, length[m] + key.frames
        stride[m] = move.stride
        if move.leap:
            leap[m] = move.leap
        if move.strike:
            joint[m], high[m] = JOINT[move.strike.joint], move.strike.high
            blow[m] = move.strike.begin, move.strike.end, move.strike.power, move.strike.fell
    pose = np.clip(pose, LIMITS[:, 0], LIMITS[:, 1])
    return Script(start, scale, pose, x, length, leap, stride, joint, blow, high)


SCRIPT = compile_script()

"""Could this have happened in `duel`? Judged from what was read, where a generated video has no truth to compare with.

No figure stands alone. A frozen video has perfect limbs, and shows one move for ever: its joints do not travel and its
moves are not those of a fight. A blurred one still moves: its joints are in doubt and its limbs change their length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unspool.data.worlds.duel import ANGLES, JOINTS, MOVES
from unspool.data.worlds.duel.simulation import height_of
from unspool.data.worlds.duel.skeleton import joint_positions
from unspool.errors import UserError
from unspool.evaluate.band import band_of
from unspool.evaluate.drift import Metric, Series
from unspool.evaluate.duel.reader import FIGHTERS, SIZE, Reading

# The long bones. The others are shorter than the error of reading them.
BONES = (
    ("pelvis", "waist"), ("waist", "chest"),
    ("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder_far", "elbow_far"), ("elbow_far", "wrist_far"),
    ("hip", "knee"), ("knee", "ankle"), ("hip_far", "knee_far"), ("knee_far", "ankle_far"),
)  # fmt: skip
_A, _B = (np.array([JOINTS.index(bone[end]) for bone in BONES]) for end in (0, 1))


class MoveHistogram(NamedTuple):
    """How far the moves of each video are from those of all real clips: half the sum of differences of shares, 0 to 1.

    distance: (N,). null: (M,), the same of each real clip against all others. limit: 95 of 100 further real clips of that
    length lie below. A clip is short and holds few moves, so even a real one is far from 0: only `limit` says what is odd.
    """

    distance: NDArray[np.float64]
    null: NDArray[np.float64]
    limit: float

    @property
    def odd(self) -> NDArray[np.bool_]:
        """(N,) videos whose moves are not those of a fight."""
        return self.distance > self.limit


def bone_lengths() -> NDArray[np.float32]:
    """(10,) true lengths of BONES in picture units; a body in side view keeps them in every pose."""
    rest = joint_positions(np.zeros((len(ANGLES), 1), np.float32))[..., 0] * np.float32(height_of(FIGHTERS))
    return np.linalg.norm(rest[_A] - rest[_B], axis=-1)


def limb_error(reading: Reading) -> NDArray[np.float64]:
    """(N, T): mean difference of the ten long bones of both fighters from their true length, as a share of it.

    Not zero on real video: it holds the reader's own error, and the few frames in which a fighter turns about.
    """
    lengths = np.linalg.norm(reading.joints[..., _A, :] - reading.joints[..., _B, :], axis=-1)
    return np.abs(lengths / bone_lengths() - 1).mean((-2, -1), dtype=np.float64)


def joint_travel(reading: Reading) -> NDArray[np.float64]:
    """(N, T): mean way of all joints since the frame before, in pixels of a 64-pixel picture. NaN at frame 0."""
    travel = np.full(reading.joints.shape[:2], np.nan)
    travel[:, 1:] = SIZE * np.linalg.norm(np.diff(reading.joints, axis=1), axis=-1).mean((-2, -1))
    return travel


def doubt(reading: Reading) -> NDArray[np.float64]:
    """(N, T): 1 - confidence, mean of all joints."""
    return 1 - reading.confidence.mean((-2, -1), dtype=np.float64)


def move_shares(reading: Reading) -> NDArray[np.float64]:
    """(N, M): share of each move in the time of both fighters."""
    return (reading.move[..., None] == np.arange(len(MOVES))).mean((1, 2))


def move_histogram_distance(reading: Reading, real: Reading) -> MoveHistogram:
    """Of videos (N, T) against real clips (M, T), M >= 3, of the same length. Raises UserError otherwise."""
    _same_length(reading, real)
    if len(real.joints) < 3:
        raise UserError(f"the moves of real video need at least 3 real clips, better 8, not {len(real.joints)}")
    shares, known = move_shares(reading), move_shares(real)
    distance = np.abs(shares - known.mean(0)).sum(1) / 2
    others = (known.sum(0) - known) / (len(known) - 1)
    null = np.abs(known - others).sum(1) / 2
    return MoveHistogram(distance, null, float(band_of(null[:, None], log=False, low=False).high[0]))


def plausibility(reading: Reading, real: Reading) -> dict[str, Series]:
    """Further metrics for `segments` and `write_report`, by name. Raises UserError where the lengths differ."""
    _same_length(reading, real)
    return {
        "limbs": Series(Metric("limbs", "share of the length", low=False), limb_error(reading), limb_error(real)),
        "doubt": Series(Metric("doubt", "share", low=False), doubt(reading), doubt(real)),
        "joints": Series(Metric("joints", "pixels a frame"), joint_travel(reading), joint_travel(real)),
    }


def _same_length(reading: Reading, real: Reading) -> None:
    frames, known = reading.joints.shape[1], real.joints.shape[1]
    if frames != known:
        raise UserError(f"real clips must be as long as the videos, {frames} frames, not {known}")

"""A rollout that is steered while it runs, wound back and forked: the engine of `WorldModel` and of `unspool play`.

    player = Player(system, opening, actions, seed=1)
    player.step("ahead")      # frames of one chunk, (n, H, W, 3) uint8, the action held for all of them
    player.rewind(3)          # three steps back; the same actions then lead to the same frames, bit for bit
    player.fork(seed=2)       # the same past; what comes differs

Where one stands is a value, `Moment`. The frames come from `stream`, by way of `sampling.steered`, one chunk a call.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from unspool import sampling, store
from unspool.data.actions import Actions, seen_in
from unspool.errors import UserError
from unspool.fits import check_state
from unspool.openings import Opening
from unspool.rollout import Rollout, fork
from unspool.system import System

BUDGET = 256 << 20
"""Bytes of moments that are kept to go back to: a minute of a small model. A larger one goes back less far."""
MOST = 900
"""Moments that are kept, a minute at 15 frames a second."""


class Moment(NamedTuple):
    """rollout: what to go on from, batch 1; told: (redo, K) float32, what led to those of its frames that will be made again,
    None without actions; shown: (n, H, W, 3) uint8, the frames that led here; at: absolute number of the next frame."""

    rollout: Rollout
    told: Tensor | None
    shown: np.ndarray
    at: int

    @property
    def picture(self) -> np.ndarray:
        """The newest frame (H, W, 3) uint8."""
        return self.shown[-1]

    @property
    def bytes(self) -> int:
        """What it takes to keep it: whole storages, of which its tensors may be parts."""
        tensors = store.flatten(self.rollout._asdict()).values()
        held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        return sum(held.values()) + self.shown.nbytes


def opened(system: System, opening: Opening, seed: int) -> Moment:
    """Where a rollout behind this context stands. Raises UserError for what does not fit the model, see `sampling.start`."""
    known = opening.actions if system.model.controls else None
    rollout = sampling.start(system, opening.frames, 1, seed, known)
    told, redo, count = None, system.schedule.redo, len(opening.frames)
    if known is not None:
        rows = torch.from_numpy(np.ascontiguousarray(known, np.float32)).to(system.device)[max(0, count - redo) : count]
        told = torch.cat([rows.new_zeros(redo - len(rows), rows.shape[1]), rows])
    blank = np.zeros((1, *sampling.picture_size(system), 3), np.uint8)
    return Moment(rollout, told, opening.frames if count else blank, count)


def advanced(system: System, moment: Moment, action: np.ndarray | None) -> Moment:
    """One chunk further, with action (K,) held for all of its frames and for those behind it in flight.

    Raises UserError when the model puts out values that are not finite.
    """
    rollout, told = moment.rollout, moment.told
    row = None if action is None else torch.from_numpy(action)[None].to(system.device)

    def controls(at: Tensor, frames: int) -> Tensor:
        assert told is not None and row is not None
        return torch.cat([told, row.expand(max(0, frames - len(told)), -1)])[None, :frames]

    hop = system.schedule.plan().hop
    shown, after = next(sampling.steered(system, rollout, hop, None if row is None else controls))
    if told is not None and row is not None:
        moved = int(after.state["at"][0] - rollout.state["at"][0])
        told = torch.cat([told, row.expand(moved, -1)])[moved:]
    return Moment(after, told, shown[0], moment.at + shown.shape[1])


@final
class Player:
    """A rollout under way, and the moments that it passed: as many as `most` and `budget` bytes allow, the newest ones.

    actions: what one may do, of a model that takes actions; by default what the context's own look like. A step is one chunk of
    `frames_per_step` frames: an action is read when the chunk begins and held to its end. Raises UserError for actions and
    contexts that do not fit the model.
    """

    def __init__(
        self, system: System, opening: Opening, actions: Actions | None = None, *, seed: int = 0, most: int = MOST,
        budget: int = BUDGET,
    ) -> None:  # fmt: skip
        wanted = system.model.controls
        if wanted and actions is None and opening.actions is not None:
            actions = seen_in(opening.actions, opening.names)
        if wanted and (actions is None or actions.width != wanted):
            have = "nobody says what they are" if actions is None else f"these have {actions.width}"
            raise UserError(f"the model takes actions of {wanted} numbers, and {have}: use the data that it was trained on")
        self.system, self.actions = system, actions if wanted else None
        self.most, self.budget = most, budget
        self.restart(opening, seed)

    @property
    def frames_per_step(self) -> int:
        return self.system.schedule.plan().hop

    @property
    def now(self) -> Moment:
        return self._kept[self._here]

    @property
    def behind(self) -> int:
        """Steps that one can go back."""
        return self._here

    @property
    def ahead(self) -> int:
        """Steps that one has gone back, and can go forward again until another step is made."""
        return len(self._kept) - 1 - self._here

    @property
    def bytes(self) -> int:
        """Of all moments that are kept."""
        return sum(self._bytes)

    def step(self, action: Any = None) -> np.ndarray:
        """The next frames (n, H, W, 3) uint8. action: a number, a name or K numbers, see `Actions`.

        Raises UserError for an action that is missing or out of range; then nothing has moved.
        """
        if self.actions is None and action is not None:
            raise UserError("this model takes no actions: step without one, or train one with --controls K")
        row = None if self.actions is None else self.actions.row(action)
        self._keep(advanced(self.system, self.now, row))
        return self.now.shown

    def rewind(self, steps: int) -> np.ndarray:
        """Go back so many steps, or forward again by a negative number; the frame (H, W, 3) that was shown there.

        Raises UserError for moments that are not kept.
        """
        if not -self.ahead <= steps <= self.behind:
            raise UserError(f"of {steps} steps back, {self.behind} are kept: go back less far")
        self._here -= steps
        return self.now.picture

    def fork(self, seed: int) -> None:
        """The same past under another seed: what is in flight stays, what enters it from now on differs."""
        self.load(self.now._replace(rollout=fork(self.now.rollout, seed)))

    def load(self, moment: Moment) -> None:
        """Stand at a moment that was taken from here, or from another player of this model, instead of where one stands. Raises
        UserError for what is none, or of another model."""
        if not isinstance(moment, Moment):
            raise UserError(f"one goes on from a moment that was kept, not from {type(moment).__name__}")
        check_state(self.system.model, moment.rollout.state, moment.rollout.window)
        self._forget_ahead()
        self._kept[-1], self._bytes[-1] = moment, moment.bytes

    def restart(self, opening: Opening, seed: int) -> None:
        """Begin anew behind a context."""
        moment = opened(self.system, opening, seed)
        self._kept, self._bytes, self._here = deque([moment]), deque([moment.bytes]), 0

    def _keep(self, moment: Moment) -> None:
        self._forget_ahead()
        self._kept.append(moment)
        self._bytes.append(moment.bytes)
        while len(self._kept) > 1 and (len(self._kept) > self.most or self.bytes > self.budget):
            self._kept.popleft()
            self._bytes.popleft()
        self._here = len(self._kept) - 1

    def _forget_ahead(self) -> None:
        for _ in range(self.ahead):
            self._kept.pop()
            self._bytes.pop()

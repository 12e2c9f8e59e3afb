"""Rollouts of different lengths side by side in one batch: where one ends, the next takes its place.

    for step in together(system, requests, slots=8):
        step.number, step.frames        # which request, and its next latents (1, n, C, h, w)

Every leaf of a rollout is batch-first and its noise hangs on its own seed and frame, so a rollout in a slot is the rollout that
it is alone. Those that begin are walked through their warm-up by themselves and join the others behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.rollout import Rollout, stream
from unspool.system import System
from unspool.types import Controls, State, Video


class Request(NamedTuple):
    """A rollout of one, so many frames to make of it, and the controls of its frames in a model that is told any."""

    rollout: Rollout
    frames: int
    controls: Controls | None = None


class Step(NamedTuple):
    """The next frames (1, n, C, h, w) of a request, and whether they are its last ones."""

    number: int
    frames: Video
    last: bool


class _Slot(NamedTuple):
    number: int
    left: int
    controls: Controls | None


def together(system: System, requests: Iterable[Request], slots: int) -> Iterator[Step]:
    """Make all requests, at most `slots` of them at a time, in their order; steps of different ones alternate.

    Raises UserError for no slots, for a rollout of more than one or that was broken off within a chunk, and as `stream` does.
    """
    if slots < 1:
        raise UserError(f"slots is how many rollouts stand side by side, 1 or more, not {slots}")
    waiting = enumerate(requests)
    held: list[_Slot] = []
    rollout: Rollout | None = None
    while True:
        fresh = list(islice(waiting, slots - len(held)))
        if not fresh and rollout is None:
            return
        for number, request in fresh:
            _check(request, number)
        here = [_Slot(number, request.frames, request.controls) for number, request in fresh]
        begun = _joined([request.rollout for _, request in fresh])
        if begun is not None:
            here, begun = yield from _hop(system, here, begun)
        if rollout is not None:
            held, rollout = yield from _hop(system, held, rollout)
        held, rollout = held + here, _joined([part for part in (rollout, begun) if part is not None])


def _check(request: Request, number: int) -> None:
    if len(request.rollout.window) != 1 or request.rollout.pending.shape[1] or request.frames < 1:
        raise UserError(f"request {number} must be one rollout, between two chunks, of 1 frame or more")


def _hop(system: System, held: Sequence[_Slot], rollout: Rollout) -> Generator[Step, None, tuple[list[_Slot], Rollout | None]]:
    """One chunk further; gives the slots that go on, and their rollout."""
    plan = system.schedule.plan()
    told: dict[str, Any] = {"frames": plan.hop, "solver": system.solver, "controls": _controls(held)}
    (chunk,) = stream(system.model, system.blend, plan, rollout, **told)
    assert chunk.rollout is not None
    stay = []
    for row, slot in enumerate(held):
        frames = chunk.frames[row : row + 1, : slot.left]
        stay += [row] if slot.left > frames.shape[1] else []
        yield Step(slot.number, frames, slot.left == frames.shape[1])
    after = _mapped(lambda leaf: leaf[stay], chunk.rollout) if stay else None
    return [held[row]._replace(left=held[row].left - plan.hop) for row in stay], after


def _controls(held: Sequence[_Slot]) -> Controls | None:
    """What each slot is told, as of one batch."""
    parts = [slot.controls for slot in held if slot.controls is not None]
    if not parts:
        return None

    def told(at: Tensor, frames: int) -> Tensor:
        return torch.cat([part(at[row : row + 1], frames) for row, part in enumerate(parts)])

    return told


def _joined(rollouts: Sequence[Rollout]) -> Rollout | None:
    """As one batch; None of none."""
    return _mapped(lambda *leaves: torch.cat(leaves), *rollouts) if rollouts else None


def _mapped(change: Callable[..., Tensor], *rollouts: Rollout) -> Rollout:
    """The states of decoders are left behind: who decodes keeps them, for each request its own."""

    def walk(*states: State) -> State:
        first = states[0]
        return {
            name: change(*(state[name] for state in states)) if isinstance(leaf, Tensor) else walk(*(s[name] for s in states))
            for name, leaf in first.items()
        }

    state = walk(*(rollout.state for rollout in rollouts))
    return Rollout(
        state, change(*(rollout.window for rollout in rollouts)), change(*(rollout.pending for rollout in rollouts)), {}
    )

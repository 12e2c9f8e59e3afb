"""Checks of `memory_kit` about time: a video has no last frame, so nothing may hang on how many there were.

A memory is walked through one frame that never changes: 100 times, then twice 840, a number that all up to 8 divide. What comes
and goes by such a rhythm then stands where it stood before, and what is a sum of all frames shows. A memory of another rhythm,
or one that takes thousands of frames to fill, is given another `every`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unspool import store
from unspool.errors import UserError
from unspool.memory.base import Memory
from unspool.testing import parts
from unspool.testing.tools import assert_close
from unspool.types import Cond, State

YOUNG, EVERY, OLD = 100, 840, 100_000
PIECE = 60
"""Frames that a memory is given at a time: one that compares all of them with each other stays small."""


def the_number_of_a_frame_does_not_matter(make: parts.MakeMemory, every: int = EVERY) -> None:
    """Frame 10^2 and 10^5 are the same, where what is kept of the past is the same.

    Leaves that are alike in two rollouts of other frames tell the time, and no more. The state after 100 frames is read and
    written as it is, and once more with the time of frame 100 000 in these leaves: the answers are equal.
    """
    memory = parts.ready(make)
    if not (states := _walked(memory, every)):
        return
    before, young, later, latest = (store.flatten(state) for state in states)
    clocks = _clocks(young, later, latest)
    told = {name: _then(before[name], young[name], later[name], latest[name], every) for name in clocks}
    old = store.unflatten({**young, **told})
    (x, flight), (y, cond) = parts.flight(2), parts.clean(3, 3)
    of_old, of_young = (parts.read(memory, state, x, flight) for state in (old, store.unflatten(young)))
    which = f"the state is the same but for {', '.join(sorted(clocks))}: a memory of another rhythm is given another `every`"
    assert_close(of_old, of_young, f"read at frame {OLD} and at {YOUNG}: {which}")
    (seen, after), (want, wanted) = (memory.write(y, state, cond) for state in (old, store.unflatten(young)))
    assert_close(seen, want, f"seen when written at frame {OLD} and at {YOUNG}: {which}")
    kept, due = ({n: leaf for n, leaf in store.flatten(s).items() if n not in clocks} for s in (after, wanted))
    assert_close(kept, due, f"kept when written at frame {OLD} and at {YOUNG}: {which}")


def values_stay_bounded(make: parts.MakeMemory, every: int = EVERY) -> None:
    """The same frame again and again: what is kept does not grow as fast later on as it did at first, and stays finite."""
    memory = parts.ready(make)
    if not (states := _walked(memory, every)):
        return
    young, later, latest = (store.flatten(state) for state in states[1:])
    for name in young.keys() - _clocks(young, later, latest):
        if not (young[name].is_floating_point() and young[name].numel()):
            continue
        first, second, third = (float(leaf[name].abs().max()) for leaf in (young, later, latest))
        assert torch.isfinite(latest[name]).all(), f"leaf {name} is not finite after {YOUNG + 2 * every} frames"
        grows = third - second > 0.8 * (second - first) > 0 and third > 1.5 * second
        assert not grows, (
            f"leaf {name} grows without bound: at most {first:.3g} after {YOUNG} frames, {second:.3g} after {YOUNG + every}, "
            f"{third:.3g} after {YOUNG + 2 * every}; let it forget, or norm it"
        )


@torch.no_grad()
def _walked(memory: Memory, every: int) -> list[State]:
    """States after 99, 100, 100 + every and 100 + 2 every frames, each slot under one frame of its own; none of a memory that
    says on the way that it is full."""
    x, cond = parts.clean(1, 1)
    states, state = list[State](), parts.start(memory)
    try:
        for frames in (YOUNG - 1, 1, every, every):
            for done in range(0, frames, PIECE):
                count = min(PIECE, frames - done)
                told = Cond(cond.emb.expand(-1, count, -1), cond.grid, tuple(range(count)), text=_each(cond.text, count))
                state = memory.commit(x.expand(-1, count, -1, -1), state, told)
            states.append(state)
    except UserError:
        return []
    return states


def _each(text: Tensor | None, frames: int) -> Tensor | None:
    return None if text is None else text.expand(-1, frames, -1, -1)


def _clocks(*states: dict[str, Tensor]) -> set[str]:
    """Leaves that are the same in all slots, at any time: they know nothing of the frames but their number."""
    return {name for name in states[0] if all(bool((s[name] == s[name][:1]).all()) for s in states)}


def _then(before: Tensor, young: Tensor, later: Tensor, latest: Tensor, every: int) -> Tensor:
    """A clock at frame 100 000: one that counts frames is set forward, any other is as late as it was seen."""
    if young.dtype == torch.bool:
        return latest
    pace = young - before
    counts = torch.equal(later - young, every * pace) and torch.equal(latest - later, every * pace)
    return young + (OLD - YOUNG) * pace if counts else latest

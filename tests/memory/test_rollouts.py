"""Every memory in a rollout: its state keeps its size, the number of a frame moves nothing, hundreds of frames stay finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from unspool import store
from unspool.blend import AlphaBlend
from unspool.memory import LSTM, Delayed, Full, Latents, Memory, Window
from unspool.noise import FrameNoise
from unspool.rollout import begin, stream
from unspool.schedule import Staircase
from unspool.testing import SHAPE, assert_equal, nano, video

HELD: dict[str, Callable[[int], list[Memory]]] = {
    "lstm": lambda width: [Window(width, 1, 2), LSTM(width)],
    "a late lstm": lambda width: [Window(width, 1, 2), Delayed(LSTM(width), 2, width)],
    "latents": lambda width: [Latents(width, 1, 3, 1)],
    "latents by segments": lambda width: [Latents(width, 1, 3, 3)],
    "a sink": lambda width: [Window(width, 1, 2, 2)],
    "full": lambda width: [Full(width, 1, 340)],
}
ALL = pytest.mark.parametrize("held", HELD.values(), ids=HELD.keys())
SCHEDULES = pytest.mark.parametrize("schedule", [Staircase(2), Staircase(2, lag=0.5)], ids=["one by one", "two under way"])


@ALL
@SCHEDULES
def test_the_number_of_a_frame_does_not_matter(held: Callable[[int], list[Memory]], schedule: Staircase) -> None:
    """Frame 10^2 and 10^5 from the same state, window and noise: the same output, bit for bit."""
    model, plan = nano(chunk=1, held=held), schedule.plan()
    start = begin(model, video(5), seed=0)
    rollout = list(stream(model, AlphaBlend(), plan, start, frames=6))[-1].rollout
    assert rollout is not None
    made = []
    for at in (100, 100_000):
        noise, moved = FrameNoise(SHAPE), rollout._replace(state={**rollout.state, "at": torch.full((2,), at)})

        def source(seed: torch.Tensor, index: torch.Tensor, frames: int, row: int = 0, at: int = at, noise: FrameNoise = noise):
            return noise(seed, index - at, frames, row)

        made.append(torch.cat([c.frames for c in stream(model, AlphaBlend(), plan, moved, frames=5, source=source)], 1))
    assert_equal(*made)


@ALL
def test_hundreds_of_frames(held: Callable[[int], list[Memory]]) -> None:
    model = nano(chunk=1, std=0.1, held=held, dtype=torch.float32)
    start = begin(model, video(4, dtype=torch.float32), seed=0)
    sizes = set()
    for chunk in stream(model, AlphaBlend(), Staircase(2).plan(), start, frames=300):
        sizes.add(store.size(chunk.rollout.state))
        assert torch.isfinite(chunk.frames).all()
    assert sizes == {store.size(start.state)}

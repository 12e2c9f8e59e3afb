"""The kit itself: an honest memory passes it, and each broken one fails for the one reason that it is broken for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool.memory import LSTM, Delayed, Full, Latents, Memory
from unspool.testing import memory_kit
from unspool.testing.held import a_model_trains_as_it_is_used
from unspool.testing.lasting import the_number_of_a_frame_does_not_matter, values_stay_bounded
from unspool.testing.memory import past_is_remembered
from unspool.types import Cond, State, Tokens


class Honest(Memory):
    """For each token's place an average of the past that fades."""

    half = 4.0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.keep = 0.5 ** (1 / self.half)
        self.enter, self.gate, self.leave = (nn.Linear(width, width) for _ in range(3))

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        width = self.enter.in_features
        return {
            "past": torch.zeros(batch, grid[0] * grid[1], width, device=device, dtype=dtype),
            "age": torch.zeros(batch, device=device, dtype=torch.int64),
        }

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        past, seen = state["past"], []
        for frame in clean.unbind(1):
            seen.append(self.look(frame, past))
            past = self.after(past, self.enter(frame).to(past))
        return torch.stack(seen, 1) if seen else clean, {"past": past, "age": state["age"] + clean.shape[1]}

    def after(self, past: Tensor, new: Tensor) -> Tensor:
        return self.keep * past + (1 - self.keep) * new

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        return self.look(noisy, view["past"][:, None])

    def look(self, x: Tokens, past: Tensor) -> Tokens:
        return self.leave(torch.sigmoid(self.gate(x)) * past)


class Ages(Honest):
    """What is read hangs on how many frames there were."""

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        return super().read(noisy, view, cond) * (1 + 0.5 * torch.sin(view["age"].to(noisy) / 7))[:, None, None, None]


class Fades(Honest):
    """What is kept of a new frame hangs on how many there were."""

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        past, age, seen = state["past"], state["age"], []
        for frame in clean.unbind(1):
            seen.append(self.look(frame, past))
            age = age + 1
            past = past + (self.enter(frame).to(past) - past) / age.to(past)[:, None, None]
        return torch.stack(seen, 1) if seen else clean, {"past": past, "age": age}


class Grows(Honest):
    """A sum of all that was."""

    def after(self, past: Tensor, new: Tensor) -> Tensor:
        return past + new


class Explodes(Honest):
    def after(self, past: Tensor, new: Tensor) -> Tensor:
        return 1.01 * past + new


class OfTheWeights(Honest):
    """The state is of the weights' type, whatever is asked for."""

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        return super().start(batch, grid=grid, device=device, dtype=self.enter.weight.dtype)


class Elsewhere(Honest):
    """A counter stays on the processor, whatever is asked for."""

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        return {**super().start(batch, grid=grid, device=device, dtype=dtype), "age": torch.zeros(batch, dtype=torch.int64)}


class Placed(Honest):
    """What is read hangs on the place of the flight, as it may."""

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        place = cond.first + torch.arange(noisy.shape[1])
        return super().read(noisy, view, cond) * (1 + 0.3 * place.to(noisy))[:, None, None]


class Misplaced(Placed):
    """... and `scan` does not know it."""

    def scan(self, clean: Tokens, noisy: Tokens, starts: Any, state: Any, clean_cond: Cond, noisy_cond: Cond, **told: Any):
        return super().scan(clean, noisy, starts, state, clean_cond, noisy_cond._replace(first=0), **told)


class Drops(Honest):
    """Noise of nobody's seed, in training alone."""

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        out = super().read(noisy, view, cond)
        return out + 0.5 * torch.randn_like(out) if self.training else out


class Trains(Honest):
    """Another memory in training than in use."""

    def read(self, noisy: Tokens, view: State, cond: Cond) -> Tokens:
        return super().read(noisy, view, cond) * (2 if self.training else 1)


class Deaf(Honest):
    def after(self, past: Tensor, new: Tensor) -> Tensor:
        return past


class Once(Honest):
    """The first frame enters, and no other."""

    def write(self, clean: Tokens, state: State, cond: Cond) -> tuple[Tokens, State]:
        past, age, seen = state["past"], state["age"], []
        for frame in clean.unbind(1):
            seen.append(self.look(frame, past))
            past = torch.where((age == 0)[:, None, None], self.enter(frame).to(past), past)
            age = age + 1
        return torch.stack(seen, 1) if seen else clean, {"past": past, "age": age.clamp(max=1)}


class Blurred(Honest):
    """In training every flight reads the state behind the frame before its own place."""

    def scan(self, clean: Tokens, noisy: Tokens, starts: Any, *given: Any, **told: Any):
        return super().scan(clean, noisy, tuple(max(s - 1, 0) for s in starts), *given, **told)


AGE, GROWTH, START, SCAN, STEADY, SEEN = (
    "the_number_of_a_frame_does_not_matter", "values_stay_bounded", "start_gives_what_is_asked_for", "scan_equals_loop",
    "training_changes_nothing", "past_is_remembered",
)  # fmt: skip
BROKEN: dict[type[Memory], tuple[str, str]] = {
    Ages: (AGE, "read at frame 100000 and at 100: the state is the same but for age"),
    Fades: (AGE, "seen when written at frame 100000"),
    Grows: (GROWTH, "leaf past grows without bound"),
    Explodes: (GROWTH, "leaf past grows without bound"),
    OfTheWeights: (START, "leaf past is torch.float32 where torch.float64 is asked for"),
    Elsewhere: (START, "leaf age is on cpu, not on the device asked for"),
    Misplaced: (SCAN, "first 2"),
    Drops: (STEADY, "the same verbs twice, in training"),
    Trains: (STEADY, "in training and in use"),
    Deaf: (SEEN, "the state moves nothing, after 64 frames"),
    Once: (SEEN, "none after frame 0 is ever seen"),
}


def failures(make: Any) -> dict[str, str]:
    found = {}
    for check in memory_kit:
        try:
            check(make)
        except (AssertionError, RuntimeError) as error:
            found[check.__name__] = str(error)
    return found


@pytest.mark.parametrize("kind", [Honest, Placed], ids=lambda kind: kind.__name__)
def test_an_honest_memory_passes(kind: type[Memory]) -> None:
    assert failures(kind) == {}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_memory_fails_for_its_own_reason(kind: type[Memory]) -> None:
    check, why = BROKEN[kind]
    found = failures(kind)
    assert list(found) == [check] and why in found[check], found


@pytest.mark.parametrize(
    "make",
    [
        lambda width: Delayed(LSTM(width), 5, width), lambda width: Latents(width, 2, 4, 5, None),
        lambda width: Delayed(Latents(width, 2, 4, 3, None), 2, width), lambda width: Full(width, 2, 64),
    ],
    ids=["delayed by 5", "segments of 5", "segments, delayed", "full"],
)  # fmt: skip
@pytest.mark.parametrize("check", memory_kit, ids=lambda check: check.__name__)
def test_memories_that_are_read_late_pass(check: Any, make: Any) -> None:
    check(make)


def test_a_limit_of_ones_own() -> None:
    """A memory that takes longer than the kit waits passes once its maker says how long."""

    def slow(width: int) -> Memory:
        return Delayed(LSTM(width), 70, width)

    with pytest.raises(AssertionError, match="moves nothing, after 64 frames"):
        past_is_remembered(slow)
    partial(past_is_remembered, most=80)(slow)

    class Long(Honest):
        half = 4000.0

    with pytest.raises(AssertionError, match="grows without bound"):
        values_stay_bounded(Long)
    partial(values_stay_bounded, every=8400)(Long)


def test_a_rhythm_of_eleven_frames_needs_a_number_that_it_divides() -> None:
    def eleven(width: int) -> Memory:
        return Latents(width, 2, 4, 11, None)

    with pytest.raises(AssertionError, match="but for count"):
        the_number_of_a_frame_does_not_matter(eleven)
    the_number_of_a_frame_does_not_matter(eleven, every=9240)


def test_a_whole_model_shows_what_training_sees_and_use_does_not() -> None:
    with pytest.raises(AssertionError, match="a model in training and in use, behind frame 2 of starts"):
        a_model_trains_as_it_is_used(Blurred)

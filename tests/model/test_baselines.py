"""Baselines around a model of clips: each against its own few lines, and the data come back through all of them."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest
import torch

from unspool.blend import AlphaBlend, Blend, Cosine
from unspool.context import Channels
from unspool.errors import UserError
from unspool.model import VideoModel
from unspool.model.baselines import Partitioned, Renoised, Replaced
from unspool.model.guidance import Guided
from unspool.model.video import Reader
from unspool.noise import FrameNoise
from unspool.rollout import begin, opened, stream
from unspool.schedule import Staircase
from unspool.solver import euler, midpoint
from unspool.testing import SHAPE, assert_close, assert_equal, draw, error, nano, video
from unspool.types import Known, Levels, State, Video

CLIP, OVERLAP = 6, 2
BEHIND = Staircase(4, OVERLAP, 0, 2, redo=OVERLAP)
"""Clips of six frames at one level, the first two of which are there already."""


def base(**options: Any) -> VideoModel:
    return nano(chunk=CLIP, window=0, **options)


class Told(VideoModel):
    """Notes what it is asked, answers with half of x."""

    def __init__(self) -> None:
        super().__init__()
        self.shape, self.asked = SHAPE, []

    def start(self, batch: int, *, seed: torch.Tensor, **_: Any) -> State:
        return {"at": torch.zeros(batch, dtype=torch.int64), "seed": seed}

    def remember(self, clean: Video, state: State, **_: Any) -> State:
        return {**state, "at": state["at"] + clean.shape[1]}

    def denoise(self, x: Video, level: Levels, state: State, **told: Any) -> Video:
        self.asked.append((state["at"].tolist(), x, level, told))
        return x / 2


def by_hand(model: VideoModel, noised: bool, context: Video, clips: int) -> Video:
    """Clip by clip with the overlap overwritten at every step, without plan or stream: PA-VDM's description of RW and RN."""
    seed, noise, out = 3 + torch.arange(2), FrameNoise(SHAPE), [context]
    empty = model.start(2, seed=seed, device="cpu", dtype=torch.float64)
    for _ in range(clips):
        made = torch.cat(out, 1)
        at = torch.full((2,), made.shape[1] - OVERLAP)
        old, first = made[:, -OVERLAP:], noise(seed, at, OVERLAP, 1).double()
        x = noise(seed, at + OVERLAP, CLIP - OVERLAP).double()
        for step in (4, 3, 2, 1):
            level = torch.full((2, CLIP), step / 4).double()
            put = (1 - step / 4) * old + step / 4 * first if noised else old
            told = level if noised else torch.cat([torch.zeros(2, OVERLAP), level[:, OVERLAP:]], 1)
            x = x - model.denoise(torch.cat([put, x], 1), told, empty)[:, OVERLAP:] / 4
        out.append(x)
    return torch.cat(out[1:], 1)


@pytest.mark.parametrize("kind", [Renoised, Replaced])
def test_replacement_is_the_loop_by_hand(kind: type[Renoised] | type[Replaced]) -> None:
    model, context = base(), video(2)
    around = kind(model, AlphaBlend())
    chunks = stream(around, AlphaBlend(), BEHIND.plan(), begin(around, context, seed=3, redo=OVERLAP), frames=12)
    got = torch.cat([chunk.frames for chunk in chunks], 1)
    assert error(got, by_hand(model, kind is Renoised, context, 3)) < 1e-6
    assert error(got, by_hand(model, kind is Replaced, context, 3)) > 1e-3


def other_noise(seed: torch.Tensor, at: torch.Tensor, frames: int, row: int = 0) -> Video:
    return FrameNoise(SHAPE)(seed + 99, at, frames, row) * 1.5


@pytest.mark.parametrize("source", [None, other_noise])
@pytest.mark.parametrize("blend", [AlphaBlend(), Cosine()], ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("solver", [euler, midpoint])
@pytest.mark.parametrize("kind", [Renoised, Replaced])
def test_what_is_put_back_stays_itself(kind: Any, blend: Blend, solver: Any, source: Any) -> None:
    """What memory takes in of the overlap is what was shown, to rounding, whatever noise enters; and the frames in between are
    the model's affair."""
    around = kind(base(blend=blend), blend)
    rollout = begin(around, video(4), seed=3, redo=OVERLAP)
    shown = [video(4)]
    for chunk in stream(around, blend, BEHIND.plan(), rollout, frames=12, solver=solver, source=source):
        before = torch.cat(shown, 1)[:, -OVERLAP:]
        assert chunk.remembered is not None
        assert error(chunk.remembered[:, :OVERLAP], before) < 1e-6
        shown.append(chunk.frames)


@pytest.mark.parametrize("kind", [Renoised, Replaced])
def test_what_was_never_made_is_not_put_back(kind: Any) -> None:
    """At the beginning of a video nothing is known: the model makes all of it, told nothing but noise."""
    inner = Told()
    around = kind(inner, AlphaBlend())
    list(stream(around, AlphaBlend(), BEHIND.plan(), begin(around, video(0), seed=3, redo=OVERLAP), frames=8))
    assert len(inner.asked) == 8 and all(set(level.flatten().tolist()) == {step / 4} for (_, _, level, _), step in zip(
        inner.asked[:4], (4, 3, 2, 1), strict=True))  # fmt: skip
    told = [level[0, :OVERLAP].tolist() for _, _, level, _ in inner.asked[4:]]
    assert told == ([[step / 4] * 2 for step in (4, 3, 2, 1)] if kind is Renoised else [[0, 0]] * 4)


# -- the queue ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [2, 3, 4, 7])
@pytest.mark.parametrize("frames", [1, 2, 5, 8, 14, 15])
def test_every_frame_is_answered_for_once(clip: int, frames: int) -> None:
    """In clips no longer than the model knows, whole wherever the queue is long enough, each but the first with cleaner frames
    in front of what it answers for."""
    around = Partitioned(Told(), clip)
    cuts = around.cuts(frames)
    assert [frame for _, begun, last in cuts for frame in range(begun, last)] == list(range(frames))
    assert all(last - first == min(clip, frames) for first, _, last in cuts)
    assert all(begun - first >= -(-clip // 2) for first, begun, _ in cuts[1:])
    assert around.evaluated(frames) == len(cuts) * min(clip, frames)


def test_a_queue_is_its_clips() -> None:
    model, x, level = base(controls=3), draw(2, shape=(2, 12, *SHAPE)), draw(3, shape=(2, 12)).sigmoid()
    control, state = draw(4, shape=(2, 12, 3)), model.start(2, seed=torch.tensor([1, 2]), device="cpu", dtype=torch.float64)
    got = Partitioned(model, CLIP).denoise(x, level, state, control=control)
    for first, begun, last in ((0, 0, 6), (3, 6, 9), (6, 9, 12)):
        part = model.denoise(x[:, first:last], level[:, first:last], state, control=control[:, first:last])
        assert_close(got[:, begun:last], part[:, begun - first :])
    whole = model.denoise(x[:, :6], level[:, :6], state, control=control[:, :6])
    assert_equal(Partitioned(model, CLIP).denoise(x[:, :6], level[:, :6], state, control=control[:, :6]), whole)


def test_clips_of_a_queue_know_where_they_are() -> None:
    inner = Told()
    around = Partitioned(inner, 4)
    state = {"at": torch.tensor([5, 9]), "seed": torch.tensor([0, 1])}
    around.denoise(draw(2, shape=(2, 8, *SHAPE)), torch.ones(2, 8).double(), state)
    assert [at for at, *_ in inner.asked] == [[5, 9], [7, 11], [9, 13]]
    with pytest.raises(UserError, match="at least 2 frames"):
        Partitioned(inner, 1)


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("frames", [1, 7, 20])
def test_a_queue_streams(frames: int, drain: bool) -> None:
    around, plan = Partitioned(base(), CLIP), Staircase(12, 1, Fraction(1, 12)).plan()
    chunks = list(stream(around, AlphaBlend(), plan, begin(around, video(0), seed=3), frames=frames, drain=drain))
    made = torch.cat([chunk.frames for chunk in chunks], 1)
    assert made.shape[1] == frames and torch.isfinite(made).all()


# -- all of them ----------------------------------------------------------------------------------------------------------

AROUND = {
    "renoised": lambda model: Renoised(model, AlphaBlend()), "replaced": lambda model: Replaced(model, AlphaBlend()),
    "partitioned": lambda model: Partitioned(model, CLIP),
}  # fmt: skip


class Exact(Told):
    """Knows a video by absolute frame and answers with the exact velocity towards it."""

    def denoise(self, x: Video, level: Levels, state: State, **_: Any) -> Video:
        index = state["at"][:, None] + torch.arange(x.shape[1])
        clean = draw(9, shape=(80, *SHAPE))[index]
        return (x - clean) / level.clamp(min=1e-9)[..., None, None, None]

    def reader(self, state: State, known: Known | None = None) -> Reader:
        return super().reader(state)


@pytest.mark.parametrize("name", AROUND)
def test_the_data_come_back(name: str) -> None:
    around = AROUND[name](Exact())
    case = Staircase(12, 1, Fraction(1, 12)) if name == "partitioned" else BEHIND
    truth = draw(9, shape=(80, *SHAPE))
    rollout = begin(around, truth[:3].expand(2, -1, -1, -1, -1), seed=0, redo=case.redo)
    made = torch.cat([c.frames for c in stream(around, AlphaBlend(), case.plan(), rollout, frames=21)], 1)
    assert error(made, truth[3:24].expand(2, -1, -1, -1, -1)) < 1e-5


@pytest.mark.parametrize("name", AROUND)
def test_weights_and_training_are_those_of_the_model(name: str) -> None:
    model = base(predict="velocity").requires_grad_(True)
    around = AROUND[name](model)
    assert [n for n, _ in around.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert {id(p) for p in around.parameters()} == {id(p) for p in model.parameters()}
    assert around.hidden_matrices() == model.hidden_matrices() and around.shape == model.shape
    given = video(2), draw(3, shape=(2, 2, 4, *SHAPE)), draw(5, shape=(2, 2, 4)).sigmoid(), (0, 2)
    assert_equal(around(*given)[0], model(*given)[0])


# -- a queue that begins as the context -----------------------------------------------------------------------------------


def fifo_by_hand(model: VideoModel, context: Video, queue: int, frames: int) -> Video:
    """FIFO-Diffusion as a story of a list: a slot for each step of a descent; the context stands in it, noised by slot; every
    step the front leaves and noise enters. What leaves before the first new frame is the context once more, and dropped."""
    seed, noise, held = 3 + torch.arange(2), FrameNoise(SHAPE), context.shape[1]
    state = model.start(2, seed=seed, device="cpu", dtype=torch.float64)
    level, line, left = (torch.arange(1, queue + 1) / queue).expand(2, -1).double(), [], []
    for slot in range(queue - 1):
        frame = held - (queue - 1) + slot
        first = noise(seed, torch.full((2,), frame), 1)[:, 0].double()
        share = (slot + 1) / queue
        line.append((1 - share) * context[:, max(0, frame)] + share * first)
    for frame in range(held, held + frames + queue - 1):
        line.append(noise(seed, torch.full((2,), frame), 1)[:, 0].double())
        x = torch.stack(line, 1)
        line = list((x - model.denoise(x, level, {**state, "at": torch.full((2,), frame - queue + 1)}) / queue).unbind(1))
        left.append(line.pop(0))
    return torch.stack(left[queue - 1 :], 1)


QUEUE = Staircase(12, 1, Fraction(1, 12), queued=True)


@pytest.mark.parametrize("held", [1, 4, 20])
def test_a_queue_begins_as_the_context(held: int) -> None:
    around, context = Partitioned(base(predict="velocity"), CLIP), draw(7, shape=(2, held, *SHAPE))
    rollout = opened(around, AlphaBlend(), QUEUE.plan(), context, seed=3)
    assert rollout.state["at"].tolist() == [held] * 2 and rollout.window.shape[1] == 11
    got = torch.cat([c.frames for c in stream(around, AlphaBlend(), QUEUE.plan(), rollout, frames=9)], 1)
    assert error(got, fifo_by_hand(around, context, 12, 9)) < 1e-6
    other = opened(around, AlphaBlend(), QUEUE.plan(), context + 1, seed=3)
    moved = torch.cat([c.frames for c in stream(around, AlphaBlend(), QUEUE.plan(), other, frames=9)], 1)
    assert error(moved, got) > 1e-3, "the model does not see its context"


def test_a_queue_fills_in_as_many_evaluations_as_a_warm_up() -> None:
    def evaluations(queued: bool, held: int) -> int:
        inner, plan = Told(), dataclasses.replace(QUEUE, queued=queued).plan()
        rollout = opened(Partitioned(inner, CLIP), AlphaBlend(), plan, video(held), seed=3)
        next(stream(Partitioned(inner, CLIP), AlphaBlend(), plan, rollout, frames=1))
        return sum(x.shape[1] for _, x, *_ in inner.asked)

    assert evaluations(True, 4) == evaluations(False, 4) == evaluations(True, 0)


def test_the_data_come_back_from_a_queue() -> None:
    truth, around = draw(9, shape=(80, *SHAPE)), Partitioned(Exact(), CLIP)
    for chunk, lag in ((1, Fraction(1, 12)), (3, Fraction(1, 4))):
        plan = Staircase(12, chunk, lag, queued=True).plan()
        rollout = opened(around, AlphaBlend(), plan, truth[:30].expand(2, -1, -1, -1, -1), seed=0)
        made = torch.cat([c.frames for c in stream(around, AlphaBlend(), plan, rollout, frames=21)], 1)
        assert error(made, truth[30:51].expand(2, -1, -1, -1, -1)) < 1e-5


def test_actions_of_a_queue_are_told_by_absolute_frame() -> None:
    asked: list[tuple[list[int], int]] = []

    def controls(at: torch.Tensor, frames: int) -> torch.Tensor:
        asked.append((at.tolist(), frames))
        return torch.zeros(len(at), frames, 3).double()

    around = Partitioned(base(controls=3), CLIP)
    rollout = opened(around, AlphaBlend(), QUEUE.plan(), video(4), seed=3, controls=controls)
    assert ([-7, -7], 12) in asked and ([3, 3], 12) in asked and rollout.state["at"].tolist() == [4, 4]


# -- a past that is written anew ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*AROUND, "guided"])
def test_the_past_is_written_anew_as_the_model_does_it(name: str) -> None:
    """Around a model with a past: what newest frames make of it anew is the inner model's own affair, anchor and all."""
    inner = nano(chunk=2, window=3, controls=2, context=None if name == "guided" else Channels(1, 1))
    around = Guided(inner, AlphaBlend(), 1.0) if name == "guided" else AROUND[name](inner)
    control, x, level = draw(4, shape=(2, 9, 2)), draw(2, shape=(2, 4, *SHAPE)), draw(3, shape=(2, 4)).sigmoid()

    def answer(model: VideoModel) -> Video:
        state = model.start(2, seed=torch.tensor([1, 2]), device="cpu", dtype=torch.float64)
        state = model.remember(video(5), state, control=control[:, :5])
        after = model.recached(video(5)[:, 2:], state, control=control[:, 5:8])
        assert after["at"].tolist() == state["at"].tolist() == [5, 5]
        return model.denoise(x, level, after, control=control[:, :4])

    assert_close(answer(around), answer(inner))

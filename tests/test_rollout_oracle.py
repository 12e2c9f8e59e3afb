"""The loop against an oracle: with the exact velocity towards known data, every schedule gives the data back."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unspool.blend import AlphaBlend, Blend, Cosine, per_pixel
from unspool.grid import cosine, linear
from unspool.model import VideoModel
from unspool.rollout import Rollout, begin, stream
from unspool.schedule import Staircase
from unspool.solver import Solver, euler, midpoint
from unspool.testing import assert_close, assert_equal, draw, nano, video
from unspool.types import Known, Levels, State, Video

SHAPE = (1, 2, 2)
TRUTH = draw(1, shape=(2, 120, *SHAPE))
OFFSET = torch.tensor([0, 3])  # the second slot is three frames further on


class Oracle(VideoModel):
    """Knows TRUTH by absolute frame, answers with the exact velocity, and remembers nothing but the truth. It counts."""

    def __init__(self, blend: Blend) -> None:
        super().__init__()
        self.shape, self.blend = SHAPE, blend
        self.forwards, self.columns, self.graded, self.told = 0, [], [], []

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        return {"at": torch.zeros(batch, dtype=torch.int64), "seed": seed}

    def _truth(self, at: Tensor, frames: int) -> Video:
        index = at[:, None] + torch.arange(frames)
        return TRUTH[torch.arange(len(at))[:, None], index]

    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        self.forwards += x.shape[1]
        self.columns.append(x.shape[1])
        self.graded.append(torch.is_grad_enabled())
        clean = self._truth(state["at"], x.shape[1])
        if control is not None:
            assert_equal(control, actions(state["at"], x.shape[1]), "the actions of the flight")
        a, b = self.blend.weights(level)
        da, db = self.blend.slopes(level)
        clear = per_pixel(level) == 0
        return torch.where(clear, 0.0, da * clean + db * (x - a * clean) / b.where(~clear, 1.0))

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        assert_close(clean, self._truth(state["at"], clean.shape[1]), "what is remembered")
        if control is not None:
            assert_equal(control, actions(state["at"], clean.shape[1]), "the actions that are remembered")
            self.told.append(clean.shape[1])
        return {**state, "at": state["at"] + clean.shape[1]}


def actions(at: Tensor, frames: int) -> Tensor:
    """(B, frames, 1): the action of frame f is f."""
    return (at[:, None] + torch.arange(frames))[..., None].double()


def ready(model: Oracle, context: int, redo: int) -> Rollout:
    """A rollout behind `context` true frames of each slot, the second one OFFSET further on in its video."""
    rollout = begin(Oracle(model.blend), TRUTH[:, :context], seed=4, redo=redo)
    window = torch.stack([TRUTH[b, o + context - redo : o + context] for b, o in enumerate(OFFSET)])
    return rollout._replace(state={**rollout.state, "at": rollout.state["at"] + OFFSET}, window=window)


def wanted(first: int, frames: int) -> Video:
    return torch.stack([TRUTH[b, o + first : o + first + frames] for b, o in enumerate(OFFSET)])


@st.composite
def staircases(draw, redo: int = 3) -> Staircase:
    steps = draw(st.integers(1, 6))
    m = draw(st.integers(0, steps))
    chunks = draw(st.integers(1, 4) if m == 0 else st.none() | st.integers(1, 8))
    grid = draw(st.sampled_from([linear, cosine]))
    size, again, grow = draw(st.integers(1, 3)), draw(st.integers(0, redo)), draw(st.booleans())
    return Staircase(steps, size, Fraction(m, steps), chunks, grid, again, grow)


@settings(max_examples=200)
@given(
    case=staircases(), blend=st.sampled_from([AlphaBlend(), Cosine()]), solver=st.sampled_from([euler, midpoint]),
    context=st.integers(0, 5), frames=st.integers(1, 40), ends=st.sampled_from(["cut", "drained", "drained, one shape"]),
)  # fmt: skip
def test_the_data_come_back(case: Staircase, blend: Blend, solver: Solver, context: int, frames: int, ends: str) -> None:
    """All schedules, blends and solvers, any length; slots at different frames; every frame once, in order, at its index."""
    plan, model = case.plan(), Oracle(blend)
    drain, fixed = ends != "cut", ends == "drained, one shape"
    context += plan.redo
    shown = 0
    options = {"frames": frames, "solver": solver, "drain": drain, "fixed": fixed}
    for chunk in stream(model, blend, plan, ready(model, context, plan.redo), **options):
        assert_equal(chunk.at, context + OFFSET + shown, "index")
        assert 1 <= chunk.frames.shape[1] <= plan.hop
        assert (chunk.levels[:, plan.redo : plan.redo + chunk.frames.shape[1]] == 0).all()
        assert_close(chunk.frames, wanted(context + shown, chunk.frames.shape[1]), f"frames from {shown}")
        shown += chunk.frames.shape[1]
    assert shown == frames
    assert not fixed or set(model.columns) == {plan.redo + plan.frames}


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("frames", [1, 3, 4, 5, 893, 1440, 2880])
def test_lengths_of_the_trade(frames: int, drain: bool) -> None:
    """One frame, a frame less and more than a chunk, half a minute, a minute and two, to the frame."""
    plan, model = Staircase(4, 4, Fraction(1, 4), grow=True).plan(), nano(dtype=torch.float32, depth=1, window=1)
    rollout = begin(model, video(1, 1, dtype=torch.float32), seed=0)
    with torch.inference_mode():
        chunks = stream(model, AlphaBlend(), plan, rollout, frames=frames, drain=drain)
        assert sum(chunk.frames.shape[1] for chunk in chunks) == frames


@settings(max_examples=60)
@given(case=staircases(), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_cut_and_resumed(case: Staircase, cuts: list[int]) -> None:
    """Cut after any number of frames, also inside a chunk: pieces are the data, and cost what the whole costs."""
    plan, blend = case.plan(), AlphaBlend()
    model, whole = Oracle(blend), Oracle(blend)
    rollout, shown = ready(model, 4, plan.redo), 0
    for frames in cuts:
        for chunk in stream(model, blend, plan, rollout, frames=frames):
            assert_equal(chunk.at, 4 + OFFSET + shown, "index")
            assert_close(chunk.frames, wanted(4 + shown, chunk.frames.shape[1]), f"frames from {shown}")
            shown, rollout = shown + chunk.frames.shape[1], chunk.rollout
    assert shown == sum(cuts)
    list(stream(whole, blend, plan, ready(whole, 4, plan.redo), frames=shown))
    assert model.forwards == whole.forwards


@settings(max_examples=60)
@given(case=staircases(), frames=st.integers(1, 30))
def test_evaluations_are_what_the_plan_says(case: Staircase, frames: int) -> None:
    """A cut run walks the warm-up once and the loop once a hop, the whole flight each time, less what has not entered yet; a
    drained one drops a column for each frame that is not wanted."""
    plan, blend = case.plan(), AlphaBlend()
    cut, drained = Oracle(blend), Oracle(blend)
    list(stream(cut, blend, plan, ready(cut, 4, plan.redo), frames=frames))
    *_, last = stream(drained, blend, plan, ready(drained, 4, plan.redo), frames=frames, drain=True)
    assert last.rollout is None
    hops, rows = -(-frames // plan.hop), len(plan.loop) - 1
    walk = sum(plan.entering)
    assert cut.forwards == walk + hops * rows * (plan.redo + plan.frames)
    exist = [min(plan.frames, -(-(frames - i * plan.hop) // plan.chunk) * plan.chunk) for i in range(hops)]
    entered = sum(min(n, plan.redo + exist[0]) for n in plan.entering)
    assert drained.forwards == entered + sum(rows * (plan.redo + n) for n in exist)
    if plan.frames > plan.hop:
        assert drained.forwards < cut.forwards
    if frames % plan.hop == 0:
        assert cut.forwards - walk == pytest.approx(plan.evaluations * frames)


def test_endless() -> None:
    model, blend = Oracle(AlphaBlend()), AlphaBlend()
    chunks = stream(model, blend, Staircase(4, 2, 0.5).plan(), ready(model, 2, 0))
    got = [next(chunks) for _ in range(20)]
    assert_close(torch.cat([c.frames for c in got], 1), wanted(2, 40))
    assert all(c.rollout is not None for c in got)


@pytest.mark.parametrize(
    "case", [Staircase(2, 2), Staircase(4, 2, 0.25), Staircase(3, 1, 0, 3), Staircase(2, 1, 0.5, redo=1)]
)
def test_controls_are_those_of_the_absolute_frames(case: Staircase) -> None:
    """Asserted inside the oracle, in flight and when remembered; asked once for each descent."""
    plan, asked = case.plan(), []

    def controls(at: Tensor, frames: int) -> Tensor:
        asked.append(frames)
        return actions(at, frames)

    model = Oracle(AlphaBlend())
    list(stream(model, AlphaBlend(), plan, ready(model, 3, plan.redo), frames=4 * plan.hop, controls=controls))
    assert model.told == [plan.hop] * 4
    assert len(asked) == 4 + 4 + (len(plan.warmup) > 1)


@pytest.mark.parametrize(("grad", "evaluations"), [("none", 0), ("last", 1), ("all", 4)])
def test_which_evaluations_carry_gradient(grad, evaluations: int) -> None:
    """And the caller's grad mode is the caller's, whatever happens inside, between any two chunks and afterwards."""
    for enabled in (True, False):
        model, plan = Oracle(AlphaBlend()), Staircase(4, 2).plan()
        with torch.set_grad_enabled(enabled):
            chunks = stream(model, AlphaBlend(), plan, ready(model, 2, 0), grad=grad)
            for n in range(1, 4):
                next(chunks)
                assert torch.is_grad_enabled() is enabled
                assert sum(model.graded) == (evaluations * n if enabled else 0)
                assert len(model.graded) == 4 * n
            chunks.close()
            assert torch.is_grad_enabled() is enabled


def test_grad_mode_is_that_of_whoever_asks_for_the_chunk() -> None:
    model, plan = Oracle(AlphaBlend()), Staircase(4, 2).plan()
    chunks = stream(model, AlphaBlend(), plan, ready(model, 2, 0), grad="all")
    with torch.no_grad():
        next(chunks)
    assert torch.is_grad_enabled() and not any(model.graded)
    next(chunks)
    assert all(model.graded[4:])


@pytest.mark.parametrize("redo", [1, 2, 3])
def test_redone_frames_are_noised_anew_and_never_shown(redo: int) -> None:
    """The source is asked for row 1 of exactly the redo frames, once a hop, and for row 0 of every other frame once."""
    asked: list[tuple[int, int, int]] = []

    def source(seed: Tensor, at: Tensor, frames: int, row: int = 0) -> Video:
        asked.append((int(at[0]), frames, row))
        return draw(row, shape=(2, frames, *SHAPE))

    model, plan = Oracle(AlphaBlend()), Staircase(2, 2, redo=redo).plan()
    list(stream(model, AlphaBlend(), plan, ready(model, 5, redo), source=source, frames=6))
    assert asked == [call for f in (5, 7, 9) for call in ((f - redo, redo, 1), (f, 2, 0))]

"""The memoryless twin: the newest frames are all it sees, and where they are all there is, it is the model itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unspool import store
from unspool.blend import AlphaBlend
from unspool.context import Channels, Tokens
from unspool.errors import UserError
from unspool.model.memoryless import Memoryless
from unspool.model.video import VideoModel
from unspool.rollout import begin, fork, stream
from unspool.schedule import Staircase
from unspool.snapshot import load_rollout, save_rollout
from unspool.testing import SHAPE, assert_close, assert_equal, draw, error, map_state, nano, video
from unspool.types import State, Video

KINDS: dict[str, dict[str, Any]] = {
    "window": {},
    "controls": {"controls": 3},
    "tokens": {"context": Tokens(2)},
    "channels": {"context": Channels(3)},
    "anchored": {"context": Channels(1, anchor=2)},
    "nothing kept": {"context": Channels(2, anchor=1), "window": 0},
}
MODELS = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
X, LEVEL = draw(2, shape=(2, 4, *SHAPE)), torch.full((2, 4), 0.6, dtype=torch.float64)


def start(model: Any, batch: int = 2) -> State:
    return model.start(batch, seed=torch.arange(batch), device="cpu", dtype=torch.float64)


def answer(model: Any, clean: Video, steps: int = 1) -> Video:
    """The velocity behind these frames, remembered so many at a time, each with its own context noise and action."""
    frames, state = clean.shape[1], start(model, len(clean))
    level = 0.3 * draw(5, shape=(8, frames))[: len(clean)].abs().clamp(max=1)
    control = draw(6, shape=(8, frames, 3))[: len(clean)] if model.controls else None
    for i in range(0, frames, steps):
        told = None if control is None else control[:, i : i + steps]
        state = model.remember(clean[:, i : i + steps], state, level=level[:, i : i + steps], control=told)
    ahead = None if control is None else draw(7, shape=(8, 4, 3))[: len(clean)]
    return model.denoise(X[: len(clean)], LEVEL[: len(clean)], state, control=ahead)


@MODELS
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_where_everything_is_kept_it_is_the_model(options: dict[str, Any], steps: int) -> None:
    """Also beyond the window of 3, for what is remembered in pieces is what is remembered at once."""
    model = nano(**options)
    want = answer(model, video(6), steps)
    assert_close(answer(Memoryless(model, 6), video(6), steps), want)
    assert_close(answer(Memoryless(model, 9), video(6), steps), want, "with room to spare")


@MODELS
def test_the_last_frames_of_a_long_video_are_all_that_counts(options: dict[str, Any]) -> None:
    model = nano(**options)
    twin, clean = Memoryless(model, 4), video(200)
    want = answer(twin, clean, 5)
    for other in (195, 100, 0):
        changed = clean.clone()
        changed[:, other] += 1
        assert_equal(answer(twin, changed, 5), want, f"another frame {other}")
    for own in (199, 196):
        changed = clean.clone()
        changed[:, own] += 1
        seen = error(answer(twin, changed, 5), want)
        assert seen > 1e-2, f"its own frame {own}"


def test_the_model_itself_sees_further() -> None:
    """The test above can fail: the same weights with their memory see a frame that the twin has forgotten."""
    model, clean = nano(), video(6)
    changed = clean.clone()
    changed[:, 0] += 1
    assert error(answer(model, changed, 2), answer(model, clean, 2)) > 1e-4
    assert error(answer(Memoryless(model, 4), changed, 2), answer(Memoryless(model, 4), clean, 2)) == 0


def test_it_says_the_same_anywhere_in_a_video() -> None:
    """Behind 4 frames of any video stands what stands behind these 4 alone."""
    model = nano(context=Channels(1, anchor=1))
    twin, clean = Memoryless(model, 4), video(23)
    late = twin.remember(clean, start(twin))
    assert_close(twin.denoise(X, LEVEL, late), model.denoise(X, LEVEL, model.remember(clean[:, -4:], start(model))))
    assert late["at"].tolist() == [23, 23]


def test_reserved_leaves_reach_the_model() -> None:
    """It is told the true frame number, and the seed of a fork."""

    class Spy(VideoModel):
        shape, controls = SHAPE, 0

        def start(self, batch: int, *, seed: Any, device: Any, dtype: Any) -> State:
            return {"at": torch.zeros(batch, dtype=torch.int64), "seed": seed, "sum": torch.zeros(batch, dtype=dtype)}

        def remember(self, clean: Video, state: State, *, level: Any = None, control: Any = None) -> State:
            self.first = state["at"].tolist()
            return {**state, "at": state["at"] + clean.shape[1], "sum": state["sum"] + clean.sum((1, 2, 3, 4))}

        def denoise(self, x: Video, level: Any, state: State, *, present: Any = None, control: Any = None) -> Video:
            self.told = (state["at"].tolist(), state["seed"].tolist())
            return x

    spy = Spy()
    rollout = begin(Memoryless(spy, 3), video(10), seed=5)
    assert spy.first == [7, 7]
    next(stream(Memoryless(spy, 3), AlphaBlend(), Staircase(2).plan(), fork(rollout, 8)))
    assert spy.told == ([10, 10], [8, 9]) and spy.first == [8, 8]


def test_slots_of_different_age() -> None:
    """A young slot beside an old one is what it is alone."""
    twin = Memoryless(nano(context=Channels(1, anchor=1)), 4)
    old, young = twin.remember(video(9), start(twin)), twin.remember(video(1, key=4), start(twin))
    mixed = map_state(lambda a, b: torch.stack([a[0], b[1]]), old, young)
    mixed = twin.remember(video(2, key=8), mixed)
    for slot, alone in enumerate((old, young)):
        want = twin.denoise(X, LEVEL, twin.remember(video(2, key=8), alone))[slot]
        assert_close(twin.denoise(X, LEVEL, mixed)[slot], want, f"slot {slot}")


@pytest.mark.parametrize("case", [Staircase(2, 2), Staircase(4, 2, 0.5, redo=2)], ids=["chunks", "redo"])
def test_it_streams_at_a_fixed_size_and_resumes_from_disk(case: Staircase, tmp_path: Any) -> None:
    twin, plan = Memoryless(nano(), 4), case.plan()
    chunks = list(stream(twin, AlphaBlend(), plan, begin(twin, video(6), seed=1, redo=plan.redo), frames=12))
    sizes = {store.size(chunk.rollout.state) for chunk in chunks if chunk.rollout}
    assert sizes == {store.size(start(twin))}
    save_rollout(tmp_path / "r", chunks[2].rollout, twin)
    back = load_rollout(tmp_path / "r", twin).rollout
    more = torch.cat([chunk.frames for chunk in stream(twin, AlphaBlend(), plan, back, frames=6)], 1)
    assert_equal(more, torch.cat([chunk.frames for chunk in chunks[3:]], 1))


def test_parameters_are_shared() -> None:
    model = nano()
    assert [id(p) for p in Memoryless(model, 2).parameters()] == [id(p) for p in model.parameters()]


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_nothing_is_refused(keep: int) -> None:
    with pytest.raises(UserError, match="at least 1 frame"):
        Memoryless(nano(), keep)

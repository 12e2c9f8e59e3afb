"""How clean frames enter: through memories alone, or riding along as tokens."""

from __future__ import annotations

import pytest
import torch

from unspool.context import Cached, Channels, Local, Tokens
from unspool.errors import UserError
from unspool.testing import SHAPE, assert_close, assert_equal, draw, error, map_state, nano, video
from unspool.types import Known, State

CPU = torch.device("cpu")


def start(context: Tokens | Channels) -> State:
    return context.start(2, SHAPE, device=CPU, dtype=torch.float64)


def test_cached_keeps_nothing() -> None:
    assert Cached().frames == 0
    assert Cached().start(2, SHAPE, device=CPU, dtype=torch.float64) == {} == Cached().remember(video(3), {})


@pytest.mark.parametrize("context", [Tokens(3), Channels(3)], ids=str)
@pytest.mark.parametrize("pieces", [(7,), (1, 6), (3, 3, 1), (1,) * 7, (0, 7)])
def test_the_last_frames_are_kept(context: Tokens | Channels, pieces: tuple[int, ...]) -> None:
    state, done = start(context), 0
    for n in pieces:
        before = map_state(torch.clone, state)
        after = context.remember(video(7)[:, done : done + n], state)
        assert_equal(state, before, "the state before")
        state, done = after, done + n
        kept = min(done, 3)
        assert state["count"].tolist() == [kept] * 2
        assert_equal(state["last"][:, 3 - kept :], video(7)[:, done - kept : done])
        assert state["last"].shape == (2, 3, *SHAPE)


@pytest.mark.parametrize("anchor", [1, 3])
@pytest.mark.parametrize("pieces", [(7,), (1, 6), (2, 4, 1), (1,) * 7, (0, 7)])
def test_the_first_frames_stay_for_ever(anchor: int, pieces: tuple[int, ...]) -> None:
    context = Channels(2, anchor)
    state, done = start(context), 0
    for n in pieces:
        beside = context.channels(state, video(7)[:, done : done + n])
        state, done = context.remember(video(7)[:, done : done + n], state), done + n
        kept = min(done, anchor)
        assert_equal(state["first"][:, :kept], video(7)[:, :kept])
        assert not state["first"][:, kept:].any()
        after = context.channels(state)
        assert beside is not None and after is not None
        assert_equal(beside[:, -1:], after, "beside the frame after them")


def test_beside_each_frame_stand_the_first_and_the_newest_before_it() -> None:
    context = Channels(2, anchor=1)
    beside = context.channels(start(context), video(4))
    assert beside is not None
    zero = torch.zeros_like(video(4)[:, 0])
    rows = [(zero, zero, zero), (0, zero, 0), (0, 0, 1), (0, 1, 2), (0, 2, 3)]
    for f, row in enumerate(rows):
        wanted = torch.cat([video(4)[:, i] if isinstance(i, int) else i for i in row], 1)
        assert_equal(beside[:, f], wanted, f"frame {f}")


def test_each_video_of_a_batch_has_its_own_anchor() -> None:
    """One video is two frames older than the other: only the younger one's anchor still fills."""
    context = Channels(1, anchor=3)
    state = context.remember(video(2)[:1], context.start(1, SHAPE, device=CPU, dtype=torch.float64))
    young = context.start(1, SHAPE, device=CPU, dtype=torch.float64)
    both = {name: torch.cat([leaf, young[name]]) for name, leaf in state.items()}
    after = context.remember(video(5, 2), both)
    assert_equal(after["first"][0], torch.cat([video(2)[0], video(5)[0, :1]]))
    assert_equal(after["first"][1], video(5, 2)[1, :3])


def test_unfilled_tokens_are_not_seen() -> None:
    """Room for four frames with two in it is room for two."""
    x, level = draw(2, shape=(2, 4, *SHAPE)), torch.full((2, 4), 0.5, dtype=torch.float64)
    outs = []
    for room in (2, 4, 9):
        model = nano(context=Tokens(room))
        state = model.start(2, seed=torch.tensor([0, 1]), device="cpu", dtype=torch.float64)
        outs.append(model.denoise(x, level, model.remember(video(2), state)))
    assert_close(outs[1], outs[0])
    assert_close(outs[2], outs[0])
    model = nano()
    state = model.start(2, seed=torch.tensor([0, 1]), device="cpu", dtype=torch.float64)
    assert error(model.denoise(x, level, model.remember(video(2), state)), outs[0]) > 0.01


def test_tokens_without_any_frame_are_no_tokens() -> None:
    x, level = draw(2, shape=(2, 4, *SHAPE)), torch.full((2, 4), 0.5, dtype=torch.float64)
    with_room, without = nano(context=Tokens(3)), nano()
    got, want = (
        m.denoise(x, level, m.start(2, seed=torch.tensor([0, 1]), device="cpu", dtype=x.dtype)) for m in (with_room, without)
    )
    assert_close(got, want)


def test_tokens_alone_forget_what_is_older() -> None:
    """Without a memory, exactly the last `frames` frames are seen, each of them, and no other."""
    model = nano(context=Tokens(3), window=0)
    clean = video(6).requires_grad_()
    x, level = draw(2, shape=(2, 4, *SHAPE)), torch.full((2, 4), 0.5, dtype=torch.float64)
    state = model.remember(clean, model.start(2, seed=torch.tensor([0, 1]), device="cpu", dtype=x.dtype))
    (grad,) = torch.autograd.grad(model.denoise(x, level, state).square().sum(), clean)
    assert grad[0].flatten(1).any(1).tolist() == [False] * 3 + [True] * 3


def test_channels_are_the_frames_before() -> None:
    """Without a memory, a flight sees the last `beside` frames, each of them; and a clean frame those before itself."""
    model = nano(context=Channels(2), window=0)
    clean = video(6).requires_grad_()
    x, level = draw(2, shape=(2, 4, *SHAPE)), torch.full((2, 4), 0.5, dtype=torch.float64)
    empty = model.start(2, seed=torch.tensor([0, 1]), device="cpu", dtype=x.dtype)
    (grad,) = torch.autograd.grad(model.denoise(x, level, model.remember(clean, empty)).square().sum(), clean)
    assert grad[0].flatten(1).any(1).tolist() == [False] * 4 + [True] * 2
    model = nano(context=Channels(2), window=8, depth=1)
    keys = model.remember(clean, empty | {"blocks": model.start(2, seed=empty["seed"], device="cpu", dtype=x.dtype)["blocks"]})
    (grad,) = torch.autograd.grad(keys["blocks"]["0"]["0"]["k"][0, :, -2].square().sum(), clean)
    assert grad[0].flatten(1).any(1).tolist() == [False, False, True, True, True, False]


def test_local_frames_stand_beside_with_their_places() -> None:
    """(position + 1) / (flight + 1) after each; a frame that is missing is zeros under 0; the noise it carries is told last."""
    known = Known(video(2), torch.tensor([[0, 7], [-1, 3]]), torch.tensor([[0.0, 0.2], [0.1, 0.1]]))
    for told in (False, True):
        beside = Local(2, 8, told).channels(known, video(5))
        each = beside.unflatten(1, (2, -1))
        assert beside.shape == (2, Local(2, 8, told).width(1), 4, 4)
        assert_equal(each[0, :, :1], video(2)[0])
        assert_equal(each[1, 1, :1], video(2)[1, 1])
        assert not each[1, 0, :2].any()
        assert_close(each[:, :, 1, 0, 0], torch.tensor([[1 / 9, 8 / 9], [0, 4 / 9]], dtype=torch.float64))
        if told:
            assert_close(each[:, :, 2, 3, 3], torch.tensor([[0.0, 0.2], [0.0, 0.1]], dtype=torch.float32).double())
        assert not Local(2, 8, told).channels(None, video(5)).any()
    with pytest.raises(UserError, match="2 frames of a flight are known and the model has place for 3"):
        Local(3, 8).channels(known, video(5))

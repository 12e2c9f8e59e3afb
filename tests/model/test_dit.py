"""The video transformer: one parallel pass equals the verbs, the past is all it sees, states are values."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from unspool import store
from unspool.blend import Cosine
from unspool.context import Channels, Context, Local, Tokens
from unspool.errors import UserError
from unspool.memory import LSTM, Delayed, Full, Latents, Window
from unspool.model import VideoModel, VideoTransformer
from unspool.noise import uniform
from unspool.testing import SHAPE, assert_close, assert_equal, draw, error, map_state, nano, video
from unspool.types import Known, Levels, Video

KINDS: dict[str, dict[str, Any]] = {
    "clean": {},
    "velocity": {"predict": "velocity"},
    "change": {"predict": "change", "context": Channels(1)},
    "masked": {"predict": "masked", "context": Channels(1)},
    "channels": {"context": Channels(3)},
    "channels and an anchor": {"context": Channels(1, anchor=3)},
    "nothing kept but channels": {"context": Channels(2, anchor=1), "window": 0},
    "cosine": {"blend": Cosine()},
    "controls": {"controls": 3},
    "tokens": {"context": Tokens(2)},
    "tokens alone": {"context": Tokens(3), "window": 0},
    "a kept clean chunk": {"context": Tokens(2, joined=True), "window": 0},
    "frame-causal": {"chunk": 1},
    "no memory": {"window": 0},
    "a gist in the middle": {"window": 0, "gist": True},
    "lstm": {"held": lambda width: [Window(width, 1, 2), LSTM(width)]},
    "a late lstm": {"held": lambda width: [Window(width, 1, 2), Delayed(LSTM(width), 2, width)], "controls": 2},
    "lstm alone": {"held": lambda width: [Window(width, 1, 0), LSTM(width)], "controls": 2},
    "latents": {"held": lambda width: [Latents(width, 1, 3, 1, None)]},
    "latents by segments": {"held": lambda width: [Window(width, 1, 2), Latents(width, 1, 3, 2, None)]},
    "full": {"held": lambda width: [Full(width, 1, 40)]},
    "a sink": {"held": lambda width: [Window(width, 1, 2, 1)]},
}
MODELS = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())


def levels(*shape: int) -> Levels:
    return uniform(torch.tensor(4), *shape).double()


def flight(frames: int = 4) -> tuple[Video, Levels]:
    return draw(2, shape=(2, frames, *SHAPE)), levels(2, frames)


def filled(model: VideoTransformer, frames: int, **told: Any):
    state = model.start(2, seed=torch.tensor([1, 2]), device="cpu", dtype=torch.float64)
    return model.remember(video(frames, key=7), state, **told) if frames else state


@MODELS
@pytest.mark.parametrize("starts", [(2, 4, 6), (0, 3), (1, 2, 3, 4, 5, 6), (8,), (5, 1)], ids=str)
@pytest.mark.parametrize("before", [None, 0, 2, 9], ids=lambda n: f"{n} before")
def test_forward_is_denoise_after_remember(options: dict[str, Any], starts: tuple[int, ...], before: int | None) -> None:
    """The one truth that makes training equal use: every group, from any state, with context noise and controls told."""
    model, T, F = nano(**options), 8, 2
    clean, x = video(T), draw(3, shape=(2, len(starts), F, *SHAPE))
    level, context_level = levels(2, len(starts), F), levels(2, T)
    control = draw(5, shape=(2, T + F, model.controls)) if model.control is not None else None
    start = None if before is None else filled(model, before)
    got, after = model(clean, x, level, starts, start, context_level=context_level, control=control)

    def cut(first: int, last: int) -> torch.Tensor | None:
        return None if control is None else control[:, first:last]

    state = filled(model, 0) if start is None else start
    for g, s in enumerate(starts):
        told = {"level": context_level[:, :s], "control": cut(0, s)}
        past = model.remember(clean[:, :s], state, **told)
        assert_close(got[:, g], model.denoise(x[:, g], level[:, g], past, control=cut(s, s + F)), f"group {g}")
    end = model.remember(clean, state, level=context_level, control=cut(0, T))
    skip = {"seed"} if start is None else set()
    assert_close({n: after[n] for n in end if n not in skip}, {n: end[n] for n in end if n not in skip}, "state")


@pytest.mark.parametrize("more", [{}, {"context": Channels(1, 1)}, {"context": Tokens(2)}, {"predict": "change"}], ids=str)
@pytest.mark.parametrize("starts", [(2, 4), (0,), (6, 1, 3)], ids=str)
def test_forward_is_denoise_of_what_is_known(more: dict[str, Any], starts: tuple[int, ...]) -> None:
    """Each group is told of frames of its own, some missing; without any they are all missing."""
    model, F, G = nano(local=Local(2, 4, told=True), **more), 4, len(starts)
    clean, x, level = video(6), draw(3, shape=(2, G, F, *SHAPE)), levels(2, G, F)
    position = torch.tensor([[[0, 1], [-1, 3], [2, -1]], [[-1, -1], [0, 3], [0, 1]]])[:, :G]
    known = Known(draw(6, shape=(2, G, 2, *SHAPE)), position, levels(2, G, 2))
    state = filled(model, 1)
    got, _ = model(clean, x, level, starts, state, known=known)
    for g, s in enumerate(starts):
        told = Known(*(leaf[:, g] for leaf in known))
        past = model.remember(clean[:, :s], state)
        assert_close(got[:, g], model.denoise(x[:, g], level[:, g], past, known=told), f"group {g}")
        gone = told._replace(position=torch.full((2, 2), -1))
        nothing = model.denoise(x[:, g], level[:, g], past, known=gone._replace(level=None))
        assert_close(model.denoise(x[:, g], level[:, g], past), nothing)
        assert error(nothing, got[:, g]) > 1e-3
        other = gone._replace(frames=told.frames + 1, level=None)
        assert_close(model.denoise(x[:, g], level[:, g], past, known=other), nothing, "a missing frame")


@MODELS
def test_forward_of_windows_that_are_not_full(options: dict[str, Any]) -> None:
    """Each clip's groups have as many frames as they have: what is absent is not seen, here as in `denoise`."""
    model, starts = nano(**options), (2, 0, 4)
    clean, x, level = video(5), draw(3, shape=(2, 3, 4, *SHAPE)), levels(2, 3, 4)
    held = torch.tensor([[1, 4, 2], [3, 2, 4]])
    present = torch.arange(4) < held[..., None]
    control = draw(5, shape=(2, 8, model.controls)) if model.control is not None else None
    got, _ = model(clean, x, level, starts, present=present, control=control)
    for g, s in enumerate(starts):
        for b, here in enumerate(held[:, g].tolist()):
            past, told = (None, None) if control is None else (control[:, :s], control[:, s : s + here])
            state = model.remember(clean[:, :s], filled(model, 0), control=past)
            alone = model.denoise(x[:, g, :here], level[:, g, :here], state, control=told)
            assert_close(got[b, g, :here], alone[b], f"group {g} of clip {b}")


def test_a_kept_clean_chunk_is_the_front_of_the_flight() -> None:
    """Joined tokens in front of K chunks are K + 1 chunks of which the first is clean: weights fit one another."""
    front, flat = nano(chunk=8, context=Tokens(2, joined=True), window=0), nano(chunk=8, window=0)
    clean, (x, level) = video(5, key=7), flight()
    got = front.denoise(x, level, filled(front, 5))
    whole, levels_too = torch.cat([clean[:, 3:], x], 1), torch.cat([torch.zeros(2, 2), level], 1)
    assert_close(got, flat.denoise(whole, levels_too, filled(flat, 0))[:, 2:])
    apart = nano(chunk=8, context=Tokens(2), window=0)
    assert error(apart.denoise(x, level, filled(apart, 5)), got) > 1e-4, "what the clean frames see counts"


@pytest.mark.parametrize("options", [KINDS["clean"], KINDS["velocity"], KINDS["change"]], ids=["clean", "velocity", "change"])
def test_forward_in_single_precision(options: dict[str, Any]) -> None:
    """And it equals the obvious loop of the base class, gradients of all weights included."""
    for dtype in (torch.float32, torch.float64):
        model = nano(dtype=dtype, std=0.15, **options).requires_grad_(True)
        given = video(8, dtype=dtype), draw(3, shape=(2, 3, 2, *SHAPE), dtype=dtype), levels(2, 3, 2).to(dtype), (2, 4, 6)
        grads = []
        for out in (model(*given)[0], VideoModel.forward(model, *given)[0]):
            grads.append({"out": out.detach()})
            value = (out * draw(6, shape=out.shape, dtype=dtype)).sum()
            value.backward()
            grads[-1] |= {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            assert len(grads[-1]) == 1 + len(list(model.parameters())), "gradient reaches every parameter"
            model.zero_grad()
        assert_close(*grads)


@MODELS
def test_remembering_in_pieces(options: dict[str, Any]) -> None:
    model = nano(**options)
    control = draw(5, shape=(2, 9, model.controls)) if model.control is not None else None
    whole = model.remember(video(9), filled(model, 0), level=levels(2, 9), control=control)
    assert whole["at"].tolist() == [9, 9]
    for cuts in ((0, 4, 9), (0, 1, 2, 9), tuple(range(10))):
        state = filled(model, 0)
        for a, b in pairwise(cuts):
            told = None if control is None else control[:, a:b]
            state = model.remember(video(9)[:, a:b], state, level=levels(2, 9)[:, a:b], control=told)
        assert_close(state, whole, f"cut at {cuts}")
    assert model.remember(video(9)[:, :0], whole) is whole


@MODELS
def test_the_future_leaks_nothing(options: dict[str, Any]) -> None:
    """Gradients that must be exactly zero: of clean frames from starts[g] on, of other groups, of other slots."""
    model = nano(**options)
    clean, x = video(8).requires_grad_(), draw(3, shape=(2, 3, 2, *SHAPE)).requires_grad_()
    starts = (2, 4, 6)
    out, _ = model(clean, x, levels(2, 3, 2), starts)
    for g, s in enumerate(starts):
        past, mine = torch.autograd.grad(out[0, g].square().sum(), (clean, x), retain_graph=True, materialize_grads=True)
        assert not past[:, s:].any() and not past[1].any(), f"group {g} sees clean frames from {s} on, or another slot's"
        assert mine[0, g].any() and not mine[1].any()
        assert not mine[:, [i for i in range(3) if i != g]].any(), f"group {g} sees another group"
        assert past[0, s - 1].any() or options == KINDS["no memory"], f"group {g} does not see the newest clean frame"


@MODELS
def test_later_chunks_leak_nothing_into_earlier_ones(options: dict[str, Any]) -> None:
    model = nano(**options)
    x, level = flight(6)
    x.requires_grad_()
    state = filled(model, 3)
    out = model.denoise(x, level, state)
    for f in range(6):
        (grad,) = torch.autograd.grad(out[0, f].square().sum(), x, retain_graph=True)
        end = (f // model.chunk + 1) * model.chunk
        assert not grad[0, end:].any(), f"frame {f} sees beyond its chunk"
        assert grad[0, :end].flatten(1).any(1).all(), f"frame {f} does not see all up to its chunk's end"


@pytest.mark.parametrize("kind", ["clean", "tokens", "channels", "channels and an anchor"])
def test_a_clean_frame_sees_no_later_one(kind: str) -> None:
    """Every leaf of the state after frames 0 .. 4, by gradient, whatever is remembered afterwards in the same call."""
    model = nano(window=8, **KINDS[kind])
    clean = video(7).requires_grad_()
    state = model.remember(clean, filled(model, 0))
    for block in state["blocks"].values():
        for name in ("k", "v"):
            for age in range(7):
                (grad,) = torch.autograd.grad(block["0"][name][0, :, -1 - age].square().sum(), clean, retain_graph=True)
                assert not grad[0, 7 - age :].any(), f"frame {6 - age} sees later ones"
                assert grad[0, 6 - age].any()


@MODELS
def test_states_are_never_changed_in_place(options: dict[str, Any]) -> None:
    model = nano(**options)
    state, (x, level) = filled(model, 4), flight()
    before = map_state(torch.clone, state)
    first = model.denoise(x, level, state)
    model.remember(video(3), state)
    model(video(4), draw(3, shape=(2, 2, 2, *SHAPE)), levels(2, 2, 2), (0, 2), state)
    assert_equal(state, before)
    assert_equal(model.denoise(x, level, state), first, "denoise after the other verbs")
    read = model.reader(state)
    assert_equal(read(x, level), first, "a reader")
    assert_equal(read(x, level), first, "a reader, again")


@MODELS
@pytest.mark.parametrize("here", [2, 4])
@pytest.mark.parametrize("frames", [0, 1, 5])
def test_masked_is_sliced(options: dict[str, Any], here: int, frames: int) -> None:
    """`present`, the form of fixed shape, equals leaving the absent columns out; each slot may have its own number."""
    model = nano(**options)
    x, level = flight(6)
    state = filled(model, frames)
    present = (torch.arange(6) < here).expand(2, -1)
    masked = model.denoise(x, level, state, present=present)[:, :here]
    assert_close(masked, model.denoise(x[:, :here], level[:, :here], state))
    mixed = model.denoise(x, level, state, present=torch.stack([present[0], torch.ones(6, dtype=torch.bool)]))
    assert_close(mixed[:1, :here], masked[:1])
    assert_close(mixed[1:], model.denoise(x, level, state)[1:])


@MODELS
def test_slots_of_different_age(options: dict[str, Any]) -> None:
    model = nano(**options)
    young, old = filled(model, 1), filled(model, 8)
    mixed = map_state(lambda a, b: torch.cat([a[:1], b[1:]]), young, old)
    x, level = flight()
    got = model.denoise(x, level, mixed)
    assert_close(got[0], model.denoise(x, level, young)[0])
    assert_close(got[1], model.denoise(x, level, old)[1])
    after = model.remember(video(2), mixed)
    assert after["at"].tolist() == [3, 10]
    for slot, state in enumerate((young, old)):
        want = map_state(lambda t, s=slot: t[s], model.remember(video(2), state))
        assert_close(map_state(lambda t, s=slot: t[s], after), want)


def test_everything_told_is_heard() -> None:
    """Level of each frame, level of the context, control and state each move the output: no equality here is empty."""
    model = nano(controls=3)
    x, level = flight()
    control, state = draw(5, shape=(2, 4, 3)), filled(model, 4)
    base = model.denoise(x, level, state, control=control)
    others = {
        "level": model.denoise(x, level / 2, state, control=control),
        "control": model.denoise(x, level, state, control=-control),
        "state": model.denoise(x, level, filled(model, 3), control=control),
        "context level": model.denoise(x, level, filled(model, 4, level=levels(2, 4)), control=control),
        "context control": model.denoise(x, level, filled(model, 4, control=control), control=control),
    }
    for name, other in others.items():
        assert error(other, base) > 0.01, name
    one = level.clone()
    one[0, 3] /= 2
    moved = (model.denoise(x, one, state, control=control) != base).flatten(2).any(2)
    assert moved.tolist() == [[False, False, True, True], [False] * 4], "a level is its frame's, heard in its chunk"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("context", [Tokens(2), Channels(2), Channels(1, anchor=3)], ids=str)
def test_state_bytes_do_not_grow(dtype: torch.dtype, context: Context) -> None:
    model = nano(context=context).to(dtype)
    state = model.start(2, seed=torch.tensor([1, 2]), device="cpu", dtype=torch.float32)
    size, kinds = store.size(state), {n: t.dtype for n, t in store.flatten(state).items()}
    for _ in range(6):
        state = model.remember(video(5, dtype=torch.float32), state)
        assert store.size(state) == size
        assert {n: t.dtype for n, t in store.flatten(state).items()} == kinds


@pytest.mark.parametrize(("predict", "share"), [("change", 1.0), ("masked", 1 / (1 + math.exp(-2)))])
def test_what_builds_on_the_newest_frame_needs_it_beside(predict: Any, share: float) -> None:
    with pytest.raises(UserError, match="channels 1 or more"):
        nano(predict=predict)
    level, (x, _) = torch.ones(2, 4, dtype=torch.float64), flight()
    model = nano(predict=predict, context=Channels(1), std=0.0)
    still = model.blend.clean(x, model.denoise(x, level, filled(model, 5)), level)
    assert_close(still, share * video(5, key=7)[:, -1:].expand_as(still), "nothing learned copies the newest clean frame")
    model = nano(predict=predict, local=Local(2, 4), std=0.0)
    known = Known(video(2), torch.tensor([[0, 1], [0, -1]]))
    still = model.blend.clean(x, model.denoise(x, level, filled(model, 5), known=known), level)
    wanted = torch.stack([video(2)[0, 1:], torch.zeros(1, *SHAPE)])
    assert_close(still, share * wanted.expand_as(still), "the last that is known, if it is there")

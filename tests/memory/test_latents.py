"""Memory `latents`: the kit, one segment by hand, where gradient is cut, and what noise does."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import rms_norm

from unspool.memory import Latents, noised, shifted
from unspool.nn.rotary import rotate
from unspool.testing import MakeMemory, assert_close, assert_equal, draw, error, memory_kit, scale_weights
from unspool.testing.memory import past_is_remembered
from unspool.types import Cond, State

WIDTH, GRID = 32, (2, 3)
CPU = torch.device("cpu")


def latents(segment: int = 1, horizon: int | None = None) -> MakeMemory:
    return lambda width: Latents(width, 2, 5, segment, horizon)


def ready(segment: int = 1, horizon: int | None = None) -> Latents:
    return scale_weights(latents(segment, horizon)(WIDTH)).double()  # type: ignore[return-value]


def told(frames: int) -> Cond:
    return Cond(torch.zeros(2, frames, WIDTH), GRID, tuple(range(frames)))


def start(memory: Latents) -> State:
    return memory.start(2, grid=GRID, device=CPU, dtype=torch.float64)


@pytest.mark.parametrize("make", [latents(), latents(3), latents(1, 2), latents(3, 2)], ids=["1", "3", "1 cut", "3 cut"])
@pytest.mark.parametrize("check", memory_kit, ids=lambda check: check.__name__)
def test_kit(check, make: MakeMemory) -> None:
    check(make)


@pytest.mark.parametrize("segment", [1, 3])
@pytest.mark.parametrize("check", [c for c in memory_kit if c is not past_is_remembered], ids=lambda check: check.__name__)
def test_kit_without_gradient(check, segment: int) -> None:
    """As in MALT no gradient passes through the memory: the one check that asks for it fails, and no other."""
    check(latents(segment, 0))
    with pytest.raises((AssertionError, RuntimeError)):
        past_is_remembered(latents(segment, 0))


def test_a_segment_by_hand() -> None:
    """Memory tokens attend to themselves and to a segment of two frames, in plain sums, head by head."""
    memory, clean = ready(2), draw(1, shape=(2, 2, 6, WIDTH))
    before = {**start(memory), "memory": draw(3, shape=(2, 5, WIDTH))}
    tokens = before["memory"] + memory.place
    parts = [(memory.qkv(x).chunk(3, -1)) for x in (tokens, clean)]
    out, keyed = [], (memory.norm_k, memory.norm_k)
    for head in (slice(0, 16), slice(16, 32)):
        (q, own_k, own_v), (_, k, v) = ([t[..., head] for t in part] for part in parts)
        q, own_k, k = (rms_norm(t, (16,)) * norm.weight for t, norm in zip((q, own_k, k), (memory.norm_q, *keyed), strict=True))
        keys = torch.cat([own_k, rotate(k, 0, GRID).flatten(1, 2)], 1)
        weights = (q @ keys.transpose(1, 2) / math.sqrt(16)).softmax(-1)
        out.append(weights @ torch.cat([own_v, v.flatten(1, 2)], 1))
    want = rms_norm(before["memory"] + memory.out(torch.cat(out, -1)), (WIDTH,))
    after = memory.commit(clean, before, told(2))
    assert_close(after["memory"], want)
    half = memory.commit(clean[:, :1], before, told(1))
    assert_equal(half["memory"], before["memory"], "half a segment waits")
    assert half["count"].tolist() == [1, 1] and after["count"].tolist() == [0, 0]


@pytest.mark.parametrize(("horizon", "reached"), [(None, range(8)), (3, [6, 7]), (2, [4, 5, 6, 7]), (0, [])])
def test_gradient_is_cut(horizon: int | None, reached: list[int]) -> None:
    """Four segments of two frames in, one read: gradient reaches the segments behind the last cut."""
    memory = ready(2, horizon)
    clean, noisy = draw(1, shape=(2, 8, 6, WIDTH)).requires_grad_(), draw(3, shape=(2, 1, 6, WIDTH))
    out = memory.read(noisy, memory.prepare(memory.commit(clean, start(memory), told(8)), GRID), told(1))
    (grad,) = torch.autograd.grad(out.square().sum(), clean, materialize_grads=True)
    assert [t for t in range(8) if grad[:, t].any()] == list(reached)


def test_every_weight_learns_without_gradient_through_the_memory() -> None:
    memory = ready(2, 0)
    state = noised(start(memory), torch.tensor([0.3, 0.5]), torch.tensor([1, 2]))
    clean, noisy = draw(1, shape=(2, 4, 6, WIDTH)), draw(3, shape=(2, 1, 6, WIDTH))
    memory.read(noisy, memory.prepare(memory.commit(clean, state, told(4)), GRID), told(1)).sum().backward()
    assert not [name for name, p in memory.named_parameters() if p.grad is None or not p.grad.any()]


def test_noise_is_seen_and_never_kept() -> None:
    """The carried memory is the clean one; what is read moves with the level, and at level 1 the past is gone."""
    memory, noisy = ready(), draw(3, shape=(2, 1, 6, WIDTH))
    one, other = (draw(i, shape=(2, 4, 6, WIDTH)) for i in (1, 2))

    def read(clean: torch.Tensor, level: float, key: int = 7) -> tuple[torch.Tensor, State]:
        state = {"blocks": {"0": start(memory)}}
        state = noised(state, torch.full((2,), level), torch.tensor([key, key + 1]))["blocks"]["0"]
        after = memory.commit(clean, state, told(4))
        return memory.read(noisy, memory.prepare(after, GRID), told(1)), after

    assert_equal(read(one, 0.5)[1]["memory"], read(one, 0.0)[1]["memory"])
    assert_equal(read(one, 0.5)[0], read(one, 0.5)[0], "the same key")
    assert error(read(one, 0.5)[0], read(one, 0.5, 8)[0]) > 0.01 and error(read(one, 0.5)[0], read(one, 0.0)[0]) > 0.01
    assert_equal(read(one, 1.0)[0], read(other, 1.0)[0], "without memory")
    assert error(read(one, 0.5)[0], read(other, 0.5)[0]) > 0.01


def test_no_noise_is_drawn_where_none_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU; and what is read is what a level of zero gives where it is drawn."""
    memory, noisy = ready(), draw(3, shape=(2, 1, 6, WIDTH))
    state = memory.commit(draw(1, shape=(2, 4, 6, WIDTH)), start(memory), told(4))
    barely = {**state, "level": torch.tensor([0, 1e-300], dtype=torch.float64)}  # one that is seen: noise is drawn for both
    with_it = memory.read(noisy, memory.prepare(barely, GRID), told(1))
    monkeypatch.setattr("unspool.noise.normal", None)
    assert_close(memory.read(noisy, memory.prepare(state, GRID), told(1)), with_it)
    with pytest.raises(TypeError):
        memory.prepare(barely, GRID)


def test_the_memory_does_not_grow() -> None:
    memory, state = ready(2), None
    state = start(memory)
    for i in range(30):
        state = memory.commit(draw(i, shape=(2, 40, 6, WIDTH)), state, told(40))
    assert_close(state["memory"].square().mean(-1), torch.ones(2, 5).double())


@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 8])
def test_segments_that_begin_late_are_those_of_a_clip_without_its_first_frames(late: int, frames: int) -> None:
    """By write, by scan and frame by frame, in the memory and in what is read."""
    memory, clean, cond = ready(3), draw(1, shape=(2, 8, 6, WIDTH)), told(frames)
    begun = shifted({"0": {"1": start(memory)}}, torch.full((2,), (late + 0.5) / 3))["0"]["1"]
    after = memory.write(clean[:, :frames], begun, cond)[1]
    want = memory.commit(clean[:, late:frames], start(memory), told(max(0, frames - late)))
    assert_equal(after["memory"], want["memory"])
    assert after["count"].tolist() == [frames - late if frames < late else int(want["count"][0])] * 2
    one_by_one = begun
    for f in range(frames):
        one_by_one = memory.commit(clean[:, f : f + 1], one_by_one, told(1))
    assert_close(one_by_one, after, "frame by frame")
    noisy, flight = draw(3, shape=(2, 1, 1, 6, WIDTH)), Cond(torch.zeros(2, 1, 1, WIDTH), GRID, (0,))
    _, seen, end = memory.scan(clean[:, :frames], noisy, (frames,), begun, cond, flight)
    assert_close(seen[:, 0], memory.read(noisy[:, 0], memory.prepare(want, GRID), told(1)), "read by scan")
    assert_close(end, after, "scan")

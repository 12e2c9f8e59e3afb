"""Memory `window`: the kit, and its oracle, a banded causal mask over the whole history."""

from __future__ import annotations

import pytest
import torch

from unspool.memory import Memory, Window
from unspool.nn.rotary import rotate
from unspool.testing import Banded, MakeMemory, assert_close, draw, memory_kit, scale_weights, young_state_is_a_small_one
from unspool.testing.memory import past_is_remembered
from unspool.types import Cond

WIDTH, HEADS, GRID = 32, 2, (2, 3)
CPU = torch.device("cpu")


def sized(frames: int, sink: int = 0) -> MakeMemory:
    return lambda width: Window(width, HEADS, frames, sink)


@pytest.mark.parametrize(("frames", "sink"), [(1, 0), (4, 0), (16, 0), (4, 1), (2, 3), (0, 2)])
@pytest.mark.parametrize("check", memory_kit, ids=lambda check: check.__name__)
def test_kit(check, frames: int, sink: int) -> None:
    if frames or check is not past_is_remembered:  # a sink alone holds the first frames, not the newest
        check(sized(frames, sink))


@pytest.mark.parametrize("check", [c for c in memory_kit if c is not past_is_remembered], ids=lambda check: check.__name__)
def test_kit_without_memory(check) -> None:
    """A window of no frames is attention within the flight: it passes all but the one check that it remembers."""
    check(sized(0))
    with pytest.raises(AssertionError, match="moves nothing"):
        past_is_remembered(sized(0))


@pytest.mark.parametrize(("small", "big", "frames"), [(2, 4, 2), (2, 4, 1), (3, 16, 3), (0, 5, 0), (5, 6, 4)])
def test_young_cache_is_a_small_one(small: int, big: int, frames: int) -> None:
    young_state_is_a_small_one(sized(small), sized(big), frames)


def test_an_old_cache_is_not_a_small_one() -> None:
    """The check above can fail: once the small window has lost a frame, the big one differs."""
    with pytest.raises(AssertionError, match="off by"):
        young_state_is_a_small_one(sized(2), sized(4), 3)


@pytest.mark.parametrize(("dtype", "frames"), [(torch.float64, 1), (torch.float64, 3), (torch.float32, 3), (torch.float64, 30)])
def test_cached_equals_banded_mask(dtype: torch.dtype, frames: int) -> None:
    """Ten pieces in, a flight read after each, against the dense oracle; ages go far beyond the window."""
    window = scale_weights(Window(WIDTH, HEADS, frames)).to(dtype)
    fast, slow = (m.start(2, grid=GRID, device=CPU, dtype=dtype) for m in (window, Banded(window)))
    clean = draw(1, shape=(2, 20, 6, WIDTH), dtype=dtype)
    done = 0
    for piece in (1, 1, 2, 5, 1, 3, 4):
        x, done = clean[:, done : done + piece], done + piece
        cond = Cond(torch.zeros(2, piece, WIDTH), GRID, tuple(range(piece)))
        fast_out, fast = window.write(x, fast, cond)
        slow_out, slow = Banded(window).write(x, slow, cond)
        assert_close(fast_out, slow_out, f"written, {done} frames")
        for order, first in (((0, 0, 0, 0), 0), ((0, 1, 2, 3), 0), ((0, 0, 1, 1), 0), ((-2, -1, 0, 0), -2)):
            noisy = draw(2, done, shape=(2, 4, 6, WIDTH), dtype=dtype)
            cond = Cond(torch.zeros(2, 4, WIDTH), GRID, order, first)
            view = window.prepare(fast, GRID)
            assert_close(window.read(noisy, view, cond), Banded(window).read(noisy, slow, cond), f"read, {done} frames")


@pytest.mark.parametrize("first", [3, 7])
def test_scan_equals_banded_mask(first: int) -> None:
    window = scale_weights(Window(WIDTH, HEADS, 3)).double()
    clean, noisy = draw(1, shape=(2, 12, 6, WIDTH)), draw(2, shape=(2, 3, 2, 6, WIDTH))
    starts = (first, first + 2, first + 4)
    conds = Cond(torch.zeros(2, 12, WIDTH), GRID, tuple(range(12))), Cond(torch.zeros(2, 3, 2, WIDTH), GRID, (0, 0))
    slow = Memory.scan(Banded(window), clean, noisy, starts, None, *conds)
    for got, want in zip(window.scan(clean, noisy, starts, None, *conds)[:2], slow[:2], strict=True):
        assert_close(got, want)


def by_hand(window: Window, clean: torch.Tensor, noisy: torch.Tensor, first: int = 0) -> torch.Tensor:
    """What the frame `noisy` (B, N, D) sees, `first` frames behind the clean ones (B, T, N, D): the last W, itself, and of the
    first S those that have left the window, as if they stood right before it. Plain sums over a list of keys."""
    W, S, T = window.frames, window.sink, clean.shape[1]
    q, k_own, v_own = _heads(window, noisy[:, None])
    keys, values = [rotate(k_own, W + first, GRID)], [v_own]
    for t in range(T):
        place = W - (T - t) if t >= T - W else t - S if t < S else None
        if place is not None:
            _, k, v = _heads(window, clean[:, t : t + 1])
            keys.append(rotate(k, place, GRID))
            values.append(v)
    k, v = (torch.cat(parts, 2).flatten(2, 3) for parts in (keys, values))
    scores = rotate(q, W + first, GRID)[:, :, 0] @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5
    return window.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def _heads(window: Window, x: torch.Tensor) -> list[torch.Tensor]:
    """q, k, v of x (B, 1, N, D), each (B, heads, 1, N, d)."""
    q, k, v = (t.unflatten(-1, (HEADS, -1)).permute(0, 3, 1, 2, 4) for t in window.qkv(x).chunk(3, -1))
    return [window.norm_q(q), window.norm_k(k), v]


@pytest.mark.parametrize(("frames", "sink"), [(3, 1), (3, 2), (1, 4), (0, 2), (4, 0)])
def test_a_sink_equals_its_columns_of_the_mask(frames: int, sink: int) -> None:
    """Written in one piece or frame by frame, read after each, and scanned: as the plain sums have it."""
    window = scale_weights(Window(WIDTH, HEADS, frames, sink)).double()
    clean, noisy = draw(1, shape=(2, 9, 6, WIDTH)), draw(2, shape=(2, 10, 1, 6, WIDTH))
    cond = Cond(torch.zeros(2, 9, WIDTH), GRID, tuple(range(9)))
    written = window.write(clean, window.start(2, grid=GRID, device=CPU, dtype=clean.dtype), cond)[0]
    state = window.start(2, grid=GRID, device=CPU, dtype=clean.dtype)
    alone = Cond(torch.zeros(2, 1, WIDTH), GRID, (0,))
    for t in range(10):
        want = by_hand(window, clean[:, :t], noisy[:, t, 0])[:, None]
        assert_close(window.read(noisy[:, t], window.prepare(state, GRID), alone), want, f"read after {t}")
        if t < 9:
            assert_close(written[:, t], by_hand(window, clean[:, :t], clean[:, t]), f"frame {t} written")
            state = window.commit(clean[:, t : t + 1], state, alone)
    groups = Cond(torch.zeros(2, 10, 1, WIDTH), GRID, (0,))
    seen, out, _ = window.scan(clean, noisy, tuple(range(10)), None, cond, groups)
    assert_close(seen, written)
    assert_close(out[:, 9, 0], by_hand(window, clean, noisy[:, 9, 0]))


def test_recomputed_window_is_another_thing() -> None:
    """Two layers deep, old keys carry older context: forgetting all but the window's frames does not give the cache."""
    first, second = (scale_weights(Window(WIDTH, HEADS, 2), seed=s).double() for s in (0, 1))

    def two_layers(clean: torch.Tensor) -> torch.Tensor:
        cond = Cond(torch.zeros(1, clean.shape[1], WIDTH), GRID, tuple(range(clean.shape[1])))
        for layer in (first, second):
            clean = layer.write(clean, layer.start(1, grid=GRID, device=CPU, dtype=clean.dtype), cond)[0]
        return clean[:, -1]

    clean = draw(1, shape=(1, 5, 6, WIDTH))
    with pytest.raises(AssertionError):
        assert_close(two_layers(clean[:, -3:]), two_layers(clean))

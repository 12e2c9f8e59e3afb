"""Levels of a rollout: every invariant of a plan, over all staircases."""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool.errors import UserError
from unspool.grid import ByTokens, Shifted, cosine, linear, ratio
from unspool.schedule import Plan, Staircase


@st.composite
def staircases(draw, max_steps: int = 9) -> Staircase:
    """Every kind: lag 0, 1, 1/K and between, more chunks than needed and fewer, redo, both grids."""
    steps = draw(st.integers(1, max_steps))
    m = draw(st.integers(0, steps))
    chunks = draw(st.integers(1, 6) if m == 0 else st.none() | st.integers(1, 6))
    lag = draw(st.sampled_from([Fraction(m, steps), m / steps]))
    return Staircase(
        steps, draw(st.integers(1, 3)), lag, chunks, draw(st.sampled_from([linear, cosine, Shifted(3.0)])),
        draw(st.integers(0, 3)), draw(st.booleans()),
    )  # fmt: skip


def ticks(case: Staircase) -> list[float]:
    """The levels of one full descent, noise first."""
    grid = case.grid(torch.arange(case.steps, -1, -1).double() / case.steps)
    return [1.0, *grid[1:-1].float().tolist(), 0.0]


def visits(levels: torch.Tensor) -> list[float]:
    """Levels of one frame in time, standing still not counted."""
    row = levels.tolist()
    return [row[0]] + [b for a, b in pairwise(row) if a != b]


def kinds(case: Staircase, plan: Plan) -> tuple[int, bool]:
    """(chunks in flight, whether the whole flight leaves at once)."""
    count = plan.frames // case.chunk
    return count, case.stride * count < case.steps


@given(case=staircases())
def test_levels_fall_and_later_is_never_cleaner(case: Staircase) -> None:
    plan = case.plan()
    for rows in (plan.warmup, plan.loop):
        assert rows.dtype == torch.float32 and rows.shape[1] == plan.redo + plan.frames
        assert ((rows >= 0) & (rows <= 1)).all()
        assert (rows.diff(dim=0) <= 0).all(), "a level rises down a column"
        assert (rows[:, plan.redo :].diff(dim=1) >= 0).all(), "a later frame is cleaner"
        chunks = rows[:, plan.redo :].unflatten(1, (-1, case.chunk))
        assert (chunks == chunks[..., :1]).all(), "a chunk is torn"
        assert (rows[:, : plan.redo] == rows[:, plan.redo : plan.redo + 1]).all(), "redo falls with the first chunk"
    moves = torch.cat([plan.warmup.diff(dim=0), plan.loop.diff(dim=0)])
    assert (moves < 0).any(1).all(), "a row of evaluations in which nothing falls"


@given(case=staircases())
def test_warm_up_begins_in_noise_and_ends_where_the_loop_begins(case: Staircase) -> None:
    plan = case.plan()
    assert (plan.warmup[0] == 1).all()
    assert torch.equal(plan.warmup[-1], plan.loop[0])
    assert plan.chunk == case.chunk and plan.redo == case.redo


@given(case=staircases())
def test_the_flight_moves_up_into_the_loop_again(case: Staircase) -> None:
    """After a hop the first `hop` frames are clean, no other is, and what stays stands at loop[0] with noise behind it."""
    plan = case.plan()
    count, whole = kinds(case, plan)
    last = plan.loop[-1, plan.redo :]
    assert plan.hop == (plan.frames if whole else case.chunk)
    assert (last[: plan.hop] == 0).all()
    assert whole or (last[plan.hop :] > 0).all()
    refilled = torch.cat([last[plan.hop :], torch.ones(plan.hop)])
    assert torch.equal(refilled, plan.loop[0, plan.redo :])
    if case.chunks is None:
        assert count == -(-case.steps // case.stride) and not whole
    else:
        assert count == case.chunks


@given(case=staircases())
def test_every_descent_happens_once(case: Staircase) -> None:
    """Every frame, of the first flight and of later ones, visits all steps + 1 levels once, in order."""
    plan = case.plan()
    wanted = pytest.approx(ticks(case), abs=1e-7)
    loop, walk = plan.loop[:, plan.redo :], plan.warmup[:, plan.redo :]
    rounds = -(-plan.frames // plan.hop)
    for column in range(plan.frames + 2 * plan.hop):
        levels, place = [], column
        if column < plan.frames:
            levels += walk[:, column].tolist()
        else:  # enters when there is room for it
            place = plan.frames - plan.hop + (column - plan.frames) % plan.hop
        for _ in range(rounds):
            levels += loop[:, place].tolist()
            place -= plan.hop
            if place < 0:
                break
        assert place < 0, "a frame never leaves"
        assert visits(torch.tensor(levels)) == wanted, f"frame {column}"


@given(case=staircases())
def test_rows_and_evaluations(case: Staircase) -> None:
    plan = case.plan()
    count, whole = kinds(case, plan)
    m, steps = case.stride, case.steps
    assert len(plan.loop) - 1 == (steps + (count - 1) * m if whole else m)
    assert len(plan.warmup) - 1 == (0 if whole else steps - m)
    assert plan.evaluations == pytest.approx((len(plan.loop) - 1) * (plan.redo + plan.frames) / plan.hop)


def simulated(case: Staircase) -> tuple[list[list[float]], list[int]]:
    """Chunk by chunk in exact fractions, as a story: (levels of every chunk before each step, how many are in flight).

    Chunk k begins its descent k * lag behind chunk 0. In a rollout that lets a chunk leave every `lag`, one enters whenever one
    leaves: K chunks in flight, of which the last stands K * lag - 1 of its own descents before it begins. Told for the warm-up
    and as many further chunks as one flight.
    """
    lag, step = Fraction(case.stride, case.steps), Fraction(1, case.steps)
    count = case.chunks or -(-case.steps // case.stride)
    time, levels, flying = Fraction(0), [], []
    while time < 1 - lag + count * lag:
        falls = [min(Fraction(1), max(Fraction(0), 1 + k * lag - time)) for k in range(3 * count)]
        levels.append([float(case.grid(torch.tensor(float(t)).double())) for t in falls])
        flying.append(sum(1 + k * lag - time <= count * lag for k in range(3 * count)))
        time += step
    return levels, flying


@given(case=staircases())
def test_plans_are_the_slow_story(case: Staircase) -> None:
    """Warm-up and loop after loop, against every chunk followed by itself; growing, a chunk is in flight when it should be."""
    plan = case.plan()
    count, whole = kinds(case, plan)
    if whole:
        assert len(plan.warmup) == 1 and plan.entering == ()
        return
    levels, flying = simulated(case)
    walk, m = len(plan.warmup) - 1, case.stride
    for row, (want, here) in enumerate(zip(levels, flying, strict=True)):
        gone = 0 if row < walk else (row - walk) // m  # chunks that left
        got = plan.warmup[row] if row < walk else plan.loop[(row - walk) % m]
        assert got[plan.redo :: case.chunk].tolist() == pytest.approx(want[gone : gone + count], abs=1e-6)
        if row < walk:
            grown = plan.redo + case.chunk * min(here, count) if case.grow else plan.redo + plan.frames
            assert plan.entering[row] == grown
        else:
            assert here - gone == count, "the loop is always full"


@given(case=staircases())
def test_what_has_not_entered_is_noise(case: Staircase) -> None:
    """And nothing that is in flight ever leaves before the loop; one chunk at least is there."""
    plan = case.plan()
    assert len(plan.entering) == len(plan.warmup) - 1 and list(plan.entering) == sorted(plan.entering)
    for row, here in enumerate(plan.entering):
        assert here >= plan.redo + plan.chunk
        assert (plan.warmup[row : row + 2, here:] == 1).all()


def test_a_growing_window_by_hand() -> None:
    """PA-VDM's: one chunk, m steps, another chunk; the row where the loop begins has them all."""
    plan = Staircase(6, 2, Fraction(1, 3), grow=True).plan()
    assert plan.entering == (2, 2, 4, 4) and plan.frames == 6
    assert plan.warmup[:, ::2].tolist() == [
        pytest.approx(row) for row in ([1, 1, 1], [5 / 6, 1, 1], [4 / 6, 1, 1], [3 / 6, 5 / 6, 1], [2 / 6, 4 / 6, 1])
    ]


@given(r=st.floats(0.2, 8), s=st.floats(0.2, 8))
def test_shifts_compose_and_keep_their_ends(r: float, s: float) -> None:
    """A factor of noise to signal: level / (1 - level) is r times that of time; two shifts are one by their product."""
    time = torch.linspace(0, 1, 101).double()
    level = Shifted(r)(time)
    assert level[0] == 0 and level[-1] == 1 and (level.diff() > 0).all()
    inner = slice(1, -1)
    assert torch.allclose(level[inner] / (1 - level[inner]), r * time[inner] / (1 - time[inner]))
    assert torch.allclose(Shifted(s)(level), Shifted(r * s)(time))
    assert torch.equal(Shifted(1.0)(time), linear(time))


def test_the_shift_of_a_flight() -> None:
    """Four times the tokens, twice the ratio: of resolution and of length alike."""
    assert ratio(64 * 16, 64 * 16) == 1 and ratio(256 * 16, 64 * 16) == 2 and ratio(64 * 64, 64 * 16) == 2


@pytest.mark.parametrize(
    ("case", "loop", "warm", "hop"),
    [
        (Staircase(2), [[1], [0.5], [0]], 1, 1),
        (Staircase(2, chunk=2), [[1, 1], [0.5, 0.5], [0, 0]], 1, 2),
        (Staircase(2, lag=0.5), [[0.5, 1], [0, 0.5]], 2, 1),
        (Staircase(2, lag=0, chunks=2), [[1, 1], [0.5, 0.5], [0, 0]], 1, 2),
        (Staircase(2, lag=1, chunks=3), [[1, 1, 1], [0.5, 1, 1], [0, 1, 1]], 1, 1),
        (Staircase(4, lag=0.25, chunks=2), [[1, 1], [0.75, 1], [0.5, 0.75], [0.25, 0.5], [0, 0.25], [0, 0]], 1, 2),
        (Staircase(4, lag=0.5, chunks=3), [[0.5, 1, 1], [0.25, 0.75, 1], [0, 0.5, 1]], 3, 1),
        (Staircase(2, lag=0.5, redo=1), [[0.5, 0.5, 1], [0, 0, 0.5]], 2, 1),
    ],
)
def test_plans_by_hand(case: Staircase, loop: list[list[float]], warm: int, hop: int) -> None:
    plan = case.plan()
    assert plan.loop.tolist() == loop and len(plan.warmup) == warm and plan.hop == hop


@pytest.mark.parametrize("steps", [3, 7, 49, 50, 93])
def test_a_lag_that_floats_cannot_hold(steps: int) -> None:
    """1/49 as a float, times 49, is not 1: the staircase still has one row a chunk and `steps` chunks."""
    for lag in (1 / steps, Fraction(1, steps)):
        plan = Staircase(steps, lag=lag).plan()
        assert plan.frames == steps and len(plan.loop) == 2 and len(plan.warmup) == steps


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Staircase(8, lag=0.3), r"lag \* steps .*2\.4.*nearest lags are 1/4 and 3/8"),
        (Staircase(5, lag=0.5), r"2\.5.*nearest lags are 2/5 and 3/5"),
        (Staircase(8, lag=-0.125), "within 0 .. 1, not -0.125"),
        (Staircase(8, lag=1.5), "within 0 .. 1, not 1.5"),
        (Staircase(8, lag=math.nan), "within 0 .. 1"),
        (Staircase(8, lag=0), "chunks=K"),
        (Staircase(0), "steps.*at least 1"),
        (Staircase(8, chunk=0), "at least 1"),
        (Staircase(8, chunks=0), "at least 1"),
        (Staircase(8, redo=-1), "redo at least 0"),
    ],
)
def test_the_impossible_is_refused_with_its_fix(case: Staircase, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        case.plan()
    assert "\n" not in str(error.value)


def named(error: UserError, what: str) -> list[Fraction]:
    """The numbers that a refusal offers behind `what`."""
    part = re.search(rf"nearest {what} (?:is|are) ([\d/]+)(?: and ([\d/]+))?", str(error))
    return [Fraction(word) for word in part.groups() if word] if part else []


@given(steps=st.integers(1, 60), lag=st.floats(0, 1) | st.fractions(0, 1, max_denominator=40), chunks=st.none() | st.just(2))
def test_a_refused_lag_names_lags_and_steps_that_work(steps: int, lag: float | Fraction, chunks: int | None) -> None:
    try:
        Staircase(steps, lag=lag or 1, chunks=chunks).plan()
    except UserError as error:
        near, others = named(error, "lags?"), named(error, "numbers? of steps")
        assert max(near) > lag > (min(near) if len(near) == 2 else 0) and (chunks is not None or 0 not in near)
        for other in near:
            Staircase(steps, lag=other, chunks=chunks).plan()
        assert others or not isinstance(lag, Fraction)
        for count in others:
            assert abs(count - steps) <= Fraction(lag).limit_denominator(10_000).denominator
            Staircase(int(count), lag=lag, chunks=chunks).plan()


@pytest.mark.parametrize("lag", [1e-9, 1e-299, 1e-5, Fraction(1, 10**7), 0.33333])
def test_a_lag_is_not_rounded_to_another(lag: float | Fraction) -> None:
    """1e-9 is not lag 0, and 0.33333 not 1/3: what is asked for is what is told, with what would do."""
    with pytest.raises(UserError, match=r"lag \* steps must be a whole number.* nearest lag") as error:
        Staircase(12, lag=lag, chunks=4).plan()
    assert "numbers of steps" not in str(error.value), "no number of steps would do"
    assert Staircase(12, lag=1 / 3).plan().frames == 3


@given(tokens=st.integers(1, 400), chunks=st.integers(1, 9), redo=st.integers(0, 3), factor=st.floats(0.1, 8))
def test_a_shift_by_tokens_follows_the_flight(tokens: int, chunks: int, redo: int, factor: float) -> None:
    """The same levels as with the shift that this very flight asks for, its overlap counted; more frames, more noise."""
    case = Staircase(8, 2, 0, chunks, ByTokens(factor, tokens, 100), redo)
    alike = dataclasses.replace(case, grid=Shifted(factor * ratio(tokens * (redo + 2 * chunks), 100)))
    assert torch.equal(case.plan().loop, alike.plan().loop)
    longer = dataclasses.replace(case, chunks=chunks + 1).plan().loop
    assert (longer[1:-1, 0] > case.plan().loop[1:-1, 0]).all()


@pytest.mark.parametrize("grid", [linear, cosine, Shifted(1.0)])
def test_grids(grid) -> None:
    """Strictly monotone between exact ends, symmetric about the middle."""
    level = grid(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert level[0] == 0 and level[-1] == 1
    assert (level.diff() > 0).all()
    assert torch.allclose(level + level.flip(0), torch.ones(()).double(), atol=1e-12)


def test_cosine_grid_is_sin_squared() -> None:
    level = Staircase(4, grid=cosine).plan().loop[:, 0]
    assert level.tolist() == pytest.approx([math.sin(math.pi / 8 * (4 - r)) ** 2 for r in range(5)], abs=1e-7)
    assert level[0] == 1 and level[-1] == 0


def test_ends_are_exact_whatever_the_grid() -> None:
    plan = Staircase(4, lag=0.5, grid=lambda t: 0.01 + 0.98 * t).plan()
    rows = torch.cat([plan.warmup, plan.loop])
    assert rows.max() == 1 and rows.min() == 0
    assert ((rows == 0) | (rows >= 0.01)).all()

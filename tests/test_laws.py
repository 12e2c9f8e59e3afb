"""Laws of training levels: each against its definition, and against all windows or sequences that there are."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool.grid import Shifted
from unspool.laws import Independent, NonDecreasing, Ramp, Together
from unspool.schedule import Staircase

KEYS = torch.arange(4000)


def distance_to_uniform(u: torch.Tensor) -> float:
    """Kolmogorov-Smirnov distance times sqrt(n): above 1.95 has probability 0.001."""
    x = u.flatten().double().sort().values
    n = len(x)
    return float((x - (torch.arange(n) + 0.5) / n).abs().max() * math.sqrt(n))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_independent_law(shift: float) -> None:
    level = Independent(grid=Shifted(shift))(KEYS, 6)
    assert level.shape == (4000, 6) and ((level > 0) & (level < 1)).all()
    assert distance_to_uniform(level / (shift - (shift - 1) * level)) < 1.95
    between = torch.corrcoef(level.T) - torch.eye(6)
    assert between.abs().max() < 5 / math.sqrt(4000)
    assert float(level.mean()) == pytest.approx({1.0: 0.5, 3.0: (3 - 1.5 * math.log(3)) / 2}[shift], abs=0.01)


@given(chunk=st.integers(1, 5), frames=st.integers(1, 13))
def test_independent_chunks_share_a_level(chunk: int, frames: int) -> None:
    level = Independent(chunk)(KEYS[:8], frames)
    assert level.shape == (8, frames)
    for first in range(0, frames, chunk):
        assert (level[:, first : first + chunk] == level[:, first : first + 1]).all()
    for slot in level:
        assert len(slot.unique()) == -(-frames // chunk)


def test_independent_clean_frames() -> None:
    level = Independent(clean=0.1)(KEYS, 6)
    assert float((level == 0).double().mean()) == pytest.approx(0.1, abs=0.01)
    assert distance_to_uniform(level[level > 0]) < 1.95
    plain = Independent()(KEYS, 6)
    assert torch.equal(level.where(level > 0, plain), plain)  # being clean is drawn apart from the level


def test_together_law() -> None:
    level = Together()(KEYS, 5)
    assert level.shape == (4000, 5) and (level == level[:, :1]).all()
    assert distance_to_uniform(level[:, 0]) < 1.95


LAWS = [
    Independent(2, Shifted(3.0), 0.2), Together(), Together(2, 0.3), Ramp(2, start=0.3, finish=0.3, brief=0.2),
    Ramp(start=0.5, ahead=True), NonDecreasing(2, 20), NonDecreasing(1, 7, pivot=False, grid=Shifted(3.0)),
]  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
def test_laws_are_pure_functions_of_the_key(law) -> None:
    whole = law(KEYS[:50], 8)
    assert torch.equal(law(KEYS[:50].flip(0), 8).flip(0), whole)
    assert torch.equal(law(KEYS[20:21], 8)[0], whole[20])
    assert ((whole >= 0) & (whole <= 1)).all() and whole.dtype == torch.float32


def test_together_with_clean_chunks() -> None:
    level = Together(2, 0.3)(KEYS, 6)
    chunks = level.unflatten(1, (3, 2))
    assert (chunks == chunks[..., :1]).all()
    assert float((level == 0).double().mean()) == pytest.approx(0.3, abs=0.02)
    assert all(len(row[row > 0].unique()) <= 1 for row in level[:200])
    assert torch.equal(level.where(level > 0, Together()(KEYS, 6)), Together()(KEYS, 6))


# -- the ramp -------------------------------------------------------------------------------------------------------------


def rounded(levels: torch.Tensor) -> tuple[float, ...]:
    return tuple(round(level, 5) for level in levels.tolist())


@given(chunk=st.integers(1, 3), chunks=st.integers(1, 5), stages=st.integers(1, 4))
def test_windows_of_the_ramp_are_those_of_the_rollout(chunk: int, chunks: int, stages: int) -> None:
    """Without jitter: the rows of the plan, with S = K * stages steps (S != F is no special case), growing warm-up included."""
    plan = Staircase(chunks * stages, chunk, Fraction(1, chunks), grow=True).plan()
    law = Ramp(chunk, stages, 0.0, start=0.5)
    drawn = law.windows(KEYS[:600], chunk * chunks)
    got = {rounded(row[here]) for row, here in zip(drawn.level, drawn.present, strict=True)}
    rows = list(zip(plan.warmup[:-1], plan.entering, strict=True)) + [(row, plan.frames) for row in plan.loop[:-1]]
    assert got == {rounded(row[:here]) for row, here in rows}
    begun = zip(drawn.level[drawn.opening], drawn.present[drawn.opening], strict=True)
    assert {rounded(row[here]) for row, here in begun} == got, "before the first chunk leaves, all are there"
    assert (drawn.present[~drawn.opening]).all()


def test_the_end_of_a_rollout_is_the_loop_cut_short() -> None:
    plan = Staircase(12, 2, Fraction(1, 4)).plan()
    drawn = Ramp(2, 3, 0.0, finish=1.0).windows(KEYS[:300], 8)
    got = {rounded(row[here]) for row, here in zip(drawn.level, drawn.present, strict=True)}
    assert got == {rounded(row[:n]) for row in plan.loop[:-1] for n in (2, 4, 6)}
    assert not drawn.opening.any()


def test_noise_ahead_is_the_warm_up_that_does_not_grow() -> None:
    plan = Staircase(12, 2, Fraction(1, 4)).plan()
    drawn = Ramp(2, 3, 0.0, start=1.0, ahead=True).windows(KEYS[:300], 8)
    assert drawn.present.all() and drawn.opening.all()
    assert set(map(rounded, drawn.level)) == set(map(rounded, [*plan.warmup[:-1], *plan.loop[:-1]]))


def test_one_jitter_moves_all_chunks() -> None:
    """The gaps stay 1 / K wherever no end is reached, and the common shift is 0.4 of a gap."""
    level, still = (Ramp(1, 2, jitter)(KEYS, 5) for jitter in (0.4, 0.0))
    inside = ((level > 0) & (level < 1)).all(1)
    assert inside.double().mean() > 0.5
    assert torch.allclose(level[inside].diff(dim=1), torch.tensor(0.2), atol=1e-6)
    assert float((level - still)[:, 2].std()) == pytest.approx(0.4 / 5, rel=0.1)
    assert (level[~inside].diff(dim=1) >= 0).all()


def test_shares_of_partial_windows() -> None:
    drawn = Ramp(start=0.2, finish=0.3).windows(KEYS, 4)
    partial = ~drawn.present.all(1)
    assert float(drawn.opening.double().mean()) == pytest.approx(0.2, abs=0.03)
    assert float((partial & ~drawn.opening).double().mean()) == pytest.approx(0.3, abs=0.03)
    sizes = Counter(drawn.present.sum(1)[partial].tolist())
    assert sizes.keys() == {1, 2, 3} and min(sizes.values()) > 0.8 * max(sizes.values())
    assert Ramp(4, start=1.0).windows(KEYS[:9], 4).present.all(), "one chunk alone is always there"


# -- sequences that never fall --------------------------------------------------------------------------------------------


def sequences(length: int, levels: int) -> list[tuple[int, ...]]:
    """All non-decreasing sequences, found the slow way."""
    return [s for s in product(range(1, levels + 1), repeat=length) if list(s) == sorted(s)]


def wanted(length: int, levels: int, pivot: bool) -> dict[tuple[int, ...], float]:
    """The probability of each sequence by enumeration."""
    every = sequences(length, levels)
    if not pivot:
        return dict.fromkeys(every, 1 / len(every))
    total = dict.fromkeys(every, 0.0)
    for at, value in product(range(length), range(1, levels + 1)):
        fits = [s for s in every if s[at] == value]
        for s in fits:
            total[s] += 1 / (length * levels * len(fits))
    return total


@pytest.mark.parametrize("pivot", [True, False])
@pytest.mark.parametrize(("length", "levels"), [(1, 3), (2, 4), (3, 3), (4, 2), (3, 1)])
def test_non_decreasing_is_what_enumeration_says(length: int, levels: int, pivot: bool) -> None:
    """Chi-squared over 20 000 draws: above its degrees of freedom by 4 of its standard deviations has p < 0.001."""
    draws = 20_000
    level = NonDecreasing(1, levels, pivot)(torch.arange(draws), length)
    got = Counter(tuple(round(x * levels) for x in row) for row in level.tolist())
    probability = wanted(length, levels, pivot)
    assert got.keys() <= probability.keys()
    squared = sum((got[s] - draws * p) ** 2 / (draws * p) for s, p in probability.items())
    free = len(probability) - 1
    assert squared <= free + 4 * math.sqrt(2 * free) + 1e-9


@given(chunk=st.integers(1, 4), frames=st.integers(1, 12), levels=st.integers(1, 50), pivot=st.booleans())
def test_a_later_frame_is_never_cleaner(chunk: int, frames: int, levels: int, pivot: bool) -> None:
    level = NonDecreasing(chunk, levels, pivot)(KEYS[:50], frames)
    assert level.shape == (50, frames) and (level.diff(dim=1) >= 0).all() and (level > 0).all()
    for first in range(0, frames, chunk):
        assert (level[:, first : first + chunk] == level[:, first : first + 1]).all()


def test_a_pivot_shows_every_frame_both_ends() -> None:
    """What AR-Diffusion is after: uniform sequences leave the middle frame in the middle, a pivot flattens its levels."""
    middle = [NonDecreasing(1, 100, pivot)(KEYS, 9)[:, 4] for pivot in (True, False)]
    assert float(middle[0].std()) > 1.3 * float(middle[1].std())


def test_no_level_lies_below_the_least() -> None:
    level = Independent(grid=Shifted(3.0), least=0.2)(torch.arange(5000), 1)
    assert level.min() >= 0.2 and level.min() < 0.21 and level.max() > 0.99
    assert torch.allclose(level, 0.2 + 0.8 * Independent(grid=Shifted(3.0))(torch.arange(5000), 1))


# -- what a law is known to draw ------------------------------------------------------------------------------------------

RAMPS = [
    Ramp(2, 0, 0.0, 0.3, 0.3, grid=Shifted(0.5)), Ramp(2, 0, 0.0, brief=0.5), Ramp(1, 0, 0.0, 0.5, ahead=True), Ramp(2, 0, 0.0),
    Ramp(3, 0, 0.0, 0.2, 0.2, brief=0.3, grid=Shifted(4.0)),
]  # fmt: skip


@pytest.mark.parametrize("law", RAMPS)
def test_a_ramp_draws_what_it_draws_and_nothing_else(law: Ramp) -> None:
    """Every window drawn is known; of those of all ramps of this size, one is known exactly if something like it is drawn."""
    drawn = law.windows(KEYS, 6 * law.chunk)
    own = [row[here] for row, here in zip(drawn.level, drawn.present, strict=True)]
    assert all(law.draws(row, 6 * law.chunk) for row in own[:200])
    sizes = {len(row) for row in own}
    alike = {size: torch.stack([row for row in own if len(row) == size]) for size in sizes}
    every = Ramp(law.chunk, 0, 0.0, 0.3, 0.3, grid=law.grid, brief=0.3).windows(KEYS[:200] + 9000, 6 * law.chunk)
    for row, here in zip(every.level, every.present, strict=True):
        near = float((alike[len(row[here])] - row[here]).abs().amax(1).min()) if len(row[here]) in alike else 1.0
        assert near < 0.02 if law.draws(row[here], 6 * law.chunk) else near > 0.002
    torn = own[0].clone()
    torn[-1] += 0.01
    assert not law.draws(torn, 6 * law.chunk) and not law.draws(own[0].flip(0) * 0.9 + 0.05, 6 * law.chunk)


@pytest.mark.parametrize(
    ("law", "yes", "no"),
    [
        (Together(), [[0.3, 0.3]], [[0.0, 0.3], [0.3, 0.4]]),
        (Together(1, 0.1), [[0.3, 0.3], [0.0, 0.3], [0.0, 0.0]], [[0.3, 0.4]]),
        (Together(2, 0.1), [[0.0, 0.0, 0.3, 0.3]], [[0.0, 0.3, 0.3, 0.3]]),
        (Independent(2), [[0.3, 0.3, 0.1, 0.1]], [[0.3, 0.3, 0.0, 0.0], [0.3, 0.2, 0.1, 0.1]]),
        (Independent(1, clean=0.1, least=0.2), [[0.0, 0.3]], [[0.1, 0.3]]),
        (NonDecreasing(1), [[0.1, 0.1, 1.0], [0.4]], [[0.2, 0.1], [0.0, 0.1]]),
        (NonDecreasing(2), [[0.1, 0.1, 0.3, 0.3]], [[0.1, 0.2, 0.3, 0.3]]),
    ],
)
def test_what_other_laws_draw(law, yes, no) -> None:
    assert [law.draws(torch.tensor(row), 4) for row in yes] == [True] * len(yes)
    assert [law.draws(torch.tensor(row), 4) for row in no] == [False] * len(no)
    assert all(law.draws(row, 6) for row in law(KEYS[:100], 6))


def test_windows_of_short_videos() -> None:
    """Every number of chunks, at every stage, that neither reaches back to the first nor on to the last."""
    drawn = Ramp(2, 3, 0.0, brief=1.0).windows(KEYS, 8)
    got = Counter(rounded(row[here]) for row, here in zip(drawn.level, drawn.present, strict=True))
    want = {
        rounded(torch.tensor([(k + late + 1 - s / 3) / 4 for k in range(held) for _ in range(2)]))
        for late in range(3) for held in range(1, 4 - late) for s in range(3)
    }  # fmt: skip
    assert got.keys() == want and drawn.opening.all()

"""The table of measures: who is told apart from whom, and how surely."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate import copy_last
from unspool.evaluate.clipwise import blocks, cubic, mmd2, nearness
from unspool.evaluate.tables import LINES, Base, Cell, Gathered, differences, drift_of, holm, judge, table
from unspool.evaluate.watch import Watch, in_blocks

FRAMES, SEGMENT, CONTEXTS = 120, 60, 8


def gather(videos: np.ndarray, truth: np.ndarray | None = None) -> Gathered:
    """videos: (K, S, T, H, W, 3)."""
    found = []
    for k, made in enumerate(videos):
        watch = Watch(FRAMES, SEGMENT)
        true = None if truth is None else in_blocks(iter([truth[k]]), 0)
        for block in in_blocks(iter([made]), 1):
            watch.update(block, None if true is None else next(true))
        found.append(watch.figures())
    return Gathered(found)


def noisy(videos: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    return np.clip(videos + np.random.default_rng(seed).normal(0, level, videos.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(fresh: np.ndarray) -> np.ndarray:
    return fresh[:CONTEXTS, :FRAMES]


@pytest.fixture(scope="module")
def base(clips: np.ndarray, real: np.ndarray) -> Base:
    return Base(gather(real[:, None, :FRAMES]), gather(clips[:, None]), None, SEGMENT)


@pytest.fixture(scope="module")
def arms(clips: np.ndarray, fresh: np.ndarray) -> dict[str, Gathered]:
    others = fresh[8:16, None, :FRAMES]
    frozen = np.stack([copy_last(clip[:1], FRAMES) for clip in clips])[:, None]
    return {
        "other real": gather(others, clips), "a little noise": gather(noisy(others, 3), clips),
        "more noise": gather(noisy(others, 12), clips), "frozen": gather(frozen, clips),
    }  # fmt: skip


@pytest.fixture(scope="module")
def cells(arms: dict[str, Gathered], base: Base) -> dict[str, dict[str, Cell]]:
    return table(arms, base)


def test_every_measure_has_a_figure_or_a_reason(cells: dict[str, dict[str, Cell]]) -> None:
    for row in cells.values():
        assert list(row) == [line.name for line in LINES]
        for cell in row.values():
            assert (cell.interval is None or np.isnan(cell.interval.low)) == bool(cell.why)
    said = {name for name, cell in cells["other real"].items() if cell.interval is None}
    assert said == {"lpips", "energy", "diversity"}  # no weights, one future, no world to run again


def test_two_arms_are_told_apart(cells: dict[str, dict[str, Cell]], base: Base) -> None:
    found = differences(cells["more noise"], cells["a little noise"], base)
    for name in ("mmd", "frechet", "sharpness", "flicker", "flow", "motion"):
        assert found[name].apart and found[name].low > 0 and found[name].p < 0.01, name
    assert not {"lpips", "energy", "diversity"} & set(found)


def test_holm_steps_down() -> None:
    chances = [0.3, 0.0124, 0.001, 0.04, 0.0126]
    assert holm(chances).tolist() == [False, True, True, False, True] and holm([]).tolist() == []
    assert not holm([0.02] * 3).any() and holm([0.05]).all()


def test_a_frozen_video_wins_nothing_that_counts(cells: dict[str, dict[str, Cell]]) -> None:
    frozen, other = cells["frozen"], cells["other real"]
    assert frozen["motion"].values[0] == 0 and frozen["still"].values[0] == 1 and frozen["repetition"].values[0] == 1
    assert frozen["stable"].values[0] == 0 < other["stable"].values[0]
    assert frozen["mmd"].values[0] > 5 * max(other["mmd"].values[0], 1)
    assert frozen["frechet"].values[0] > 3 * other["frechet"].values[0]


def test_real_against_real_is_as_real(cells: dict[str, dict[str, Cell]]) -> None:
    for name in ("motion", "flicker", "sharpness", "flow"):
        found = cells["other real"][name].interval
        assert found is not None and found.low < 1 < found.high, name
    assert cells["other real"]["mmd"].values[0] < 1


@pytest.mark.parametrize("kernel", [cubic, nearness])
def test_the_mmd_of_clips_is_that_of_pairs_of_different_clips(kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    draws = np.random.default_rng(0)
    made, real = ([draws.normal(size=(rows, 5)) for rows in sizes] for sizes in ((2, 3, 3), (1, 2, 4, 2)))

    def mean(a: list[np.ndarray], b: list[np.ndarray]) -> float:
        pairs = [(x, y) for one in a for other in b if one is not other for x in one for y in other]
        return float(np.mean([kernel(np.stack(pair))[0, 1] for pair in pairs]))

    want = mean(made, made) + mean(real, real) - 2 * mean(made, real)
    ours = np.repeat([[1.0, 0.0]], [3, 4], 1)
    assert mmd2(blocks([*made, *real], kernel), ours, 1 - ours)[0] == pytest.approx(want)
    with pytest.raises(UserError, match="2 contexts and 2 real clips"):
        mmd2(blocks([*made[:1], *real], kernel), ours[:, 2:], 1 - ours[:, 2:])


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.8])
def test_windows_and_futures_that_are_alike_do_not_make_an_mmd(alike: float) -> None:
    """Equal distributions: rows of one clip share a part, and what is said of them is centred on 0."""
    draws = np.random.default_rng(0)

    def clips(count: int, futures: int) -> Gathered:
        own = draws.normal(size=(count, 1, 1, 3, 16)), draws.normal(size=(count, futures, 3, 3, 16))
        features = np.sqrt(alike) * own[0] + np.sqrt(1 - alike) * own[1]
        return Gathered([{"features": one, "motion": one[..., 0, 0]} for one in features])

    line = next(line for line in LINES if line.name == "mmd")
    found = []
    for _ in range(60):
        base = Base(clips(16, 1), clips(8, 1), None, SEGMENT)
        found.append(judge(line.of(clips(8, 8), base), base, 1.0).interval)
    value, low, high = np.array(found).T
    assert abs(value.mean()) < 3 * value.std() / np.sqrt(len(value)) < 0.3
    assert np.mean((low > 0) | (high < 0)) <= 0.08


def test_still_and_repeated_frames_are_counted_without_each_real_clip(arms: dict[str, Gathered], base: Base) -> None:
    for name, limits in (("still", base.still), ("repetition", base.repeats)):
        line = next(line for line in LINES if line.name == name)
        assert len(limits) == 1 + CONTEXTS + len(base.real) and len(set(limits[: 1 + CONTEXTS])) == 1 < len(set(limits))
        others = [clip for clip in range(len(base.real)) if clip != 3]
        fewer = Base(Gathered([{k: v[i] for k, v in base.real.figures.items()} for i in others]), base.truth, None, SEGMENT)
        assert line.of(arms["other real"], base)[1 + CONTEXTS + 3] == line.of(arms["other real"], fewer)[0]


def test_what_others_are_told_in_has_no_figure_of_its_own(base: Base) -> None:
    cell = table({"real": base.truth}, base)["real"]["frechet"]
    assert cell.interval is None and cell.why.startswith("1 by construction")


def test_the_worst_segment_is_the_largest_deviation(arms: dict[str, Gathered], base: Base) -> None:
    line = next(line for line in LINES if line.name == "worst")
    rows = drift_of(arms["frozen"], base).rows
    worst = [max(abs(row.drift) for row in rows if row.video == video) for video in range(CONTEXTS)]
    assert line.of(arms["frozen"], base)[0] == pytest.approx(np.mean(worst))


def means(draws: np.random.Generator, contexts: int) -> np.ndarray:
    """The mean of so many figures about 0, and without each of them."""
    figures = draws.normal(size=contexts)
    return np.concatenate([[figures.mean()], (figures.sum() - figures) / (contexts - 1), np.full(5, figures.mean())])


class Sized:
    """As much of a `Base` as an interval asks for."""

    def __init__(self, contexts: int) -> None:
        self.truth = range(contexts)


def test_intervals_hold_the_truth_19_times_in_20_and_shrink_as_the_root_of_the_contexts() -> None:
    draws = np.random.default_rng(0)
    widths = {}
    for contexts in (8, 32, 128):
        values = [means(draws, contexts) for _ in range(2000)]
        judged = [judge(one, Sized(contexts), 1.0) for one in values]  # type: ignore[arg-type]
        found, chances = [one.interval for one in judged], [one.p for one in judged]
        assert [p < 0.05 for p in chances] == [low > 0 or high < 0 for _, low, high in found]
        assert np.mean([low <= 0 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)
        widths[contexts] = np.mean([high - low for _, low, high in found])
    assert widths[32] / widths[128] == pytest.approx(2, rel=0.08)
    assert widths[8] / widths[32] == pytest.approx(2 * 2.365 / 2.040, rel=0.08)  # Student's t of 7 and of 31


@pytest.mark.parametrize("contexts", [1, 2, 3])
def test_few_contexts_have_no_interval(contexts: int) -> None:
    found = judge(np.arange(contexts + 5.0), Sized(contexts), 1.0)  # type: ignore[arg-type]
    assert found.interval.value == 0 and np.isnan([*found.interval[1:], found.p]).all() and "4 contexts" in found.why


def test_what_differs_by_rounding_alone_has_no_interval() -> None:
    alike = 0.1 + 1e-17 * np.arange(14) + 1e-16 * (np.arange(14) % 2)
    found = judge(alike, Sized(8), 0.1)  # type: ignore[arg-type]
    assert np.isnan([*found.interval[1:], found.p]).all() and "the same without any" in found.why
    known = judge(alike + 1e-3 * (np.arange(14) == 3), Sized(8), 0.1)  # type: ignore[arg-type]
    assert np.isfinite([*known.interval, known.p]).all() and not known.why

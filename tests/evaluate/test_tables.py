"""The table of measures: who is told apart from whom, and how surely."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.evaluate import copy_last
from unspool.evaluate.distance import mmd2
from unspool.evaluate.ladder import RUNGS, Rung, corrupt
from unspool.evaluate.measures import MEASURES
from unspool.evaluate.tables import LINES, Base, Cell, Gathered, Line, _blocks, _cubic, _interval, _mmd2, difference, table
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


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.name != "collapse"], ids=lambda rung: rung.name)
def test_the_lines_that_claim_a_rung_rank_it(rung: Rung, clips: np.ndarray, base: Base) -> None:
    """Corrupted clips are farther from real video than the same clips as they were; `measures.py` climbs by steps."""
    seen = {measure.name: rung.name in measure.sees for measure in MEASURES}
    corrupted, clean = gather(corrupt(rung, clips, 1.0)[:, None], clips), gather(clips[:, None], clips)
    for line in LINES:
        if seen.get(line.ladder):
            before, after = (_apart(line, line.of(arm, base)[0]) for arm in (clean, corrupted))
            assert after > before, (line.name, before, after)


def _apart(line: Line, value: float) -> float:
    return {"lower": value, "higher": -value, "real": abs(np.log(max(value, 1e-3)))}[line.better]


def test_every_measure_has_a_figure_or_a_reason(cells: dict[str, dict[str, Cell]]) -> None:
    for row in cells.values():
        assert list(row) == [line.name for line in LINES]
        for cell in row.values():
            assert (cell.interval is None) == bool(cell.why)
    said = {name for name, cell in cells["other real"].items() if cell.interval is None}
    assert said == {"lpips", "energy", "diversity"}  # no weights, one future, no world to run again


def test_an_arm_is_not_told_apart_from_itself_and_two_arms_are(cells: dict[str, dict[str, Cell]], base: Base) -> None:
    some, more = cells["a little noise"], cells["more noise"]
    for name, cell in some.items():
        if cell.interval is not None:
            same = difference(cell, cell, base)
            assert same is not None and (same.value, same.low, same.high) == (0, 0, 0), name
    for name in ("mmd", "frechet", "sharpness", "flicker", "flow", "motion"):
        apart = difference(more[name], some[name], base)
        assert apart is not None and apart.low > 0, name


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


def test_the_mmd_of_clips_is_that_of_their_rows(arms: dict[str, Gathered], base: Base) -> None:
    made = arms["a little noise"]["features"][:, 0, :, 0].astype(np.float64)
    real = base.real["features"][:, 0, :, 0].astype(np.float64)
    ours = np.concatenate([np.ones(len(made)), np.zeros(len(real))])[None]
    found = _mmd2(_blocks([*made, *real], _cubic), ours, 1 - ours)[0]
    assert found == pytest.approx(mmd2(np.concatenate(made), np.concatenate(real)), rel=1e-9)


def means(draws: np.random.Generator, contexts: int) -> np.ndarray:
    """The mean of so many figures about 0, and without each of them."""
    figures = draws.normal(size=contexts)
    return np.concatenate([[figures.mean()], (figures.sum() - figures) / (contexts - 1), np.full(5, figures.mean())])


class Sized:
    """As much of a `Base` as an interval asks for."""

    def __init__(self, contexts: int, clips: int = 5) -> None:
        self.truth, self.real = {"motion": np.empty(contexts)}, {"motion": np.empty(clips)}


def test_intervals_hold_the_truth_19_times_in_20_and_shrink_as_the_root_of_the_contexts() -> None:
    draws = np.random.default_rng(0)
    widths = {}
    for contexts in (8, 32, 128):
        found = [_interval(means(draws, contexts), Sized(contexts)) for _ in range(2000)]  # type: ignore[arg-type]
        assert np.mean([low <= 0 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.02)
        widths[contexts] = np.mean([high - low for _, low, high in found])
    assert widths[32] / widths[128] == pytest.approx(2, rel=0.08)
    assert widths[8] / widths[32] == pytest.approx(2 * 2.365 / 2.040, rel=0.08)  # Student's t of 7 and of 31


def test_one_context_has_no_interval() -> None:
    value, low, high = _interval(np.array([1.0, np.nan, 1, 1]), Sized(1, 2))  # type: ignore[arg-type]
    assert value == 1 and np.isnan([low, high]).all()

"""What a line of the table claims to see, it sees: of eight contexts, beyond what real video gives against real video."""

from __future__ import annotations

import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from unspool.evaluate.band import band_of
from unspool.evaluate.futures import score_futures
from unspool.evaluate.gathered import Base, Gathered
from unspool.evaluate.ladder import RUNGS, Rung, corrupt
from unspool.evaluate.lines import LINES, Line
from unspool.evaluate.tables import differences, table
from unspool.evaluate.watch import Figures, Watch, in_blocks

pytest.importorskip("cv2")
CONTEXT, FRAMES, SEGMENT, CONTEXTS, CLIPS, SPLITS = 2, 96, 48, 8, 48, 12
FUTURES = ("energy", "diversity")
SETS = tuple(line for line in LINES if not line.paired and line.name not in FUTURES)


def watched(clip: np.ndarray, made: np.ndarray, truth: np.ndarray | None = None) -> Figures:
    """What is kept of a single future (T, H, W, 3) of the beginning of a clip."""
    watch = Watch(len(made), SEGMENT, clip[:CONTEXT])
    true = None if truth is None else in_blocks(iter([truth]), 0)
    for block in in_blocks(iter([made[None]]), 1):
        watch.update(block, None if true is None else next(true))
    return watch.figures()


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    episode = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["episode"]
    return np.stack([episode(seed, CONTEXT + FRAMES) for seed in range(CLIPS)])


@pytest.fixture(scope="module")
def clean(clips: np.ndarray) -> list[Figures]:
    return [watched(clip, clip[CONTEXT:]) for clip in clips]


def split(clean: list[Figures], order: np.ndarray) -> tuple[Gathered, Gathered, Base]:
    """Two arms of 8 contexts each, and 16 real clips with what followed on 8 others."""
    parts = [Gathered([clean[i] for i in order[a:b]]) for a, b in pairwise((0, 8, 16, 32, 40))]
    return parts[0], parts[1], Base(parts[2], parts[3], None, SEGMENT)


def away(line: Line, arm: Gathered, base: Base) -> float:
    """From real video: larger is farther."""
    value = float(line.of(arm, base)[0])
    return {"lower": value, "higher": -value, "real": abs(np.log(max(value, 1e-3)))}[line.better]


def limit(null: list[float]) -> float:
    """95 of 100 further figures of real against real lie below it."""
    return float(band_of(np.array(null)[:, None], log=False, low=False).high[0])


@pytest.fixture(scope="module")
def limits(clean: list[Figures]) -> dict[str, float]:
    draws = np.random.default_rng(0)
    splits = [split(clean, draws.permutation(CLIPS)) for _ in range(SPLITS)]
    return {line.name: limit([away(line, arm, base) for arm, _, base in splits]) for line in SETS}


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.name != "collapse"], ids=lambda rung: rung.name)
def test_lines_see_what_they_claim(rung: Rung, clips: np.ndarray, clean: list[Figures], limits: dict[str, float]) -> None:
    """Collapse is that of futures of a context; each of the videos stays as it was, and these lines see none of it."""
    *_, base = split(clean, np.arange(CLIPS))
    seen = []
    for chosen in (range(8), range(40, 48)):
        spoiled = corrupt(rung, clips[chosen, CONTEXT:], 1.0, 0)
        arm = Gathered([watched(clips[k], made) for k, made in zip(chosen, spoiled, strict=True)])
        seen.append({line.name for line in SETS if away(line, arm, base) > limits[line.name]})
    assert {line.name for line in SETS if rung.name in (line.sees or ())} <= set.intersection(*seen)


def roam(clip: np.ndarray, futures: int, draws: np.random.Generator) -> np.ndarray:
    """Futures of one beginning: a camera goes its way over the clip by chance."""
    paths = draws.integers(-1, 2, (futures, len(clip), 2)).cumsum(1)
    return np.stack([[np.roll(frame, step, (0, 1)) for frame, step in zip(clip, path, strict=True)] for path in paths])


def test_scores_of_futures_see_what_they_claim(clips: np.ndarray) -> None:
    """Collapse makes all futures of a context one. The null: other futures of the world, on the same contexts."""
    draws = np.random.default_rng(0)
    runs = np.stack([roam(clip[:64], 25, draws) for clip in clips[:CONTEXTS]])

    def scored(made: np.ndarray) -> Gathered:
        found = [score_futures(one, true) for one, true in zip(made, runs[:, 0], strict=True)]
        return Gathered([{"score": f.score, "diversity": f.diversity, "motion": np.zeros((8, 1))} for f in found])

    again = scored(runs[:, 1:9])
    base = Base(Gathered([{"motion": np.zeros((1, 1))}] * 3), again, again, SEGMENT)
    others = [scored(runs[:, 9 + draws.permutation(16)[:8]]) for _ in range(SPLITS)]
    for line in (line for line in LINES if line.name in FUTURES):
        most = limit([away(line, arm, base) for arm in others])
        assert line.sees and "collapse" in line.sees
        for rung in (rung for rung in RUNGS if rung.name in line.sees):
            for made in (runs[:, 9:17], runs[:, 17:25]):
                if rung.name == "collapse":
                    spoiled = np.stack([corrupt(rung, futures, 1.0) for futures in made])
                else:
                    spoiled = corrupt(rung, made.reshape(-1, *made.shape[2:]), 1.0).reshape(made.shape)
                assert away(line, scored(spoiled), base) > most, (line.name, rung.name)


def test_beside_what_followed_every_corruption_shows(clips: np.ndarray, clean: list[Figures]) -> None:
    *_, base = split(clean, np.arange(CLIPS))
    after = clips[:8, CONTEXT:34]

    def figures(made: np.ndarray) -> np.ndarray:
        arm = Gathered([watched(clip, one, true) for clip, one, true in zip(clips, made, after, strict=False)])
        return np.array([line.of(arm, base)[0] for line in LINES if line.name in ("psnr", "ssim", "ms-ssim")])

    same = figures(after)
    assert all((figures(corrupt(rung, after, 1.0)) < same - 0.001).all() for rung in RUNGS)


def test_equal_arms_are_told_apart_in_few_comparisons(clean: list[Figures]) -> None:
    """Other clips of the same world in place of what followed: of 20 lines one would lie apart, Holm's correction holds."""
    draws = np.random.default_rng(1)
    alone = wrong = 0
    for _ in range(SPLITS):
        a, b, base = split(clean, draws.permutation(CLIPS))
        found = differences(*table({"a": a, "b": b}, base).values(), base)
        assert len(found) >= 15
        alone += any(one.low > 0 or one.high < 0 for one in found.values())
        wrong += any(one.apart for one in found.values())
    assert alone >= 3 and wrong <= 1, (alone, wrong)


def test_short_videos_have_a_figure_or_a_reason(clips: np.ndarray) -> None:
    for frames in (1, 2, 3, 5):
        for context in (0, 1, 2):
            if frames + context < 2:
                continue
            made, found = clips[:11, context : context + frames], []
            for clip, video in zip(clips, made, strict=False):
                watch = Watch(frames, SEGMENT, clip[:context] if context else None)
                watch.update(video[None], video)
                found.append(watch.figures())
            base = Base(Gathered(found[8:]), Gathered(found[:8]), None, SEGMENT)
            cells = table({"arm": Gathered(found[:8])}, base)["arm"]
            assert list(cells) == [line.name for line in LINES]
            for name, cell in cells.items():
                assert (cell.interval is None) == bool(cell.why), name
                assert cell.interval is None or np.isfinite(cell.interval).all(), (name, frames, context)
            assert (cells["jumps"].interval is None) == (frames + context < 4)
            assert (cells["flicker"].interval is None) == (frames + context < 3) and cells["motion"].interval is not None


def test_a_line_is_read_beside_motion_unless_it_sees_a_frozen_video() -> None:
    beside = {line.name for line in LINES if line.beside}
    assert {"psnr", "energy", "sharpness", "colour", "stable", "slope", "worst"} <= beside
    assert not {"motion", "still", "repetition", "mmd"} & beside
    assert all(not set(line.sees or ()) & set(line.blind) for line in LINES)
    assert next(line for line in LINES if line.name == "lpips").blind == ()

"""What a line of the table claims to see, it ranks in three worlds: of eight contexts, beyond real video against real video.

And what it says of equal arms: told apart as seldom as it claims, with intervals that narrow as the root of the clips.
"""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from unspool.data.worlds.duel import Duel
from unspool.data.worlds.rooms import Rooms
from unspool.evaluate import copy_last
from unspool.evaluate.band import band_of
from unspool.evaluate.curves import Curves, measure
from unspool.evaluate.futures import energy_score, thumbnails
from unspool.evaluate.gathered import Base, Gathered
from unspool.evaluate.ladder import RUNGS, corrupt
from unspool.evaluate.lines import LINES, Line
from unspool.evaluate.quality import ms_ssim, psnr, ssim
from unspool.evaluate.tables import Cell, differences, judge, table
from unspool.evaluate.watch import Figures, Watch, in_blocks

pytest.importorskip("cv2")
CONTEXT, FRAMES, SEGMENT, CONTEXTS, CLIPS, SPLITS = 2, 96, 48, 8, 48, 12
WORLDS = ("discs", "duel", "rooms")
BY_NAME = {line.name: line for line in LINES}
FUTURES = tuple(BY_NAME[name] for name in ("energy", "diversity"))
PAIRED = tuple(BY_NAME[name] for name in ("psnr", "ssim", "ms-ssim"))
SETS = tuple(line for line in LINES if not line.paired and line not in FUTURES)
OF_VIDEOS = [rung for rung in RUNGS if rung.name != "collapse"]
IN_WORLDS = pytest.mark.parametrize("world", WORLDS)


def watched(clip: np.ndarray, made: np.ndarray) -> Figures:
    """What is kept of a single future (T, H, W, 3) of the beginning of a clip."""
    watch = Watch(len(made), SEGMENT, clip[:CONTEXT])
    for block in in_blocks(iter([made[None]]), 1):
        watch.update(block)
    return watch.figures()


def film(world: str, clips: int, frames: int) -> np.ndarray:
    """(clips, frames, 32, 32, 3)."""
    if world == "discs":
        episode = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["episode"]
        return np.stack([episode(seed, frames) for seed in range(clips)])
    return np.asarray({"duel": Duel, "rooms": Rooms}[world](size=32, split="seen")(list(range(clips)), frames=frames).frames)


@cache
def clips_of(world: str) -> np.ndarray:
    return film(world, CLIPS, CONTEXT + FRAMES)


@cache
def clean_of(world: str) -> list[Figures]:
    return [watched(clip, clip[CONTEXT:]) for clip in clips_of(world)]


def split(clean: list[Figures], order: Sequence[int] | np.ndarray, contexts: int = CONTEXTS, real: int = 16) -> tuple[
    Gathered, Gathered, Base
]:  # fmt: skip
    """Two arms of so many contexts each, and real clips with what followed on as many others."""
    edges = accumulate((0, contexts, contexts, real, contexts))
    parts = [Gathered([clean[i] for i in order[a:b]]) for a, b in pairwise(edges)]
    return parts[0], parts[1], Base(parts[2], parts[3], None, SEGMENT)


def away(line: Line, arm: Gathered, base: Base) -> float:
    """From real video: larger is farther."""
    value = float(line.of(arm, base)[0])
    return {"lower": value, "higher": -value, "real": abs(np.log(max(value, 1e-3)))}[line.better]


def limit(null: list[float]) -> float:
    """95 of 100 further figures of real against real lie below it."""
    return float(band_of(np.array(null)[:, None], log=False, low=False).high[0])


@cache
def limits_of(world: str) -> dict[str, float]:
    draws = np.random.default_rng(0)
    splits = [split(clean_of(world), draws.permutation(CLIPS)) for _ in range(SPLITS)]
    return {line.name: limit([away(line, arm, base) for arm, _, base in splits]) for line in SETS}


@IN_WORLDS
@pytest.mark.parametrize("rung", OF_VIDEOS, ids=lambda rung: rung.name)
def test_lines_rank_what_they_claim_to_see(world: str, rung) -> None:
    """Collapse is that of futures of a context; each of the videos stays as it was, and these lines see none of it."""
    clips = clips_of(world)
    *_, base = split(clean_of(world), range(CLIPS))
    claim = [line for line in SETS if rung.name in (line.sees or ())]
    for chosen in (range(8), range(40, 48)):
        half, full = (
            Gathered([watched(clips[k], made) for k, made in zip(chosen, spoiled, strict=True)])
            for spoiled in (corrupt(rung, clips[chosen, CONTEXT:], severity) for severity in (0.5, 1.0))
        )
        for line in claim:
            assert away(line, full, base) > limits_of(world)[line.name], f"{line.name} does not see it"
            assert away(line, full, base) >= away(line, half, base), f"{line.name} does not rank it"


def roam(clip: np.ndarray, futures: int, draws: np.random.Generator) -> np.ndarray:
    """Futures of one beginning: a camera goes its way over the clip by chance."""
    paths = draws.integers(-1, 2, (futures, len(clip), 2)).cumsum(1)
    return np.stack([[np.roll(frame, step, (0, 1)) for frame, step in zip(clip, path, strict=True)] for path in paths])


@IN_WORLDS
def test_scores_of_futures_rank_what_they_claim_to_see(world: str) -> None:
    """Collapse makes all futures of a context one. The null: other futures of the world, on the same contexts."""
    draws = np.random.default_rng(0)
    runs = np.stack([roam(clip[:64], 25, draws) for clip in clips_of(world)[:CONTEXTS]])

    def points(videos: np.ndarray) -> np.ndarray:
        return np.stack([thumbnails(futures[:, ::4]) for futures in videos])

    def scored(made: np.ndarray) -> Gathered:
        found = [energy_score(one, true[None]) for one, true in zip(made, truth, strict=True)]
        return Gathered([{"score": f.score, "diversity": f.diversity, "motion": np.zeros((8, 1))} for f in found])

    known = points(runs)
    truth, again = known[:, 0], known[:, 1:9]
    base = Base(Gathered([{"motion": np.zeros((1, 1))}] * 3), scored(again), scored(again), SEGMENT)
    others = [scored(known[:, 9 + draws.permutation(16)[:8]]) for _ in range(SPLITS)]
    most = {line.name: limit([away(line, arm, base) for arm in others]) for line in FUTURES}
    for rung in (rung for rung in RUNGS if any(rung.name in (line.sees or ()) for line in FUTURES)):
        for made in (runs[:, 9:17], runs[:, 17:25]):
            half, full = (scored(points(spoil(rung, made, severity))) for severity in (0.5, 1.0))
            for line in (line for line in FUTURES if rung.name in (line.sees or ())):
                assert away(line, full, base) > most[line.name], (line.name, rung.name)
                assert away(line, full, base) >= away(line, half, base), (line.name, rung.name)


def spoil(rung, made: np.ndarray, severity: float) -> np.ndarray:
    """(K, S, T, H, W, 3): a collapse among the futures of each context, of all else video by video."""
    if rung.name == "collapse":
        return np.stack([corrupt(rung, futures, severity) for futures in made])
    return corrupt(rung, made.reshape(-1, *made.shape[2:]), severity).reshape(made.shape)


@IN_WORLDS
def test_beside_what_followed_every_corruption_ranks(world: str) -> None:
    *_, base = split(clean_of(world), range(CLIPS))
    after = clips_of(world)[:8, CONTEXT:34]

    def figures(made: np.ndarray) -> np.ndarray:
        arm = Gathered([
            {"psnr": psnr(one[None], true), "ssim": ssim(one[None], true), "ms_ssim": ms_ssim(one[None], true)}
            for one, true in zip(made, after, strict=True)
        ])  # fmt: skip
        return np.array([line.of(arm, base)[0] for line in PAIRED])

    same = figures(after)
    for rung in RUNGS:
        half, full = (figures(corrupt(rung, after, severity)) for severity in (0.5, 1.0))
        assert (full < half).all() and (half < same - 0.001).all(), rung.name


def test_every_fault_is_seen_by_a_line_that_needs_no_truth() -> None:
    assert {rung for line in LINES if not line.paired for rung in line.sees or ()} == {rung.name for rung in RUNGS}
    assert all(set(line.sees) == {rung.name for rung in RUNGS} for line in PAIRED if line.sees)


# -- drift ----------------------------------------------------------------------------------------------------------------


def curves_of(clips: Sequence[np.ndarray]) -> Gathered:
    """What drift is told by, of videos that go on from the first CONTEXT frames."""
    found = []
    for clip in clips:
        before, known = measure(clip[None, :CONTEXT]), measure(clip[None])
        made = {name: getattr(known, name)[:, CONTEXT:] for name in Curves._fields}
        found.append(made | {f"begun_{name}": getattr(before, name)[0, -1:] for name in Curves._fields})
    return Gathered(found)


def test_what_froze_or_broke_at_once_never_drifts_less_than_real_video() -> None:
    """893 frames of `duel`: by Theil and Sen's slope of the sizes, frozen video and noise from frame 0 on did not drift."""
    clips = film("duel", 20, CONTEXT + 893)
    mine, other, real = clips[:6], clips[6:12], clips[12:]
    noise = np.random.default_rng(0).integers(0, 256, mine[:, CONTEXT:].shape, np.uint8)
    share = np.linspace(0, 1, 893)[:, None, None, None]
    after = {
        "frozen": [copy_last(clip[:CONTEXT], 893) for clip in mine],
        "frozen from 100": [np.concatenate([clip[2:102], copy_last(clip[:102], 793)]) for clip in mine],
        "frozen from 700": [np.concatenate([clip[2:702], copy_last(clip[:702], 193)]) for clip in mine],
        "noise": list(noise),
        "slowly noise": ((1 - share) * mine[:, CONTEXT:] + share * noise).astype(np.uint8),
    }
    arms = {name: curves_of([np.concatenate([a[:CONTEXT], b]) for a, b in zip(mine, videos, strict=True)])
            for name, videos in after.items()}  # fmt: skip
    base = Base(curves_of(real), curves_of(mine), None, 100)
    slope = BY_NAME["slope"].of
    found = {name: slope(arm, base)[0] for name, arm in (arms | {"real": base.truth, "other real": curves_of(other)}).items()}
    floor = max(found["real"], found["other real"])
    assert min(found.values()) > 0 and found["noise"] > 1.2 * found["slowly noise"] > 3 * floor
    assert all(found[name] > 5 * floor for name in after if name.startswith("frozen")), found


# -- equal arms -----------------------------------------------------------------------------------------------------------


@IN_WORLDS
def test_equal_arms_are_told_apart_as_seldom_as_said(world: str) -> None:
    """p <= 0.05 in at most 8 of 100 draws of two arms of real clips: pooled over the lines, as the draws share 48 clips."""
    draws, chances, apart = np.random.default_rng(1), {}, 0
    for _ in range(20):
        a, b, base = split(clean_of(world), draws.permutation(CLIPS))
        found = differences(*table({"a": a, "b": b}, base).values(), base)
        apart += any(one.apart for one in found.values())
        for name, one in found.items():
            chances.setdefault(name, []).append(one.p)
    pooled = np.concatenate([*chances.values()])
    assert len(pooled) > 280 and 0 < (pooled <= 0.05).mean() <= 0.08 and pooled.min() > 1e-4
    assert apart <= 2, apart


def test_intervals_of_real_lines_shrink_as_the_root_of_the_clips() -> None:
    """Four times the contexts and the real clips they are measured by: half the interval, but for Student's quantile."""
    draws, widths = np.random.default_rng(0), {}
    lines = [BY_NAME[name] for name in ("motion", "flicker", "order", "flow", "sharpness", "colour")]
    for count in (6, 24):
        for _ in range(24):
            order = draws.permutation(CLIPS)
            arm, real = (Gathered([clean_of("duel")[i] for i in part]) for part in (order[:count], order[count : 2 * count]))
            base = Base(real, Gathered(list(clean_of("duel")[:count])), None, SEGMENT)
            for line in lines:
                values = line.of(arm, base)
                _, low, high = judge(values, base, abs(values[0])).interval
                widths.setdefault((line.name, count), []).append(high - low)
    want = 2 * student.ppf(0.975, 5) / student.ppf(0.975, 23)
    found = {line.name: np.mean(widths[line.name, 6]) / np.mean(widths[line.name, 24]) for line in lines}
    assert np.mean([*found.values()]) == pytest.approx(want, rel=0.12), found
    assert all(ratio == pytest.approx(want, rel=0.3) for ratio in found.values()), found


def test_a_figure_that_nothing_changes_has_no_interval_and_no_p() -> None:
    """Shares and horizons that are the same in every context: the jackknife would make the least difference sure."""
    a, _, base = split(clean_of("duel"), range(CLIPS))

    def still(first: float) -> dict[str, Cell]:
        """The repeats of all contexts are alike; `first` of the first second's."""
        alike = np.r_[first, np.full(a["repeats"].shape[-1] - 1, 100.0)][None]
        return table({"one": Gathered([{**one, "repeats": alike} for one in clean_of("duel")[:8]])}, base)["one"]

    never, once = still(100.0), still(0.0)
    for cells, share in ((never, 0), (once, 1 / a["repeats"].shape[-1])):
        value, low, high = cells["repetition"].interval
        assert value == pytest.approx(share) and np.isnan([low, high]).all() and "the same without" in cells["repetition"].why
        assert np.isfinite(cells["motion"].interval).all()
    assert "repetition" not in differences(never, once, base) and "motion" not in differences(never, once, base)
    few = split(clean_of("duel"), range(CLIPS), contexts=3)
    rows = table({"a": few[0], "b": few[1]}, few[2])
    there = [cell for cell in rows["a"].values() if cell.values.size]
    assert there and all(np.isnan(cell.interval[1:]).all() and "4 contexts" in cell.why for cell in there)
    assert differences(rows["a"], rows["b"], few[2]) == {}
    assert differences(*table({"a": a, "again": a}, base).values(), base) == {}


@IN_WORLDS
def test_a_collapsed_set_does_not_win_density(world: str) -> None:
    """Copies of one likely clip lie in more real neighbourhoods than as many different real ones: higher is not better."""
    clean, line, draws = clean_of(world), BY_NAME["density"], np.random.default_rng(0)
    splits = [split(clean, draws.permutation(CLIPS)) for _ in range(SPLITS)]
    real = np.mean([away(line, arm, base) for arm, _, base in splits])
    a, b, base = split(clean, range(CLIPS))
    collapsed = [Gathered([one] * CONTEXTS) for one in clean[40:]]
    densest = max(collapsed, key=lambda arm: line.of(arm, base)[0])
    assert line.of(densest, base)[0] > max(line.of(arm, base)[0] for arm in (a, b)), "by more is better it would win"
    assert away(line, densest, base) > max(away(line, arm, base) for arm in (a, b))
    assert np.mean([away(line, arm, base) for arm in collapsed]) > 1.3 * real


def test_short_videos_have_a_figure_or_a_reason() -> None:
    for frames in (1, 2, 3, 5):
        for context in (0, 1, 2):
            if frames + context < 2:
                continue
            clips = clips_of("discs")[:11]
            made, found = clips[:, context : context + frames], []
            for clip, video in zip(clips, made, strict=False):
                watch = Watch(frames, SEGMENT, clip[:context] if context else None)
                watch.update(video[None], video)
                found.append(watch.figures())
            base = Base(Gathered(found[8:]), Gathered(found[:8]), None, SEGMENT)
            cells = table({"arm": Gathered(found[:8])}, base)["arm"]
            assert list(cells) == [line.name for line in LINES]
            for name, cell in cells.items():
                assert (cell.interval is None or bool(np.isnan(cell.interval).any())) == bool(cell.why), name
                assert cell.interval is None or np.isfinite(cell.interval.value), (name, frames, context)
            assert (cells["jumps"].interval is None) == (frames + context < 4)
            assert (cells["flicker"].interval is None) == (frames + context < 3) and cells["motion"].interval is not None


def test_a_line_is_read_beside_motion_unless_it_sees_a_frozen_video() -> None:
    beside = {line.name for line in LINES if line.beside}
    assert {"psnr", "energy", "sharpness", "colour", "stable", "slope", "worst"} <= beside
    assert not {"motion", "still", "repetition", "mmd"} & beside
    assert all(not set(line.sees or ()) & set(line.blind) for line in LINES)
    assert next(line for line in LINES if line.name == "lpips").blind == ()

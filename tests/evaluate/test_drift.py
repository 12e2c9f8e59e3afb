"""The ladder of corruptions: each is flagged by the metric that is meant for it, and real video by none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate import Metric, Series, Table, copy_last, segments, tabulate
from unspool.evaluate.controls import leave_one_out
from unspool.evaluate.curves import measure
from unspool.evaluate.drift import edges_of, segment_means, series_of, slope_of


def soften(video: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        video = (np.roll(video, 1, axis) + video + np.roll(video, -1, axis)) / 3
    return video


def freeze(video: np.ndarray) -> np.ndarray:
    return copy_last(video[:2], len(video))


def freeze_late(video: np.ndarray) -> np.ndarray:
    return np.concatenate([video[:100], copy_last(video[:100], len(video) - 100)])


def stutter(video: np.ndarray) -> np.ndarray:
    return video[np.arange(len(video)) // 6 * 6]


def blur(video: np.ndarray) -> np.ndarray:
    return soften(soften(video.astype(float))).round().astype(np.uint8)


def colour(video: np.ndarray) -> np.ndarray:
    tint = np.linspace(0, 40, len(video))[:, None, None, None] * np.array([1, -0.5, 0])
    return np.clip(video + tint, 0, 255).astype(np.uint8)


def jitter(video: np.ndarray) -> np.ndarray:
    return np.clip(video + np.random.default_rng(0).normal(0, 8, video.shape), 0, 255).astype(np.uint8)


def shuffle(video: np.ndarray) -> np.ndarray:
    return video[np.random.default_rng(0).permutation(len(video))]


def outside(table: Table) -> dict[tuple[str, str], float]:
    """Share of all segments outside, by metric and side."""
    total = Counter(row.metric for row in table.rows)
    found = Counter((row.metric, row.side) for row in table.rows if row.side != "inside")
    return {key: count / total[key[0]] for key, count in found.items()}


def horizons(table: Table, metric: str) -> list[int]:
    return [horizon.frames for horizon in table.horizons if horizon.metric == metric]


@pytest.mark.parametrize("known", [True, False])
def test_real_video_passes(fresh: np.ndarray, real: np.ndarray, known: bool) -> None:
    """Of 16 videos and 4 metrics, 95 of 100 segments at least, whether or not the context is known."""
    table, own = segments(fresh, real, context=fresh[:, :1] if known else None), measure(real)
    assert all(share <= 0.1 for share in outside(table).values())
    assert np.mean([horizon.whole for horizon in table.horizons]) >= 0.9
    assert np.mean([horizon.whole for horizon in leave_one_out(series_of(own, own))]) >= 0.8


@pytest.mark.parametrize(
    ("corrupt", "flags", "spares"),
    [
        (freeze, {("motion", "below"): 1.0, ("static", "above"): 1.0}, {"sharpness", "colour"}),
        (freeze_late, {("motion", "below"): 0.6, ("static", "above"): 0.6}, {"sharpness"}),
        (stutter, {("static", "above"): 1.0}, {"motion", "sharpness", "colour"}),
        (blur, {("sharpness", "below"): 0.7}, {"static", "colour"}),
        (colour, {("colour", "above"): 0.6}, {"motion", "static", "sharpness"}),
        (jitter, {("motion", "above"): 1.0, ("sharpness", "above"): 1.0}, {"static", "colour"}),
        (shuffle, {("motion", "above"): 1.0}, {"sharpness", "colour"}),
    ],
)
def test_every_corruption_is_flagged_by_the_metric_meant_for_it(
    fresh: np.ndarray,
    real: np.ndarray,
    corrupt: Callable[[np.ndarray], np.ndarray],
    flags: dict[tuple[str, str], float],
    spares: set[str],
) -> None:
    found = outside(segments(np.stack([corrupt(video) for video in fresh]), real, context=fresh[:, :1]))
    for flag, share in flags.items():
        assert found.get(flag, 0) >= share, found
    assert not [key for key, share in found.items() if key[0] in spares and share > 0.1], found


def test_made_and_real_frames_are_told_from_the_frame_before_them(real: np.ndarray) -> None:
    """A real clip beside itself is the same series, and each is drawn away from the last frame of its own context."""
    context, after = measure(real[:, :2]), measure(real[:, 2:])
    for one in series_of(after, after, context, context):
        np.testing.assert_array_equal(one.values, one.real)
    alone = {one.metric.name: one for one in series_of(after, after, context)}
    assert (alone["colour"].real[:, 0] == 0).all() and (alone["colour"].values[:, 0] > 0).all()


def test_a_frozen_video_has_no_horizon_by_any_metric(fresh: np.ndarray, real: np.ndarray) -> None:
    table = segments(np.stack([freeze(video) for video in fresh]), real, context=fresh[:, :1])
    assert {horizon.frames for horizon in table.horizons} == {0}
    assert not any(horizon.whole for horizon in table.horizons)


def test_the_horizon_is_where_it_went_wrong(fresh: np.ndarray, real: np.ndarray) -> None:
    table = segments(np.stack([freeze_late(video) for video in fresh]), real, context=fresh[:, :1])
    for metric in ("motion", "sharpness"):
        assert np.mean([frames == 100 for frames in horizons(table, metric)]) >= 0.9


def test_what_drifts_has_a_slope_with_its_sign_and_the_rest_has_none() -> None:
    """In deviations of real clips, each of which stays as it is; the pixels' own drift is tried beside the others."""
    levels, at = np.random.default_rng(0).normal(0, 0.5, 12), np.arange(400)
    real = 10 + np.repeat(levels[:, None], 400, 1)
    videos = real.mean() + np.outer([0.02, -0.02, 0.0], at)
    table = tabulate([Series(Metric("m", log=False), videos, real)])
    want = np.array([2, -2, 0]) / levels.std(ddof=1)
    np.testing.assert_allclose([slope.per_100_frames for slope in table.slopes], want, rtol=0.01, atol=1e-9)
    assert [slope.video for slope in table.slopes] == [0, 1, 2]


def test_pixels_that_drift_have_a_slope(fresh: np.ndarray, real: np.ndarray) -> None:
    def slope(videos: np.ndarray) -> float:
        table = segments(videos, real, 50, context=fresh[:, :1])
        return float(np.median([s.per_100_frames for s in table.slopes if s.metric == "colour"]))

    assert slope(np.stack([colour(video) for video in fresh])) > 5 * abs(slope(fresh))


def test_one_segment_outside_is_chance_two_running_are_not() -> None:
    rng = np.random.default_rng(0)
    real = 10 + rng.normal(0, 0.5, (20, 400))
    once, twice = np.full((1, 400), 10.0), np.full((1, 400), 10.0)
    once[:, 100:200] = twice[:, 100:300] = 30
    horizon = {name: tabulate([Series(Metric("m"), v, real)]).horizons[0] for name, v in (("1", once), ("2", twice))}
    assert horizon["1"].whole and horizon["1"].frames == 400
    assert horizon["2"][2:] == (100, False, "m", "above")


def test_segments_and_their_remainder() -> None:
    assert edges_of(893, 100)[-2:] == [(700, 800), (800, 893)]
    assert edges_of(849, 100)[-1] == (700, 849) and edges_of(850, 100)[-1] == (800, 850)
    assert edges_of(7, 100) == [(0, 7)]
    values = np.array([[np.nan, 2, 4, 6, np.nan, np.nan]])
    np.testing.assert_array_equal(segment_means(values, [(0, 2), (2, 4), (4, 6)]), [[2, 5, np.nan]])


def test_a_slope_is_that_of_least_squares_from_0() -> None:
    x, y = np.array([50.0, 150, 250, 350]), np.random.default_rng(0).normal(size=4)
    want = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    assert slope_of(x, y) == pytest.approx(100 * want)
    assert slope_of([*x, 450], [*y, np.nan]) == slope_of(x, y) and np.isnan(slope_of([50], [np.nan]))
    assert slope_of(x, [3.0] * 4) > slope_of(x, [0, 1, 2, 3.0]) > 0 > slope_of(x, [-3.0] * 4)  # at once is worse than slowly


def test_what_cannot_be_compared_is_refused(real: np.ndarray) -> None:
    with pytest.raises(UserError, match="shape of the videos"):
        segments(real[:2, :100], real)
    with pytest.raises(UserError, match="at least 3 real clips"):
        segments(real, real[:2])
    with pytest.raises(UserError, match="2 frames"):
        segments(real[:, :1], real[:, :1])
    with pytest.raises(UserError, match="1 frame or more"):
        segments(real, real, 0)

"""Every rung does what it says, more of it the higher the severity; a climb tells a measure that ranks from one that cannot."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate.curves import measure
from unspool.evaluate.ladder import LOOP, RUNGS, WINDOW, Measure, Rung, climb, corrupt

BY_NAME = {rung.name: rung for rung in RUNGS}


@pytest.fixture(scope="module")
def clips(real: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """(28, 64, 32, 32, 3)."""
    return np.concatenate([real, fresh])[:, :64]


@pytest.mark.parametrize("rung", RUNGS, ids=[rung.name for rung in RUNGS])
def test_of_one_seed_a_rung_is_always_the_same_and_grows(clips: np.ndarray, rung: Rung) -> None:
    before = clips.copy()
    steps = [corrupt(rung, clips, severity, 1) for severity in (0.25, 0.5, 1.0)]
    assert all(step.shape == clips.shape and step.dtype == np.uint8 for step in steps)
    np.testing.assert_array_equal(steps[1], corrupt(rung, clips, 0.5, 1))
    np.testing.assert_array_equal(clips, before)
    changed = [np.abs(step.astype(int) - clips).mean() for step in steps]
    assert 0 < changed[0] < changed[1] < changed[2]


def places(rung: str, severity: float, frames: int = 100) -> np.ndarray:
    """(4, T): which frame of which video is shown, as number of the video * T + frame, of videos that show these numbers."""
    numbers = np.arange(4 * frames).reshape(4, frames, 1, 1, 1)
    digits = np.concatenate([numbers % 256, numbers // 256, 0 * numbers], -1).astype(np.uint8)
    shown = corrupt(BY_NAME[rung], np.tile(digits, (1, 1, 4, 4, 1)), severity)[:, :, 0, 0].astype(int)
    return shown[..., 0] + 256 * shown[..., 1]


def test_frames_go_where_the_rung_says() -> None:
    own = np.arange(400).reshape(4, 100)
    np.testing.assert_array_equal(places("freeze", 0.25), np.minimum(own, own[:, 74:75]))
    np.testing.assert_array_equal(places("freeze", 1.0), np.repeat(own[:, :1], 100, 1))
    np.testing.assert_array_equal(places("swap", 1.0), own.reshape(4, 50, 2)[..., ::-1].reshape(4, 100))
    np.testing.assert_array_equal(places("collapse", 0.5), own[[0, 0, 2, 3]])
    np.testing.assert_array_equal(places("collapse", 1.0), own[[0, 0, 0, 0]])
    np.testing.assert_array_equal(places("loop", 1.0), own[:, np.arange(100) % 25])
    np.testing.assert_array_equal(places("loop", 1.0, 300)[0], np.arange(300) % LOOP)
    shuffled = places("shuffle", 1.0)
    assert (np.abs(shuffled - own) < WINDOW).all() and (np.sort(shuffled) == own).all() and (shuffled != own).mean() > 0.8
    cut = places("cut", 1.0)
    np.testing.assert_array_equal(cut % 100, own % 100)  # time goes on, the video is another
    assert (np.count_nonzero(np.diff(cut // 100), axis=1) == 8).all()


def test_pictures_change_as_the_rung_says(fresh: np.ndarray) -> None:
    videos = np.tile(fresh[:2, :50], (1, 1, 2, 2, 1)) // 2 + 64
    noise = corrupt(BY_NAME["noise"], videos, 0.25).astype(float) - videos
    assert noise.std() == pytest.approx(8, rel=0.02) and abs(noise.mean()) < 0.1
    drift = measure(corrupt(BY_NAME["colour"], videos, 0.5)).rgb - measure(videos).rgb
    np.testing.assert_allclose(drift[:, [0, -1]], [[[0, 0, 0], [30, -15, 0]]] * 2, atol=0.5)
    ndimage = pytest.importorskip("scipy.ndimage")
    want = ndimage.gaussian_filter(videos[0, 0].astype(float), (3.2, 3.2, 0), mode="mirror", radius=(11, 11, 0))
    np.testing.assert_allclose(corrupt(BY_NAME["blur"], videos, 1.0)[0, 0], want, atol=0.51)


def of(summary: str) -> Measure:
    figure = {
        "brightness": lambda videos: videos.mean((1, 2, 3, 4)),
        "constant": lambda videos: np.zeros(len(videos)),
        "chance": lambda videos: np.random.default_rng(int(videos.astype(int).sum())).normal(size=len(videos)),
        "motion": lambda videos: measure(videos).motion[:, 1:].mean(1),
    }[summary]
    return Measure(summary, (), figure, lambda made, real: float(abs(made.mean() - real.mean())))


def test_only_a_measure_that_ranks_is_said_to_rank(clips: np.ndarray) -> None:
    ranks = {name: {step.rung: step.ranks for step in climb(of(name), clips)} for name in ("motion", "brightness", "constant")}
    assert ranks["motion"]["noise"] and ranks["motion"]["shuffle"]
    assert not ranks["motion"]["colour"]
    assert not any(ranks["brightness"][name] for name in ("swap", "shuffle", "cut", "noise"))
    assert not any(ranks["constant"].values())
    assert sum(step.ranks for step in climb(of("chance"), clips)) <= 1


def test_a_measure_that_turns_back_does_not_rank(clips: np.ndarray) -> None:
    """It grows with the tint up to 40 grey levels and falls again, but stays far beyond the band of real video."""

    def hat(videos: np.ndarray) -> np.ndarray:
        tint = np.diff(measure(videos).rgb[:, [0, -1], 0])[:, 0]
        return np.where(tint < 40, tint, 60 - tint / 2)

    turning = Measure("hat", (), hat, lambda made, real: float(abs(np.median(made) - np.median(real))))
    (up,) = climb(turning, clips // 2, [BY_NAME["colour"]], (0.3, 0.6))
    (back,) = climb(turning, clips // 2, [BY_NAME["colour"]], (0.3, 0.6, 1.0))
    assert up.ranks and not back.ranks
    assert (back.figures > back.limit).all()


def test_a_paired_measure_is_held_against_its_own_originals(clips: np.ndarray) -> None:
    apart = Measure("apart", (), lambda v: v, lambda made, real: float(np.abs(made.astype(int) - real).mean()), paired=True)
    steps = climb(apart, clips)
    assert all(step.ranks and step.limit == 0 and len(step.null) == 1 for step in steps) and len(steps) == len(RUNGS)
    assert apart.figure(clips, clips) == 0
    assert apart.beside == "motion" and apart.blind == tuple(BY_NAME)


def test_what_cannot_be_climbed_is_refused(clips: np.ndarray) -> None:
    noise, cut = BY_NAME["noise"], BY_NAME["cut"]
    for severity in (0, -0.5, 1.5, float("nan")):
        with pytest.raises(UserError, match="severity"):
            corrupt(noise, clips, severity)
    with pytest.raises(UserError, match="uint8"):
        corrupt(noise, clips / 255, 0.5)
    with pytest.raises(UserError, match="3 videos"):
        corrupt(cut, clips[:2], 0.5)
    with pytest.raises(UserError, match="16 real clips"):
        climb(of("motion"), clips[:15])
    for severities in ((1.0,), (0.5, 0.25), (0.5, 0.5)):
        with pytest.raises(UserError, match="two severities"):
            climb(of("motion"), clips, RUNGS, severities)
    with pytest.raises(UserError, match="4 frames"):
        climb(of("motion"), clips[:, :3])
    with pytest.raises(UserError, match="4 frames"):
        of("motion").figure(clips[:, :3], clips[:, :3])
    with pytest.raises(UserError, match="shape of the videos"):
        of("motion").figure(clips, clips[:, :20])
    with pytest.raises(UserError, match="shape of the videos"):
        of("motion")._replace(paired=True).figure(clips[:5], clips[:6])

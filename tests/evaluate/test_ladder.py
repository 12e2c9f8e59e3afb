"""Every rung does what it says, more of it the higher the severity. What ranks them: test_lines.py."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate.curves import measure
from unspool.evaluate.ladder import LOOP, RUNGS, WINDOW, Rung, corrupt

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


def test_what_cannot_be_corrupted_is_refused(clips: np.ndarray) -> None:
    noise, cut = BY_NAME["noise"], BY_NAME["cut"]
    for severity in (0, -0.5, 1.5, float("nan")):
        with pytest.raises(UserError, match="severity"):
            corrupt(noise, clips, severity)
    with pytest.raises(UserError, match="uint8"):
        corrupt(noise, clips / 255, 0.5)
    with pytest.raises(UserError, match="3 videos"):
        corrupt(cut, clips[:2], 0.5)

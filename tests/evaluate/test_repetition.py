"""What repeats is caught, also when it is noisy or runs backwards; what does not, is not."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate import copy_last, repetition
from unspool.evaluate.repetition import nearest


def noisy(videos: np.ndarray) -> np.ndarray:
    return np.clip(videos + np.random.default_rng(0).normal(0, 8, videos.shape), 0, 255).astype(np.uint8)


def test_frozen_and_looping_videos_repeat_and_real_ones_do_not(fresh: np.ndarray, real: np.ndarray) -> None:
    frozen = np.stack([copy_last(video[:2], video.shape[0]) for video in fresh[:4]])
    looped = fresh[:4, np.arange(fresh.shape[1]) % 60]
    videos = np.concatenate([frozen, noisy(frozen), looped, noisy(looped), fresh[4:8]])
    share = repetition(videos, real).share.reshape(5, 4)
    assert (share[:2] == 1).all()
    assert (share[2:4] > 0.85).all()  # all but the first turn of the loop
    assert share[4].mean() < 0.1


def test_of_real_video_a_fixed_small_share_repeats(fresh: np.ndarray, real: np.ndarray) -> None:
    found = repetition(fresh, real)
    assert found.real.mean() == pytest.approx(0.025, abs=0.005)
    assert found.share.mean() < 0.1


def test_the_distance_is_that_of_the_obvious_loop() -> None:
    rng = np.random.default_rng(1)
    videos = rng.integers(0, 256, (1, 30, 16, 16, 3), dtype=np.uint8)
    flat, window = videos[0].reshape(30, -1).astype(float), 5
    want = [
        min(np.sqrt(np.mean((flat[j : j + window] - flat[i : i + window]) ** 2)) for i in range(j - window + 1))
        for j in range(window, 30 - window + 1)
    ]
    np.testing.assert_allclose(nearest(videos, window)[0], want, rtol=1e-4)


def test_too_short_is_refused(real: np.ndarray) -> None:
    with pytest.raises(UserError, match="two windows"):
        repetition(real[:1, :59], real[:, :59])
    with pytest.raises(UserError, match="shape of the videos"):
        repetition(real[:1, :100], real)

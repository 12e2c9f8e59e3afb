"""What repeats is caught, also when it is noisy or runs backwards; what does not, is not."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate import copy_last, repetition
from unspool.evaluate.repetition import Nearest, nearest


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


def slow(small: np.ndarray, window: int) -> np.ndarray:
    """Every window against every one that ends before it begins."""
    found = []
    for j in range(window, len(small) - window + 1):
        before = (small[i : i + window] for i in range(j - window + 1))
        found.append(min(np.square(small[j : j + window] - other).mean() for other in before))
    return np.sqrt(found)


@pytest.mark.parametrize("window", [1, 5, 30])
@pytest.mark.parametrize("block", [1, 7, 64, 150])
def test_distances_to_earlier_windows_are_exact_whatever_the_blocks(window: int, block: int) -> None:
    rng = np.random.default_rng(window)
    small = (rng.normal(size=(150, 12)).cumsum(0) * 5 + 100).astype(np.float32)
    stream = Nearest(window)
    for part in np.split(small, range(block, len(small), block)):
        stream.update(part)
    np.testing.assert_allclose(stream.distances(), slow(small.astype(float), window), rtol=1e-4, atol=1e-2)


def test_what_comes_back_after_too_long_does_not_count() -> None:
    small = np.random.default_rng(0).uniform(0, 255, (300, 12)).astype(np.float32)
    small[150:160], small[220:230] = small[100:110], small[40:50]  # after 50 frames, and after 180

    def found(block: int) -> set[int]:
        stream = Nearest(10, look_back=60)
        for part in np.split(small, range(block, len(small), block)):
            stream.update(part)
        return set(np.flatnonzero(stream.distances() < 1) + 10)

    assert found(1) == {150}
    assert 150 in found(25)

"""What moves is explained by flow; noise, shuffled frames and cuts are not; a frozen video says nothing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate.flow import STRIDE, warp

pytest.importorskip("cv2")


def sliding(step: int, frames: int = 11, size: int = 64) -> np.ndarray:
    """(1, T, H, W, 3): a smooth texture that moves `step` pixels a frame to the left."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, : size + step * frames] / size
    waves = sum(np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(2, 6, (6, 3)))
    texture = np.clip(128 + 25 * waves[..., None] + np.zeros(3), 0, 255).astype(np.uint8)
    return np.stack([texture[:, t * step : t * step + size] for t in range(frames)])[None]


@pytest.mark.parametrize("step", [1, 3])
def test_a_translation_is_explained(step: int) -> None:
    found = warp(sliding(step), 1)
    assert (found.error < 1.5).all() and (found.error < 0.15 * found.motion).all()
    assert (found.kept > 0.8).all()


def test_noise_and_shuffled_frames_are_not(fresh: np.ndarray) -> None:
    videos = fresh[:4, :100]
    rng = np.random.default_rng(0)
    real = np.nanmean(warp(videos).error)
    noisy = np.clip(videos + rng.normal(0, 8, videos.shape), 0, 255).astype(np.uint8)
    assert np.nanmean(warp(noisy).error) > 3 * real
    assert np.nanmean(warp(videos[:, rng.permutation(100)]).error) > 2 * real


def test_frozen_video_has_no_error_and_no_motion(fresh: np.ndarray) -> None:
    found = warp(np.repeat(fresh[:2, :1], 6, 1))
    assert (found.error == 0).all() and (found.motion == 0).all() and (found.kept == 1).all()


def test_a_pair_depends_on_its_two_frames_only(fresh: np.ndarray) -> None:
    whole = warp(fresh[:2, :21], 1)
    assert whole.error.shape == (2, 20)
    for part, all_pairs in zip(warp(fresh[1:2, :21]), whole, strict=True):
        np.testing.assert_array_equal(part[0], all_pairs[1, ::STRIDE])
    np.testing.assert_array_equal(warp(fresh[:1, 7:9]).error[0, 0], whole.error[0, 7])


def test_what_has_no_flow_is_refused(fresh: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for videos in (fresh[:1, :1], fresh[:1, :4, :15]):
        with pytest.raises(UserError, match="flow needs 2 frames"):
            warp(videos)
    with pytest.raises(UserError, match="stride"):
        warp(fresh[:1, :4], 0)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"unspool\[eval\]"):
        warp(fresh[:1, :4])

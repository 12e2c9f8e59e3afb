"""The figures of single frames, against answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate import copy_last, measure


def test_a_frozen_video_has_no_motion_and_its_own_sharpness(fresh: np.ndarray) -> None:
    curves = measure(copy_last(fresh[0, :2], 50)[None])
    assert np.isnan(curves.motion[0, 0]) and (curves.motion[0, 1:] == 0).all()
    np.testing.assert_allclose(curves.sharpness[0], measure(fresh[:1, 1:2]).sharpness[0, 0], rtol=1e-5)


def test_white_noise_and_steps_give_the_figures_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 10, (1, 20, 64, 64, 1)).round().repeat(3, -1).astype(np.uint8)
    curves = measure(noise)
    assert curves.motion[0, 1:] == pytest.approx(10 * np.sqrt(2) * np.sqrt(2 / np.pi), rel=0.03)
    assert curves.sharpness[0] == pytest.approx(10 * np.sqrt(20) * np.sqrt(2 / np.pi), rel=0.03)
    steps = np.zeros((1, 3, 4, 5, 3), np.uint8)
    steps[0, 1:, ..., 0] = 100
    curves = measure(steps)
    np.testing.assert_allclose(curves.motion[0, 1:], [29.9, 0], atol=1e-4)
    np.testing.assert_allclose(curves.rgb[0, :, 0], [0, 100, 100], atol=1e-4)


def test_blocks_do_not_show(fresh: np.ndarray) -> None:
    """Frames are measured in blocks; one that begins inside must still know the frame before it."""
    long = np.concatenate([fresh[0], fresh[1]])[None]
    whole, tail = measure(long), measure(long[:, 100:])
    np.testing.assert_allclose(whole.motion[0, 101:], tail.motion[0, 1:], rtol=1e-6)
    assert np.isfinite(whole.motion[0, 1:]).all()


@pytest.mark.parametrize(("shape", "kind"), [((1, 2, 8, 8, 3), float), ((2, 8, 8, 3), np.uint8), ((0, 2, 8, 8, 3), np.uint8)])
def test_what_is_no_video_is_refused(shape: tuple[int, ...], kind: type) -> None:
    with pytest.raises(UserError, match="video"):
        measure(np.zeros(shape, kind))

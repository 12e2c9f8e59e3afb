"""PSNR, SSIM and MS-SSIM frame by frame against torchmetrics, and in blocks of any length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from unspool.errors import UserError
from unspool.evaluate.quality import CAP, SMALLEST, gaussian, ms_ssim, psnr, scale_weights, ssim

images = pytest.importorskip("torchmetrics.functional.image")


def futures(real: np.ndarray) -> np.ndarray:
    """(3, n, H, W, 3): a noisy, a late and an inverted version, whose terms of MS-SSIM are negative."""
    noisy = np.clip(real + np.random.default_rng(0).normal(0, 20, real.shape), 0, 255).astype(np.uint8)
    return np.stack([noisy, np.roll(real, 3, 0), 255 - real])


def oracle(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).double()


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (48, 71)])
def test_every_frame_agrees_with_torchmetrics(fresh: np.ndarray, size: tuple[int, int]) -> None:
    height, width = size
    real = np.tile(fresh[0, :4], (1, 3, 3, 1))[:, :height, :width]
    made = futures(real)
    weights = scale_weights(height, width)
    for future, *found in zip(made, psnr(made, real), ssim(made, real), ms_ssim(made, real), strict=True):
        for t, figures in enumerate(zip(*found, strict=True)):
            pair = oracle(future[t : t + 1]), oracle(real[t : t + 1])
            want = (
                images.peak_signal_noise_ratio(*pair, data_range=255.0),
                images.structural_similarity_index_measure(*pair, data_range=255.0),
                images.multiscale_structural_similarity_index_measure(*pair, data_range=255.0, betas=weights),
            )
            np.testing.assert_allclose(figures, [float(figure) for figure in want], rtol=1e-4)


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_blocks_do_not_show(fresh: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    real = fresh[0, :90]
    made = futures(real)
    parts = [measure(made[:, a:b], real[a:b]) for a, b in ((0, 1), (1, 38), (38, 90))]
    np.testing.assert_allclose(np.concatenate(parts, 1), measure(made, real), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(measure(made[1:2], real), measure(made, real)[1:2], rtol=1e-5, atol=1e-7)


def test_equal_frames_have_the_highest_figures_and_one_level_has_less(fresh: np.ndarray) -> None:
    real = fresh[0, :2]
    off = real.copy()
    off[:, 0, 0, 0] ^= 1
    made = np.stack([real, off])
    np.testing.assert_array_equal(psnr(made, real)[0], CAP)
    assert (psnr(made, real)[1] < CAP).all() and (psnr(made, real)[1] > 80).all()
    for measure in (ssim, ms_ssim):
        np.testing.assert_allclose(measure(made, real)[0], 1, rtol=1e-6)


def test_the_scales_fit_the_picture_and_weigh_one_together() -> None:
    for size in (11, 16, 21, 22, 64, 100, 176, 512):
        weights = scale_weights(size, 600)
        assert sum(weights) == pytest.approx(1)
        assert size >> len(weights) - 1 >= SMALLEST and (len(weights) == 5 or size >> len(weights) < SMALLEST)


def test_the_matrix_is_the_convolution_with_mirrored_borders() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    line = np.random.default_rng(0).uniform(0, 255, 40)
    want = ndimage.gaussian_filter1d(line, 2.0, mode="mirror", radius=7)
    np.testing.assert_allclose(line.astype(np.float32) @ gaussian(40, 2.0).numpy(), want, rtol=1e-5)


def test_what_cannot_be_compared_is_refused(fresh: np.ndarray) -> None:
    made, real = fresh[:2, :3], fresh[0, :3]
    with pytest.raises(UserError, match="as each future"):
        ssim(made, real[:2])
    with pytest.raises(UserError, match="as each future"):
        psnr(made, real.astype(np.float32))
    with pytest.raises(UserError, match="uint8"):
        ms_ssim(made / 255, real)
    for measure in (ssim, ms_ssim):
        with pytest.raises(UserError, match="11 pixels"):
            measure(made[:, :, :10], real[:, :10])

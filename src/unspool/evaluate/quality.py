"""How near generated frames come to the true ones, frame by frame: PSNR, SSIM and multi-scale SSIM.

made: uint8 (S, n, H, W, 3), S futures of one context. real: uint8 (n, H, W, 3), what truly followed. A figure depends on its
own frame only, so a long video may come in blocks of frames. More is nearer. All three prefer a blurred mean of what might
happen to a sharp future that did not happen: they are read beside sharpness, motion and the scores of `futures.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from unspool.errors import UserError
from unspool.evaluate.curves import check

CAP = 100.0  # dB: equal frames have no finite PSNR. One grey level in one pixel of a 64 x 64 picture has 89 dB
SIGMA = 1.5  # pixels, of the window of Wang et al. 2004
SMALLEST = 11  # pixels that this window is wide
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of Wang et al. 2003, finest first
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
GREY = 128  # taken from all pixels, which no variance feels: squares of smaller numbers lose less in float32
BLOCK = 1 << 17  # numbers of one block of pictures, 0.5 MB: what is computed of them stays in the cache

Score = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (S, F, 3, H, W), (F, 3, H, W) -> (S, F)


def psnr(made: np.ndarray, real: np.ndarray) -> NDArray[np.float64]:
    """(S, n) peak signal-to-noise ratio in dB, all colours together, at most CAP. Raises UserError for other shapes."""
    _check(made, real)

    def score(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        error = (made - real).square_().mean((2, 3, 4)).double()
        return (10 * torch.log10(255**2 / error)).clamp_(max=CAP)

    return _by_blocks(score, made, real)


def ssim(made: np.ndarray, real: np.ndarray) -> NDArray[np.float64]:
    """(S, n) structural similarity, -1 to 1, the mean of the three colours and all pixels.

    Wang et al. 2004 (reconstructed), in the form of torchmetrics (read): Gaussian window of 1.5 pixels, borders mirrored.
    Raises UserError for other shapes and for pictures under 11 pixels.
    """
    _check(made, real, SMALLEST)
    return _by_blocks(lambda made, real: _similarity(made, real)[0], made, real)


def ssim_map(made: np.ndarray, real: np.ndarray) -> NDArray[np.float64]:
    """(S, n, H, W) what `ssim` is the mean of: that of the window about each pixel, the mean of the three colours."""
    _check(made, real, SMALLEST)
    return _by_blocks(lambda made, real: _maps(made, real)[0].mean(2).double().transpose(-1, -2), made, real)


def ms_ssim(made: np.ndarray, real: np.ndarray) -> NDArray[np.float64]:
    """(S, n) multi-scale structural similarity, 0 to 1, over the scales of `scale_weights`.

    Wang et al. 2003 (reconstructed), in the form of torchmetrics (read): a negative term counts as 0. Raises UserError for
    other shapes and for pictures under 11 pixels.
    """
    _check(made, real, SMALLEST)
    weights = scale_weights(*real.shape[1:3])

    def score(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        product = torch.ones(made.shape[:2], dtype=torch.float64)
        for weight in weights[:-1]:
            product *= _similarity(made, real)[1].clamp(min=0) ** weight
            made, real = _halve(made), _halve(real)
        return product * _similarity(made, real)[0].clamp(min=0) ** weights[-1]

    return _by_blocks(score, made, real)


def scale_weights(height: int, width: int) -> tuple[float, ...]:
    """The exponents of the scales that MS-SSIM uses on pictures of this size, finest first; their sum is 1.

    Each scale has half the pixels of the one before, and the coarsest must hold a whole window: five scales from 176
    pixels on, three at 64, two at 32. The exponents of those that are left keep their ratios. Figures of different numbers
    of scales do not compare, so `results.json` says how many.

    >>> [len(scale_weights(side, side)) for side in (256, 128, 64, 32, 16)]
    [5, 4, 3, 2, 1]
    """
    fit = [weight for scale, weight in enumerate(SCALES) if min(height, width) >> scale >= SMALLEST]
    return tuple(weight / sum(fit) for weight in fit)


@lru_cache(maxsize=32)
def gaussian(size: int, sigma: float) -> torch.Tensor:
    """(size, size) float32: `x @ gaussian(size, sigma)` blurs the last axis of x, borders mirrored.

    The window is cut at 3.5 sigma, as torchmetrics does. A product with this matrix is faster on a CPU than a convolution
    per colour: 0.3 ms for the 15 pictures that SSIM blurs of a 64 x 64 frame, where the convolution takes 20.
    """
    reach = int(3.5 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    padded = torch.nn.functional.pad(torch.eye(size, dtype=torch.float64)[None], (reach, reach), mode="reflect")[0]
    return (padded.unfold(1, size, 1) * (taps / taps.sum())[None, :, None]).sum(1).float()


def _similarity(made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, F) each, float64: SSIM over the whole picture, and its contrast term where the window lies inside."""
    whole, contrast = _maps(made, real)
    edge = SMALLEST // 2
    return _mean(whole), _mean(contrast[..., edge:-edge, edge:-edge])


def _maps(made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, F, 3, W, H) each: SSIM of the window about each pixel, and its contrast term."""
    mean, true = _blur(made), _blur(real)
    variances = (_blur(made * made) - mean * mean).clamp_(min=0) + (_blur(real * real) - true * true).clamp_(min=0)
    contrast = (2 * (_blur(made * real) - mean * true) + C2) / (variances + C2)
    mean += GREY
    true += GREY
    return contrast * (2 * mean * true + C1) / (mean * mean + true * true + C1), contrast


def _blur(pictures: torch.Tensor) -> torch.Tensor:
    """(..., H, W) -> (..., W, H): turned, which nothing here minds."""
    height, width = pictures.shape[-2:]
    return (pictures @ gaussian(width, SIGMA)).transpose(-1, -2) @ gaussian(height, SIGMA)


def _mean(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean((2, 3, 4)).double()


def _halve(pictures: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(pictures.flatten(0, -4), 2).unflatten(0, pictures.shape[:-3])


def _by_blocks(score: Score, made: np.ndarray, real: np.ndarray) -> NDArray[np.float64]:
    step = max(1, BLOCK // made[:, 0].size)
    starts = range(0, len(real), step)
    found = [score(_pictures(made[:, t : t + step]), _pictures(real[t : t + step])) for t in starts]
    return torch.cat(found, 1).numpy()


def _pictures(frames: np.ndarray) -> torch.Tensor:
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) about GREY."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3))).float().sub_(GREY)


def _check(made: np.ndarray, real: np.ndarray, smallest: int = 1) -> None:
    check(made)
    if real.dtype != np.uint8 or real.shape != made.shape[1:]:
        raise UserError(f"the true frames must be uint8 {made.shape[1:]}, as each future, not {real.dtype} {real.shape}")
    if min(real.shape[1:3]) < smallest:
        raise UserError(f"SSIM needs pictures of {smallest} pixels or more, not {real.shape[1]} x {real.shape[2]}")

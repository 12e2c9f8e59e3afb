"""Features of short windows of video by fixed random networks: nothing to download, the same figures on every machine.

Networks that nobody trained rank corruptions of video (after Lee et al. 2208.09218, not read; layers, read-out and sizes are
ours). Each of three looks at 16 frames at their own size by 2D convolutions on every frame and 1D convolutions over time:
3D convolutions in float32 crawl on CPUs. What is read out are logarithms of mean responses, first half and second half of
the window apart. So a change counts by its factor: noise in a still background, motion that stops, colour that drifts.

A figure means nothing by itself, and distances between sets of them compare with no other network's, least of all with
those of trained ones. Small pictures are not enlarged: compare windows of one size.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unspool.errors import UserError
from unspool.evaluate.curves import check
from unspool.noise import fold, uniform

WINDOW = 16  # frames
LEAST = 16  # pixels a side: three strides of 2 leave 2
SEEDS = (0, 1, 2)
WIDTHS = (16, 24, 32)  # channels of the layers
MOTIONS = 12  # temporal filters on each layer
LEVEL = 0.01  # about one grey level of 0..255 where pictures are -1..1: responses below that are nothing
_AT_ONCE = 1 << 17  # pixels whose layers are in memory together: they fit a cache, more are slower


class _Network(NamedTuple):
    """spatial: (out, in, k, k) a layer. temporal: (3 * MOTIONS, in) on each layer, three taps one after the other."""

    spatial: tuple[Tensor, ...]
    temporal: tuple[Tensor, ...]


def random_features(windows: np.ndarray) -> NDArray[np.float32]:
    """uint8 (N, 16, H, W, 3), H and W >= 16 -> float32 (3, N, 120), one table a network; in octaves, about 0.

    A window's features do not depend on those beside it (but for rounding), so windows may come in any batches: join the
    results on axis 1. Raises UserError for other shapes.
    """
    check(windows)
    _, frames, height, width, _ = windows.shape
    if frames != WINDOW or min(height, width) < LEAST:
        raise UserError(
            f"features need windows of {WINDOW} frames of {LEAST} x {LEAST} px or more, not {frames} of {height} x {width}"
        )
    step = max(1, _AT_ONCE // (WINDOW * height * width))
    parts = [_features(windows[i : i + step]) for i in range(0, len(windows), step)]
    return torch.cat(parts, 1).numpy()


@torch.inference_mode()
def _features(windows: np.ndarray) -> Tensor:
    frames = torch.from_numpy(np.ascontiguousarray(windows)).flatten(0, 1)
    # A view: the layers, too, are laid out with channels last, so that what follows them needs no transposition.
    pictures = frames.float().div_(127.5).sub_(1).permute(0, 3, 1, 2)
    return torch.stack([_seen_by(_network(seed), pictures) for seed in SEEDS])


def _seen_by(network: _Network, x: Tensor) -> Tensor:
    """(n * 16, 3, H, W) -> (n, 120)."""
    found = []
    for layer, (spatial, temporal) in enumerate(zip(network.spatial, network.temporal, strict=True)):
        x = F.conv2d(x, spatial, stride=2, padding=spatial.shape[-1] // 2)
        if layer == 0:
            seen = _by_frame(x)
            found += [*_halves(seen), _octaves(_mean(seen[:, WINDOW // 2 :]) - _mean(seen[:, : WINDOW // 2]))]
        x = x.relu_()
        before, now, after = F.linear(_by_frame(x), temporal).unflatten(-1, (3, MOTIONS)).unbind(-2)
        found += _halves(before[:, :-2] + now[:, 1:-1] + after[:, 2:])
    return torch.cat(found, 1)


def _by_frame(x: Tensor) -> Tensor:
    """(n * 16, C, h, w) -> (n, 16, h * w, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (-1, WINDOW))


def _halves(responses: Tensor) -> list[Tensor]:
    """(n, t, p, C) -> twice (n, C): how strong the responses are in the first half of the frames, and in the second."""
    return [_octaves(_mean(half)) for half in responses.abs().chunk(2, 1)]


def _mean(responses: Tensor) -> Tensor:
    """(n, t, p, C) -> (n, C)."""
    return responses.mean((1, 2))


def _octaves(strength: Tensor) -> Tensor:
    """Logarithm to base 2, moved by four: a strength of 1/16, as is common, has about 0."""
    return torch.log2(strength.abs() + LEVEL) + 4


@functools.cache
def _network(seed: int) -> _Network:
    spatial, temporal, into = [], [], 3
    for layer, (out, side) in enumerate(zip(WIDTHS, (5, 3, 3), strict=True)):
        weights = _weights(seed, layer, into * side * side, out, into, side, side)
        if layer == 0:
            # Half of the first filters see no flat colour, only what changes in space: texture, blur and noise.
            weights[: out // 2] -= weights[: out // 2].mean((2, 3), keepdim=True)
        spatial.append(weights.contiguous(memory_format=torch.channels_last))
        taps = _weights(seed, len(WIDTHS) + layer, 3 * out, 3, MOTIONS, out)
        # No temporal filter responds to what stands still.
        temporal.append((taps - taps.mean(0)).flatten(0, 1))
        into = out
    return _Network(tuple(spatial), tuple(temporal))


def _weights(seed: int, layer: int, inputs: int, *shape: int) -> Tensor:
    """Uniform, of deviation (2 / inputs)^(1/2): responses keep their size from layer to layer (He et al. 1502.01852).

    The numbers are a hash's and not a generator's, so that they outlive versions of numpy and torch.
    """
    return (2 * uniform(fold(torch.tensor(seed), layer), *shape) - 1) * math.sqrt(6 / inputs)

"""Random features: the same everywhere, of one window at a time, and moved by every fault that a video may have."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unspool.errors import UserError
from unspool.evaluate.chance import apart, mmd2_between, over_floor
from unspool.evaluate.features import LEVEL, SEEDS, WINDOW, _network, random_features

COUNT = 48


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    """(3 * 48, 16, 32, 32, 3): each of an episode of its own, so that no two share a background."""
    spec = spec_from_file_location("discs", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    discs = module_from_spec(spec)
    spec.loader.exec_module(discs)
    return np.stack([discs.episode(seed, WINDOW) for seed in range(3 * COUNT)])


@pytest.fixture(scope="module")
def seen(windows: np.ndarray) -> np.ndarray:
    return random_features(windows)


def noise(videos: np.ndarray, level: float) -> np.ndarray:
    return np.clip(videos + np.random.default_rng(0).normal(0, level, videos.shape), 0, 255).astype(np.uint8)


def blur(videos: np.ndarray, share: float) -> np.ndarray:
    wide = np.pad(videos.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    mean = sum(wide[:, :, i : i + 32, j : j + 32] for i in range(3) for j in range(3)) / 9
    return (videos + share * (mean - videos)).round().astype(np.uint8)


def swap(videos: np.ndarray, pairs: int) -> np.ndarray:
    order = np.arange(WINDOW)
    order[: 2 * pairs] = order[: 2 * pairs].reshape(-1, 2)[:, ::-1].ravel()
    return videos[:, order]


def shuffle(videos: np.ndarray, frames: int) -> np.ndarray:
    order = np.arange(WINDOW)
    order[:frames] = np.random.default_rng(3).permutation(frames)
    return videos[:, order]


def freeze(videos: np.ndarray, frames: int) -> np.ndarray:
    return videos[:, np.minimum(np.arange(WINDOW), WINDOW - 1 - frames)]


def drift(videos: np.ndarray, levels: float) -> np.ndarray:
    ramp = levels * np.linspace(0, 1, WINDOW)[:, None, None, None] * np.array([1, 0, -1])
    return np.clip(videos + ramp, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("fault", "levels"),
    [
        (noise, (2, 6, 16)),
        (blur, (0.5, 0.75, 1.0)),
        (swap, (2, 4, 8)),
        (shuffle, (4, 8, 16)),
        (freeze, (2, 4, 8)),
        (drift, (8, 16, 32)),
    ],
)
def test_a_fault_is_seen_and_more_of_it_more_so_by_each_network(
    fault: Callable, levels: tuple[float, ...], windows: np.ndarray, seen: np.ndarray
) -> None:
    real, other = seen[:, :COUNT], seen[:, COUNT : 2 * COUNT]
    made = [random_features(fault(windows[2 * COUNT :], level)) for level in levels]
    for seed in SEEDS:
        sound = apart(seen[seed, 2 * COUNT :], real[seed], mmd2_between)
        found = [apart(features[seed], real[seed], mmd2_between) for features in made]
        assert (np.diff([sound, *found]) > 0).all()
        assert over_floor(made[-1][seed], real[seed], other[seed], mmd2_between, 199).ratio.value > 2
    for seed in SEEDS:
        assert over_floor(seen[seed, 2 * COUNT :], real[seed], other[seed], mmd2_between, 199).ratio.value < 1


def slow(window: Tensor, seed: int) -> np.ndarray:
    """The obvious version of one window, (16, H, W, 3) -> (120,): 3D convolutions in float64."""
    network, found = _network(seed), []
    x = window.double().permute(3, 0, 1, 2)[None] / 127.5 - 1
    for layer, (spatial, temporal) in enumerate(zip(network.spatial, network.temporal, strict=True)):
        pad = spatial.shape[-1] // 2
        x = F.conv3d(x, spatial.double()[:, :, None], stride=(1, 2, 2), padding=(0, pad, pad))
        if layer == 0:
            found += [x[:, :, :8].abs().mean((0, 2, 3, 4)), x[:, :, 8:].abs().mean((0, 2, 3, 4))]
            found += [(x[:, :, 8:] - x[:, :, :8]).mean((0, 2, 3, 4)).abs()]
        x = x.relu()
        taps = temporal.double().unflatten(0, (3, -1)).permute(1, 2, 0)[..., None, None]
        motion = F.conv3d(x, taps)
        found += [motion[:, :, :7].abs().mean((0, 2, 3, 4)), motion[:, :, 7:].abs().mean((0, 2, 3, 4))]
    return (4 + torch.log2(torch.cat(found) + LEVEL)).numpy()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (40, 24)])
def test_they_are_those_of_the_obvious_network_at_any_size(height: int, width: int) -> None:
    windows = np.random.default_rng(0).integers(0, 256, (2, WINDOW, height, width, 3), dtype=np.uint8)
    found = random_features(windows)
    assert found.shape == (3, 2, 120) and found.dtype == np.float32
    want = np.stack([[slow(torch.from_numpy(window), seed) for window in windows] for seed in SEEDS])
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_a_window_has_the_same_features_in_any_batch(windows: np.ndarray, seen: np.ndarray) -> None:
    parts = [random_features(part) for part in (windows[:1], windows[1:6], windows[6:20])]
    np.testing.assert_allclose(np.concatenate(parts, 1), seen[:, :20], atol=1e-4)


def test_weights_are_the_same_on_every_machine() -> None:
    # Written down from a first run: another figure is another network, and no earlier result compares with it.
    sums = [sum(part.double().abs().sum().item() for parts in _network(seed) for part in parts) for seed in SEEDS]
    assert sums == pytest.approx([1380.0234195535922, 1370.649312408789, 1392.3952869723544], rel=1e-7)


def test_no_random_state_is_used_or_left_changed() -> None:
    state = torch.random.get_rng_state()
    _network.cache_clear()
    random_features(np.zeros((1, WINDOW, 16, 16, 3), np.uint8))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_still_window_of_one_colour_is_finite_and_has_no_motion() -> None:
    found = random_features(np.full((1, WINDOW, 16, 16, 3), 128, np.uint8))
    assert np.isfinite(found).all()
    assert found[:, 0, -24:] == pytest.approx(4 + np.log2(LEVEL), abs=1e-2)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 15, 32, 32, 3), "windows of 16 frames"),
        ((2, 16, 15, 32, 3), "16 x 16 px or more"),
        ((0, 16, 32, 32, 3), "cannot be judged"),
        ((16, 32, 32, 3), "uint8"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        random_features(np.zeros(shape, np.uint8))


def test_other_types_are_refused() -> None:
    with pytest.raises(UserError, match="uint8"):
        random_features(np.zeros((1, 16, 32, 32, 3), np.float32))

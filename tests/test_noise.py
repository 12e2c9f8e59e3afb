"""Noise is a pure function of (seed, frame, row), and normal."""

from __future__ import annotations

import math

import pytest
import torch

from unspool.noise import FrameNoise, fold, normal, uniform


def ks(sample: torch.Tensor, cdf) -> float:
    """Kolmogorov-Smirnov distance times sqrt(n): above 1.95 has probability 0.001 under the law."""
    x = sample.flatten().double().sort().values
    n = len(x)
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    return float(torch.maximum((cdf(x) - steps).abs(), (cdf(x) - steps + 1 / n).abs()).max() * math.sqrt(n))


def phi(x: torch.Tensor) -> torch.Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2


def test_a_frame_is_the_same_wherever_it_is_drawn() -> None:
    source = FrameNoise((3, 4, 5))
    seed, at = torch.tensor([7, 8, 7]), torch.tensor([0, 100_000, 5])
    video = source(seed, at, 9)
    assert video.shape == (3, 9, 3, 4, 5) and video.dtype == torch.float32
    for slot in range(3):  # alone, in another order, one frame at a time, from another first frame
        for frame in (8, 0, 3):
            alone = source(seed[slot : slot + 1], at[slot : slot + 1] + frame, 1)
            assert torch.equal(alone[0, 0], video[slot, frame])
    assert torch.equal(source(seed.flip(0), at.flip(0), 9), video.flip(0))
    assert torch.equal(video[0, 5:], video[2, :4])  # seed 7, frames 5 .. 8


def test_seed_frame_and_row_all_tell_apart() -> None:
    source = FrameNoise((1, 16, 16))
    seeds, frames, rows = (0, 1, 2, -1, 1 << 40), (0, 1, 2, 1 << 33), (0, 1, 2)
    draws = {
        (s, f, r): source(torch.tensor([s]), torch.tensor([f]), 1, r).flatten() for s in seeds for f in frames for r in rows
    }
    stacked = torch.stack(list(draws.values()))
    among = torch.corrcoef(stacked) - torch.eye(len(stacked))
    assert among.abs().max() < 6 / math.sqrt(256)  # independent: standard deviation 1/16
    assert among.square().mean() * 256 == pytest.approx(1, abs=0.15)


def test_moments_and_law() -> None:
    x = normal(fold(torch.tensor(3), torch.arange(1000)), 1000)
    n = x.numel()
    for power, wanted, deviation in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs(float(x.double().pow(power).mean()) - wanted) < 4.5 * deviation / math.sqrt(n), f"moment {power}"
    assert ks(x, phi) < 1.95
    assert ks(x.mean(1) * math.sqrt(1000), phi) < 1.95  # sums along one key
    assert ks(x.mean(0) * math.sqrt(1000), phi) < 1.95  # and across keys
    assert ks(uniform(torch.tensor(5), 100_000), lambda u: u) < 1.95


def test_neighbours_are_uncorrelated() -> None:
    """Lags along a key, across keys, and along the diagonal, where an additive key and lane would show."""
    x = normal(fold(torch.tensor(0), torch.arange(500)), 500)
    pairs = {
        "lane": (x[:, :-1], x[:, 1:]), "key": (x[:-1], x[1:]), "diagonal": (x[:-1, 1:], x[1:, :-1]),
        "square": (x[:, :-1].square() - 1, x[:, 1:].square() - 1),
    }  # fmt: skip
    for name, (a, b) in pairs.items():
        assert abs(float((a * b).mean() / (a.std() * b.std()))) < 4.5 / 500, name


def test_never_infinite() -> None:
    """Over 10^7 draws, all within the range of 23 bits; both ends of the hash give finite numbers."""
    most, least = 0.0, 1.0
    for block in range(10):
        x = normal(fold(torch.tensor(block), torch.arange(1000)), 1000)
        assert torch.isfinite(x).all()
        most, least = max(most, float(x.abs().max())), min(least, float(x.abs().min()))
    assert 4.9 < most < 5.4
    assert least < 1e-6
    ends = (torch.tensor([0.0, (1 << 23) - 1]) + 0.5) / (1 << 23)  # the least and the greatest that `uniform` can give
    assert ends[0] > 0 and ends[1] < 1
    assert torch.isfinite(torch.erfinv(2 * ends - 1)).all()
    for key in (0, -1, (1 << 63) - 1, -(1 << 63)):
        assert torch.isfinite(normal(torch.tensor(key), 1000)).all()


def test_fold_derives_independent_keys() -> None:
    key = torch.tensor(42)
    assert fold(key, 1, 2) == fold(fold(key, 1), 2) != fold(key, 2, 1)
    index = torch.arange(300)
    key_sets = [
        fold(key, index), fold(index, 1000), fold(key, index, 500), fold(key, 600, index), fold(key, index, index + 1),
        fold(-1 - index, 3), fold(index[:, None] + 100, torch.arange(20)).flatten(),
    ]  # fmt: skip
    keys = torch.cat(key_sets)
    assert len(keys.unique()) == len(keys)
    bits = (keys[:, None] >> torch.arange(64)) & 1  # each bit is fair, and flips with probability 1/2 from key to key
    assert (bits.double().mean(0) - 0.5).abs().max() < 5 * 0.5 / math.sqrt(len(keys))
    flips = (fold(key, index)[:-1, None] ^ fold(key, index)[1:, None]) >> torch.arange(64) & 1
    assert float(flips.double().mean()) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(flips.numel()))


def test_longer_draws_begin_with_shorter_ones() -> None:
    key = torch.tensor([1, 2])
    assert torch.equal(normal(key, 4, 6).flatten(1)[:, :7], normal(key, 7))

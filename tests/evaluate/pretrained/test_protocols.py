"""Which frames enter, and the distances of what they give, against slow versions and closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.evaluate.distance import frechet
from unspool.evaluate.pretrained.extractors import I3D, VJEPA, Extractor
from unspool.evaluate.pretrained.protocols import (
    STYLEGANV_16,
    STYLEGANV_128,
    STYLEGANV_128_BY_8,
    WHOLE_VIDEO,
    Preset,
    embed,
    fvd,
    jedi,
    sample_note,
    windows_of,
)


def forward(clips: Tensor) -> Tensor:
    """(B, 3, T, H, W) -> (B, 4): corners of the first, middle and last frame, and how many there are."""
    corner = clips[:, 0, :, 0, 0]
    frames = clips.shape[2]
    return torch.stack([corner[:, 0], corner[:, frames // 2], corner[:, -1], torch.full((len(clips),), frames / 100.0)], 1)


SEGMENTS = Preset("windows of 16 frames", 16, windows=None, context=False)
EXTRACTOR = Extractor(replace(I3D, name="corners", golden=None), ("",), "not verified", forward)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which frames enter does not depend on how large they become."""
    monkeypatch.setattr("unspool.evaluate.pretrained.extractors.SIDE", 8)


def counted(frames: int, start: int = 0) -> np.ndarray:
    """Frame t is the colour t."""
    return np.broadcast_to((np.arange(frames) + start).astype(np.uint8)[:, None, None, None], (frames, 4, 4, 3))


def random(count: int, frames: int, seed: int, size: int = 4) -> Iterator[np.ndarray]:
    for one in np.random.default_rng(seed).spawn(count):
        yield one.integers(0, 256, (frames, 1, 1, 1), dtype=np.uint8) * np.ones((1, size, size, 3), np.uint8)


@pytest.mark.parametrize(
    ("preset", "frames", "expected"),
    [
        (STYLEGANV_16, 40, [list(range(16))]),
        (STYLEGANV_128, 130, [list(range(128))]),
        (STYLEGANV_128_BY_8, 130, [list(range(0, 128, 8))]),
        (WHOLE_VIDEO, 30, [list(range(30))]),
        (SEGMENTS, 40, [list(range(6, 22)), list(range(22, 38))]),
        (Preset("", 4, windows=2, every=3), 30, [[0, 3, 6, 9], [12, 15, 18, 21]]),
    ],
)
def test_windows(preset: Preset, frames: int, expected: list[list[int]]) -> None:
    assert windows_of(counted(frames), preset, context=6)[..., 0, 0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("video", "preset", "context", "says"),
    [
        (counted(127), STYLEGANV_128_BY_8, 0, "needs 128 frames, a video has 127"),
        (counted(20), SEGMENTS, 5, "needs 16 frames, a video has 15"),
        (counted(20), SEGMENTS, 20, "20 cannot be context"),
        (counted(20), SEGMENTS, -1, "-1 cannot be context"),
        (counted(20)[..., :1], SEGMENTS, 0, "must be uint8"),
        (counted(20) / 255, SEGMENTS, 0, "must be uint8"),
        (counted(0), WHOLE_VIDEO, 0, "a video has 0"),
    ],
)
def test_videos_without_windows(video: np.ndarray, preset: Preset, context: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        windows_of(video, preset, context)


def test_one_pass_embeds_for_all_protocols() -> None:
    videos = list(random(3, 40, seed=0))
    rows = embed(EXTRACTOR, iter(videos), SEGMENTS, WHOLE_VIDEO, context=6)
    assert [row.shape for row in rows] == [(3, 2, 4), (3, 1, 4)]
    for i, video in enumerate(videos):
        assert np.abs(rows[0][i, 1, :3] - (video[[22, 30, 37], 0, 0, 0] / 127.5 - 1)).max() < 1e-6
        assert np.array_equal(rows[1][i], EXTRACTOR.features(video[None]))


def test_videos_are_let_go_one_by_one() -> None:
    alive: list[int] = []

    def watched() -> Iterator[np.ndarray]:
        for i in range(6):
            assert len(alive) == i, "video i is asked for once all before it have been embedded"
            yield counted(16, i)

    def note(clips: Tensor) -> Tensor:
        alive.append(len(clips))
        return forward(clips)

    assert embed(replace(EXTRACTOR, forward=note), watched(), STYLEGANV_16)[0].shape == (6, 1, 4)


def test_sets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="no videos"):
        embed(EXTRACTOR, iter([]), STYLEGANV_16)
    with pytest.raises(UserError, match="as many windows, not 2 and 1"):
        embed(EXTRACTOR, [counted(32), counted(20)], SEGMENTS)
    with pytest.raises(UserError, match="must have one size"):
        embed(EXTRACTOR, [*random(1, 16, 0), *random(1, 16, 0, size=5)], STYLEGANV_16)
    with pytest.raises(UserError, match="of the same M and D"):
        fvd(np.zeros((3, 2, 4)), np.zeros((3, 1, 4)))
    with pytest.raises(UserError, match="at least 2"):
        fvd(np.zeros((1, 1, 4)), np.zeros((3, 1, 4)))
    with pytest.raises(UserError, match="takes clips of 16 frames, not 20"):
        embed(replace(EXTRACTOR, network=replace(VJEPA, name="JEDi")), [counted(20)], WHOLE_VIDEO)


def test_fvd_is_the_frechet_distance_of_each_window() -> None:
    rng = np.random.default_rng(0)
    made, real = rng.normal(0.5, 2, (40, 3, 5)), rng.normal(0, 1, (30, 3, 5))
    assert fvd(made, real).tolist() == [frechet(made[:, i], real[:, i]) for i in range(3)]


def test_fvd_of_gaussians_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(50, 4))
    base = (base - base.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(base, rowvar=False))).T
    made, real = 3 * base[:, None] + 2, base[:, None]  # exact moments: 4 (2^2 + (3 - 1)^2)
    assert fvd(made, real)[0] == pytest.approx(32, rel=1e-9)


def test_jedi_is_the_mean_of_kernels() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(0.2, 1, (12, 6)), rng.normal(0, 1, (9, 6))

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[(float(i @ j) / 6) ** 2 for i in a] for j in b]))

    assert jedi(x, y) == pytest.approx(100 * (mean(x, x) + mean(y, y) - 2 * mean(x, y)), rel=1e-10)
    assert jedi(x, x) == 0
    for bad, says in (((x, y[:, :5]), "of one D"), ((x, y[:0]), "1 row or more"), ((x, y * np.nan), "finite")):
        with pytest.raises(UserError, match=says):
            jedi(*bad)


def test_small_samples_are_told() -> None:
    assert sample_note(32, 5000) == "N = 32 of the 2 048 that published figures use"
    assert sample_note(2048, 2048) == "" and sample_note(300, 256, published=256) == ""

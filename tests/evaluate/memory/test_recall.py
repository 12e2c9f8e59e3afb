"""Renderers whose memory is known get the recall that they have; frozen and blurred videos get none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unspool.errors import UserError
from unspool.evaluate.bootstrap import Interval
from unspool.evaluate.memory.recall import CAP, EDGES, Errors, errors, errors_in, is_worth, recall, views
from unspool.evaluate.memory.renderers import forgetting, frozen, memoryless, oracle, otherwise
from unspool.evaluate.memory.scenes import Scene, around, reasoning, render_like, retrieval, sights
from unspool.evaluate.memory.sights import revisits

images = pytest.importorskip("torchmetrics.functional.image")
WINDOW = 8


def average(scene: Scene) -> np.ndarray:
    """No memory at all, and no picture: the mean of what many plans would show, the best guess by squared error."""
    return np.mean([render_like(scene, otherwise(scene.layout, n)) for n in range(10, 26)], 0).round().astype(np.uint8)


def as_pictures(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).double().movedim(-1, 1)


@pytest.fixture(scope="module")
def scenes() -> tuple[Scene, ...]:
    return retrieval(24, window=WINDOW, windows=8)


@pytest.fixture(scope="module")
def none(scenes) -> Errors:
    return errors(scenes, memoryless(WINDOW), WINDOW)


@pytest.fixture(scope="module")
def full(scenes) -> Errors:
    return errors(scenes, oracle, WINDOW)


def test_errors_are_those_of_a_loop_over_pixels(scenes) -> None:
    scene = scenes[0]
    made, gap = frozen(scene).astype(float), revisits(sights(scene), scene.context)
    others = [render_like(scene, otherwise(scene.layout, n)).astype(float) for n in (1, 2, 3, 4)]
    truth = scene.frames[scene.context :].astype(float)
    whole = [
        images.structural_similarity_index_measure(*map(as_pictures, pair), data_range=255.0, return_full_image=True)[1]
        for pair in zip(np.where(gap[..., None] > 0, made, truth)[:, None], truth[:, None], strict=True)
    ]
    maps = torch.cat(whole).mean(1).numpy()
    squared, contrast, similar, pixels = (np.zeros(len(EDGES) - 1) for _ in range(4))
    for t, y, x in zip(*np.nonzero(gap), strict=True):
        span = max(k for k, edge in enumerate(EDGES) if gap[t, y, x] > edge * WINDOW)
        error, *wrong = (np.mean((made[t, y, x] - view[t, y, x]) ** 2) for view in (truth, *others))
        squared[span] += error
        contrast[span] += error - np.mean(wrong)
        similar[span] += maps[t, y, x]
        pixels[span] += 1
    found = errors([scene], frozen, WINDOW)
    assert np.array_equal(found.pixels[0], pixels)
    assert np.allclose(found.squared[0], squared) and np.allclose(found.contrast[0], contrast)
    assert np.allclose(found.similar[0], similar, rtol=1e-4) and 0 < similar.sum() < 0.9 * pixels.sum()


def test_oracle_one_memoryless_nothing(none, full) -> None:
    overall, gaps = recall(full, none, full)
    assert overall.recall == (1, 1, 1) and overall.psnr == pytest.approx((CAP,) * 3)
    assert overall.gain.low > 40 and overall.scenes == 24 and overall.pixels == full.pixels[:, 1:].sum() > 3e5
    assert [gap.recall for gap in gaps[1:]] == [(1, 1, 1)] * 4
    assert recall(none, none, full).overall.recall == (0, 0, 0)
    assert 10 < recall(none, none, full).overall.psnr.value < 13


def test_who_forgets_half_has_half_and_more_is_less(scenes, none, full) -> None:
    found = [recall(errors(scenes, forgetting(share), WINDOW), none, full).overall for share in (0, 0.25, 0.5, 0.75, 1)]
    values = [score.recall.value for score in found if score.recall is not None]
    assert values == pytest.approx([1, 0.75, 0.5, 0.25, 0], abs=0.05)
    assert values[0] == 1 and values[4] == 0 and (np.diff(values) < 0).all()
    assert found[0].own == found[0].gain and found[4].own == (0, 0, 0) and found[2].own.value == pytest.approx(3, abs=0.3)
    half = found[2]
    assert half.recall is not None and half.recall.low < half.recall.value < half.recall.high < half.recall.low + 0.1
    assert half.recall == min(half.by_error, half.by_contrast) and found[1].psnr.value > half.psnr.value


def test_the_same_on_walks_that_go_on() -> None:
    walks = reasoning(24, window=WINDOW, windows=8)
    half, none, full = (errors(walks, renderer, WINDOW) for renderer in (forgetting(0.5, seed=1), memoryless(WINDOW), oracle))
    assert recall(half, none, full).overall.recall.value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("make", "windows"),
    [(around, 0), *((make, windows) for make in (retrieval, reasoning) for windows in (1, 2, 4, 8))],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_the_scale_holds_behind_any_context(make: Any, windows: int) -> None:
    """In the windows that `unspool eval` has. Whoever sees just the newest window is worth nothing, in any of them."""
    seen = views(make(24, window=16, **({"windows": windows} if windows else {})), 16)
    full, none, less, half = (errors_in(seen, r) for r in (oracle, memoryless(16), memoryless(12), forgetting(0.5)))
    assert recall(full, none, full).overall.recall == (1, 1, 1)
    assert recall(none, none, full).overall.recall == recall(less, none, full).overall.recall == (0, 0, 0)
    assert recall(half, none, full).overall.recall.value == pytest.approx(0.5, abs=0.05)
    hardly = [recall(arm, none, full).gaps[0].psnr.value for arm in (none, less)]
    assert hardly[0] == pytest.approx(CAP) and (hardly[1] < CAP - 1 or make is around), "a window sees it, a shorter one not"


def test_ssim_of_the_truth_and_of_another_plan(scenes, none, full) -> None:
    exact, other = recall(full, none, full).overall, recall(none, none, full).overall
    assert exact.ssim == pytest.approx((1, 1, 1)) and other.ssim.high < 0.6 and other.own_ssim == (0, 0, 0)
    assert exact.own_ssim.value == pytest.approx(1 - other.ssim.value) and exact.own_ssim.low > 0.4


def test_a_memory_that_ends_is_seen_to_end(scenes, none, full) -> None:
    """Of 2 windows, and of 4: all below, nothing above."""
    for windows in (2, 4):
        ends = recall(errors(scenes, memoryless(windows * WINDOW), WINDOW), none, full)
        assert 0 < ends.overall.recall.value < 1
        for gap in ends.gaps[1:]:
            assert gap.recall == ((1, 1, 1) if gap.most <= windows else (0, 0, 0))


def test_frozen_and_blurred_have_none(scenes, none, full) -> None:
    """Measured: copy-last -0.07 by error, 0.23 by contrast; the mean of plans 0.45 by error, -0.03 by contrast."""
    still, soft = (recall(errors(scenes, renderer, WINDOW), none, full).overall for renderer in (frozen, average))
    assert soft.by_error.low > 0.3 and still.by_contrast.low > 0.05, "each error alone is fooled by one of them"
    for score in (still, soft):
        assert score.recall.value < 0.02 and score.recall.high < 0.15


def test_what_was_hardly_out_of_sight_needs_no_memory(none, full) -> None:
    hardly = recall(none, none, full).gaps[0]
    assert (hardly.least, hardly.most) == (0, 1) and hardly.scenes == 24
    assert hardly.recall is None and "0.0 dB" in hardly.reason and hardly.psnr.value == pytest.approx(CAP)


def test_recall_is_told_only_where_there_is_something_to_remember(scenes, none, full) -> None:
    assert "0.0 dB" in recall(full, none, none).overall.reason
    soft = errors(scenes, average, WINDOW)
    score = recall(full, none, soft).overall
    assert score.gain.value > 2 and score.gain.low > 0 and score.recall is None and "softer" in score.reason
    few = recall(*(Errors(*(part[:7] for part in arm)) for arm in (full, none, full)))
    assert few.overall.recall is None and few.overall.reason.startswith("7 scenes")
    short = retrieval(8, window=WINDOW, windows=2)
    unseen = recall(*(errors(short, renderer, WINDOW) for renderer in (oracle, memoryless(WINDOW), oracle)))
    assert unseen.overall.recall == (1, 1, 1)
    never = unseen.gaps[4]
    assert never.recall is None and never.reason.startswith("no scenes") and np.isnan(never.psnr.value)


def test_what_hangs_on_luck_is_not_told() -> None:
    assert is_worth(Interval(2.0, 0.1, 4.0)) and not is_worth(Interval(1.9, 1.0, 3.0))
    assert not is_worth(Interval(3.0, 0.0, 6.0))


def test_only_revisited_pixels_count(scenes, full) -> None:
    def elsewhere_black(scene: Scene) -> np.ndarray:
        return oracle(scene) * (revisits(sights(scene), scene.context) > 0)[..., None]

    for ours, exact in zip(errors(scenes[:4], elsewhere_black, WINDOW), full, strict=True):
        assert np.array_equal(ours, exact[:4])


def test_memoryless_sees_what_its_window_sees() -> None:
    """With all of the context in its memory it errs only where the context shows nothing."""
    for scene in reasoning(4, window=WINDOW, windows=8):
        wrong = (memoryless(10**6)(scene) != oracle(scene)).any(-1)
        known = forgetting(0)(scene)
        assert np.array_equal(memoryless(10**6)(scene), known)
        assert 0 < wrong.mean() < 0.5 and not wrong[revisits(sights(scene), scene.context) > 0].any()


def test_what_cannot_be_measured(scenes, none, full) -> None:
    for bad in (lambda s: oracle(s)[1:], lambda s: oracle(s).astype(np.float32)):
        with pytest.raises(UserError, match="must make uint8 frames"):
            errors(scenes[:1], bad, WINDOW)
    with pytest.raises(UserError, match="give 1 or more"):
        errors([], oracle, WINDOW)
    with pytest.raises(UserError, match="same scenes"):
        recall(Errors(*(part[::-1] for part in full)), none, full)
    for share in (-0.1, 1.1, np.nan):
        with pytest.raises(UserError, match="give 0 to 1"):
            forgetting(share)
    with pytest.raises(UserError, match="give 1 or more"):
        memoryless(0)

"""What is kept of a video seen in blocks is what its whole says."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate.colours import jumps_of
from unspool.evaluate.curves import Curves, measure
from unspool.evaluate.features import random_features
from unspool.evaluate.flow import warp
from unspool.evaluate.futures import score_futures, thumbnails
from unspool.evaluate.quality import ms_ssim, psnr, ssim
from unspool.evaluate.repetition import nearest
from unspool.evaluate.watch import BLOCK, Watch, in_blocks

FRAMES, SEGMENT = 150, 60


@pytest.fixture(scope="module")
def made(fresh: np.ndarray) -> np.ndarray:
    return fresh[:8, :FRAMES]


def see(watch: Watch, made: np.ndarray, real: np.ndarray | None, sizes: list[int]) -> Watch:
    """Frames that arrive in other blocks than they are looked at in."""
    ends = np.cumsum(sizes)
    true = None if real is None else in_blocks(iter([real]), 0)
    for block in in_blocks(iter(np.split(made, ends[ends < made.shape[1]], 1)), 1):
        watch.update(block, None if true is None else next(true))
    return watch


def test_figures_are_those_of_the_whole_video(made: np.ndarray, real: np.ndarray) -> None:
    truth = real[0, :FRAMES]
    found = see(Watch(FRAMES, SEGMENT), made, truth, [1, 2, 70, 33, 5]).figures()
    for name, whole in measure(made)._asdict().items():
        np.testing.assert_allclose(found[name], whole, rtol=1e-6)
        np.testing.assert_array_equal(found[f"begun_{name}"], found[name][0, :1])
    one, two = (np.abs(small[:, lag:] - small[:, :-lag]).mean((1, 2)) for small in [thumbnails(made)] for lag in (1, 2))
    np.testing.assert_allclose(found["order"], one / two, rtol=1e-5)
    np.testing.assert_allclose(found["jumps"], jumps_of(measure(made).rgb), rtol=1e-5)
    np.testing.assert_array_equal(found["warp"], warp(made).error)
    np.testing.assert_array_equal(found["psnr"], psnr(made, truth))
    np.testing.assert_array_equal(found["ssim"], ssim(made, truth))
    np.testing.assert_array_equal(found["ms_ssim"], ms_ssim(made, truth))
    np.testing.assert_allclose(found["score"], score_futures(made, truth).score)
    np.testing.assert_allclose(found["repeats"], nearest(made), rtol=1e-4)


@pytest.mark.parametrize("context", [1, 2, 5])
def test_the_first_frame_comes_after_the_context(made: np.ndarray, real: np.ndarray, context: int) -> None:
    """A video that goes on from another picture than it was given begins with a cut, which frames after it cannot tell."""
    before = real[0, :context]
    found = see(Watch(FRAMES, SEGMENT, before), made, None, [1, 2, 70, 33, 5]).figures()
    whole = np.concatenate([np.repeat(before[None, -2:], len(made), 0), made], 1)
    for name, figures in measure(whole)._asdict().items():
        np.testing.assert_allclose(found[name], figures[:, -FRAMES:], rtol=1e-6)
        if name in ("rgb", "sharpness"):
            np.testing.assert_allclose(found[f"begun_{name}"][0], figures[0, -FRAMES - 1])
    small = thumbnails(whole)
    one, two = (np.abs(small[:, lag:] - small[:, :-lag]).mean(2)[:, -FRAMES:].mean(1) for lag in (1, 2))
    np.testing.assert_allclose(found["order"], one / two, rtol=1e-5)
    np.testing.assert_allclose(found["jumps"], jumps_of(measure(whole).rgb), rtol=1e-5)


def test_a_cut_at_the_seam_is_a_sudden_change(made: np.ndarray) -> None:
    context, later = made[:, :2], made[:, 2:]
    goes_on, cuts = (
        np.mean([see(Watch(FRAMES - 2, SEGMENT, context[k]), later[[other]], None, [FRAMES]).figures()["jumps"]
                 for k, other in enumerate(order)]) for order in (range(8), np.roll(range(8), 1))
    )  # fmt: skip
    assert goes_on < 3 and cuts > 3 * goes_on, (goes_on, cuts)


def test_a_window_of_each_segment_is_looked_at_in_its_middle(made: np.ndarray) -> None:
    found = see(Watch(FRAMES, SEGMENT), made, None, [40] * 3)
    whole = np.stack([random_features(made[:, start : start + 16]) for start in (22, 82, 127)])
    np.testing.assert_allclose(found.figures()["features"], whole.transpose(2, 0, 1, 3), rtol=1e-4, atol=1e-5)


def test_nothing_needs_the_truth_or_eight_futures_but_what_compares_with_them(made: np.ndarray) -> None:
    alone = set(see(Watch(FRAMES, SEGMENT), made[:3], None, [FRAMES]).figures())
    few = set(see(Watch(FRAMES, SEGMENT), made[:3], made[3], [FRAMES]).figures())
    assert few - alone == {"psnr", "ssim", "ms_ssim"}
    assert {"motion", "flicker", "warp", "features", "repeats", "begun_rgb"} <= alone and "score" not in few


def test_what_is_kept_is_the_first_future_and_the_frames_of_the_sheet(made: np.ndarray) -> None:
    watch = see(Watch(FRAMES, SEGMENT, keep=70), made, None, [31] * 4)
    np.testing.assert_array_equal(watch.kept, made[0, :70])
    np.testing.assert_array_equal(watch.figures()["frames"], made[:2, [0, 1, 2, 5, 10, 30, 60, 100, 149]])


def test_a_video_that_ends_early_is_told() -> None:
    watch = Watch(FRAMES, SEGMENT)
    watch.update(np.zeros((1, BLOCK, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match=f"{FRAMES} frames were asked for and {BLOCK} came"):
        watch.figures()


def test_short_videos_leave_out_what_they_cannot_say(made: np.ndarray) -> None:
    found = see(Watch(12, SEGMENT), made[:, :12], None, [12]).figures()
    assert "features" not in found and "repeats" not in found and found["motion"].shape == (8, 12)
    assert set(Curves._fields) <= set(found)

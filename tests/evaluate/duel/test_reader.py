"""The reader that ships, on real frames of `duel` which it was never trained on, and on videos that are spoiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unspool import store
from unspool.data.worlds.duel import JOINTS, MOVES, Duel
from unspool.errors import UserError
from unspool.evaluate.drift import tabulate
from unspool.evaluate.duel.identity import begins_right, cloth, follow
from unspool.evaluate.duel.plausible import (
    bone_lengths,
    doubt,
    joint_travel,
    limb_error,
    move_histogram_distance,
    move_shares,
    plausibility,
)
from unspool.evaluate.duel.reader import CELLS, SHIPPED, Reader, Reading, decode, load_reader, save_reader

CLIPS, FRAMES = 10, 60
Fights = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load_reader()


@pytest.fixture(scope="module")
def fights() -> Fights:
    """Videos, joints and moves of held-out combinations, in the order of the reader."""
    world = Duel(split="unseen")
    truth = world.simulate(np.arange(CLIPS), FRAMES)
    turned = begins_right(truth.joints)[:, None, None]
    joints = np.where(turned[..., None, None], truth.joints[:, :, ::-1], truth.joints)
    return world.render(truth), joints, np.where(turned, truth.move[:, :, ::-1], truth.move)


@pytest.fixture(scope="module")
def reading(reader: Reader, fights: Fights) -> Reading:
    return reader(fights[0])


def pixels(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 64 * np.linalg.norm(a - b, axis=-1)


def of_truth(joints: np.ndarray, moves: np.ndarray) -> Reading:
    chances = np.eye(len(MOVES), dtype=np.float32)[moves]
    return Reading(joints, chances, np.ones(joints.shape[:-1], np.float32))


def test_joints_are_read_far_better_than_a_pose_hung_on_the_true_pelvis(reading: Reading, fights: Fights) -> None:
    joints = fights[1]
    error = pixels(reading.joints, joints)
    hung = joints.mean((0, 1)) - joints.mean((0, 1))[:, :1] + joints[..., :1, :]
    assert np.median(error) < 1.5
    assert error.mean() < pixels(hung, joints).mean() / 2
    assert (error < 4).mean() > 0.85


def test_moves_are_read_far_better_than_the_commonest(reading: Reading, fights: Fights) -> None:
    moves = fights[2]
    commonest = (moves == np.bincount(moves.ravel()).argmax()).mean()
    assert (reading.move == moves).mean() > max(0.5, 2.5 * commonest)


def test_the_reading_has_its_shapes_and_ranges(reading: Reading) -> None:
    assert reading.joints.shape == (CLIPS, FRAMES, 2, len(JOINTS), 2)
    assert reading.chances.shape == (CLIPS, FRAMES, 2, len(MOVES))
    assert reading.confidence.shape == (CLIPS, FRAMES, 2, len(JOINTS))
    assert reading.joints.min() >= 0 and reading.joints.max() <= 1
    np.testing.assert_allclose(reading.chances.sum(-1), 1, atol=1e-5)
    assert reading.confidence.min() >= 0 and reading.confidence.max() <= 1
    assert not begins_right(reading.joints).any()


def test_confidence_knows_where_the_reader_errs(reading: Reading, fights: Fights) -> None:
    error = pixels(reading.joints, fights[1])
    unsure = reading.confidence < np.quantile(reading.confidence, 0.1)
    assert error[unsure].mean() > 2 * error[~unsure].mean()


def test_joints_are_read_from_one_picture_alone(reader: Reader, fights: Fights) -> None:
    video = fights[0][:1, :20]
    alone = np.concatenate([reader(video[:, t : t + 1]).joints for t in range(20)], 1)
    together = reader(video).joints
    straight, crossed = (np.isclose(one, together, atol=1e-5).all((2, 3, 4)) for one in (alone, alone[:, :, ::-1]))
    assert (straight | crossed).all()


def test_a_place_between_cells_is_decoded_exactly() -> None:
    place = torch.rand(50, 2, dtype=torch.float64) * 0.8 + 0.1
    at = place * CELLS - 0.5
    cells = torch.arange(CELLS)
    along = (1 - (at[..., None] - cells).abs()).clamp(min=0)  # (50, xy, 16): the weights of the loss
    chance = along[:, 1, :, None] * along[:, 0, None, :]
    found, sure = decode(chance.log().clamp(min=-60))
    torch.testing.assert_close(found.double(), place, atol=1e-5, rtol=0)
    torch.testing.assert_close(sure, torch.ones(50))


def test_a_second_guess_far_away_lowers_confidence_and_does_not_move_the_joint() -> None:
    logits = torch.full((CELLS, CELLS), -60.0)
    logits[3, 4], logits[12, 12] = 0.0, float(np.log(0.5))
    place, sure = decode(logits)
    torch.testing.assert_close(place, torch.tensor([4.5, 3.5]) / CELLS)
    assert float(sure) == pytest.approx(2 / 3, abs=1e-4)


def left_to_right(tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tracks (N, T, F, J, 2) as `Pose` says them, and (N, T) where that turned them round."""
    turned = tracks[:, :, 0, 0, 0] > tracks[:, :, 1, 0, 0]
    return np.where(turned[..., None, None, None], tracks[:, :, ::-1], tracks), turned


def test_fighters_who_pass_each_other_are_followed_by_travel_alone() -> None:
    pose = np.random.default_rng(0).normal(0, 0.08, (2, 21, 2))
    x = np.stack([np.linspace(0.2, 0.8, 40), np.linspace(0.8, 0.2, 40)], 1)
    tracks = pose[None] + np.stack([x, np.full_like(x, 0.6)], -1)[:, :, None]
    tracks[:, :, 0, 0] = x
    seen, turned = left_to_right(tracks[None].astype(np.float32))
    np.testing.assert_array_equal(follow(seen, np.zeros((1, 40, 2, 3), np.float32)), turned)


def test_fighters_who_vanish_behind_each_other_are_found_again_by_their_cloth() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([np.linspace(0.2, 0.8, 40), np.linspace(0.8, 0.2, 40)], 1)
    tracks = rng.normal(0, 0.02, (1, 40, 2, 21, 2)) + np.stack([x, np.full_like(x, 0.6)], -1)[None, :, :, None]
    tracks[0, 15:25] = rng.normal(0.5, 0.1, (10, 2, 21, 2))  # nothing of them can be read there
    seen, turned = left_to_right(tracks.astype(np.float32))
    colours = np.where(turned[..., None, None], np.array([[0, 0, 1], [1, 0, 0.0]]), np.array([[1, 0, 0.0], [0, 0, 1]]))
    outside = np.r_[0:15, 25:40]
    found = follow(seen, colours.astype(np.float32))
    np.testing.assert_array_equal(found[:, outside], turned[:, outside])
    assert found[0, 30:].all() and not found[0, :10].any()


def test_fights_are_followed_on_real_frames(fights: Fights, reading: Reading) -> None:
    videos, joints, _ = fights
    seen, turned = left_to_right(joints)
    np.testing.assert_array_equal(follow(seen, cloth(videos, seen)), turned)
    straight, crossed = (pixels(one, joints).mean((2, 3)) for one in (reading.joints, reading.joints[:, :, ::-1]))
    assert (straight <= crossed).mean() > 0.98


def test_true_bodies_keep_their_limbs_except_while_turning() -> None:
    truth = Duel(split="seen").simulate(np.arange(64), 100)
    facing = (np.abs(truth.turn) == 1).all(-1)
    error = limb_error(of_truth(truth.joints, truth.move))
    assert facing.mean() > 0.9
    assert error[facing].max() < 1e-5
    assert error[~facing].mean() > 0.05


def test_limb_error_is_a_share_of_the_length() -> None:
    truth = Duel().simulate(np.arange(2), 5)
    middle = truth.joints[..., :1, :]
    longer = of_truth(middle + 1.2 * (truth.joints - middle), truth.move)
    facing = (np.abs(truth.turn) == 1).all(-1)
    np.testing.assert_allclose(limb_error(longer)[facing], 0.2, rtol=1e-4)
    assert bone_lengths().min() > 0.05


def test_travel_is_in_pixels_and_zero_when_nothing_moves(reading: Reading) -> None:
    shift = np.arange(FRAMES, dtype=np.float32)[:, None, None, None] * np.array([3 / 64, 4 / 64], np.float32)
    still = np.repeat(reading.joints[:, :1], FRAMES, 1)
    moved = joint_travel(reading._replace(joints=still + shift))
    assert np.isnan(moved[:, 0]).all()
    np.testing.assert_allclose(moved[:, 1:], 5, rtol=1e-4)
    assert np.nanmax(joint_travel(reading._replace(joints=still))) == 0


def test_histograms_count_moves_of_both_fighters() -> None:
    moves = np.array([[[0, 1], [0, 3], [2, 3]]])
    shares = move_shares(of_truth(np.zeros((1, 3, 2, 21, 2), np.float32), moves))
    np.testing.assert_allclose(shares[0, :5], [2 / 6, 1 / 6, 1 / 6, 2 / 6, 0])


def test_fresh_fights_have_the_moves_of_real_ones_and_loops_of_one_move_have_not() -> None:
    truth = Duel(split="seen").simulate(np.arange(60), 300)
    known = of_truth(truth.joints[:40], truth.move[:40])
    fresh = move_histogram_distance(of_truth(truth.joints[40:], truth.move[40:]), known)
    one = np.full_like(truth.move[40:], MOVES.index("stagger high"))
    assert fresh.odd.mean() <= 0.25
    assert move_histogram_distance(of_truth(truth.joints[40:], one), known).odd.all()


def blurred(videos: np.ndarray, size: int) -> np.ndarray:
    x = torch.from_numpy(videos).flatten(0, 1).permute(0, 3, 1, 2).float()
    x = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (size // 2,) * 4, mode="replicate"), size, 1)
    return x.round().byte().permute(0, 2, 3, 1).numpy().reshape(videos.shape)


def verdicts(reader: Reader, videos: np.ndarray, reading: Reading) -> dict[str, set[str]]:
    """Metric -> sides of the band on which the videos lie, over their whole length."""
    table = tabulate(plausibility(reader(videos), reading).values(), length=FRAMES)
    found: dict[str, set[str]] = {}
    for row in table.rows:
        found.setdefault(row.metric, set()).add(row.side)
    return found


def test_a_frozen_video_is_flagged(reader: Reader, fights: Fights, reading: Reading) -> None:
    frozen = np.repeat(fights[0][:3, :1], FRAMES, 1)
    assert verdicts(reader, frozen, reading)["joints"] == {"below"}
    long = reader(np.repeat(fights[0][:3, :1], 240, 1))  # fewer frames hold too few moves, even in a real fight
    truth = Duel(split="unseen").simulate(np.arange(100, 140), 240)
    assert move_histogram_distance(long, of_truth(truth.joints, truth.move)).odd.all()
    assert move_shares(long).max(-1).min() >= 0.5  # one move a fighter, for ever


def test_a_blurred_video_is_flagged(reader: Reader, fights: Fights, reading: Reading) -> None:
    blur = blurred(fights[0][:3], 9)
    found = verdicts(reader, blur, reading)
    assert found["limbs"] == {"above"} and found["doubt"] == {"above"}


def test_a_video_without_fighters_is_flagged(reader: Reader, fights: Fights, reading: Reading) -> None:
    grain = np.random.default_rng(0).normal(0, 4, fights[0][:3].shape)
    empty = np.clip(np.median(fights[0][:3], 1, keepdims=True) + grain, 0, 255).astype(np.uint8)
    assert verdicts(reader, empty, reading)["doubt"] == {"above"}


def test_the_worse_the_blur_the_worse_the_figures(reader: Reader, fights: Fights) -> None:
    found = [reader(blurred(fights[0][:2, :30], size)) for size in (1, 5, 9)]
    for measure in (limb_error, doubt):
        figures = [float(measure(one).mean()) for one in found]
        assert figures == sorted(figures), measure.__name__


@pytest.mark.parametrize("shape", [(1, 2, 32, 32, 3), (2, 64, 64, 3), (1, 2, 64, 64, 1), (0, 2, 64, 64, 3)])
def test_other_videos_are_refused(reader: Reader, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="uint8 videos"):
        reader(np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match="uint8 videos"):
        reader(np.zeros((1, 2, 64, 64, 3), np.float32))  # type: ignore[arg-type]


def test_unequal_lengths_and_too_few_real_clips_are_refused(reading: Reading) -> None:
    short = Reading(*(part[:, :5] for part in reading))
    with pytest.raises(UserError, match="as long as"):
        move_histogram_distance(short, reading)
    with pytest.raises(UserError, match="as long as"):
        plausibility(short, reading)
    with pytest.raises(UserError, match="at least 3"):
        move_histogram_distance(reading, Reading(*(part[:2] for part in reading)))


def test_weights_are_small_and_come_back_as_they_were(reader: Reader, tmp_path: Path, fights: Fights) -> None:
    assert SHIPPED.stat().st_size <= 1_200_000
    save_reader(reader, tmp_path / "again.safetensors")
    again = load_reader(tmp_path / "again.safetensors")(fights[0][:1, :5])
    for one, other in zip(again, reader(fights[0][:1, :5]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_that_hold_no_reader_are_refused(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_reader(tmp_path / "none.safetensors")
    store.save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(3)})
    with pytest.raises(UserError, match="no reader"):
        load_reader(tmp_path / "other.safetensors")
    (tmp_path / "half.safetensors").write_bytes(SHIPPED.read_bytes()[:100_000])
    with pytest.raises(UserError, match="not a whole"):
        load_reader(tmp_path / "half.safetensors")
    broken = load_reader()
    next(broken.parameters()).data.fill_(float("nan"))
    save_reader(broken, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match="not finite"):
        load_reader(tmp_path / "nan.safetensors")

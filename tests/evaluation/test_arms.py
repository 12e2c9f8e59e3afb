"""Models and controls: each goes on from the contexts, and says what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from unspool import recipes
from unspool.data.folder import open_folder
from unspool.data.layouts import open_episodes
from unspool.data.reels import Chosen, Reels, ShardReels, open_reels, part
from unspool.data.shards import Shards
from unspool.data.writer import VideoWriter
from unspool.errors import NothingThere, UserError
from unspool.evaluation import _enlarged, arms
from unspool.evaluation.arms import Arm, Conditions, after
from unspool.system import System
from unspool.testing.tools import scale_weights

SETTINGS = {"recipe": "chunk-by-chunk"}
ASKED = Conditions(frames=70, context=3, contexts=2, futures=2, real=3, segment=35)


@pytest.fixture(scope="module")
def reels() -> Reels:
    return open_reels("rooms", 32, ASKED.whole, "unseen")


@pytest.fixture(scope="module")
def system() -> System:
    torch.manual_seed(0)
    made = recipes.chunk_by_chunk(size="nano", resolution=32, patch=16, components=0, chunk=2, frames=8, steps=2, controls=6)
    scale_weights(made.model, 0.1).eval().requires_grad_(False)
    return made


def whole(blocks: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(blocks), 1)


def test_reels_are_the_clips_that_sample_begins_with(reels: Reels) -> None:
    from unspool.data import open_world

    clip = open_world("rooms", 32, "unseen")(np.array([4]), ASKED.whole)
    np.testing.assert_array_equal(np.concatenate(list(reels.blocks(4))), clip.frames[0])
    assert clip.actions is not None
    np.testing.assert_array_equal(reels.actions(4), clip.actions[0])
    np.testing.assert_array_equal(Chosen(reels, [7, 4]).beginnings([1, 0], 5)[0], clip.frames[0, :5])


def test_truth_follows_the_context_and_copy_last_stays(reels: Reels) -> None:
    clip = np.concatenate(list(reels.blocks(1)))
    np.testing.assert_array_equal(whole(arms.truth(reels, ASKED).play(1))[0], clip[3:])
    frozen = whole(arms.copy_last(reels, ASKED).play(1))
    assert frozen.shape == (1, 70, 32, 32, 3) and (frozen == clip[2]).all()
    np.testing.assert_array_equal(np.concatenate(list(after(iter(np.array_split(clip, 5)), 20))), clip[20:])


@pytest.mark.parametrize("world", ["duel", "rooms"])
def test_a_world_run_again_begins_alike_and_ends_differently(world: str) -> None:
    again = whole(arms.again(open_reels(world, 32, 303), ASKED._replace(frames=300)).play(0)).astype(int)
    assert again.shape[:2] == (2, 300)
    apart = np.abs(again[0] - again[1]).mean((1, 2, 3))
    clip = np.concatenate(list(open_reels(world, 32, 303).blocks(0))).astype(int)[3:]
    assert np.abs(again - clip).mean((2, 3, 4))[:, 0].max() < 12  # the frame after the context, one action later
    assert apart[-50:].mean() > 5 and (np.abs(again - clip)[:, -50:].mean((1, 2, 3, 4)) > 5).all()


def test_the_nearest_training_clip_is_the_same_one_where_it_is_there(reels: Reels) -> None:
    found = arms.nearest(reels, Chosen(reels, [3, 2, 1, 0]), ASKED)
    np.testing.assert_array_equal(whole(found.play(1))[0], np.concatenate(list(reels.blocks(1)))[3:])


def test_a_model_goes_on_by_the_actions_and_other_contexts_have_other_seeds(reels: Reels, system: System) -> None:
    arm = arms.model("mine", "here", SETTINGS, system, reels, ASKED)
    made = whole(arm.play(0))
    assert made.shape == (2, 70, 32, 32, 3) and arm.futures == 2 and arm.paired and arm.kind == "model"
    np.testing.assert_array_equal(made, whole(arm.play(0)))
    assert (made[0] != made[1]).any()
    still = Still(reels)
    assert (whole(arms.model("mine", "here", SETTINGS, system, still, ASKED).play(0)) != made).any()


class Still:
    """Reels in which nothing is done."""

    def __init__(self, reels: Reels) -> None:
        self.reels, self.fps, self.frames = reels, reels.fps, reels.frames

    def __len__(self) -> int:
        return len(self.reels)

    @property
    def identity(self) -> str:
        return "still"

    @property
    def resize(self) -> str:
        return "none"

    def episode(self, reel: int) -> int:
        return reel

    def name(self, reel: int) -> str:
        return self.reels.name(reel)

    def blocks(self, reel: int) -> Iterator[np.ndarray]:
        return self.reels.blocks(reel)

    def beginnings(self, reels: Sequence[int], frames: int) -> np.ndarray:
        return self.reels.beginnings(reels, frames)

    def actions(self, reel: int) -> np.ndarray | None:
        return np.zeros((self.frames, 6), np.float32)

    def again(self, reel: int, at: int, futures: int) -> None:
        return None


def test_the_twin_has_the_weights_but_not_the_name_or_identity(reels: Reels, system: System) -> None:
    arm = arms.model("mine", "here", SETTINGS, system, reels, ASKED)
    twin = arms.without_memory(arm, system, reels, ASKED)
    assert twin.of == "mine" and twin.kind == "control" and twin.identity != arm.identity and twin.name == "mine, no memory"
    assert (whole(twin.play(0)) != whole(arm.play(0))).any()


def test_the_identity_is_that_of_weights_and_plan(reels: Reels, system: System) -> None:
    from dataclasses import replace

    def identity(of: System) -> str:
        return arms.model("mine", "here", SETTINGS, of, reels, ASKED).identity

    assert identity(system) == identity(replace(system))
    assert identity(replace(system, schedule=replace(system.schedule, steps=4))) != identity(system)
    other = arms.model("mine", "here", {**SETTINGS, "arguments": {"window": 4}}, system, reels, ASKED)
    assert other.identity != identity(system)  # what no weight tells


def test_recorded_video_cannot_be_run_again(reels: Reels) -> None:
    with pytest.raises(NothingThere, match="recorded video"):
        arms.again(Still(reels), ASKED).play(0)


# ---- recorded video


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """Six held-out recordings of 30 to 80 frames."""
    for k in range(6):
        write(tmp_path / "videos" / f"{k}.mp4", 30 + 10 * k, seed=k)
    return open_folder(tmp_path / "videos", 32, "test", holdout=0.99, cache=tmp_path / "cache")


def test_contexts_and_the_clips_they_are_compared_with_are_of_other_recordings(shards: Shards) -> None:
    reels = ShardReels(shards, 30)
    longest = len(shards.episodes)
    assert len(reels) == sum(member.frames // 30 for member in shards.episodes) and longest >= 5
    parted = part(reels, 2, 4, 3)
    own, others = ({side.episode(k) for k in range(len(side))} for side in parted)
    assert len(parted.contexts) == 2 and own and len(others) >= 3 and not own & others
    everything = part(reels, 50, 50, 3)
    own, others = ({side.episode(k) for k in range(len(side))} for side in everything)
    assert len(own) + len(others) == longest and not own & others
    with pytest.raises(NothingThere, match="1 to go on from and 9 others are needed"):
        part(reels, 2, 4, 9)


def test_the_identity_of_reels_changes_with_the_videos_behind_them(shards: Shards, tmp_path: Path) -> None:
    before = ShardReels(shards, 30).identity
    assert ShardReels(shards, 30).identity == before != ShardReels(shards, 31).identity
    write(tmp_path / "videos" / "5.mp4", 80, seed=99)
    again = open_folder(tmp_path / "videos", 32, "test", holdout=0.99, cache=tmp_path / "cache")
    assert ShardReels(again, 30).identity != before


# ---- video files of others


def write(path: Path, frames: int, fps: float = 15, seed: int = 0, size: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, size=(size, size), fps=fps) as out:
        out.write(np.random.default_rng(seed).integers(0, 255, (frames, size, size, 3), np.uint8))


def files(folder: Path, asked: Conditions = ASKED, size: int = 32) -> Arm:
    return arms.videos("theirs", open_episodes(folder), size, 15, asked)


def test_videos_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"{k}.mp4", 80, seed=k)
    made = [whole(files(tmp_path).play(k)) for k in range(2)]
    assert made[0].shape == (1, 70, 32, 32, 3) and (made[0] != made[1]).any() and not files(tmp_path).paired
    assert whole(files(tmp_path, size=16).play(0)).shape == (1, 70, 16, 16, 3)


def test_files_that_are_enlarged_are_told(tmp_path: Path) -> None:
    for k, side in enumerate((16, 32)):
        with VideoWriter(tmp_path / f"{k}.mp4", size=(side, side), fps=30) as out:
            out.write(np.zeros((4, side, side, 3), np.uint8))
    assert "1 files" in str(_enlarged(tmp_path, 32)) and "from 16 to 32" in str(_enlarged(tmp_path, 32))
    assert _enlarged(tmp_path, 16) is None


def test_videos_that_do_not_fit_are_told_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 80)
    with pytest.raises(UserError, match="theirs holds 1 readable videos, 2 are asked for: choose --contexts 1"):
        files(tmp_path)
    write(tmp_path / "b.mp4", 40)
    with pytest.raises(UserError, match=r"theirs/b.mp4 has 40 frames: choose --frames 40 or fewer"):
        files(tmp_path)
    write(tmp_path / "b.mp4", 80, fps=30)
    with pytest.raises(UserError, match=r"theirs/b.mp4 has 30 frames a second, the data 15"):
        files(tmp_path)

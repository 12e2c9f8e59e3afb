"""What a measure claims to see it ranks, in three worlds; and a frozen video wins none, read as it must be read."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from unspool.data.worlds.duel import Duel
from unspool.data.worlds.rooms import Rooms
from unspool.errors import UserError
from unspool.evaluate.ladder import RUNGS, Measure, climb
from unspool.evaluate.measures import MEASURES, jumps_of

pytest.importorskip("cv2")
BY_NAME = {one.name: one for one in MEASURES}
WORLDS = ("discs", "duel", "rooms")
CLIPS, FRAMES = 64, 64
FEATURES = ("mmd", "frechet", "coverage")  # in test_measures_of_features.py


@pytest.fixture(scope="module")
def worlds() -> dict[str, np.ndarray]:
    """(64, 64, 32, 32, 3) each."""
    discs = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["episode"]
    seeds = list(range(CLIPS))
    return {
        "discs": np.stack([discs(seed, FRAMES) for seed in seeds]),
        "duel": np.asarray(Duel(size=32, split="seen")(seeds, frames=FRAMES).frames),
        "rooms": np.asarray(Rooms(size=32, split="seen")(seeds, frames=FRAMES).frames),
    }


def ranked(one: Measure, clips: np.ndarray) -> tuple[str, ...]:
    """Of the rungs that it claims, those that it ranks."""
    steps = climb(one, clips, [rung for rung in RUNGS if rung.name in one.sees], (0.5, 1.0))
    return tuple(step.rung for step in steps if step.ranks)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", [one.name for one in MEASURES if one.name not in ("repetition", *FEATURES) and not one.paired])
def test_a_measure_of_sets_ranks_what_it_claims_to_see(worlds: dict[str, np.ndarray], world: str, name: str) -> None:
    clips = worlds[world][:, :32] if name == "flow" else worlds[world]
    assert set(ranked(BY_NAME[name], clips)) == set(BY_NAME[name].sees)


@pytest.mark.parametrize("name", [one.name for one in MEASURES if one.paired])
def test_beside_its_original_every_corruption_shows(worlds: dict[str, np.ndarray], name: str) -> None:
    assert ranked(BY_NAME[name], worlds["rooms"][:16, :32]) == tuple(rung.name for rung in RUNGS)


@pytest.mark.parametrize("world", [Duel(size=32, split="seen"), Rooms(size=32, split="seen")], ids=["duel", "rooms"])
def test_repetition_ranks_loops_and_frozen_video(world: Duel | Rooms) -> None:
    clips = np.asarray(world(list(range(16)), frames=128).frames)
    assert set(ranked(BY_NAME["repetition"], clips)) == set(BY_NAME["repetition"].sees)


def test_repetition_ranks_loops_of_discs(real: np.ndarray, fresh: np.ndarray) -> None:
    assert set(ranked(BY_NAME["repetition"], np.concatenate([real, fresh])[:16, :128])) == {"freeze", "loop"}


def test_every_rung_is_seen_by_a_measure_of_sets() -> None:
    seen = {rung for one in MEASURES if not one.paired for rung in one.sees}
    assert seen == {rung.name for rung in RUNGS}
    assert all(set(one.sees) | set(one.blind) == seen and not set(one.sees) & set(one.blind) for one in MEASURES)


@pytest.mark.parametrize("world", WORLDS)
def test_a_frozen_video_wins_no_measure_read_as_it_must_be(worlds: dict[str, np.ndarray], world: str) -> None:
    """Every measure is of one kind of two: it ranks freezing itself, or is read beside motion, which does."""
    clips = worlds[world]
    frozen = np.repeat(clips[:32, :1], FRAMES, 1)
    assert BY_NAME["motion"].figure(frozen, clips[32:]) > 3
    for one in MEASURES:
        assert one.beside == (None if "freeze" in one.sees and not one.paired else "motion")
    # Why: by PSNR the frozen frame is nearer to what truly followed than are futures that did not happen.
    others = np.roll(clips[:16], 1, 0)
    psnr = BY_NAME["psnr"]
    assert psnr.figure(frozen[:16], clips[:16]) < psnr.figure(others, clips[:16])
    assert BY_NAME["sharpness"].figure(frozen, clips[:32]) < 0.2


def test_a_cut_is_a_change_out_of_nothing() -> None:
    steady = np.arange(40.0)[None, :, None] * [2.0, 0, 0]
    late = steady + 90 * (np.arange(40) >= 20)[None, :, None] * [1, 0, 0]
    np.testing.assert_allclose(jumps_of(np.concatenate([steady, late])), [1, 46])
    assert jumps_of(np.zeros((1, 4, 3))) == 0
    with pytest.raises(UserError, match="4 frames or more, not 3"):
        jumps_of(np.zeros((1, 3, 3)))

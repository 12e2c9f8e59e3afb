"""What distances of features claim to see they rank, in three worlds."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path

import numpy as np
import pytest

from unspool.data.worlds.duel import Duel
from unspool.data.worlds.rooms import Rooms
from unspool.errors import UserError
from unspool.evaluate import measures
from unspool.evaluate.ladder import RUNGS, climb

CLIPS, FRAMES = 64, 32
MEASURES = {one.name: one for one in measures.MEASURES}


@pytest.fixture(scope="module", params=["discs", "duel", "rooms"])
def clips(request: pytest.FixtureRequest) -> np.ndarray:
    """(64, 32, 32, 32, 3)."""
    seeds = list(range(CLIPS))
    if request.param == "discs":
        episode = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["episode"]
        return np.stack([episode(seed, FRAMES) for seed in seeds])
    world = {"duel": Duel, "rooms": Rooms}[request.param](size=32, split="seen")
    return np.asarray(world(seeds, frames=FRAMES).frames)


@pytest.fixture(scope="module", autouse=True)
def once() -> Iterator[None]:
    """Features of the same windows are computed once: three measures share them."""
    known: dict[str, np.ndarray] = {}
    compute = measures.random_features

    def kept(windows: np.ndarray) -> np.ndarray:
        key = sha1(np.ascontiguousarray(windows)).hexdigest()
        if key not in known:
            known[key] = compute(windows)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "random_features", kept)
        yield


@pytest.mark.parametrize("name", ["mmd", "frechet", "coverage"])
def test_a_distance_of_features_ranks_what_it_claims_to_see(clips: np.ndarray, name: str) -> None:
    sees = MEASURES[name].sees
    steps = climb(MEASURES[name], clips, [rung for rung in RUNGS if rung.name in sees], (0.5, 1.0))
    assert {step.rung for step in steps if step.ranks} == set(sees)


def test_a_video_shorter_than_a_window_is_refused(clips: np.ndarray) -> None:
    with pytest.raises(UserError, match="16 frames"):
        MEASURES["mmd"].figure(clips[:32, :15], clips[32:, :15])

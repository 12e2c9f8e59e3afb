"""Linear probes: what is linear is found, what is not there is not, and no layout is on both sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from unspool import store
from unspool.blend import AlphaBlend
from unspool.codec import Pixels
from unspool.context import Cached, Channels
from unspool.errors import UserError
from unspool.evaluate.memory import probes
from unspool.evaluate.memory.playing import encode, remembered
from unspool.evaluate.memory.probes import pose_targets, probe, state_features
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.model.memoryless import Memoryless
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.testing import scale_weights
from unspool.train.objectives import TeacherForcing

RNG = np.random.default_rng(0)
N, D, SIZE = 200, 60, 8
GROUPS = np.repeat(np.arange(50), 4)
X = RNG.normal(size=(N, D))
NOISE = RNG.normal(size=(N, 3))


def values(intervals: Any) -> np.ndarray:
    return np.array([interval.value for interval in intervals])


# -- the regression -------------------------------------------------------------------------------------------------------


def test_what_is_linear_is_found_beside_what_is_not() -> None:
    y = np.concatenate([X @ RNG.normal(size=(D, 2)) + 0.5 * NOISE[:, :2] + 100, NOISE[:, 2:]], 1)
    got = probe(1000 * X + 7, y, GROUPS)
    assert (values(got.found)[:2] > 0.95).all() and abs(values(got.found)[2]) < 0.1
    assert (values(got.shuffled) < 0.1).all() and (values(got.random) < 0.1).all()
    assert all(one.low < one.value < one.high for one in got.found) and got.found[0].low > 0.9 and got.found[2].low < 0
    assert probe(1000 * X + 7, y, GROUPS) == got


def test_more_features_than_walks() -> None:
    """Where features could learn every walk by heart: four directions of 2000 hold the target, the others are faint."""
    strong = RNG.normal(size=(N, 4))
    x = strong @ RNG.normal(size=(4, 2000)) + 0.1 * RNG.normal(size=(N, 2000))
    got = probe(x, np.concatenate([strong[:, :1], NOISE[:, :1]], 1), GROUPS)
    assert values(got.found)[0] > 0.95 and values(got.found)[1] < 0.05
    assert (values(got.shuffled) < 0.1).all() and (values(got.random) < 0.1).all()


@pytest.mark.parametrize("features", ["the group", "noise"])
def test_a_group_cannot_leak(features: str) -> None:
    """Features that name the layout, targets that hang on the layout alone: rows dealt without it would find all of them."""
    of_group = RNG.normal(size=(50, 2))[GROUPS]
    x = np.eye(50)[GROUPS] if features == "the group" else X
    assert (values(probe(x, of_group, GROUPS).found) < 0.05).all()
    if features == "the group":
        assert (values(probe(x, of_group, np.arange(N)).found) > 0.9).all(), "the test cannot fail"


def test_the_prediction_is_the_ridge_of_a_textbook() -> None:
    """Solved feature by feature, (X'X + penalty)^-1 X'y, with and without more features than rows."""
    for size in (12, 90):
        x, y, new = RNG.normal(2, 3, size=(40, size)), RNG.normal(1, size=(40, 2)), RNG.normal(2, 3, size=(7, size))
        z, centre = (x - x.mean(0)) / x.std(0), y.mean(0)
        unit = (z**2).sum() / min(40, size)
        for i in (0, 6, 12):
            inverse = np.linalg.inv(z.T @ z + probes._PENALTIES[i] * unit * np.eye(size))
            want = (new - x.mean(0)) / x.std(0) @ inverse @ z.T @ (y - centre) + centre
            assert np.allclose(probes._predicted(x, y, new)[i], want, rtol=1e-6, atol=1e-8)


def test_features_that_do_not_vary_are_no_reason_to_fail() -> None:
    got = probe(np.concatenate([X, np.full((N, 3), 0.1)], 1), X[:, :1], GROUPS)
    assert got.found[0].value > 0.95
    assert abs(probe(np.full((N, 2), 0.1), X[:, :1], GROUPS).found[0].value) < 1e-9


def test_interval_is_drawn_by_layout() -> None:
    """Walks through one layout that say the same are one walk: with copies of it the interval stays as wide."""
    x, y = X[::4], X[::4] @ RNG.normal(size=(D, 1)) + 8 * NOISE[::4, :1]
    one = probe(x, y, GROUPS[::4]).found[0]
    four = probe(np.repeat(x, 4, 0), np.repeat(y, 4, 0), GROUPS).found[0]
    assert (four.high - four.low) == pytest.approx(one.high - one.low, rel=0.3)


def test_bad_input_is_refused_with_its_fix() -> None:
    y = X[:, :2]
    for x, y_, groups, said in [
        (X, y[:-1], GROUPS, "not \\(200, 60\\), \\(199, 2\\)"),
        (X, y[:, 0], GROUPS, "targets \\(N, P\\)"),
        (X[:, :0], y, GROUPS, "features \\(N, D\\)"),
        (X, y, GROUPS[:-1], "groups \\(N,\\)"),
        (X * np.nan, y, GROUPS, "not finite"),
        (X, y, GROUPS % 9, "at least 10 layouts, not 9"),
        (X, np.stack([y[:, 0], np.full(N, 0.1)], 1), GROUPS, "target 1 is the same"),
    ]:
        with pytest.raises(UserError, match=said):
            probe(x, y_, groups)


def test_pose_targets() -> None:
    assert np.allclose(pose_targets(np.array([[1, 2, np.pi / 2], [3, 4, np.pi]])), [[1, 2, 0, 1], [3, 4, -1, 0]])


# -- features of a state --------------------------------------------------------------------------------------------------


def system_of(**options: Any) -> System:
    settings: dict[str, Any] = {"patch": 4, "width": 16, "memories": [[Window(16, 1, 3)] for _ in range(2)]}
    model = scale_weights(VideoTransformer((3, SIZE, SIZE), **settings | options), 0.3)
    return System(model, Pixels(), AlphaBlend(), Staircase(2), euler, TeacherForcing(), 8)


def walks(count: int, frames: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Videos of a bright column on grey, and where it is in the last frame."""
    rng = np.random.default_rng(1)
    at = rng.integers(SIZE, size=(count, frames))
    videos = np.full((count, frames, SIZE, SIZE, 3), 90, np.uint8)
    videos[np.arange(count)[:, None], np.arange(frames), :, at] = 220
    return videos, at[:, -1:]


def test_features_are_all_floating_leaves_of_the_state() -> None:
    system, (videos, _) = system_of(context=Channels(1)), walks(18)
    got = state_features(system, videos)
    state = store.flatten(remembered(system, encode(system, videos), None, 0))
    want = [leaf.flatten(1).numpy() for leaf in state.values() if leaf.is_floating_point()]
    assert got.dtype == np.float64 and np.allclose(got, np.concatenate(want, 1), atol=1e-5)
    assert got.shape == (18, 2 * 2 * 3 * 4 * 16 + 3 * SIZE * SIZE)  # blocks, k and v, frames, tokens, width; a frame
    assert np.allclose(state_features(system, videos[17:]), got[17:], atol=1e-5)


def test_what_a_memory_has_seen_is_read_off_it() -> None:
    """Where the column was two frames ago: in the state, not in that of the twin that keeps one frame."""
    videos, _ = walks(120)
    target = videos[:, -3, 0, :, 0].argmax(1)[:, None].astype(float)
    system = system_of()
    held = probe(state_features(system, videos), target, np.arange(120))
    lost = probe(state_features(replace(system, model=Memoryless(system.model, 1)), videos), target, np.arange(120))
    assert held.found[0].low > 0.5 > 0.2 > lost.found[0].value


def test_a_sketch_keeps_inner_products_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "SKETCH", 50)
    rows = torch.from_numpy(RNG.normal(1, 1, size=(4, 300)))
    made = torch.stack([small @ small.T for small in (probes._sketched(rows, seed) for seed in range(500))])
    assert made.std(0).min() > 1 and torch.allclose(made.mean(0), rows @ rows.T, rtol=0.05)


def test_a_large_state_is_sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    system, (videos, target) = system_of(), walks(120)
    assert state_features(system, videos).shape == (120, 768)
    monkeypatch.setattr(probes, "SKETCH", 500)
    small = state_features(system, videos)
    assert small.shape == (120, 500) and (state_features(system, videos, seed=1) != small).any()
    assert np.allclose(state_features(system, videos[50:60]), small[50:60], atol=1e-4)
    assert probe(small, target, np.arange(120)).found[0].value > 0.5


def test_actions_are_told() -> None:
    system, (videos, _) = system_of(controls=2), walks(3)
    actions = np.random.default_rng(2).normal(size=(3, 5, 2)).astype(np.float32)
    assert not np.allclose(state_features(system, videos, actions), state_features(system, videos, 0 * actions), atol=1e-2)
    with pytest.raises(UserError, match="give the actions"):
        state_features(system, videos)


def test_a_state_that_cannot_be_probed_is_refused() -> None:
    videos, _ = walks(2)
    blind = system_of(context=Cached(), memories=[[Window(16, 1, 0)] for _ in range(2)])
    with pytest.raises(UserError, match="keeps no state"):
        state_features(blind, videos)
    broken = system_of()
    scale_weights(broken.model, float("nan"))
    with pytest.raises(UserError, match="not finite"):
        state_features(broken, videos)
    with pytest.raises(UserError, match="uint8"):
        state_features(system_of(), videos / 255)

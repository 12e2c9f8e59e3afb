"""Proper, fair, and 0 where it must be: scores of several futures on distributions whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate.futures import energy_score, score_futures, thumbnails

FRAMES, WIDTH = 4000, 6  # as many independent draws as the means of this file are of


def draw(count: int, mean: float = 0, deviation: float = 1, seed: int = 0) -> np.ndarray:
    """(count, FRAMES, WIDTH)."""
    return np.random.default_rng(seed).normal(mean, deviation, (count, FRAMES, WIDTH))


def test_the_scores_are_those_of_the_obvious_loop() -> None:
    rng = np.random.default_rng(0)
    made, real = rng.normal(0, 1, (8, 3, 5)), rng.normal(0, 1, (2, 3, 5))

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(np.mean((a - b) ** 2)))

    found = energy_score(made, real)
    for t in range(3):
        error = np.mean([apart(x[t], y[t]) for x in made for y in real])
        pairs = [apart(made[i, t], made[j, t]) for i in range(8) for j in range(8) if i != j]
        np.testing.assert_allclose(found.error[t], error)
        np.testing.assert_allclose(found.diversity[t], np.mean(pairs))
        np.testing.assert_allclose(found.score[t], error - np.mean(pairs) / 2)
        np.testing.assert_allclose(found.floor[t], apart(real[0, t], real[1, t]) / 2)
    assert np.isnan(energy_score(made, real[:1]).floor).all()


def test_the_true_distribution_beats_all_others() -> None:
    """Paired over draws, by more than five standard errors; and it alone scores what the world itself does."""
    truth = draw(2, seed=1)
    best = energy_score(draw(8), truth)
    above = best.score - best.floor
    assert abs(above.mean()) < 4 * above.std() / np.sqrt(FRAMES)
    wrong = {"shifted": draw(8, mean=0.5), "wide": draw(8, deviation=1.6), "narrow": draw(8, deviation=0.6)}
    wrong["collapsed"] = np.repeat(draw(1), 8, 0)
    wrong["at the mean"] = np.zeros_like(draw(8))
    for name, made in wrong.items():
        found = energy_score(made, truth)
        worse = found.score - best.score
        assert worse.mean() > 5 * worse.std() / np.sqrt(FRAMES), name


def test_the_expected_score_does_not_depend_on_how_many_futures() -> None:
    truth = draw(1, seed=1)
    few, many = energy_score(draw(8), truth).score, energy_score(draw(40, seed=2), truth).score
    error = (few - many).std() / np.sqrt(FRAMES)
    assert abs((few - many).mean()) < 4 * error
    points = draw(40, seed=2)
    unfair = [2 * energy_score(points[:s], truth).diversity.mean() / (4 * s) for s in (8, 40)]  # what S^2 would add
    assert unfair[0] - unfair[1] > 20 * error  # so the test above would see it


def test_collapsed_futures_have_no_diversity_and_the_truth_no_error(fresh: np.ndarray) -> None:
    same = np.repeat(fresh[:1, :5], 8, 0)
    found = score_futures(same, fresh[0, :5])
    for part in (found.score, found.error, found.diversity):
        np.testing.assert_array_equal(part, 0)
    varied = score_futures(fresh[:8, :5], fresh[8, :5])
    assert (varied.diversity > 10).all()  # grey levels between two different episodes


def test_blocks_and_pictures_of_any_size(fresh: np.ndarray) -> None:
    made, real = fresh[:8, :100], fresh[8:11, :100]
    whole = score_futures(made, real)
    parts = [score_futures(made[:, a:b], real[:, a:b]) for a, b in ((0, 1), (1, 65), (65, 100))]
    for name, figure in whole._asdict().items():
        np.testing.assert_allclose(np.concatenate([getattr(part, name) for part in parts]), figure, rtol=1e-6)
    large = fresh[:2, :3].repeat(2, 2).repeat(2, 3)
    np.testing.assert_allclose(thumbnails(large), thumbnails(fresh[:2, :3]), rtol=1e-5)


def test_what_cannot_be_scored_is_refused(fresh: np.ndarray) -> None:
    with pytest.raises(UserError, match="needs 8 futures, had 4"):
        score_futures(fresh[:4, :5], fresh[4, :5])
    with pytest.raises(UserError, match="shape of each future"):
        score_futures(fresh[:8, :5], fresh[8, :4])
    with pytest.raises(UserError, match="uint8"):
        score_futures(fresh[:8, :5], fresh[8, :5].astype(float))
    with pytest.raises(UserError, match="finite"):
        energy_score(np.full((8, 5, 2), np.nan), np.zeros((1, 5, 2)))
    with pytest.raises(UserError, match="need what followed"):
        energy_score(np.zeros((8, 5, 2)), np.zeros((1, 5, 3)))

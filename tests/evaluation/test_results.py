"""What results.json says of the segments is what drift has of each video."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.evaluate.bootstrap import mean
from unspool.evaluate.foretold import OneStep
from unspool.evaluate.tables import Base, Gathered, drift_of
from unspool.evaluation.results import Costs, _foretold, _measures, _segments


def gathered(draws: np.random.Generator, clips: int, futures: int, level: float = 10) -> Gathered:
    def figures(*shape: int) -> np.ndarray:
        return level + draws.uniform(0, 5, shape)

    curves = {name: figures(clips, futures, 60) for name in ("motion", "sharpness", "flicker")}
    begun = {f"begun_{name}": figures(clips, 1) for name in ("motion", "sharpness", "flicker")}
    rgb = {"rgb": figures(clips, futures, 60, 3), "begun_rgb": figures(clips, 1, 3)}
    return Gathered([{name: leaf[k] for name, leaf in (curves | begun | rgb).items()} for k in range(clips)])


def test_the_deviation_of_a_segment_is_signed_and_the_mean_over_videos() -> None:
    draws = np.random.default_rng(0)
    base = Base(gathered(draws, 6, 1), gathered(draws, 3, 1), None, 20)
    arm = gathered(draws, 3, 2, level=4)
    found, rows = _segments({"arm": arm}, base), drift_of(arm, base).rows
    for metric, part in found.items():
        drifts = [[row.drift for row in rows if row.metric == metric and row.segment == s] for s in range(3)]
        assert part["arms"]["arm"]["deviation"] == pytest.approx(np.mean(drifts, 1))
        slopes = [slope.per_100_frames for slope in drift_of(arm, base).slopes if slope.metric == metric]
        assert part["arms"]["arm"]["slope"] == pytest.approx(np.mean(slopes))
    assert (found["motion"]["arms"]["arm"]["deviation"] < 0).all() and found["motion"]["arms"]["arm"]["slope"] < 0


def test_what_is_foretold_has_an_interval_over_contexts_on_either_side() -> None:
    draws = np.random.default_rng(0)
    base = Base(gathered(draws, 6, 1), gathered(draws, 5, 1), None, 20)
    arm, cost = gathered(draws, 5, 2, level=4), OneStep(draws.uniform(1, 2, 5), hop=4)
    found = _foretold({"arm": arm}, base, Costs({"arm": cost}, []))["foretold"]["arm"]
    assert found["error"] == mean(cost.error) and found["error"].low < cost.error.mean() < found["error"].high
    ends, rows = found["at_end"], [row for row in drift_of(arm, base).rows if row.stop == 60]
    assert ends["predicted"].value == pytest.approx(found["predicted"][-1]) == pytest.approx(cost.error.mean() * 60 / 4)
    each = [np.mean([abs(row.drift) for row in rows if row.video in (2 * k, 2 * k + 1)]) for k in range(5)]
    assert ends["measured"] == pytest.approx(mean(np.array(each)))
    assert ends["measured"].value == pytest.approx(found["measured"][-1])


def test_what_was_not_tried_claims_nothing() -> None:
    lines = {line["name"]: line for line in _measures()}
    assert (lines["lpips"]["sees"], lines["lpips"]["blind"]) == ((), ())
    assert "collapse" in lines["diversity"]["sees"] and lines["worst"]["with"] == "motion"

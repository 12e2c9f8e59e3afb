"""Who remembers more: told where memories differ and one at least remembers; not of equals, nor of who remembers nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from unspool.errors import UserError
from unspool.evaluate.memory.compared import Apart, Between, difference
from unspool.evaluate.memory.recall import Errors, errors_in, recall, views
from unspool.evaluate.memory.renderers import forgetting, memoryless, oracle
from unspool.evaluate.memory.scenes import retrieval

WINDOW = 8


@pytest.fixture(scope="module")
def sides() -> dict[str, Between]:
    seen = views(retrieval(24, window=WINDOW, windows=4), WINDOW)
    none, full = (errors_in(seen, renderer) for renderer in (memoryless(WINDOW), oracle))
    made = {
        "most": forgetting(0.25), "less": forgetting(0.5), "again": forgetting(0.5, seed=2), "little": forgetting(0.9),
        "nothing": memoryless(WINDOW),
    }  # fmt: skip
    return {name: Between(errors_in(seen, renderer), none, full) for name, renderer in made.items()}


def part(side: Between, rows: np.ndarray) -> Between:
    return Between(*(Errors(*(figures[rows] for figures in arm)) for arm in side))


def test_more_memory_is_told_from_less(sides) -> None:
    found, other = difference(sides["most"], sides["less"]), difference(sides["less"], sides["most"])
    assert isinstance(found, Apart) and isinstance(other, Apart)
    assert found.interval.value == pytest.approx(0.25, abs=0.08) and found.interval.low > 0 and found.p < 1e-4
    assert other.interval == pytest.approx((-found.interval.value, -found.interval.high, -found.interval.low))
    assert difference(sides["less"], sides["nothing"]).p < 1e-4, "one that remembers is enough"


def test_it_is_the_difference_of_the_recalls_and_a_jackknife_over_scenes(sides) -> None:
    a, b = sides["most"], sides["less"]

    def apart(rows: np.ndarray) -> float:
        return recall(*part(a, rows)).overall.recall.value - recall(*part(b, rows)).overall.recall.value

    every = np.arange(24)
    without = np.array([apart(np.delete(every, scene)) for scene in every])
    deviation = np.sqrt(23 / 24 * ((without - without.mean()) ** 2).sum())
    found = difference(a, b)
    assert found.interval.value == pytest.approx(apart(every))
    assert found.interval.high - found.interval.value == pytest.approx(student.ppf(0.975, 23) * deviation)
    assert found.p == pytest.approx(2 * student.sf(apart(every) / deviation, 23))


def test_equal_memories_are_not_told_apart(sides) -> None:
    found = difference(sides["less"], sides["again"])
    assert found.p > 0.05 and found.interval.low < 0 < found.interval.high
    assert "nothing to draw an interval from" in difference(sides["less"], sides["less"])


def test_what_neither_remembers_tells_nothing(sides) -> None:
    assert difference(sides["little"], sides["nothing"]).startswith("the memory of neither gains 2 dB")
    few = np.arange(7)
    assert "recall needs 8" in difference(part(sides["most"], few), part(sides["less"], few))
    with pytest.raises(UserError, match="same scenes"):
        difference(sides["most"], part(sides["less"], np.arange(24)[::-1]))

"""One model, rolled out in several ways, side by side: names that tell them apart, and what is no way at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from unspool import config, hub
from unspool.errors import UserError
from unspool.evaluation import Conditions, _open, plan
from unspool.evaluation.naming import Named, named
from unspool.model.baselines import Partitioned, Renoised
from unspool.testing import scale_weights

GIVEN = {"size": "nano", "resolution": 32, "patch": 16, "chunk": 2, "chunks": 4, "steps": 8}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    system = config.build("progressive-free", GIVEN)
    scale_weights(system.model, 0.05)
    return hub.save_pretrained(system, folder, {"recipe": "progressive-free", "arguments": GIVEN})


def test_what_is_typed(base: Path, tmp_path: Path) -> None:
    assert named(f"{base}") == Named(str(base)) and named(f"{base}").name == "base"
    assert named(f"{base}:lag=1/4,steps=16") == Named(str(base), None, {"lag": "1/4", "steps": "16"})
    assert named(f"{base}: lag = 1/4 , rollout.prompt-guidance=2").name == "base lag 1/4 prompt guidance 2"
    assert named("duel-64:recipe=mine.py:it,drain=true") == Named("duel-64", "mine.py:it", {"drain": "true"})
    odd = tmp_path / "odd:lag=1"
    odd.mkdir()
    assert named(str(odd)) == Named(str(odd)), "what is there is meant"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("lga=1", "did you mean 'lag'"), ("lag", "MODEL:lag=1/4"), ("lag=", "write settings"), ("", "write settings"),
        ("lag=1,lag=1/2", "lag twice"), ("window=3", "no setting 'window'"),
    ],
)  # fmt: skip
def test_what_is_no_rollout_is_refused(said: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        named(f"MODEL:{said}")
    assert "\n" not in str(error.value)


def test_one_model_in_many_ways(base: Path) -> None:
    """Each has its own name and rollout, all the same weights; what all are told is told to each, its own word first."""
    typed = [f"{base}", f"{base}:lag=1/2", f"{base}:lag=1,steps=4", f"{base}:recipe=fifo", f"{base}:recipe=replace-noised"]
    found, _ = _open(typed, {"solver": "midpoint"}, False)
    assert list(found) == ["base", "base lag 1/2", "base lag 1 steps 4", "base fifo", "base replace-noised"]
    systems = [one.system for one in found.values()]
    assert [str(s.schedule.lag) for s in systems[:3]] == ["1/4", "1/2", "1"] and systems[2].schedule.steps == 4
    assert isinstance(systems[3].model, Partitioned) and isinstance(systems[4].model, Renoised)
    assert {s.solver.__name__ for s in systems} == {"midpoint"} and {one.copy for one in found.values()} == {0}
    assert [one.settings["recipe"] for one in found.values()][2:] == ["progressive-free", "fifo", "replace-noised"]
    again, _ = _open([f"{base}:lag=1/2", f"{base}:lag=1/2"], {}, False)
    assert list(again) == ["base lag 1/2", "base lag 1/2 again"] and again["base lag 1/2 again"].copy == 1


def test_arms_of_one_model_are_measured_apart(base: Path, tmp_path: Path) -> None:
    """Other levels, other figures kept; the same weights; and what none of them was trained for is noted by name."""
    asked = Conditions(4, 2, 1, 1, 3, 2)
    what = plan([f"{base}", f"{base}:lag=1", f"{base}:lag=1,drain=true"], "duel", tmp_path / "out", asked, twins=False)
    models = [arm for arm in what.arms if arm.kind == "model"]
    assert len({arm.identity for arm in models}) == 3 and len({arm.weights for arm in models}) == 1
    assert [arm.what for arm in models] == [f"{base}", f"{base}:lag=1", f"{base}:lag=1,drain=true"]
    assert any(note.startswith("base: as it begins and goes on") for note in what.notes)

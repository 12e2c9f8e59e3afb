"""Memory in `eval`: the scale is proven in the run itself, models play as they would alone, what is missing says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from unspool.errors import UserError
from unspool.evaluate.memory.renderers import forgetting, memoryless, oracle
from unspool.evaluate.memory.scenes import retrieval
from unspool.evaluation import memory, probing
from unspool.evaluation.memory import ELSEWHERE, NOBODY, Row, memory_of
from unspool.recipes import full_sequence
from unspool.system import System
from unspool.testing import scale_weights

ROWS = {"acts", "acts, no memory", "acts, codec alone"}
PROVEN = {"oracle", "forgets half", "copy last", "memoryless"}


def system_of(controls: int, **options: Any) -> System:
    """One evaluation makes 16 frames of pixels."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"size": "nano", "resolution": 32, "components": 0, "flight": 16, "steps": 1, "patch": 16}
    system = full_sequence(controls=controls, **settings | options)
    scale_weights(system.model, 0.1)
    return system


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        for where, name, value in (
            (memory, "WINDOWS", 2), (memory, "NEEDLES", 6), (memory, "HAYSTACKS", (32,)), (probing, "WALKS", 48),
            (probing, "STEPS", 6),
        ):  # fmt: skip
            patched.setattr(where, name, value)
        yield


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int, str]]:
    return []


@pytest.fixture(scope="module")
def found(small: None, told: list[tuple[int, int, str]]) -> dict[str, Any]:
    systems = {"acts": system_of(6), "watches": system_of(0)}
    return memory_of(systems, "rooms:plans=3", 2, size=32, report=lambda *now: told.append(now))


def test_what_is_found_is_plain_and_whole(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found and found["notes"] == []
    rows = found["memory"]["rows"]
    assert {*rows} == ROWS | PROVEN and {name for name, row in rows.items() if row["of"]} == ROWS
    assert {*found["memory"]["kinds"]} == {"retrieval", "reasoning"}
    for part in found["memory"]["kinds"].values():
        assert part["gaps"] == [[0, 16], [16, 32], [32, 64]] and {*part["gate_db"]} == {"acts", "oracle"}
        for key in ("recall", "psnr"):
            assert {*part[key]} == {*rows} and {len(cells) for cells in part[key].values()} == {3}
            assert all({*cell} in ({"value", "low", "high"}, {"skipped"}) for cells in part[key].values() for cell in cells)
    assert {*found["needle"]["found"]} == ROWS | {"oracle"} and found["needle"]["haystacks"] == [32]
    assert {*found["probes"]["models"]} == {"acts", "watches"}


def test_the_scale_is_proven_in_the_same_run(found: dict[str, Any]) -> None:
    for part in found["memory"]["kinds"].values():
        overall = {name: cell["recall"]["value"] for name, cell in part["overall"].items() if name != "acts"}
        assert overall["oracle"] == overall["acts, codec alone"] == 1
        assert overall["memoryless"] == overall["acts, no memory"] == 0
        assert overall["forgets half"] == pytest.approx(0.5, abs=0.08) and overall["copy last"] < 0.1
        assert "0.0 dB over memoryless" in part["recall"]["oracle"][0]["skipped"]
    for name in ("oracle", "acts, codec alone"):
        assert found["needle"]["found"][name][0]["value"] == 1
    assert found["needle"]["chance"] == 0.25


def test_a_memory_that_gains_nothing_has_no_recall(found: dict[str, Any]) -> None:
    """Weights that were never trained. Their codec is worth many decibels over their twin, as any codec is."""
    for part in found["memory"]["kinds"].values():
        assert part["gate_db"]["acts"]["low"] > 2 > part["gain_db"]["acts"]["value"] and {*part["gain_db"]} == {"acts"}
        assert part["overall"]["acts"]["recall"]["skipped"].startswith("its memory gains ")
        assert any(cell["skipped"].endswith("]: nothing to tell below 2 dB") for cell in part["recall"]["acts"])
        assert "value" in part["overall"]["acts"]["psnr"] and not any("value" in cell for cell in part["recall"]["acts"])


def test_recall_is_told_of_a_model_that_remembers_enough(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    """Half the squared error is 3.0 dB, three quarters are 1.25 dB."""
    ends = {"{}, no memory": memoryless(memory.WINDOW), "{}, codec alone": oracle}

    def rows(name: str, *_: Any) -> dict[str, Row]:
        plays = {"{}": forgetting({"half": 0.5, "most": 0.75}[name]), **ends}
        kinds = ("model", "twin", "codec")
        return {
            row.format(name): Row(kind, "", name, partial(map, play))
            for kind, (row, play) in zip(kinds, plays.items(), strict=True)
        }

    monkeypatch.setattr(memory, "_rows", rows)
    monkeypatch.setattr(memory, "probes_of", lambda *_: {})
    monkeypatch.setattr(memory, "KINDS", {"retrieval": retrieval})
    found = memory_of(dict.fromkeys(("half", "most"), system_of(6)), "rooms", 2, size=32)
    part = found["memory"]["kinds"]["retrieval"]
    assert [part["gain_db"][name]["value"] for name in ("half", "most")] == pytest.approx([3.0, 1.25], abs=0.4)
    assert part["overall"]["half"]["recall"]["value"] == pytest.approx(0.5, abs=0.08)
    assert part["overall"]["most"]["recall"]["skipped"].startswith("its memory gains 1.")


def test_the_report_counts_every_frame_that_a_model_makes(found: dict[str, Any], told: list[tuple[int, int, str]]) -> None:
    done, total, _ = zip(*told, strict=True)
    assert list(done) == sorted(done) and {*total} == {done[-1]}
    assert {name for *_, name in told} == {f"{row}: memory" for row in ROWS} and len(told) == 3 * (2 * 24 + 6)


def test_probes_stand_beside_their_controls(found: dict[str, Any]) -> None:
    probes = found["probes"]
    assert probes["targets"] == ["ahead", "right", "cos", "sin", "map"] and probes["layouts"] > 40
    for model in probes["models"].values():
        assert {*model} == {"found", "shuffled", "random", "scrambled"} and {len(cells) for cells in model.values()} == {5}
        assert all(cell["low"] <= cell["value"] <= cell["high"] for cells in model.values() for cell in cells)
        assert all(cell["value"] < 0.2 for row in ("shuffled", "random") for cell in model[row])


def test_without_actions_there_is_a_note_and_still_probes(small: None) -> None:
    found = memory_of({"watches": system_of(0)}, "rooms", 2, size=32)
    assert {*found} == {"notes", "probes"} and found["notes"] == [NOBODY] and "found" in found["probes"]["models"]["watches"]


def test_elsewhere_nothing_is_measured() -> None:
    assert memory_of({"acts": system_of(6)}, "duel:speed=0.5", 2, size=32) == {"notes": [ELSEWHERE]}
    assert memory_of({}, "rooms", 2, size=32) == {}


def test_what_cannot_be_measured_of_a_model_says_why(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    """The figures of all others stand."""
    monkeypatch.setattr(memory, "SCENES", 8)
    monkeypatch.setattr(memory, "KINDS", {"retrieval": retrieval})
    broken = scale_weights(system_of(6).model, float("nan"))
    found = memory_of({"watches": system_of(0), "broken": replace(system_of(6), model=broken)}, "rooms", 2, size=32)
    part = found["memory"]["kinds"]["retrieval"]
    assert "broke at frame" in part["overall"]["broken"]["recall"]["skipped"]
    assert "broke at frame" in part["psnr"]["broken"][2]["skipped"] and "broke at frame" in part["gate_db"]["broken"]["skipped"]
    assert part["overall"]["oracle"]["recall"]["value"] == 1 and "watches" not in part["overall"]
    assert "broke at frame" in found["needle"]["found"]["broken"][0]["skipped"]
    assert "not finite" in found["probes"]["models"]["broken"]["skipped"]
    assert "value" in found["probes"]["models"]["watches"]["found"][0]


@pytest.mark.parametrize(("options", "said"), [({"size": 48}, "32 or 64"), ({"context": 0}, "at least 1 frame")])
def test_what_no_model_can_be_asked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        memory_of({"acts": system_of(6)}, "rooms", **{"context": 2, "size": 32, **options})

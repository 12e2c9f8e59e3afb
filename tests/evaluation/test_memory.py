"""Memory in `eval`: the scale is proven in the run itself, models play as they would alone, what is missing says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from unspool.errors import UserError
from unspool.evaluate.memory.playing import futures
from unspool.evaluate.memory.renderers import forgetting, memoryless, oracle
from unspool.evaluate.memory.scenes import Renderer, around, retrieval
from unspool.evaluation import memory, probing
from unspool.evaluation.memory import ELSEWHERE, NOBODY, Remembered, memory_of
from unspool.evaluation.recalls import Row, codec_of, twin_of
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.model.memoryless import Memoryless
from unspool.recipes import full_sequence
from unspool.schedule import Staircase
from unspool.system import System
from unspool.testing import scale_weights

ROWS = {"acts", "acts, window alone", "acts, codec alone"}
PROVEN = {"oracle", "forgets half", "copy last", "memoryless"}
KINDS = [("retrieval", 1), ("retrieval", 2), ("reasoning", 1), ("reasoning", 2), ("turn", 1)]


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
            (memory, "SCENES", 12), (memory, "NEEDLES", 6), (memory, "HAYSTACKS", (32,)), (probing, "WALKS", 48),
            (probing, "STEPS", 6),
        ):  # fmt: skip
            patched.setattr(where, name, value)
        yield


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int, str]]:
    return []


@pytest.fixture(scope="module")
def remembered(small: None, told: list[tuple[int, int, str]]) -> Remembered:
    systems = {"acts": system_of(6), "watches": system_of(0)}
    return memory_of(systems, "rooms:plans=3", windows=(2, 1, 2), size=32, report=lambda *now: told.append(now))


@pytest.fixture(scope="module")
def found(remembered: Remembered) -> dict[str, Any]:
    return remembered.found


def parts(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for kind in found["memory"]["kinds"].values() for part in kind]


def test_what_is_found_is_plain_and_whole(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found and found["notes"] == []
    rows = found["memory"]["rows"]
    assert {*rows} == ROWS | PROVEN and {name for name, row in rows.items() if row["of"]} == ROWS
    assert found["memory"]["windows"] == [1, 2] and found["memory"]["ends"] is None
    kinds = found["memory"]["kinds"]
    assert [(kind, part["windows"]) for kind, some in kinds.items() for part in some] == KINDS
    assert [part["context"] for part in parts(found)] == [16, 32, 16, 32, 16]
    assert kinds["retrieval"][1]["gaps"] == [[0, 16], [16, 32], [32, 64]] and kinds["turn"][0]["frames"] == 48
    for part in parts(found):
        assert {*part["gate_db"]} == {"acts", "oracle"} and part["differences"] == [] and part["recall_gain"] == {}
        for key in ("recall", "psnr", "ssim"):
            assert {*part[key]} == {*rows} and {len(cells) for cells in part[key].values()} == {len(part["gaps"])}
            assert all({*cell} in ({"value", "low", "high"}, {"skipped"}) for cells in part[key].values() for cell in cells)
    assert {*found["needle"]["found"]} == ROWS | {"oracle"} and found["needle"]["haystacks"] == [32]
    assert {*found["probes"]["models"]} == {"acts", "watches"}


def test_the_scale_is_proven_in_the_same_run(found: dict[str, Any]) -> None:
    for part in parts(found):
        overall = {name: cell["recall"]["value"] for name, cell in part["overall"].items() if name != "acts"}
        assert overall["oracle"] == overall["acts, codec alone"] == 1
        assert overall["memoryless"] == overall["acts, window alone"] == 0
        assert overall["forgets half"] == pytest.approx(0.5, abs=0.15) and overall["copy last"] < 0.25
        assert "0.0 dB over memoryless" in part["recall"]["oracle"][0]["skipped"]
        assert part["overall"]["oracle"]["ssim"]["value"] == 1 > part["overall"]["memoryless"]["ssim"]["value"]
    for name in ("oracle", "acts, codec alone"):
        assert found["needle"]["found"][name][0]["value"] == 1
    assert found["needle"]["chance"] == 0.25


def test_a_memory_that_gains_nothing_has_no_recall(found: dict[str, Any]) -> None:
    """Weights that were never trained. Their codec is worth many decibels over their twin, as any codec is."""
    for part in parts(found):
        assert part["gate_db"]["acts"]["low"] > 2 > part["gain_db"]["acts"]["value"] and {*part["gain_db"]} == {"acts"}
        assert abs(part["gain_ssim"]["acts"]["value"]) < 0.1
        assert part["overall"]["acts"]["recall"]["skipped"].startswith("its memory gains ")
        assert any(cell["skipped"].endswith("]: nothing to tell below 2 dB") for cell in part["recall"]["acts"])
        assert "value" in part["overall"]["acts"]["psnr"] and not any("value" in cell for cell in part["recall"]["acts"])


def test_one_can_see_the_walks(remembered: Remembered) -> None:
    """The longest way back and the turn: over the last frame stands what the context showed of it."""
    back, turn = remembered.walks
    assert (back.kind, turn.kind) == ("retrieval", "turn")
    for walk, frames in ((back, 27), (turn, 48)):
        assert list(walk.rows) == ["seen before", "real", "acts", "acts, window alone"] and walk.context.shape == (2, 32, 32, 3)
        assert walk.at[0] == 0 and walk.at[-1] == frames - 1 and {len(row) for row in walk.rows.values()} == {8}
        assert (walk.rows["seen before"][-1] == walk.rows["real"][-1]).all(-1).mean() > 0.98
        assert (walk.rows["acts"] != walk.rows["real"]).any()


def test_who_sees_the_newest_window_alone_is_its_own_twin() -> None:
    """One layer of attention over 16 frames: what it knows of the past is what the twin is given, frame by frame."""
    torch.manual_seed(0)
    model = VideoTransformer((3, 32, 32), patch=16, width=16, controls=6, memories=[[Window(16, 1, memory.WINDOW)]])
    system = replace(system_of(6), model=scale_weights(model, 0.2), schedule=Staircase(1, 1))
    rows = memory._rows("sees", system, 0)
    scenes = around(2, window=16)
    made, twin = (np.stack([*rows[name].play(scenes)]).astype(int) for name in ("sees", twin_of("sees")))
    assert np.abs(made - twin).max() <= 1 and made.std() > 1
    shorter = replace(system, model=Memoryless(system.model, memory.WINDOW - 1))
    assert np.abs(np.stack([*futures(shorter, scenes)]).astype(int) - made).max() > 1


def pretended(monkeypatch: pytest.MonkeyPatch, plays: dict[str, Renderer]) -> Callable[..., dict[str, Any]]:
    """`memory_of` models that are renderers, on the way back behind two windows; gives that part."""

    def rows(name: str, *_: Any) -> dict[str, Row]:
        three = {name: plays[name], twin_of(name): memoryless(memory.WINDOW), codec_of(name): oracle}
        kinds = ("model", "twin", "codec")
        return {
            row: Row(kind, "", name, partial(map, play)) for kind, (row, play) in zip(kinds, three.items(), strict=True)
        }

    monkeypatch.setattr(memory, "_rows", rows)
    monkeypatch.setattr(memory, "probes_of", lambda *_: {})
    monkeypatch.setattr(memory, "KINDS", {"retrieval": retrieval})
    monkeypatch.setattr(memory, "SCENES", 24)

    def of(**options: Any) -> dict[str, Any]:
        found = memory_of(dict.fromkeys(plays, system_of(6)), "rooms", windows=(2,), size=32, **options).found["memory"]
        return {"ends": found["ends"], **found["kinds"]["retrieval"][0]}

    return of


def test_recall_is_told_of_a_model_that_remembers_enough(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    """Half the squared error is 3.0 dB, three quarters are 1.25 dB. Who remembers more is told, for one of them remembers."""
    part = pretended(monkeypatch, {"half": forgetting(0.5), "most": forgetting(0.75)})()
    assert [part["gain_db"][name]["value"] for name in ("half", "most")] == pytest.approx([3.0, 1.25], abs=0.4)
    assert part["overall"]["half"]["recall"]["value"] == pytest.approx(0.5, abs=0.08)
    assert part["overall"]["most"]["recall"]["skipped"].startswith("its memory gains 1.")
    (one,) = part["differences"]
    assert (one["a"], one["b"]) == ("half", "most") and one["value"] == pytest.approx(0.25, abs=0.1) and one["p"] < 0.001
    assert part["ends"] is None and part["recall_gain"] == {}


def test_between_none_and_full(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    """Ends that forget three quarters and nothing: who forgets half lies a third of the way up."""
    plays = {"b": forgetting(0.75), "a": forgetting(0), "half": forgetting(0.5), "more": forgetting(0.75)}
    play = pretended(monkeypatch, plays)
    recipes = {"b": "none", "a": "full", "half": "rad", "more": "full"}
    part = play(recipes=recipes)
    assert part["ends"] == {"none": "b", "full": "a"} and {*part["recall_gain"]} == {"half", "more"}, "the first of a recipe"
    assert part["recall_gain"]["half"]["overall"]["value"] == pytest.approx(1 / 3, abs=0.08)
    assert part["recall_gain"]["more"]["overall"]["value"] == pytest.approx(0, abs=1e-9)
    assert len(part["recall_gain"]["half"]["gaps"]) == len(part["gaps"]) and len(part["differences"]) == 6
    assert play(recipes=dict.fromkeys(plays, "full"))["ends"] is None
    close = play(recipes={"b": "none", "more": "full"})["recall_gain"]["half"]["overall"]
    assert "0.0 dB over memoryless" in close["skipped"], "ends that are alike"


def test_the_report_counts_every_frame_that_a_model_makes(found: dict[str, Any], told: list[tuple[int, int, str]]) -> None:
    done, total, _ = zip(*told, strict=True)
    assert list(done) == sorted(done) and {*total} == {done[-1]}
    assert {name for *_, name in told} == {f"{row}: memory" for row in ROWS} and len(told) == 3 * (5 * 12 + 6)


def test_probes_stand_beside_their_controls(found: dict[str, Any]) -> None:
    probes = found["probes"]
    assert probes["targets"] == ["ahead", "right", "cos", "sin", "map"] and probes["layouts"] > 40
    for model in probes["models"].values():
        assert {*model} == {"found", "shuffled", "random", "scrambled"} and {len(cells) for cells in model.values()} == {5}
        assert all(cell["low"] <= cell["value"] <= cell["high"] for cells in model.values() for cell in cells)
        assert all(cell["value"] < 0.2 for row in ("shuffled", "random") for cell in model[row])


def test_without_actions_there_is_a_note_and_still_probes(small: None) -> None:
    found = memory_of({"watches": system_of(0)}, "rooms", size=32).found
    assert {*found} == {"notes", "probes"} and found["notes"] == [NOBODY] and "found" in found["probes"]["models"]["watches"]


def test_elsewhere_nothing_is_measured() -> None:
    assert memory_of({"acts": system_of(6)}, "duel:speed=0.5", size=32) == ({"notes": [ELSEWHERE]}, ())
    assert memory_of({}, "rooms", size=32) == ({}, ())


def test_what_cannot_be_measured_of_a_model_says_why(monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    """The figures of all others stand."""
    monkeypatch.setattr(memory, "SCENES", 8)
    monkeypatch.setattr(memory, "KINDS", {"retrieval": retrieval})
    broken = scale_weights(system_of(6).model, float("nan"))
    systems = {"watches": system_of(0), "broken": replace(system_of(6), model=broken), "acts": system_of(6)}
    found, walks = memory_of(systems, "rooms", windows=(2,), recipes={"broken": "none", "acts": "full"}, size=32)
    (part,) = found["memory"]["kinds"]["retrieval"]
    assert "broke at frame" in part["differences"][0]["skipped"] and list(walks[0].rows)[2:] == ["acts", "acts, window alone"]
    assert "broke at frame" in part["overall"]["broken"]["recall"]["skipped"]
    assert "broke at frame" in part["psnr"]["broken"][2]["skipped"] and "broke at frame" in part["gate_db"]["broken"]["skipped"]
    assert part["overall"]["oracle"]["recall"]["value"] == 1 and "watches" not in part["overall"]
    assert "broke at frame" in found["needle"]["found"]["broken"][0]["skipped"]
    assert "not finite" in found["probes"]["models"]["broken"]["skipped"]
    assert "value" in found["probes"]["models"]["watches"]["found"][0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 48}, "32 or 64"), ({"windows": (0,)}, "not 0: try 1 2 4 8"), ({"windows": (2, 99)}, "1 to 32"),
        ({"windows": ()}, "not none"),
    ],
)  # fmt: skip
def test_what_no_model_can_be_asked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        memory_of({"acts": system_of(6)}, "rooms", **{"size": 32, **options})

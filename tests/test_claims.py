"""Claims: files refused in one line, verdicts from intervals, one tiny claim from training to the page, and our own files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import ttest_1samp

from unspool import claims, config, evaluation
from unspool.claims.measures import KNOWN
from unspool.claims.page import markdown, rows, text
from unspool.claims.running import Trial
from unspool.claims.verdict import Effect, effect, goodness, verdict
from unspool.errors import UserError
from unspool.evaluation import arms

TINY = {
    "system": "ours", "claim": "Own frames help.", "source": "nobody | 0000.00000", "mark": "own",
    "experiment": {
        "data": "duel:fighters=1",
        "settings": {
            "recipe": "frame-by-frame", "size": "nano", "resolution": 32, "patch": 16, "components": 0, "channels": 1,
            "anchor": 0, "reach": 0, "frames": 5, "steps": 1, "train": {"batch": 2, "log_every": 1, "save_every": 2},
        },
        "arms": {"own": {"own": 1}, "true": {"own": 0}},
        "flops": 3e8, "seeds": 2,
        "evaluate": {"frames": 8, "contexts": 2, "futures": 1, "real": 3, "segment": 8},
        "measure": "colour", "better": "own", "smallest": 5, "also": ["sharpness"],
    },
}  # fmt: skip


def changed(place: str, value: Any, base: Any = TINY) -> dict[str, Any]:
    """TINY with one key set, or without it where value is None."""
    new = json.loads(json.dumps(base))
    *path, key = place.split(".")
    inner = new
    for name in path:
        inner = inner[name]
    if value is None:
        del inner[key]
    else:
        inner[key] = value
    return new


def write(folder: Path, told: Any, name: str = "tiny") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(told))
    return path


def words(done: list[Any]) -> list[str]:
    return list(dict.fromkeys(name for _, name, _ in done))


@pytest.mark.parametrize(
    ("value", "low", "high", "says"),
    [
        (1.5, 1, 2, "holds"), (2.5, 2, 3, "holds"), (1, 0.1, 2, "undecided"), (5, 0.9, 9.1, "undecided"),
        (1.0, 0.5, 1.5, "undecided"), (0.9, 0.1, 1.7, "undecided"),
        (3, 0, 6, "undecided"), (3, -1, 7, "undecided"), (0.5, -1, 2, "undecided"), (0, -1, 1, "undecided"),
        (0.5, 0.1, 0.9, "fails"), (0, -0.9, 0.9, "fails"), (-2.5, -3, -2, "fails"),
    ],
)  # fmt: skip
def test_a_verdict_hangs_on_the_effect_and_its_interval(value: float, low: float, high: float, says: str):
    assert verdict(Effect(value, low, high, 3), smallest=1) == says


def test_an_effect_is_that_of_students_paired_test():
    better, other = [3.0, 5.0, 4.0], [1.0, 2.5, 3.5]
    found, known = effect(better, other), ttest_1samp(np.subtract(better, other), 0).confidence_interval(0.95)
    assert found.n == 3 and np.allclose(found[:3], [5 / 3, known.low, known.high], rtol=1e-12)
    assert np.allclose(effect(other, better)[:3], [-found.value, -found.high, -found.low])


@pytest.mark.parametrize(("better", "other"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, float("nan")], [1.0, 1.0])])
def test_an_effect_of_too_few_or_broken_figures_is_refused(better: list[float], other: list[float]):
    with pytest.raises(UserError):
        effect(better, other)


def test_goodness_knows_which_way_is_better():
    assert goodness(2, "higher") > goodness(1, "higher") and goodness(2, "lower") < goodness(1, "lower")
    assert goodness(0.5, "real") == goodness(2, "real") == -1 < goodness(1, "real") == 0
    assert np.isfinite(goodness(0, "real")) and goodness(0, "real") < goodness(0.1, "real")


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("systen", "x", "did you mean 'system'"), ("experiment.dats", "x", "did you mean 'data'"),
        ("experiment.evaluate.frame", 3, "did you mean 'frames'"), ("claim", None, "'claim' is missing"),
        ("experiment", None, "`needs`"), ("experiment.measure", "mdm", "did you mean 'mmd'"),
        ("experiment.also", ["color"], "did you mean 'colour'"), ("experiment.better", "owm", "own, true"),
        ("experiment.arms.own", {"owned": 1}, "did you mean 'own'"), ("experiment.arms.third", {}, "two arms, not 3"),
        ("experiment.settings.recipe", "frame-by-fram", "did you mean 'frame-by-frame'"),
        ("experiment.settings.recipe", None, "has no recipe"), ("experiment.settings.data", "duel", "experiment.data decides"),
        ("experiment.arms.own", {"train": {"steps": 3}}, "flops decides"), ("experiment.seeds", 1, "or equal to 2"),
        ("experiment.measure", "mmd", "evaluate.segment of 16"), ("experiment.flops", "much", "valid number"),
        ("experiment.measure", "memory.recal", "did you mean 'memory.recall'"),
        ("experiment.measure", "needle", "of the world rooms"), ("experiment.also", ["memory.psnr"], "of the world rooms"),
        ("experiment", {**TINY["experiment"], "data": "rooms:plans=2", "measure": "needle"}, "add controls: 6"),
        ("experiment.smallest", 0, "greater than 0"), ("mark", "skimmed", "'read'"), ("experiment.arms.Own", {}, "arms.Own"),
    ],
)  # fmt: skip
def test_a_claim_file_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, place: str, value: Any, says: str):
    path = write(tmp_path, changed(place, value))
    with pytest.raises(UserError) as refused:
        claims.read(path)
    assert says in str(refused.value) and "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_motion_is_always_shown_and_names_have_neighbours(tmp_path: Path):
    asked = claims.read(write(tmp_path, TINY)).told.experiment
    assert asked is not None and [line.name for line in asked.shown] == ["colour", "sharpness", "motion"]
    with pytest.raises(UserError, match="did you mean 'recursive-alpha'"):
        claims.find("recursive_alpha")


def test_measures_of_memory_are_read_off_the_results():
    cells = {"a-0": {"psnr": {"value": 12.5}, "recall": {"skipped": "gains nothing"}}, "copy last": {"psnr": {"value": 9.0}}}
    found = {"a-0": [{"value": 0.25}, {"value": 0.75}], "b-0": [{"value": 0.25}, {"skipped": "broke"}]}
    parts = [{"windows": 1, "overall": {}}, {"windows": 4, "overall": cells}]
    results = {"memory": {"kinds": {"retrieval": parts}}, "needle": {"found": found}}
    assert KNOWN["memory.psnr"].of(results, "a-0") == {"value": 12.5} and KNOWN["memory.psnr"].of(results, "real") == {}
    assert KNOWN["memory.recall"].of(results, "a-0") == {"skipped": "gains nothing"}
    assert KNOWN["memory.recall"].of(results, "copy last") == {}
    assert KNOWN["needle"].of(results, "a-0") == {"value": 0.5} and KNOWN["needle"].of(results, "copy last") == {}
    assert KNOWN["needle"].of(results, "b-0") == {"skipped": "broke"}
    assert KNOWN["colour"].of({"table": {"a-0": {"colour": {"value": 1.0}}}}, "a-0") == {"value": 1.0}


def test_a_claim_that_needs_something_does_not_run(tmp_path: Path):
    told = changed("experiment.arms.own", {"recipe": "not-yet"}) | {"needs": "recipe not-yet"}
    claim = claims.read(write(tmp_path, told))
    with pytest.raises(UserError, match="cannot run yet: recipe not-yet"):
        claims.plan(claim, tmp_path / "out")
    (row,) = rows(tmp_path)
    assert row.verdict == "not run: needs recipe not-yet"


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [("experiment.flops", 1e3, "give more"), ("experiment.arms.own.resolution", 64, "same resolution")],
)
def test_a_claim_that_cannot_be_fair_is_refused(tmp_path: Path, place: str, value: Any, says: str):
    with pytest.raises(UserError, match=says):
        claims.plan(claims.read(write(tmp_path, changed(place, value))), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, dict[str, Any], list[Any]]:
    """TINY, committed, run to its end with one stop on the way; what was reported after the stop. The page of the evaluation is
    not drawn, and the nearest training clip sought among few."""
    folder = tmp_path_factory.mktemp("claims")
    path = write(folder, TINY)
    who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a claim", "--date", "2020-01-01T00:00:00Z"]):
        env = {**os.environ, **who, "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z", "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(["git", *words], cwd=folder, env=env, check=True)
    trial = claims.plan(claims.read(path), folder / "out")

    def stop(spent: int, run: str, loss: float) -> None:
        if run == "own-1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claims.train(trial, stop)
    reports: list[Any] = []
    trial = claims.plan(claims.read(path), folder / "out")
    claims.train(trial, lambda *told: reports.append(told))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "LIBRARY", 4)
        patch.setattr(evaluation, "write_comparison", lambda *_: None)
        result = claims.judge(trial)
    return trial, result, reports


def test_both_arms_spend_as_many_flops_and_a_stopped_claim_goes_on(done):
    trial, result, reports = done
    for name, arm in result["arms"].items():
        assert 0 <= 3e8 - arm["steps"] * arm["flops_per_step"] < arm["flops_per_step"]
        assert arm["steps"] >= 2 and arm["parameters"] == trial.arms[name].parameters
    kept = {name for _, name, loss in reports if np.isnan(loss)}
    assert kept == {"own-0", "true-0"} and words(reports) == ["own-0", "true-0", "own-1", "true-1"]
    assert [len(json.loads((trial.run("own", seed) / "run.json").read_text())["jobs"]) for seed in (0, 1)] == [1, 2]
    spent = [seed["flops"] for seed in result["arms"]["true"]["seeds"].values()]
    assert spent == [trial.arms["true"].steps * trial.arms["true"].flops] * 2


def test_the_result_says_what_was_measured_and_what_follows(done):
    trial, result, _ = done
    sides = [[seed["colour"] for seed in result["arms"][arm]["seeds"].values()] for arm in ("own", "true")]
    found = result["effects"]["colour"]
    assert found["value"] == pytest.approx(np.mean(sides[1]) - np.mean(sides[0]), rel=1e-4), "lower is better"
    assert result["verdict"] == verdict(Effect(**found), 5) and found["n"] == 2
    assert set(result["effects"]) == {"colour", "sharpness", "motion"} and result["controls"]["copy last"]["motion"] == 0
    assert result["registered"] and result["rehearsal"] is False and result["claim_sha256"] == trial.claim.sha256
    assert json.loads((trial.claim.path.parent / "results" / "tiny.json").read_text()) == result


@pytest.mark.parametrize(("recall", "says"), [({"skipped": "gains nothing"}, "undecided"), ({"value": 0.4}, "fails")])
def test_where_nobody_remembers_nothing_is_decided(done, monkeypatch, recall: dict[str, Any], says: str):
    trial, _, _ = done
    names = [trial.run(arm, seed).name for seed in range(2) for arm in trial.arms]
    cells = {name: {"psnr": {"value": 12.0}, "recall": {"skipped": "gains nothing"}} for name in names}
    cells[names[0]]["recall"] = recall
    found = {
        "table": {name: {"motion": {"value": 1.0}} for name in names}, "protocol": {}, "data": {}, "notes": [],
        "memory": {"kinds": {"retrieval": [{"windows": 1, "overall": {}}, {"windows": 4, "overall": cells}]}},
    }  # fmt: skip
    monkeypatch.setattr(evaluation, "plan", lambda *_, **__: None)
    monkeypatch.setattr(evaluation, "run", lambda *_: found)
    asked = trial.asked.model_copy(update={"measure": "memory.psnr", "also": ()})
    told = claims.judge(trial._replace(asked=asked, rehearsal=True))
    assert told["effects"]["memory.psnr"]["value"] == 0 and told["verdict"] == says


def test_the_page_tells_the_verdict_and_a_claim_that_was_changed(done, tmp_path: Path):
    trial, result, _ = done
    (row,) = rows(trial.claim.path.parent)
    page = markdown([row])
    assert row.verdict == result["verdict"] and row.effect in page and "Own frames help." in page and row.effect in text([row])
    assert "nobody \\| 0000.00000 (own)" in page and page.count("| tiny |") == 3
    write(tmp_path, changed("experiment.smallest", 4))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tiny.json").write_text(json.dumps({**result, "registered": None}))
    (row,) = rows(tmp_path)
    assert row.verdict == f"{result['verdict']}, changed since, not committed before its run"


def test_a_folder_with_other_runs_is_refused(done):
    trial, _, _ = done
    with pytest.raises(UserError, match="trained otherwise"):
        claims.plan(trial.claim, trial.out, flops=1e8)


FILES = sorted(claims.folder().glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_claims_are_whole_and_small(path: Path):
    """A need that is met must be struck out: what waits for a recipe or setting is refused by today's."""
    told = claims.read(path).told
    asked = told.experiment
    if asked is None:
        return
    settings = [asked.layers(arm, 0) for arm in asked.arms]
    if told.needs:
        with pytest.raises(UserError):
            [config.resolve(None, layers) for layers in settings]
        return
    trial = claims.plan(claims.read(path), Path("nowhere") / path.stem)
    assert asked.seeds >= 3 and asked.flops <= 1e14
    for arm in trial.arms.values():
        assert arm.parameters < 1e6 and arm.steps * arm.flops > 0.99 * asked.flops


def test_every_system_has_a_claim():
    known = {
        "recursive-alpha", "pa-vdm", "rad", "malt", "self-forcing", "resampling-forcing", "ar-diffusion", "acdit",
        "long-context-ssm", "ssm-video-diffusion", "error-analysis", "diffusion-forcing", "card", "videoar", "ladic",
        "clean-frame",
    }  # fmt: skip
    assert {path.stem for path in FILES} >= known


@pytest.mark.parametrize("text", ["null", "[]", '{"schema": "unspool/claim/1"}', '{"schema": "unspool/claim/0"}'])
def test_a_file_that_is_no_result_is_told(tmp_path: Path, text: str):
    write(tmp_path, TINY)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tiny.json").write_text(text)
    with pytest.raises(UserError, match="is not a result"):
        rows(tmp_path)

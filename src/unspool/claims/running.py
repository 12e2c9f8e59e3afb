"""A claim put to the test: both arms trained with as many FLOPs and the same seeds, then all runs in one evaluation.

OUT/ARM-SEED/     a run, as `unspool train` leaves it
OUT/evaluation/   of all runs, as `unspool eval` leaves it
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unspool import config, evaluation, sampling, store, training
from unspool.claims.claim import Claim, Experiment
from unspool.claims.measures import WINDOWS, Measure, is_blind
from unspool.claims.verdict import Effect, effect, goodness, verdict
from unspool.errors import UserError
from unspool.train.job import Where, changes, find_checkpoint, step_of
from unspool.train.run import commit, flops_per_clip, hardware, versions

SCHEMA = "unspool/claim/1"
GIGA = 10**9
CONTROLS = ("copy last", "real")
"""Shown beside the arms: what a frozen video and real video get."""

Report = Callable[[int, str, float], None]
"""(GFLOP spent of all runs, name of the run, its loss), now and then."""


class Arm(NamedTuple):
    """steps: that the budget buys; flops: of one of them."""

    steps: int
    flops: int
    parameters: int


class Trial(NamedTuple):
    """One invocation of `claims run`, everything found whole. rehearsal: with another budget than the claim's."""

    claim: Claim
    asked: Experiment
    out: Path
    arms: Mapping[str, Arm]
    rehearsal: bool
    argv: Sequence[str]
    device: torch.device | None = None

    @property
    def total(self) -> int:
        """GFLOP of all runs."""
        return sum(arm.steps * arm.flops * self.asked.seeds for arm in self.arms.values()) // GIGA

    def run(self, arm: str, seed: int) -> Path:
        """The folder of a run."""
        return self.out / f"{arm}-{seed}"


def plan(
    claim: Claim, out: Path, flops: float | None = None, argv: Sequence[str] = (), device: torch.device | None = None
) -> Trial:
    """flops: of a run, instead of the claim's, for a rehearsal. argv: the command line, to be told of. device: that
    trains and rolls out; None: the CPU.

    Raises UserError for a claim that cannot run yet, a budget below one step, arms of different picture sizes, and an `out`
    that holds runs of other settings.
    """
    asked = claim.told.experiment
    if asked is None or claim.told.needs:
        raise UserError(f"the claim {claim.name} cannot run yet: {claim.told.needs}")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder")
    budget = asked.flops if flops is None else flops
    if not 0 < budget < float("inf"):
        raise UserError(f"flops is a number above 0, such as 1e12, not {flops}")
    built = {name: _arm(asked, name, budget) for name in asked.arms}
    sizes = {name: size for name, (_, size) in built.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(f"the arms make frames of different sizes ({sizes}): give both the same resolution")
    trial = Trial(claim, asked, out, {name: arm for name, (arm, _) in built.items()}, flops is not None, argv, device)
    for arm, seed in _runs(trial):
        _refuse_another(trial, arm, seed)
    return trial


def train(trial: Trial, report: Report | None = None) -> None:
    """Train what is not trained yet, seed by seed, so that pairs are whole early. Raises KeyboardInterrupt after Ctrl-C, with
    everything saved: the same call goes on."""
    with store.locked(trial.out, "running a claim"):
        for number, (arm, seed) in enumerate(_runs(trial)):
            before = sum(trial.arms[done].steps * trial.arms[done].flops for done, _ in _runs(trial)[:number])
            _train(trial, arm, seed, partial(_spent, report, before, trial.arms[arm].flops, f"{arm}-{seed}"))


def _spent(report: Report | None, before: int, flops: int, run: str, step: int, loss: float) -> None:
    if report is not None:
        report((before + step * flops) // GIGA, run, loss)


def judge(trial: Trial, report: evaluation.Report | None = None) -> dict[str, Any]:
    """Measure all runs and write the result: beside the claim file in results/, of a rehearsal in `out`; gives it. Raises
    KeyboardInterrupt after Ctrl-C: the same call goes on."""
    how = trial.asked.evaluate
    conditions = evaluation.Conditions(
        how.frames, contexts=how.contexts, futures=how.futures, real=how.real, segment=how.segment
    )  # fmt: skip
    runs = [str(trial.run(arm, seed)) for arm, seed in _runs(trial)]
    with store.locked(trial.out, "running a claim"):
        what = evaluation.plan(
            runs, trial.asked.data, trial.out / "evaluation", conditions, split=how.split, twins=False,
            told={"command": shlex.join(trial.argv)}, windows=(WINDOWS,), device=trial.device,
        )  # fmt: skip
        found = evaluation.run(what, report)
        result: dict[str, Any] = store.plain(_result(trial, found), digits=6)
        store.write_json(place_of(trial), result)
    return result


def place_of(trial: Trial) -> Path:
    """Where the result is written."""
    if trial.rehearsal:
        return trial.out / "rehearsal.json"
    return trial.claim.path.parent / "results" / f"{trial.claim.name}.json"


def _runs(trial: Trial) -> list[tuple[str, int]]:
    return [(arm, seed) for seed in range(trial.asked.seeds) for arm in trial.arms]


def _arm(asked: Experiment, name: str, budget: float) -> tuple[Arm, int]:
    """With the side of its frames in pixels."""
    settings = config.resolve(None, asked.layers(name, 0))
    system = settings.build()
    flops = flops_per_clip(system, settings.train.batch).total * settings.train.batch
    if budget < flops:
        raise UserError(f"a step of {name} takes {flops:.3g} FLOPs, more than the {budget:.3g} of a run: give more")
    parameters = sum(p.numel() for p in system.model.parameters())
    return Arm(int(budget // flops), flops, parameters), sampling.picture_size(system)[0]


def _layers(trial: Trial, arm: str, seed: int) -> dict[str, Any]:
    return {**trial.asked.layers(arm, seed), "train.steps": trial.arms[arm].steps}


def _refuse_another(trial: Trial, arm: str, seed: int) -> None:
    """Raises UserError where `out` holds a run of this name with other settings."""
    run, wanted = trial.run(arm, seed), config.resolve(None, _layers(trial, arm, seed))
    before = training.settings_before(run) if run.is_dir() else None
    if before and (other := changes(config.dotted(before), config.dotted(wanted.nested()))):
        raise UserError(f"{run} was trained otherwise ({other[0]}): choose another --out")


def _train(trial: Trial, arm: str, seed: int, report: Callable[[int, float], None]) -> None:
    run, steps = trial.run(arm, seed), trial.arms[arm].steps
    begun = training.settings_before(run) is not None
    last = find_checkpoint(run, "latest", steps) if begun else None
    if last is not None and step_of(last) == steps:
        report(steps, float("nan"))
        return
    resume, told = "latest" if begun else None, {"argv": list(trial.argv)}
    job = training.plan(None, run, overrides=_layers(trial, arm, seed), resume=resume, told=told)
    where = Where(trial.device or torch.device("cpu"))
    training.run(training.prepare(job), lambda trainer, logs: report(trainer.step, logs.get("loss", float("nan"))), where)


def _result(trial: Trial, found: Mapping[str, Any]) -> dict[str, Any]:
    asked, claim = trial.asked, trial.claim
    effects = {measure.name: _effect(trial, found, measure) for measure in asked.shown}
    main = effects[asked.measure]
    if "skipped" in main:
        raise UserError(f"{asked.measure} could not be measured: {main['skipped']}; the runs are kept in {trial.out}")
    names = [trial.run(arm, seed).name for arm, seed in _runs(trial)]
    blind = is_blind(asked.shown[0], found, names)
    return {
        "schema": SCHEMA, "claim": claim.name, "claim_sha256": claim.sha256, "registered": _registered(trial),
        "rehearsal": trial.rehearsal, "effects": effects,
        "verdict": "undecided" if blind else verdict(Effect(**main), asked.smallest),
        "arms": {name: _told(trial, name, found) for name in trial.arms},
        "controls": {name: _figures(trial, found, name) for name in CONTROLS},
        "protocol": found["protocol"], "data": found["data"], "notes": found["notes"],
        "made": {
            "command": shlex.join(trial.argv), "commit": commit(), "versions": versions(), "hardware": hardware(trial.device),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }  # fmt: skip


def _effect(trial: Trial, found: Mapping[str, Any], measure: Measure) -> dict[str, Any]:
    sides = []
    for arm in (trial.asked.better, trial.asked.other):
        cells = [measure.of(found, trial.run(arm, seed).name) for seed in range(trial.asked.seeds)]
        why = next((cell.get("skipped", "not finite") for cell in cells if cell.get("value") is None), None)
        if why is not None:
            return {"skipped": why}
        sides.append([goodness(cell["value"], measure.better) for cell in cells])
    return effect(*sides)._asdict()


def _told(trial: Trial, arm: str, found: Mapping[str, Any]) -> dict[str, Any]:
    runs = {}
    for seed in range(trial.asked.seeds):
        run = trial.run(arm, seed)
        totals = store.read_json(run / "run.json")["totals"]
        spent = {"flops": totals["flops"], "hours": totals["hours"]}
        runs[str(seed)] = {**spent, **_figures(trial, found, run.name)}
    one = trial.arms[arm]
    return {"steps": one.steps, "flops_per_step": one.flops, "parameters": one.parameters, "seeds": runs}


def _figures(trial: Trial, found: Mapping[str, Any], arm: str) -> dict[str, float | None]:
    return {measure.name: measure.of(found, arm).get("value") for measure in trial.asked.shown}


def _registered(trial: Trial) -> str | None:
    """The commit that held the claim file, as it is, before the first run began; None where there is none."""
    runs = [store.read_json(trial.run(arm, seed) / "run.json") for arm, seed in _runs(trial)]
    begun = min(datetime.fromisoformat(run["jobs"][0]["begun"]).timestamp() for run in runs)
    path = trial.claim.path
    changed, known = _git(path, "status", "--porcelain"), _git(path, "log", "-1", "--format=%h %ct")
    if changed or not known:
        return None
    name, written = known.split()
    return name if int(written) <= begun else None


def _git(path: Path, *words: str) -> str | None:
    """What git says of a file; None where there is no repository, or no git."""
    ask = ["git", *words, "--", path.name]
    try:
        told = subprocess.run(ask, cwd=path.resolve().parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if told.returncode else told.stdout.strip()

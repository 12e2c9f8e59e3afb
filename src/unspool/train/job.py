"""A job of training in its run's folder: begun or gone on with, told of in run.json, ended with samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from unspool import store
from unspool.data import ClipSource, open_source
from unspool.errors import NothingThere, UserError
from unspool.system import System
from unspool.train import loop
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks
from unspool.train.run import Journal, hardware, locked, versions
from unspool.train.trainer import Trainer

Report = Callable[[Trainer, dict[str, float]], None]


class Where(NamedTuple):
    """What a job runs on: a device of this process, and the processes that train together."""

    device: torch.device = torch.device("cpu")
    ranks: Ranks = Ranks()


def refuse_a_run(out: Path) -> None:
    """Raises UserError where a new run would lie upon one that is there, if only a line of it."""
    there = [name for name in ("metrics.jsonl", "checkpoints", "run.json", "config.yaml") if (out / name).exists()]
    stillborn = (out / ".lock").exists() and not (out / "checkpoints" / "last").exists()
    if there and not stillborn:
        raise UserError(f"{out} holds a run already; go on with --resume latest, or choose another --out")


def held_out_of(
    data: str, system: System, size: int, split: Literal["seen", "test"], pad: bool, decoded: Callable[[int, int], None] | None
) -> ClipSource | str:
    """Held-out clips, or in words why there are none: a folder of one video has none to hold out."""
    try:
        source = open_source(data, size, split, decoded, pad=pad)
        source(np.arange(1, dtype=np.int64), system.frames)
    except NothingThere as error:
        return f"nothing is held out: {error}"
    return source


def find_checkpoint(out: Path, resume: str, steps: int) -> Path | None:
    """The checkpoint to go on from: `latest`, a step or a path; None for `latest` of a run that was stopped before its first.

    Raises UserError when there is none, or it is beyond `steps` already.
    """
    found: Path | None = None
    if resume == "latest":
        last = out / "checkpoints" / "last"
        found = last.resolve() if last.exists() else None
    else:
        places = (out / "checkpoints" / resume.zfill(7), Path(resume))
        found = next((path for path in places if (path / "training_state").is_dir()), None)
        if found is None:
            have = sorted(path.name for path in (out / "checkpoints").glob("[0-9]*"))
            raise UserError(f"there is no checkpoint {resume!r} to resume from; {out} has: latest {' '.join(have)}")
    if found is not None and step_of(found) > steps:
        raise UserError(f"{out} is at step {step_of(found)} already; raise --train.steps")
    return found


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was written at."""
    return int(store.read_json(checkpoint / "training_state" / "progress.json")["step"])


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each setting, by dotted name, that differs from the run's so far."""
    names = sorted(name for name in before.keys() & after.keys() if str(before[name]) != str(after[name]))
    return tuple(f"{name}: {before[name]} -> {after[name]}" for name in names)


def conduct(
    system: System,
    data: ClipSource,
    held_out: ClipSource | None,
    out: Path,
    options: TrainOptions,
    config: dict[str, Any],
    *,
    settings: Mapping[str, Any],
    told: Mapping[str, Any],
    flops: int,
    samples: Callable[[Path], None],
    resume: Path | None = None,
    report: Report | None = None,
    where: Where | None = None,
) -> None:
    """Train in `out`, under its lock; of several processes, the first writes. config: of the checkpoints; settings:
    config.yaml; told: of this job in run.json; flops: of one step; samples(path) draws what the averaged weights make, at the
    end.

    Raises KeyboardInterrupt after Ctrl-C, with everything saved; UserError when another process trains in the folder, it cannot
    be written, or the loss is not finite.
    """
    device, ranks = where or Where()
    if ranks.rank:  # others tell
        _finish(loop.train(system, data, held_out, out, options, config, resume=resume, device=device, ranks=ranks), None)
        return
    with locked(out):
        _write_yaml(out / "config.yaml", settings)
        first = 0 if resume is None else step_of(resume)
        entry = {
            **told, "versions": versions(), "hardware": hardware(device), "ranks": ranks.size, "seed": options.seed,
            "from_step": first, "settings": settings,
        }  # fmt: skip
        journal, begun, batch = Journal(out, entry), time.perf_counter(), options.effective(ranks.size)

        def record(step: int) -> None:
            done = max(0, step - first)
            hours = (time.perf_counter() - begun) / 3600
            journal.write(to_step=step, hours=hours, flops=flops * done, clips=batch * done)

        def note(trainer: Trainer, logs: dict[str, float]) -> None:
            if trainer.step % options.save_every == 0:
                record(trainer.step)
            if report is not None:
                report(trainer, logs)

        record(first)
        try:
            trainer = loop.train(
                system, data, held_out, out, options, config, resume=resume, device=device, ranks=ranks, report=note
            )  # fmt: skip
        finally:
            last = out / "checkpoints" / "last"
            record(step_of(last) if last.exists() else first)
        _finish(trainer, lambda: samples(out / "samples" / f"{trainer.step:07d}.png"))


def _finish(trainer: Trainer, samples: Callable[[], None] | None) -> None:
    """Draw what the averaged weights make; where these are sharded, all processes give theirs for it."""
    with trainer.averaged():
        trainer.spread.gather()
        trainer.model.eval()
        if samples is not None:
            samples()
        trainer.ranks.wait()


def world_changes(checkpoint: Path, options: TrainOptions, ranks: Ranks) -> list[str]:
    """What must be said where a run goes on in another number of processes, or with other batches, than it was saved in."""
    progress = store.read_json(checkpoint / "training_state" / "progress.json")
    before, clips, now = progress.get("ranks", 1), progress.get("clips"), options.effective(ranks.size)
    told = []
    if before != ranks.size:
        told.append(f"saved by {before} processes, goes on in {ranks.size}: sums are rounded otherwise, by 1e-7 or so a step")
        if list((checkpoint / "training_state").glob("objective*.safetensors")):
            told.append("rollouts that a process has kept for its clips go with its number: others begin with none")
    if clips and clips != now:
        each, left = divmod(clips, ranks.size * options.accumulate)
        parts = f"{ranks.size} ranks x accumulation {options.accumulate}"
        fix = f"--train.batch {each} keeps {clips}" if not left else f"{clips} does not divide by {parts}"
        told.append(f"the effective batch was {clips} and is {now}, so other clips come from here on; {fix}")
    return told


def _write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    import yaml

    store.write_text(path, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True))

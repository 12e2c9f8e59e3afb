"""The verb `train`: settings and a source of clips in, a run folder out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unspool import config, hub, sampling, store
from unspool.config import Settings
from unspool.data import ClipSource, open_source
from unspool.errors import UserError
from unspool.explain import check
from unspool.system import System
from unspool.train import loop
from unspool.train.run import Journal, clips_for, describe, flops_per_clip, hardware, locked, versions

Report = Callable[[loop.Trainer, dict[str, float]], None]


@dataclass(frozen=True)
class Job:
    """One invocation of `train`. resume: a checkpoint folder; init: a model whose weights to begin with; notes: what to tell
    the user before it begins; told: for run.json."""

    settings: Settings
    out: Path
    resume: Path | None = None
    init: str | None = None
    notes: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)


def plan(
    recipe: str | None,
    out: Path,
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    resume: str | None = None,
    init: str | None = None,
    told: Mapping[str, Any] | None = None,
) -> Job:
    """Settings of a new run, or of one that goes on: then those it was run with come first, and changes are announced.

    resume: `latest`, a step or the path of a checkpoint. Raises UserError for a run that exists when `resume` is not given.
    """
    out, layers = Path(out), []
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder")
    before = settings_before(out)
    if resume is None:
        there = [name for name in ("metrics.jsonl", "checkpoints", "run.json", "config.yaml") if (out / name).exists()]
        stillborn = (out / ".lock").exists() and not (out / "checkpoints" / "last").exists()
        if there and not stillborn:
            raise UserError(f"{out} holds a run already; go on with --resume latest, or choose another --out")
    elif init:
        raise UserError("--init begins a new run with a model's weights, --resume goes on with a run's own; give one of them")
    else:
        if before is None:
            raise UserError(f"{out} holds no run to resume; leave --resume away to begin one")
        layers.append(before)
    if file is not None:
        layers.append(config.read_file(file))
    if recipe is not None and before is not None and before.get("recipe") not in (None, config.canonical(recipe)):
        layers[0] = {name: before[name] for name in ("data", "train") if name in before}  # another recipe, other arguments
    settings = config.resolve(recipe, *layers, overrides or {})
    if settings.data is None:
        raise UserError("name the data: --data duel, or --data FOLDER with videos in it")
    checkpoint = None if resume is None else _checkpoint(out, resume)
    if checkpoint is not None and _step(checkpoint) > settings.train.steps:
        raise UserError(f"{out} is at step {_step(checkpoint)} already; raise --train.steps")
    notes = () if resume is None or before is None else _changes(before, settings)
    if resume is not None and checkpoint is None:
        notes = (*notes, f"{out} has no checkpoint yet: it begins anew")
    return Job(settings, out, checkpoint, init, notes, told or {})


class Prepared(NamedTuple):
    """A job whose settings, data and weights have proved whole; flops: of one step; warnings: what to think twice about.
    Nothing is written yet."""

    job: Job
    system: System
    data: ClipSource
    held_out: ClipSource | None
    description: dict[str, Any]
    flops: int
    warnings: tuple[str, ...] = ()


def prepare(job: Job, decoded: Callable[[int, int], None] | None = None) -> Prepared:
    """Build and load everything. Raises UserError for what the user can mend.

    decoded(done, total): called after each video of a folder, which are decoded on their first use.
    """
    settings, options = job.settings, job.settings.train
    system = settings.build()
    warnings = check(system)
    if job.init:
        source = hub.find(job.init)
        loop.load_weights(system, store.load_tensors(source.weights)[0], source.folder)
    if job.resume is not None:
        loop.Trainer(system, options).load(job.resume)  # weights that do not fit are refused before anything is written
    assert settings.data is not None
    data = open_source(settings.data, sampling.picture_size(system)[0], "train", decoded)
    held_out = _held_out(settings.data, system, decoded)
    if isinstance(held_out, str):
        warnings.append(f"nothing is held out: {held_out}")
    if not job.init and job.resume is None:
        system.codec.fit(loop.to_video(data(np.arange(64, dtype=np.int64), 4, seed=options.seed)))
    description = describe(settings.data, data, system, options.seed)
    cost = flops_per_clip(system).total * options.batch
    return Prepared(job, system, data, None if isinstance(held_out, str) else held_out, description, cost, tuple(warnings))


def run(prepared: Prepared, report: Report | None = None) -> Path:
    """Train; gives the run folder. Raises KeyboardInterrupt after Ctrl-C, with everything saved; UserError when another process
    trains in the folder, it cannot be written, or the loss is not finite."""
    job, system, data, held_out, description, flops, _ = prepared
    settings, options = job.settings, job.settings.train
    rollout = {name: value for name, value in asdict(settings.rollout).items() if value is not None}
    saved = config.plain({
        "format": hub.FORMAT, "recipe": settings.recipe, "arguments": settings.arguments,
        "rollout": rollout, "data": settings.data, "train": asdict(options),
    })  # fmt: skip

    with locked(job.out):
        _write_yaml(job.out / "config.yaml", settings.nested())
        first = 0 if job.resume is None else _step(job.resume)
        entry = {
            **job.told, "versions": versions(), "hardware": hardware(), "seed": options.seed, "data": description,
            "init": job.init, "changes": job.notes, "from_step": first, "settings": settings.nested(),
        }  # fmt: skip
        journal, begun = Journal(job.out, entry), time.perf_counter()

        def record(step: int) -> None:
            done = max(0, step - first)
            hours = (time.perf_counter() - begun) / 3600
            journal.write(to_step=step, hours=hours, flops=flops * done, clips=options.batch * done)

        def note(trainer: loop.Trainer, logs: dict[str, float]) -> None:
            if trainer.step % options.save_every == 0:
                record(trainer.step)
            if report is not None:
                report(trainer, logs)

        record(first)
        try:
            trainer = loop.train(system, data, held_out, job.out, options, saved, resume=job.resume, report=note)
        finally:
            last = job.out / "checkpoints" / "last"
            record(_step(last) if last.exists() else first)
        with trainer.averaged():
            system.model.eval()
            write_samples(system, held_out or data, job.out / "samples" / f"{trainer.step:07d}.png")
    return job.out


def steps_within(job: Job, seconds: float) -> int:
    """How many steps of this job fit into a time, by trying a few of them on a model that is then thrown away."""
    settings = job.settings
    assert settings.data is not None
    trainer = loop.Trainer(settings.build(), settings.train)
    source = open_source(settings.data, sampling.picture_size(trainer.system)[0], "train")
    batch = settings.train.batch
    taken = []
    for step in range(8):
        begun = time.perf_counter()
        indices = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
        trainer.train_step(clips_for(trainer.system, source, indices, settings.train.seed))
        taken.append(time.perf_counter() - begun)
    return max(1, int(seconds / float(np.median(taken[3:]))))


@torch.no_grad()
def write_samples(system: System, source: ClipSource, path: Path, *, seeds: int = 3) -> None:
    """A contact sheet: what the model makes of two frames of a held-out clip, four times as long as its training clips,
    below what really followed."""
    from unspool.evaluate.sheet import contact_sheet

    first, frames = np.zeros(1, dtype=np.int64), 4 * system.frames
    try:
        clip = source(first, 2 + frames)[0]
    except UserError:  # its videos are short
        clip = source(first, system.frames)[0]
    rollout = sampling.start(system, clip[:2], seeds, 0)
    made = np.concatenate([part for part, _ in sampling.futures(system, rollout, len(clip) - 2)], 1)
    rows = {"real": clip[2:]} | {f"seed {k}": video for k, video in enumerate(made)}
    picture = contact_sheet(rows, clip[:2], float(getattr(source, "fps", 30)))
    store.write_aside(path, lambda aside: picture.save(aside, format="png"))


def _held_out(data: str, system: System, decoded: Callable[[int, int], None] | None) -> ClipSource | str:
    """Held-out clips, or in words why there are none: a folder of one video has none to hold out."""
    try:
        source = open_source(data, sampling.picture_size(system)[0], "seen", decoded)
        source(np.arange(1, dtype=np.int64), system.frames)
    except UserError as error:
        return str(error)
    return source


def settings_before(out: Path) -> dict[str, Any] | None:
    """What a run's folder says of its settings; None where there is no run."""
    if (out / "config.yaml").is_file():
        return config.read_file(out / "config.yaml")
    saved = out / "checkpoints" / "last" / "config.json"
    if saved.is_file():
        told = store.read_json(saved)
        train = {} if "train" not in told else {"train": told["train"]}
        data = {} if told.get("data") is None else {"data": told["data"]}
        rollout = told.get("rollout") or {}
        return {"recipe": told["recipe"], **(told.get("arguments") or {}), **train, **data, "rollout": rollout}
    return {} if (out / "metrics.jsonl").exists() else None


def _checkpoint(out: Path, resume: str) -> Path | None:
    """The checkpoint to go on from; None for `latest` of a run that was stopped before its first one."""
    if resume == "latest":
        last = out / "checkpoints" / "last"
        return last.resolve() if last.exists() else None
    for path in (out / "checkpoints" / resume.zfill(7), Path(resume)):
        if (path / "training_state").is_dir():
            return path
    have = sorted(path.name for path in (out / "checkpoints").glob("[0-9]*"))
    raise UserError(f"there is no checkpoint {resume!r} to resume from; {out} has: latest {' '.join(have)}")


def _step(checkpoint: Path) -> int:
    return int(store.read_json(checkpoint / "training_state" / "progress.json")["step"])


def _changes(before: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    """One line for each setting that differs from the run's so far."""
    old, new = config.dotted(before), config.dotted(settings.nested())
    names = sorted(name for name in old.keys() & new.keys() if str(old[name]) != str(new[name]))
    return tuple(f"{name}: {old[name]} -> {new[name]}" for name in names)


def _write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    import yaml

    text = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)
    store.write_text(path, text)

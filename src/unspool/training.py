"""The verb `train`: settings and a source of clips in, a run folder out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from warnings import warn

import numpy as np
import torch

from unspool import config, encoding, hub, sampling, store
from unspool.codec import CodecOptions, to_video
from unspool.config import Setting, Settings
from unspool.data import ClipSource, open_source
from unspool.data.actions import actions_of
from unspool.data.clips import Captioned
from unspool.data.shards import Shards
from unspool.errors import UserError
from unspool.explain import check
from unspool.memory import Full
from unspool.prompts import Telling, frame_by_frame
from unspool.system import System
from unspool.text import CAPTIONS, vocabulary_of
from unspool.train.checkpoints import load_weights
from unspool.train.codec import SQUARE, TRAINING, CodecJob
from unspool.train.job import Report, Where, changes, conduct, find_checkpoint, held_out_of, refuse_a_run, world_changes
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks
from unspool.train.run import clips_for, describe, flops_per_clip
from unspool.train.trainer import Trainer
from unspool.types import Count, Positive

ENOUGH = 10
"""Numbers of data for each parameter, below which a model is told to be too large for it."""


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
    if resume is not None and init:
        raise UserError("--init begins a new run with a model's weights, --resume goes on with a run's own; give one of them")
    out = Path(out)
    layers = _layers(out, file, resume)
    before = None if resume is None else layers[0]
    if recipe is not None and before is not None and before.get("recipe") not in (None, config.canonical(recipe)):
        layers[0] = {name: before[name] for name in ("data", "train") if name in before}  # another recipe, other arguments
    settings = config.resolve(recipe, *layers, overrides or {})
    if settings.data is None:
        raise UserError("name the data: --data duel, or --data FOLDER with videos in it")
    checkpoint = None if resume is None else find_checkpoint(out, resume, settings.train.steps)
    notes = () if resume is None or before is None else changes(config.dotted(before), config.dotted(settings.nested()))
    if resume is not None and checkpoint is None:
        notes = (*notes, f"{out} has no checkpoint yet: it begins anew")
    return Job(settings, out, checkpoint, init, notes, told or {})


def codec_settings() -> list[Setting]:
    """Every setting of `train codec` by the name that it is typed as; two ways are not one forward pass to compile."""
    size = Setting("resolution", Count, 64, "pixels of a frame's side in training")
    square = Setting("square", Positive, SQUARE, "weight of the squared error: more PSNR, less sharpness")
    training = [s for s in config.signature(TrainOptions, "train.") if s.name != "train.compile"]
    chosen = [s._replace(default=getattr(TRAINING, s.name.removeprefix("train."))) for s in training]
    return [size, square, *config.signature(CodecOptions, "codec."), *chosen]


def plan_codec(
    out: Path,
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    resume: str | None = None,
    told: Mapping[str, Any] | None = None,
) -> CodecJob:
    """As `plan`, for a codec: `prepare_codec` and `train_codec` take the job."""
    out = Path(out)
    layers = [config.dotted(layer) for layer in (*_layers(out, file, resume), overrides or {})]
    given = {name: value for layer in layers for name, value in layer.items()}
    data = given.pop("data", None)
    if data is None:
        raise UserError("name the data: --data rooms, or --data FOLDER with videos in it")
    values = config.check(codec_settings(), given, "a codec")
    sections: dict[str, dict[str, Any]] = {"": {}, "codec": {}, "train": {}}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        sections[section][key] = value
    options, train = CodecOptions(**sections["codec"]), TrainOptions(**sections["train"])
    checkpoint = None if resume is None else find_checkpoint(out, resume, train.steps)
    job = CodecJob(options, train, str(data), values["resolution"], values["square"], out, checkpoint, told=told or {})
    if resume is None:
        return job
    begun = () if checkpoint is not None else (f"{out} has no checkpoint yet: it begins anew",)
    return replace(job, notes=(*changes(layers[0], config.dotted(job.nested())), *begun))


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


def prepare(job: Job, decoded: Callable[[int, int], None] | None = None, ranks: Ranks | None = None) -> Prepared:
    """Build and load everything. Raises UserError for what the user can mend.

    decoded(done, total): called after each video of a folder, which are decoded on their first use. ranks: the processes that
    will train together.
    """
    settings, options, ranks = job.settings, job.settings.train, ranks or Ranks()
    system = settings.build()
    warnings = check(system)
    named = settings.data
    assert named is not None
    data = open_source(named, sampling.picture_size(system)[0], "train", decoded, pad=options.pad)
    source = hub.find(job.init) if job.init else None
    if source is not None and settings.codec and source.config.get("codec"):
        raise UserError(f"{job.init} brings its own codec: leave --codec away")
    job, system = _worded(job, system, data)
    begun = store.read_json(job.resume / "config.json") if job.resume else source and source.config
    system = encoding.choose(system, settings.codec, begun, data)
    if source is not None:
        load_weights(system, store.load_tensors(source.weights)[0], source.folder)
    if job.resume is not None:
        Trainer(system, options).load(job.resume)  # weights that do not fit are refused before anything is written
    held_out = held_out_of(named, system, sampling.picture_size(system)[0], "seen", options.pad, decoded)
    if isinstance(held_out, str):
        warnings.append(held_out)
    encoding.check_codec(system, data)
    if begun is None and not encoding.is_encoded(data):
        system.codec.fit(to_video(data(np.arange(64, dtype=np.int64), 4, seed=options.seed).frames))
    if isinstance(data, Shards):
        warnings += too_little(data.frames, system)
    _check_actions(system, data)
    description = describe(named, data, system, options.seed)
    if job.resume is not None and _data_before(job.out) not in (None, description["sha256"]):
        warnings.append(f"{named} is not what this run was trained on before: other clips come from it now")
    if job.resume is not None:
        warnings += world_changes(job.resume, options, ranks)
    cost = flops_per_clip(system, options.batch).total * options.effective(ranks.size)
    return Prepared(job, system, data, None if isinstance(held_out, str) else held_out, description, cost, tuple(warnings))


def too_little(frames: int, system: System) -> list[str]:
    """A line when so many frames are too few for a model of this size; a rule of thumb."""
    parameters = sum(p.numel() for p in system.model.parameters())
    need = -(-ENOUGH * parameters // math.prod(system.model.shape))
    if frames >= need:
        return []
    what = f"{frames} frames are little for {parameters:,} parameters, which may learn them by heart"
    return [f"{what}: {need} or more are better"]


def run(prepared: Prepared, report: Report | None = None, where: Where | None = None) -> Path:
    """Train; gives the run folder. Raises KeyboardInterrupt after Ctrl-C, with everything saved; UserError when another process
    trains in the folder, it cannot be written, or the loss is not finite."""
    job, system, data, held_out, description, flops, _ = prepared
    settings, options = job.settings, job.settings.train
    rollout = {name: value for name, value in asdict(settings.rollout).items() if value is not None}
    saved = store.plain({
        "format": hub.FORMAT, "recipe": settings.recipe, "arguments": settings.arguments,
        "rollout": rollout, "data": settings.data, "fps": data.fps, "train": asdict(options),
        **({"actions": known.told()} if system.model.controls and (known := actions_of(data)) else {}),
        **encoding.told_of(system.codec),
    })  # fmt: skip

    conduct(
        system, data, held_out, job.out, options, saved, settings=settings.nested(), flops=flops, resume=job.resume,
        told={**job.told, "data": description, "init": job.init, "changes": job.notes},
        samples=lambda path: _leave(system, data, held_out, path), report=report, where=where,
    )  # fmt: skip
    return job.out


def _leave(system: System, data: ClipSource, held_out: ClipSource | None, path: Path) -> None:
    """The pictures of a run: what the model makes of clips held out and of its own, and how its losses went."""
    write_samples(system, held_out or data, path)
    if held_out is not None:
        write_samples(system, data, path.with_name(f"{path.stem}-training{path.suffix}"))
    from unspool.evaluate.pages.losses import draw_losses

    run = path.parents[1]
    noted = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    try:
        picture = draw_losses(noted)
    except ImportError:
        warn(f"there is no {run / 'losses.png'}: drawing it needs matplotlib", stacklevel=2)
        return
    if picture is not None:
        store.write_bytes(run / "losses.png", picture)


def steps_within(job: Job, seconds: float) -> int:
    """How many steps of this job fit into a time, by trying a few of them on a model that is then thrown away."""
    settings = job.settings
    assert settings.data is not None
    trainer = Trainer(settings.build(), settings.train)
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
    """A contact sheet: what the model makes of the first frames of a held-out clip, four times as long as its training clips,
    below what really followed, under the captions of that; a model that takes actions is told those of the clip. It is
    shorter where a memory has no room for so many. There is none where Pillow is missing."""
    from unspool.evaluate.pages.sheet import contact_sheet

    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        warn(f"there is no {path}: drawing it needs Pillow", stacklevel=2)
        return
    first, known, frames = np.zeros(1, dtype=np.int64), sampling.context_frames(system), 4 * system.frames
    room = min((memory.capacity for memory in system.model.modules() if isinstance(memory, Full)), default=known + frames)
    frames = min(frames, room - known)
    if frames < 1:
        return
    try:
        clips = source(first, known + frames)
    except UserError:  # its videos are short
        clips = source(first, system.frames)
    clip, said = clips.frames[0], None if clips.text is None else clips.text[0]
    actions = clips.actions[0] if system.model.controls and clips.actions is not None else None
    if clip.dtype != np.uint8:
        clip = sampling.to_pixels(system.codec.decode(torch.from_numpy(clip)[None].float().to(system.device), {})[0])[0]
    telling = None if system.text is None or said is None else Telling(frame_by_frame(system.text, said.tolist()))
    rollout = sampling.start(system, clip[:known], seeds, 0, actions, telling and telling.script)
    parts = sampling.futures(system, rollout, len(clip) - known, actions, telling=telling)
    made = np.concatenate([part for part, _ in parts], 1)
    rows = {"real": clip[known:]} | {f"seed {k}": video for k, video in enumerate(made)}
    picture = contact_sheet(rows, clip[:known], float(getattr(source, "fps", 30)))
    store.write_aside(path, lambda aside: picture.save(aside, format="png"))


def _worded(job: Job, system: System, data: ClipSource) -> tuple[Job, System]:
    """The job with the vocabulary of the data where it says `captions`, and its system. Raises UserError where the data says
    nothing, or what the model does not know."""
    if system.text is None:
        return job, system
    captions = list(data.wording()) if isinstance(data, Captioned) else []
    if job.settings.arguments["text"] != CAPTIONS:
        system.text.encode(captions)
        return job, system
    arguments = {**job.settings.arguments, "text": vocabulary_of(captions)}
    job = replace(job, settings=replace(job.settings, arguments=arguments))
    return job, job.settings.build()


def _check_actions(system: System, data: ClipSource) -> None:
    """Raises UserError where a model takes actions that the data does not have."""
    wanted = system.model.controls
    actions = data(np.zeros(1, np.int64), 1).actions if wanted else None
    have = 0 if actions is None else actions.shape[-1]
    if wanted and wanted != have:
        raise UserError(f"the model takes actions of {wanted} numbers and the data has {have}: give the recipe controls={have}")


def _data_before(out: Path) -> str | None:
    """The hash of the clips that a run saw in its last job."""
    if not (out / "run.json").is_file():
        return None
    jobs = store.read_json(out / "run.json").get("jobs") or [{}]
    return (jobs[-1].get("data") or {}).get("sha256")


def _layers(out: Path, file: Path | None, resume: str | None) -> list[dict[str, Any]]:
    """Settings of the run that goes on, then of a file. Raises UserError for a run in the way, and for none to resume."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder")
    layers = []
    if resume is None:
        refuse_a_run(out)
    elif (before := settings_before(out)) is not None:
        layers.append(before)
    else:
        raise UserError(f"{out} holds no run to resume; leave --resume away to begin one")
    if file is not None:
        layers.append(config.read_file(file))
    return layers


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

"""`unspool demo`: two frames of an unseen clip in, futures and a report on them out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from unspool.cli import VERBS
from unspool.cli.parser import Parser, rollout_given, rollout_settings, set_threads
from unspool.cli.progress import Bar, clock, size
from unspool.cli.sample import figures_of
from unspool.data import WORLDS, World
from unspool.errors import UserError

EXAMPLES = (
    "unspool demo --out demo",
    "unspool demo --frames 300 --clip 3 --split unseen --out demo",
    "unspool demo --size nano --minutes 10 --out demo     # train from nothing first",
    "unspool demo --model runs/mine --data duel:fighters=1 --out demo",
)
UPSCALE, CONTEXT = 4, 2
DATA = "duel:fighters=1,speed=0.5"  # what a nano model is trained on, one fighter being what ten minutes are enough for
NANO = {"resolution": 32, "patch": 4, "components": 0, "predict": "clean"}  # 64 tokens, and errors that do not add up
MOST_FRAMES = 20_000  # they are held in memory for the report; `sample` holds none


def parser(argv: list[str]) -> Parser:
    parser = Parser("demo", VERBS["demo"], EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for videos, pictures and report.html")
    parser.add_argument("--frames", type=int, default=893, metavar="N", help="frames of a future [893]")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="futures [3]")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first future [0]")
    parser.add_argument("--model", metavar="MODEL", help="another model [duel-64]")
    parser.add_argument("--data", metavar="WORLD", help="where held-out clips come from [the world it was trained on]")
    parser.add_argument("--split", choices=("seen", "unseen"), default="seen", help="combinations trained on or not [seen]")
    parser.add_argument("--clip", type=int, default=0, metavar="N", help="number of the held-out clip to go on from [0]")
    parser.add_argument("--size", choices=("nano",), help="train a model of this size from nothing instead of taking --model")
    parser.add_argument("--minutes", type=float, metavar="X", help="time for that training [10]")
    parser.add_argument("--bf16", action="store_true", help="compute the rollout in bfloat16")
    rollout_settings(parser)
    parser.device()
    parser.threads()
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Train if asked to, roll out, judge. The videos are whole as soon as the rollout ends, whatever happens after it."""
    from unspool import config, device, hub, openings, sampling
    from unspool.explain import check_rollout

    if not 2 <= options.frames <= MOST_FRAMES:
        raise UserError(f"frames is 2 to {MOST_FRAMES} here, not {options.frames}; `unspool sample` makes any number")
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"{options.out} is a file; give --out a folder")
    if options.size and options.model:
        raise UserError("--size trains a model from nothing, --model names one that is there: give one of them")
    if options.minutes is not None and not options.size:
        raise UserError("--minutes is the time of a training from nothing: give --size nano as well")
    if options.clip < 0:
        raise UserError(f"clip is the number of a held-out clip, from 0, not {options.clip}")
    set_threads(options.threads)
    if options.data:
        _check_world(options.data)
    model = str(_train(options)) if options.size else options.model or "duel-64"
    checkpoint = hub.find(model)
    options.data = options.data or _world_of(checkpoint.config)
    given = rollout_given(options)
    system = config.rollout_options(given).apply(hub.load(checkpoint, device=device.choose(options.device)))
    for warning in check_rollout(system):
        print(warning, file=sys.stderr)
    if options.bf16:
        system.model.bfloat16()
    clip = openings.context_of(options.data, system, CONTEXT, split=options.split, clip=options.clip)
    rollout = sampling.start(system, clip.frames, options.seeds, options.seed)
    paths = [options.out / f"future-{k + 1}.mp4" for k in range(options.seeds)]
    facts = {
        "model": model, "recipe": checkpoint.config["recipe"], "config_hash": checkpoint.digest,
        "checkpoint": checkpoint.folder.resolve().name, "context": clip.name,
    }  # fmt: skip
    keep: list[np.ndarray] = []
    with Bar("frames", options.frames) as bar:
        done = sampling.write_futures(
            system, rollout, options.frames, paths, fps=clip.fps, upscale=UPSCALE, facts=facts, keep=keep,
            report=lambda at: bar(at.frames, figures_of(at, clip.fps)),
        )  # fmt: skip
    if done.interrupted:
        raise KeyboardInterrupt(f"{done.frames} of {options.frames} frames are in {options.out}; there is no report")
    facts |= {
        "frames per second": round(done.frames / done.seconds, 1),
        "times real time": round(done.frames / done.seconds / clip.fps, 2),
        "state": size(done.bytes), "parameters": sum(p.numel() for p in system.model.parameters()),
        "seeds": ", ".join(str(options.seed + k) for k in range(options.seeds)),
        "command": " ".join(["unspool", *sys.argv[1:]]),
    }  # fmt: skip
    report = _judge(options, system, np.concatenate(keep, 1), paths, facts)
    _close(options, report, facts)


def _world_of(config: dict[str, Any]) -> str:
    """The world that a model was trained on."""
    data = str(config.get("data") or "duel")
    if data.partition(":")[0] not in WORLDS:
        raise UserError(f"this model was trained on {data}: name a world to judge it by (--data duel), or use `unspool sample`")
    return data


def _check_world(data: str) -> None:
    if data.partition(":")[0] not in WORLDS:
        raise UserError(f"demo judges against a world ({', '.join(WORLDS)}), not {data!r}; videos: `unspool sample`")


def _judge(
    options: argparse.Namespace, system: Any, made: np.ndarray, paths: list[Path], facts: dict[str, Any]
) -> dict[str, Any]:
    """futures.mp4 (what really followed, then the futures side by side), the pictures and the report."""
    from unspool.data import open_world
    from unspool.data.writer import VideoWriter
    from unspool.evaluate import side_by_side, write_report
    from unspool.sampling import picture_size

    print("judging against real video ...", file=sys.stderr, flush=True)
    world = open_world(options.data, picture_size(system)[0], options.split)
    count = 16 if options.frames <= 2000 else 8  # real clips for the band; they are held in memory
    real = world(np.arange(options.clip, options.clip + count, dtype=np.int64), CONTEXT + options.frames).frames
    joined = side_by_side(np.concatenate([real[:1, CONTEXT:], made]))
    together = options.out / "futures.mp4"
    with VideoWriter(together, size=joined.shape[1:3], fps=world.fps, upscale=UPSCALE) as out:
        out.write(joined)
    videos = {"what really followed, and the futures": together}
    videos |= {f"future {k + 1}": path for k, path in enumerate(paths)}
    return write_report(
        options.out, futures=made, real=real[:, CONTEXT:], context=real[0, :CONTEXT], fps=float(world.fps), facts=facts,
        videos=videos, extra=_read(world, made, real[:, CONTEXT:]),
    )  # fmt: skip


def _read(world: World, made: np.ndarray, real: np.ndarray) -> dict[str, Any]:
    """What the state reader says of limbs and joints, where it can read: two fighters of `duel` at 64 x 64."""
    from unspool.data.worlds.duel import Duel
    from unspool.evaluate.duel.plausible import plausibility
    from unspool.evaluate.duel.reader import load_reader

    if not isinstance(world, Duel) or world.fighters != 2 or made.shape[2:4] != (64, 64):
        return {}
    read = load_reader()
    return dict(plausibility(read(made), read(real)))


def _close(options: argparse.Namespace, report: dict[str, Any], facts: dict[str, Any]) -> None:
    if options.json:
        print(json.dumps({"out": str(options.out), "verdict": report["verdict"], "videos": report["videos"], "facts": facts}))
        return
    from rich.console import Console
    from rich.table import Table

    from unspool.evaluate import closing_table

    heading, *rows = closing_table(report)
    table = Table(*heading, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, 110)
    console.print(table)
    print(report["verdict"]["words"])
    print(f"{facts['frames per second']} frames/s ({facts['times real time']} x real time), state of {facts['state']}")
    print(f"{options.out / 'report.html'}: videos, frames, curves and what they mean")


def _train(options: argparse.Namespace) -> Path:
    """A nano model trained from nothing for so many minutes, in OUT/run; gives that folder. One that was stopped goes on."""
    from unspool import training
    from unspool.train.trainer import Trainer

    run, told = options.out / "run", {"argv": ["unspool", *sys.argv[1:]]}
    if (run / "checkpoints" / "last").exists():
        job = training.plan(None, run, resume="latest", told=told)
        if options.data not in (None, job.settings.data):
            raise UserError(f"{run} was trained on {job.settings.data}; leave --data away, or choose another --out")
        print(f"going on with {run}; --minutes was said when it began", file=sys.stderr, flush=True)
    else:
        job = _paced(options, run, told)
    prepared = training.prepare(job)
    with Bar("training", job.settings.train.steps) as bar:

        def report(trainer: Trainer, logs: dict[str, float]) -> None:
            bar(trainer.step, {"loss": f"{logs['loss']:.4f}"})

        try:
            return training.run(prepared, report)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("saved; the same command goes on") from None


def _paced(options: argparse.Namespace, run: Path, told: dict[str, Any]) -> Any:
    """The training that fits into the minutes, by timing a few steps of it."""
    from unspool import training

    minutes = 10 if options.minutes is None else options.minutes
    if not 0.05 <= minutes <= 10_000:
        raise UserError(f"minutes is 0.05 to 10000, not {minutes}")
    run.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is told of before the timing
    chosen = {"size": options.size, **NANO, "data": options.data or DATA}
    steps = training.steps_within(training.plan("frame-by-frame", run, overrides=chosen, told=told), 60 * minutes)
    paced = {"train.steps": steps, "train.warmup": min(100, steps // 10), "train.save_every": max(1, steps // 10),
             "train.validate_every": max(1, steps // 10), "train.lr": 2e-3, "train.ema": 0.995}  # fmt: skip
    print(f"training a {options.size} model for {clock(60 * minutes)}: {steps} steps", file=sys.stderr, flush=True)
    return training.plan("frame-by-frame", run, overrides={**chosen, **paced}, told=told)

"""`unspool train`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspool.cli import VERBS, codec
from unspool.cli.parser import Parser, set_threads
from unspool.cli.progress import Bar, Tally
from unspool.data import WORLDS

if TYPE_CHECKING:
    from unspool.train.job import Report
    from unspool.train.options import TrainOptions
    from unspool.train.ranks import Ranks
    from unspool.train.trainer import Trainer

EXAMPLES = (
    "unspool train chunk-by-chunk --data duel --out runs/duel --train.steps 4800",
    "unspool train --out runs/duel --resume latest",
    "torchrun --nproc-per-node 8 -m unspool train frame-by-frame --data shards --out runs/wide --train.shard",
    "unspool train frame-by-frame --size nano --data my_videos --out runs/mine --init runs/duel",
    "unspool train my_recipe.py:recipe --data duel --out runs/own",
    "unspool train codec --data duel --out runs/codec",
    "unspool train frame-by-frame --data duel --codec codec-duel-64 --components 16 --out runs/latents",
)


def parser(argv: list[str]) -> Parser:
    """Options depend on the recipe: they are its arguments. A codec's are its own."""
    from unspool import config, recipes
    from unspool.training import settings_before

    named = recipe_of(argv)
    told: dict[str, Any] = {}
    if named is None and (file := _value(argv, "--config")):
        told |= config.read_file(Path(file))
    if named is None and (out := _value(argv, "--out")):
        told = (settings_before(Path(out)) or {}) | told
    named = named or told.get("recipe")
    if named == "codec" or (named is None and isinstance(told.get("codec"), Mapping)):
        return _common(codec.parser())
    parser = _common(Parser("train", VERBS["train"], EXAMPLES))
    what = f"{', '.join(recipes.RECIPES)}, my_recipe.py:recipe, or codec"
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=what)
    parser.add_argument("--init", metavar="MODEL", help="begin with this model's weights")
    parser.add_argument("--codec", metavar="RUN", help="of `train codec`, or codec-duel-64: work on its latents")
    chosen = config.settings_of(str(named or "chunk-by-chunk"))
    parser.settings(f"settings of {named or 'chunk-by-chunk'}", (s for s in chosen if "." not in s.name))
    parser.settings("settings of training", (s for s in chosen if s.name.startswith("train.")))
    parser.settings("settings of the rollout, kept with the model", (s for s in chosen if s.name.startswith("rollout.")))
    return parser


def _common(parser: Parser) -> Parser:
    parser.add_argument("--data", metavar="WORLD|DIR", help=f"{', '.join(WORLDS)} (duel:speed=0.5), or a folder of videos")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--resume", nargs="?", const="latest", metavar="latest|STEP", help="go on with the run in --out")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as YAML; options win over it")
    parser.add_argument("--seed", dest="set:train.seed", default=argparse.SUPPRESS, metavar="N", help="as --train.seed")
    parser.device()
    parser.threads()
    parser.json()
    return parser


def recipe_of(argv: list[str]) -> str | None:
    """The recipe of a command line whose options are not known yet: the first word that is no option's value."""
    for before, word in zip(["", *argv], argv, strict=False):
        if not word.startswith("-") and (not before.startswith("--") or "=" in before or before == "--json"):
            return word
    return None


def _value(argv: list[str], option: str) -> str | None:
    for word, after in zip(argv, [*argv[1:], None], strict=True):
        if word == option:
            return after
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def run(options: argparse.Namespace) -> None:
    """Train, with progress on standard error and the run's figures on standard output."""
    from unspool import device, training
    from unspool.train import ranks
    from unspool.train.job import Where

    if options.recipe == "codec":
        return codec.run(options)
    set_threads(options.threads)
    named = {name: where for name in ("data", "codec") if (where := getattr(options, name)) is not None}
    where = Where(device.choose(options.device, ranks.found().here), ranks.found())
    with ranks.joined(where.device) as who:
        job = training.plan(
            options.recipe, options.out, file=options.config, overrides={**options.overrides, **named}, resume=options.resume,
            init=options.init, told={"argv": ["unspool", *sys.argv[1:]], "threads": options.threads},
        )  # fmt: skip
        prepared = training.prepare(job, None if who.rank else Tally("videos decoded"), who)
        tell(who, job.settings.train, (*(f"changed: {note}" for note in job.notes), *prepared.warnings))
        figures = {"loss": "loss", "held_out_loss": "held out"}
        follow(options, job.settings.train, lambda report: training.run(prepared, report, where), figures, 4, who)


def tell(who: Ranks, train: TrainOptions, notes: Iterable[str]) -> None:
    """What to know before it begins, said by one process."""
    several = (train.banner(who.size),) if train.effective(who.size) != train.batch else ()
    for note in () if who.rank else (*several, *notes):
        print(note, file=sys.stderr)


def follow(
    options: argparse.Namespace, train: TrainOptions, go: Callable[[Report | None], object], named: Mapping[str, str],
    digits: int, who: Ranks,
) -> None:  # fmt: skip
    """Run `go` behind a bar, then say what came of it. named: what the figures of the training are called, with `digits`. Of
    several processes the first tells."""
    if who.rank:
        go(None)
        return
    steps, batch = train.steps, train.effective(who.size)
    figures: dict[str, Any] = {}

    def shown() -> dict[str, str]:
        return {words: f"{figures[name]:.{digits}f}" for name, words in named.items() if name in figures}

    with Bar("training", steps) as bar:
        times = [time.monotonic()]

        def report(trainer: Trainer, logs: dict[str, float]) -> None:
            if len(times) == 1:
                bar.first = trainer.step - 1
            times[:] = [*times[-50:], time.monotonic()]
            figures.update({name: value for name, value in logs.items() if name != "seconds"})
            rate = batch * (len(times) - 1) / (times[-1] - times[0])
            bar(trainer.step, {**shown(), "clips/s": f"{rate:.1f}"})

        try:
            go(report)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"saved; go on with: unspool train --out {options.out} --resume latest") from None
    if options.json:
        print(json.dumps({"run": str(options.out), **figures}))
        return
    ended = ", ".join([f"step {steps}", *(f"{words} {figure}" for words, figure in shown().items())])
    told = ended if figures else f"at step {steps} already; raise --train.steps to go on"
    print(f"{options.out}: {told}; see {options.out / 'samples'}")

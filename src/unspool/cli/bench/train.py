"""`unspool bench train`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from unspool.cli.bench import VERBS
from unspool.cli.bench.sample import told
from unspool.cli.parser import Parser, set_threads
from unspool.cli.progress import Bar
from unspool.cli.train import recipe_of, tell
from unspool.data import WORLDS
from unspool.errors import UserError

EXAMPLES = (
    "unspool bench train frame-by-frame --size nano --data duel",
    "unspool bench train rad --data rooms --controls 6 --timed 10 --train.batch 8 --json",
    "torchrun --nproc-per-node 8 -m unspool bench train malt --data shards --train.shard --profile trace.json",
)


def parser(argv: list[str]) -> Parser:
    """Options depend on the recipe, as those of `train` do."""
    from unspool import config

    named = recipe_of(argv) or "chunk-by-chunk"
    parser = Parser("bench train", VERBS["train"], EXAMPLES)
    parser.add_argument("recipe", metavar="RECIPE", help="as of `unspool train`")
    parser.add_argument("--data", default="duel", metavar="WORLD|DIR", help=f"{', '.join(WORLDS)}, or a folder [duel]")
    parser.add_argument("--codec", metavar="RUN", help="of `train codec`, or codec-duel-64: work on its latents")
    parser.add_argument("--timed", type=int, default=20, metavar="N", help="steps that are timed [20]")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="leave a trace of one step there")
    chosen = config.settings_of(named)
    parser.settings(f"settings of {named}", (s for s in chosen if "." not in s.name))
    parser.settings("settings of training", (s for s in chosen if s.name.startswith("train.")))
    parser.device()
    parser.threads()
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, then print a table. Nothing is written but the trace that is asked for."""
    from unspool import device, store, training
    from unspool.speed import WARM, time_training
    from unspool.train import ranks

    if not 1 <= options.timed <= 10_000:
        raise UserError(f"timed is 1 to 10000, not {options.timed}")
    if options.profile:
        store.check_writable(options.profile)
    set_threads(options.threads)
    named = {name: where for name in ("data", "codec") if (where := getattr(options, name)) is not None}
    where = device.choose(options.device, ranks.found().here)
    with ranks.joined(where) as who:
        job = training.plan(options.recipe, Path("no-run"), overrides={**options.overrides, **named})
        prepared = training.prepare(job, ranks=who)
        tell(who, job.settings.train, ())
        if who.rank:
            time_training(prepared, options.timed, where, who, options.profile)
            return
        with Bar("steps", WARM + 2 * options.timed + bool(options.profile)) as bar:
            figures = time_training(prepared, options.timed, where, who, options.profile, lambda step: bar(step, {}))
    if options.json:
        print(json.dumps(store.plain(figures)))
        return
    clips = f"{figures['clips_per_s']:.4g} clips of {figures['frames']} frames"
    print(f"tokens a second      {figures['tokens_per_s']:.4g}, {clips}")
    print(f"parameters           {figures['parameters']:,}; {figures['flops_per_step'] / 1e9:.4g} GFLOP a step")
    told(figures, "a step")

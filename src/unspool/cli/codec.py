"""`unspool train codec`."""

from __future__ import annotations

import argparse
import sys

from unspool.cli.parser import Parser, set_threads
from unspool.cli.progress import Tally

EXAMPLES = (
    "unspool train codec --data rooms --out runs/codec",
    "unspool train codec --data my_videos --out runs/causal --codec.kind causal --train.steps 20000",
    "unspool train --out runs/codec --resume latest",
)


def parser() -> Parser:
    """Options of what is trained beside them: `train` adds its own."""
    from unspool.training import codec_settings

    parser = Parser("train codec", "a codec from a world or a folder of videos: fewer numbers than pixels, and back", EXAMPLES)
    parser.add_argument("recipe", nargs="?", choices=["codec"], default="codec", metavar="codec", help="the word itself")
    parser.settings("settings of the codec", (s for s in codec_settings() if not s.name.startswith("train.")))
    parser.settings("settings of training", (s for s in codec_settings() if s.name.startswith("train.")))
    return parser


def run(options: argparse.Namespace) -> None:
    """Train, with progress on standard error and the run's figures on standard output."""
    from unspool import device, training
    from unspool.cli.train import follow, tell
    from unspool.train import ranks
    from unspool.train.codec import prepare_codec, train_codec
    from unspool.train.job import Where

    set_threads(options.threads)
    data = {} if options.data is None else {"data": options.data}
    where = Where(device.choose(options.device, ranks.found().here), ranks.found())
    with ranks.joined(where.device) as who:
        job = training.plan_codec(
            options.out, file=options.config, overrides={**options.overrides, **data}, resume=options.resume,
            told={"argv": ["unspool", *sys.argv[1:]], "threads": options.threads},
        )  # fmt: skip
        prepared = prepare_codec(job, None if who.rank else Tally("videos decoded"), who)
        tell(who, job.train, (*(f"changed: {note}" for note in job.notes), *prepared.warnings))
        named = {"psnr": "PSNR", "held_out_psnr": "PSNR held out", "held_out_sharpness": "sharpness held out"}
        follow(options, job.train, lambda report: train_codec(prepared, report, where), named, 2, who)

"""`unspool eval`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from unspool.cli import VERBS
from unspool.cli.parser import Parser, rollout_given, rollout_settings, set_threads
from unspool.cli.progress import Bar, Tally
from unspool.data import WORLDS

EXAMPLES = (
    "unspool eval duel-64 --data duel:speed=0.5 --frames 893 --out judged",
    "unspool eval runs/mine runs/other --data my_videos --frames 300 --contexts 16 --futures 8 --out judged",
    "unspool eval runs/mine their_videos --data my_videos --frames 120 --out judged",
    "unspool eval runs/mine --data UCF-101 --frames 126 --contexts 64 --i3d i3d_torchscript.pt --export vbench --out judged",
    "unspool eval runs/mine runs/mine:lag=1/4 runs/mine:lag=1,solver=midpoint --data duel --frames 300 --out lags",
    "unspool eval runs/base:recipe=fifo runs/base:recipe=replace-clean --data duel --frames 300 --out baselines",
    "unspool eval runs/mine --data rooms --split unseen --frames 200 --out judged --rollout.steps 8",
    "unspool eval runs/none runs/full runs/mine --data rooms --frames 64 --memory-windows 1 2 4 8 --out judged",
)

MEMORY = """what models remember in `rooms`, behind so many windows of 16 true frames; of each model and as many again of its
twin 1 makes 0.7, 2 1.4, 4 2.6, 8 4.9 thousand frames, and 2.3 thousand are made of any [4]"""


def parser(argv: list[str]) -> Parser:
    parser = Parser("eval", VERBS["eval"], EXAMPLES)
    so = "; MODEL:lag=1/4,steps=16 or MODEL:recipe=fifo is rolled out so"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=f"a run, a model's name, or a folder of videos{so}")
    parser.add_argument("--data", required=True, metavar="WORLD|DIR", help=f"held-out video; worlds: {', '.join(WORLDS)}")
    parser.add_argument("--split", choices=("seen", "unseen"), default="seen", help="of a world: trained on or not [seen]")
    parser.add_argument("--frames", type=int, required=True, metavar="N", help="to make of each context")
    parser.add_argument("--context-frames", type=int, default=2, metavar="N", help="true frames before them [2]")
    parser.add_argument("--contexts", type=int, default=8, metavar="N", help="videos that are gone on from [8]")
    parser.add_argument("--futures", type=int, default=8, metavar="N", help="of each context; 8 for the energy score [8]")
    parser.add_argument("--real", type=int, default=16, metavar="N", help="other real videos, for the band [16]")
    parser.add_argument("--segment", type=int, default=100, metavar="N", help="frames that drift is told by [100]")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first future [0]")
    parser.add_argument("--memory-windows", type=int, nargs="+", default=[4], metavar="N", help=MEMORY)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for report.html and results.json")
    parser.add_argument("--export", choices=("vbench",), help="write videos as VBench and VBench-Long read them")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    weights = parser.add_argument_group("weights of published measures; without them these are skipped")
    weights.add_argument("--i3d", type=Path, metavar="FILE", help="i3d_torchscript.pt, for FVD")
    weights.add_argument("--videomae", type=Path, metavar="FILE", help="for content-debiased FVD")
    weights.add_argument("--vjepa", type=Path, metavar="DIR", help="vith16.pth.tar and ssv2-probe.pth.tar, for JEDi")
    weights.add_argument("--lpips", type=Path, metavar="FILE", help="AlexNet, for LPIPS")
    rollout_settings(parser)
    parser.device()
    parser.threads()
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, with a bar on standard error, and print the table. The same command goes on where it was stopped."""
    from unspool import evaluation
    from unspool.device import choose
    from unspool.evaluate.pages.comparison import comparison_table
    from unspool.evaluation.published import open_published

    set_threads(options.threads)
    asked = evaluation.Conditions(
        options.frames, options.context_frames, options.contexts, options.futures, options.real, options.segment, options.seed
    )
    rollout = rollout_given(options)
    what = evaluation.plan(
        options.models, options.data, options.out, asked, split=options.split, rollout=rollout, bf16=options.bf16,
        export=options.export is not None, windows=options.memory_windows,
        published=open_published(options.i3d, options.videomae, options.vjepa, options.lpips),
        told={"command": shlex.join(["unspool", *sys.argv[1:]])}, decoded=Tally("videos decoded"),
        device=choose(options.device),
    )  # fmt: skip
    for note in what.notes:
        print(note, file=sys.stderr)
    with Bar("frames", 1) as bar:

        def report(done: int, total: int, arm: str) -> None:
            bar.total = total
            bar(done, {"": arm})

        results = evaluation.run(what, report)
    if options.json:
        print(json.dumps(results))
        return
    print(comparison_table(results))
    print(f"{options.out / 'report.html'}: open it in a browser; figures in {options.out / 'results.json'}", file=sys.stderr)

"""`unspool data record`: a world filmed."""

from __future__ import annotations

import argparse
import json
import warnings
from contextlib import ExitStack
from pathlib import Path

from unspool.cli.data import VERBS
from unspool.cli.parser import Parser
from unspool.cli.progress import Bar
from unspool.errors import UserError

EXAMPLES = (
    "unspool data record rooms --out films --episodes 200 --frames 1000",
    "unspool data record vizdoom --out doom --episodes 100 --workers 4",
    "unspool data record vizdoom --out doom --episodes 500 --workers 4     # 400 more; also after Ctrl-C or a power cut",
    "unspool data record gym:MountainCar-v0 --out hills --episodes 50 --size 96",
)
WORLDS = {
    "rooms[:plans=N]": "rooms drawn by this package, any number of floor plans [10000]; 32 or 64 pixels",
    "vizdoom[:tics=N]": "67 levels of Freedoom; 35ths of a second that a frame lasts, 1 to 10 [2]",
    "memory-maze[:cells=N,hz=N]": "mazes of 9, 11, 13 or 15 cells a side [9]; frames a second [10]",
    "crafter": "a small world of forests, caves and beasts, seen from above",
    "miniworld[:task=NAME]": "plain rooms and mazes in 3D, a task of that package [Maze]",
    "atari:GAME": "a game of the Arcade Learning Environment, as atari:Pong",
    "gym:ID": "any Gymnasium environment with a picture in colour, as gym:MountainCar-v0",
}
# name: (least, most, default, what it is)
RANGES = {
    "episodes": (1, 999_999, None, "episodes in all; those that are there stay"),
    "frames": (16, 100_000, 1000, "frames of an episode, fewer where the world ends it"),
    "size": (16, 1024, 64, "pixels of a side, an even number"),
    "seed": (0, 2**63 - 1, 0, "other seeds give other episodes"),
    "workers": (1, 64, 1, "processes; their number changes no byte"),
}


def parser(argv: list[str]) -> Parser:
    parser = Parser("data record", VERBS["record"], EXAMPLES)
    worlds = "\n".join(f"  {name:<28}{what}" for name, what in WORLDS.items())
    parser.epilog = f"worlds, each but rooms an extra (pip install 'unspool[vizdoom]'):\n{worlds}\n\n{parser.epilog}"
    parser.add_argument("world", metavar="WORLD", help="one of those below, or NAME:option=value,...")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the recording")
    for name, (_, _, default, means) in RANGES.items():
        shown = "required" if default is None else default
        parser.add_argument(
            f"--{name}", type=int, required=default is None, default=default, metavar="N", help=f"{means} [{shown}]"
        )
    parser.add_argument("--holdout", type=float, default=0.1, metavar="X", help="share of episodes on maps for testing [0.1]")
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    for name, (least, most, _, _) in RANGES.items():
        if not least <= getattr(options, name) <= most:
            raise UserError(f"{name} is {least} to {most}, not {getattr(options, name)}")
    if options.size % 2:
        raise UserError(f"size is an even number, not {options.size}: the codecs and models here want it so")
    if not (options.holdout == 0 or 0.001 <= options.holdout <= 0.9):
        raise UserError(f"holdout is 0, or 0.001 to 0.9, not {options.holdout:g}")
    from unspool.data.record.film import SHORT, Settings
    from unspool.data.record.recorder import record

    settings = Settings(options.world, options.size, options.frames, options.seed, options.holdout)
    bars: list[Bar] = []
    done = 0

    def report(count: int, total: int, fps: float) -> None:
        nonlocal done
        done = count
        if not bars:
            bars.append(stack.enter_context(Bar("episodes", total, count)))
        bars[0](count, {"frames/s": f"{fps:.0f}"})

    try:
        with ExitStack() as stack:
            told = record(options.out, settings, options.episodes, options.workers, report=report)
    except KeyboardInterrupt:
        there = f"{done} of {options.episodes} episodes"
        raise KeyboardInterrupt(f"{there} are in {options.out}; the same command goes on") from None
    if told.shared and options.holdout:
        warnings.warn(f"{options.world} has one map: test episodes are other walks through it, not other places", stacklevel=1)
    if told.short:
        few = f"{told.short} of {told.episodes} episodes have fewer than {SHORT} frames, about the length of a training clip"
        warnings.warn(f"{few}: train with --train.pad, or with shorter clips by --frames N", stacklevel=1)
    if options.json:
        print(json.dumps(told._asdict()))
        return
    print(f"{options.out}: {told.episodes} episodes, {told.frames} frames; {told.test} episodes are for testing")
    if told.filmed:
        print(
            f"filmed {told.filmed} now, {told.again} tries thrown away: {told.recording_fps:.0f} frames a second"
            f" (simulator {told.simulator_fps:.0f}, encoder {told.encoder_fps:.0f}, {told.efficiency:.0%} of both in turns)"
        )

"""`unspool play`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from unspool.cli import VERBS
from unspool.cli.parser import Parser, rollout_given, rollout_settings, set_threads
from unspool.data import WORLDS
from unspool.errors import UserError

EXAMPLES = (
    "unspool play runs/walk",
    "unspool play runs/walk --data rooms --clip 7 --rollout.steps 2 --open",
    "unspool play duel-64 --data duel:speed=0.5 --port 8000",
)


def parser(argv: list[str]) -> Parser:
    parser = Parser("play", VERBS["play"], EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a run or checkpoint folder, a shipped model's name, or a Hub id")
    parser.add_argument(
        "--data", metavar="VIDEO|DIR|WORLD", help=f"to begin from [what it was trained on]; worlds: {', '.join(WORLDS)}"
    )
    parser.add_argument("--clip", type=int, default=0, metavar="N", help="number of the video in DIR or of the clip [0]")
    parser.add_argument("--split", choices=("seen", "unseen"), default="unseen", help="of a world: trained on or not [unseen]")
    parser.add_argument("--context-frames", type=int, metavar="N", help="true frames to begin behind [as many as it needs]")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first future; forks have S + 1, ... [0]")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of the page; 0: any that is free [0]")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="of the page [127.0.0.1]")
    parser.add_argument("--shared", action="store_true", help="allow a --host that others reach: whoever does can steer")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    rollout_settings(parser)
    parser.device()
    parser.threads()
    return parser


def run(options: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C; its address goes to standard output."""
    from unspool.play.server import Server, is_loopback

    if not is_loopback(options.host) and not options.shared:
        raise UserError(f"--host {options.host} is reached by other machines, who could steer: add --shared if they may")
    if not 0 <= options.port < 1 << 16:
        raise UserError(f"--port is 0 to 65535, not {options.port}")
    set_threads(options.threads)
    server = Server(_session(options), options.host, options.port)
    try:
        print(server.address, flush=True)
        print("open it in a browser; Ctrl-C ends it", file=sys.stderr, flush=True)
        if options.open:
            import webbrowser

            webbrowser.open(server.address)
        server.play()
    except KeyboardInterrupt:  # the way to end it
        print("ended", file=sys.stderr)


def _session(options: argparse.Namespace) -> Any:
    from unspool import config, device, hub
    from unspool.explain import check_rollout
    from unspool.live import Player
    from unspool.play.session import Session

    checkpoint = hub.find(options.model)
    given = rollout_given(options)
    system = config.rollout_options(given).apply(hub.load(checkpoint, device=device.choose(options.device)))
    if system.drain:
        raise UserError("what is played has no end: leave --rollout.drain away")
    for warning in check_rollout(system):
        print(warning, file=sys.stderr)
    contexts = _contexts(options, system, checkpoint)
    first = contexts(options.clip)
    player = Player(system, first, checkpoint.actions, seed=options.seed)
    fps = float(checkpoint.config.get("fps") or first.fps)
    return Session(player, contexts, fps, clip=options.clip, seed=options.seed)


def _contexts(options: argparse.Namespace, system: Any, checkpoint: Any) -> Callable[[int], Any]:
    """Contexts by their numbers. Raises UserError where nobody says what to begin from."""
    from unspool import openings, sampling

    where = options.data or checkpoint.config.get("data")
    if not where:
        raise UserError("this model does not say what it was trained on: give --data, a world, a folder or a video")
    frames = sampling.context_frames(system) if options.context_frames is None else options.context_frames

    def context(clip: int) -> Any:
        try:
            return openings.context_of(
                str(where), system, frames, split=options.split, clip=clip, fps=checkpoint.config.get("fps")
            )
        except UserError as error:
            if options.data:
                raise
            raise type(error)(f"{error} (what the model was trained on; give another --data)") from error

    return context

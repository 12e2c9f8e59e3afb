"""The command line: `unspool VERB ...`. One file per verb; what they do lies in the rooms below."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import FrameType
from typing import Any

from unspool import __version__
from unspool.errors import UserError

VERBS = {
    "bench": "how fast this machine trains and rolls out: train, sample",
    "claims": "what papers say of their systems, as small experiments at equal FLOPs: run, table",
    "data": "videos and worlds made into training data: record, inspect, prepare",
    "demo": "two frames in, three futures out: the shipped model on its held-out clips, with a report",
    "eval": "models measured side by side: quality, drift, memory, with controls and intervals",
    "explain": "what a recipe will do and cost, before it does it",
    "info": "a model, or this installation",
    "play": "a model live in a browser page: keys, pause, rewind, fork",
    "recipes": "the systems that can be trained",
    "sample": "futures of a video, of any length",
    "train": "a model from a world or a folder of videos",
}
EXAMPLES = (
    "unspool demo --out demo",
    "unspool train chunk-by-chunk --data duel --out runs/duel",
    "unspool sample runs/duel --context clip.mp4 --frames 893 --seeds 3 --out futures",
)


SPINS = "1000"
"""How long OpenMP's threads look out for each other before they sleep. By default so long that on busy cores each waits for one
that is not running: a training step of 0.1 s then took 2 to 10 s, and 0.2 s with this (docs/log.md)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit code: 0, 2 for what the user can mend (told in one line), 130 after Ctrl-C."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch loads
    if "RANK" in os.environ:  # DDP's reducer warns of a choice that is made on purpose, see train/ranks.py
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    argv = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files hold anything
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"unspool: {message}", file=sys.stderr)
            return _dispatch(argv)
    except UserError as error:
        print(f"{_speaker()}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"unspool: stopped{f'; {error}' if str(error) else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:
        what = error.filename or "a file"
        print(f"unspool: {what}: {error.strerror or error}; free space, or choose another folder", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError) or any(words in str(error) for words in ("out of memory", "can't allocate"))
        if not full:  # a defect of ours: with its traceback
            raise
        print("unspool: out of memory; choose smaller settings (size, window, frames, batch, seeds)", file=sys.stderr)
        return 2


PATIENCE = 5.0
"""Seconds in which torchrun sees that a process has left, and ends the others."""


def _speaker() -> str:
    """Who tells of an error. Of several processes the first does; another only of what it alone has met: it waits, and where
    the first has left in the meantime, torchrun ends it."""
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        return "unspool"
    time.sleep(PATIENCE)
    return f"unspool, rank {rank}"


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print("Video without end: two frames in, any number out.\n")
        print(_usage("unspool", VERBS, EXAMPLES))
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"unspool {__version__}")
        return 0
    verb, *rest = argv
    module = _module("unspool.cli", verb, VERBS)
    if hasattr(module, "__path__"):  # verbs of its own, a file each
        if not rest or rest[0] in ("-h", "--help", "help"):
            print(_usage(f"unspool {verb}", module.VERBS, module.EXAMPLES))
            return 0
        module, rest = _module(f"unspool.cli.{verb}", rest[0], module.VERBS), rest[1:]
    return module.run(module.parser(rest).parse(rest)) or 0


def _module(package: str, verb: str, verbs: Mapping[str, str]) -> Any:
    """The file of a verb. Raises UserError where there is none, with the nearest."""
    if verb not in verbs:
        import difflib

        near = difflib.get_close_matches(verb, verbs, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(verbs)}"
        raise UserError(f"there is no command {verb!r}; {meant}")
    return import_module(f"{package}.{verb}")


def _usage(program: str, verbs: Mapping[str, str], examples: Iterable[str]) -> str:
    rows = "\n".join(f"  {verb:<9}{summary}" for verb, summary in verbs.items())
    lines = "\n".join(f"  {line}" for line in examples)
    return f"usage: {program} VERB ...    {program} VERB --help\n\n{rows}\n\nexamples:\n{lines}"

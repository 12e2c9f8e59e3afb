"""The command line: `unspool VERB ...`. One file per verb; what they do lies in the rooms below."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from unspool import __version__
from unspool.errors import UserError

VERBS = {
    "demo": "two frames in, three futures out: the shipped model on its held-out clips, with a report",
    "explain": "what a recipe will do and cost, before it does it",
    "info": "a model, or this installation",
    "recipes": "the systems that can be trained",
    "sample": "futures of a video, of any length",
    "train": "a model from a world or a folder of videos",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit code: 0, 2 for what the user can mend (told in one line), 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"unspool: {message}", file=sys.stderr)
            return _dispatch(argv)
    except UserError as error:
        print(f"unspool: {' '.join(str(error).split())}", file=sys.stderr)
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


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"unspool {__version__}")
        return 0
    verb, *rest = argv
    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(VERBS)}"
        raise UserError(f"there is no command {verb!r}; {meant}")
    module = import_module(f"unspool.cli.{verb}")
    return module.run(module.parser(rest).parse(rest)) or 0


def _usage() -> str:
    verbs = "\n".join(f"  {verb:<9}{summary}" for verb, summary in VERBS.items())
    return f"""usage: unspool VERB ...    unspool VERB --help

Video without end: two frames in, any number out.

{verbs}

examples:
  unspool demo --out demo
  unspool train chunk-by-chunk --data duel --out runs/duel
  unspool sample runs/duel --context clip.mp4 --frames 893 --seeds 3 --out futures"""

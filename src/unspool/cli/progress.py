"""Live progress on standard error: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self, final

EVERY = 15.0  # seconds between two lines where there is no terminal


@final
class Bar:
    """with Bar("training", total) as bar: bar(done, {"loss": "0.12"})."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.what, self.total, self.first = what, total, done
        self.begun = self.told = time.monotonic()
        self.live: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = ("[bold]{task.description}", BarColumn(None), "{task.completed:.0f} / {task.total:.0f}",
                       TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), "left", TimeRemainingColumn())  # fmt: skip
            self.live = Progress(*columns, console=Console(stderr=True), expand=True)
            self.task = self.live.add_task(what, total=total, completed=done, figures="")

    def __call__(self, done: int, figures: dict[str, str]) -> None:
        words = "  ".join(f"{value} {name}".strip() for name, value in figures.items())
        if self.live is not None:
            self.live.update(self.task, completed=done, figures=words)
            return
        now = time.monotonic()
        if now - self.told < EVERY and done < self.total:
            return
        self.told = now
        left = (now - self.begun) / max(1, done - self.first) * (self.total - done)
        print(f"{self.what} {done} / {self.total}  {words}  left {clock(left)}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()


@final
class Tally:
    """A bar that begins with the first count and ends with the last: tally = Tally("videos"); tally(done, total)."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.bar: Bar | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            self.bar = Bar(self.what, total, done - 1).__enter__()
        if self.bar.live or time.monotonic() - self.bar.begun >= EVERY:  # what is quick needs no words
            self.bar(done, {})
        if done == total:
            self.bar.__exit__(None, None, None)
            self.bar = None


def clock(seconds: float) -> str:
    """3725.0 -> 1:02:05."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"

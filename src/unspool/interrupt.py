"""Ctrl-C, SIGTERM and SIGUSR1, with which clusters warn, as a question that long work asks between two steps, so that nothing
stops halfway through one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self, final

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@final
class Interrupt:
    """with Interrupt() as stop: ... if stop: save and leave.

    The first signal makes it true; a second one raises KeyboardInterrupt on the spot, for those who will not wait. Outside
    the main thread, where Python delivers no signals, it stays false.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

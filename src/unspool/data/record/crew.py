"""Many processes that film, each with a world of its own. They are started afresh: simulators do not survive a fork."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, final

from unspool.data.record.film import Camera, Place, Settings, Take, crash, film
from unspool.errors import UserError


def crew(
    groups: list[list[int]], settings: Settings, folder: Path, workers: int, opens: Callable[[Settings], Camera],
    place: Callable[[int, int], Place],
) -> Iterator[Take]:  # fmt: skip
    """Takes of all episodes as they are done; each group of them goes to one worker. Raises UserError when a world or a worker
    breaks down. However it ends, no worker outlives it."""
    todo = iter(groups)
    team = [_Worker(settings, folder, opens) for _ in range(workers)]
    try:
        busy = {worker.connection: worker for worker in team if worker.give(next(todo, None))}
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                match worker.hear():
                    case Place() as begun:
                        worker.place = begun
                    case Take() as take:
                        yield take
                    case UserError() as error:
                        raise error
                    case None:
                        where = worker.place or place(worker.group[0], 0)
                        raise UserError(crash(settings.world, where, "its process died"))
                    case _:
                        if not worker.give(next(todo, None)):
                            del busy[connection]  # type: ignore[arg-type]
    finally:
        for worker in team:
            worker.process.terminate()
        for worker in team:
            worker.process.join(10)
            worker.process.kill()


@final
class _Worker:
    """A process, the group of episodes that it films, and where it is at."""

    def __init__(self, settings: Settings, folder: Path, opens: Callable[[Settings], Camera]) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, settings, folder, opens), daemon=True)
        self.process.start()
        theirs.close()
        self.group: list[int] = []
        self.place: Place | None = None

    def give(self, group: list[int] | None) -> bool:
        """Something to do; False where there is no more."""
        if group is not None:
            self.group = group
            self.connection.send(group)
        return group is not None

    def hear(self) -> Any:
        """Its next message; None once it is dead."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None


def _work(connection: Connection, settings: Settings, folder: Path, opens: Callable[[Settings], Camera]) -> None:
    """Film what comes through the connection: a Place as each try begins, its Take, and "done" after a group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        camera = opens(settings)
        try:
            while True:
                for episode in connection.recv():
                    connection.send(film(camera, episode, settings.frames, folder, connection.send))
                connection.send("done")
        finally:
            camera.close()
    except UserError as error:
        connection.send(error)


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

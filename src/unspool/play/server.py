"""The page over HTTP and one WebSocket to it, on this machine alone.

The library is `websockets`: it serves both, checks and frames messages, and depends on nothing. Sockets live in threads of
their own and only carry words; the model runs where `Server.play` was called.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from importlib import resources
from ipaddress import ip_address
from typing import Any, final

from unspool.errors import UserError
from unspool.play.session import Session, told

try:
    from websockets.datastructures import Headers
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
    from websockets.sync.server import Server as Sockets
    from websockets.sync.server import ServerConnection, serve
except ImportError:
    raise UserError("the page needs a package that is missing: pip install 'unspool[play]'") from None

HELLO, GONE = object(), object()
"""What a socket says itself, of a page that came or left."""
LONGEST = 4096
"""Bytes of a message from the page: an action or a word."""
WAITING = 64
"""Messages that wait to be heard; what comes faster is held back by the socket."""
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
POLICY += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@final
class Server:
    """One session on one address; whoever opened the page last plays, those before are told so.

    host: 127.0.0.1, or another of this machine by which others reach it too; port: 0 for any that is free. Only pages that this
    server sent may talk to it (`Host` and `Origin` are checked), and a page can say no more than `Session.hear` knows. Raises
    UserError where the address cannot be had.
    """

    def __init__(self, session: Session, host: str = "127.0.0.1", port: int = 0) -> None:
        self.session = session
        self._said: queue.Queue[tuple[ServerConnection, Any] | None] = queue.Queue(WAITING)
        self._page = resources.files("unspool.play").joinpath("page.html").read_bytes()
        self._player: ServerConnection | None = None
        self._ended = threading.Event()
        try:
            self._sockets: Sockets = serve(
                self._listen, host, port, process_request=self._answer, max_size=LONGEST, compression=None, open_timeout=2,
                close_timeout=2, server_header=None, logger=_silent(),
            )  # fmt: skip
        except (OSError, OverflowError) as error:
            raise UserError(f"cannot listen on {host} port {port}: {error}; choose another --port, or 0 for any") from error
        at = self._sockets.socket.getsockname()
        self.address = f"http://{f'[{at[0]}]' if ':' in at[0] else at[0]}:{at[1]}"

    def play(self) -> None:
        """Play until `stop` is called or Ctrl-C is pressed; nothing is left running."""
        acceptor = threading.Thread(target=self._sockets.serve_forever, daemon=True)
        acceptor.start()
        try:
            self._run()
        finally:
            self._ended.set()
            self._sockets.shutdown()
            acceptor.join()

    def stop(self) -> None:
        """End `play`, from any thread."""
        self._put(None)

    # -- the model's side ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Hear what is said; when a chunk is due, make it. One is begun as late as it can be shown in time, so that it goes by
        the newest action; a model slower than its video is shown as fast as it is."""
        due = time.monotonic()
        while True:
            session, running = self.session, self._player is not None and self.session.playing
            wait = max(0.0, due - session.cost - time.monotonic()) if running else None
            try:
                heard = self._said.get(timeout=wait) if wait != 0 else self._said.get_nowait()
            except queue.Empty:
                shown = session.step()
                due = max(due, time.monotonic() - 0.5 / session.fps) + session.player.frames_per_step / session.fps
                self._tell(shown)
                continue
            if heard is None:
                return
            self._hear(*heard)
            if not running:
                due = time.monotonic()

    def _hear(self, page: ServerConnection, said: Any) -> None:
        if said is HELLO:
            if self._player is not None and self._player is not page:
                self._tell({"left": "another window plays now; load this one again to take over"})
            self._player = page
            self._tell(self.session.about())
        elif page is self._player:
            if said is GONE:
                self._player = None
            elif (answer := self.session.hear(said)) is not None:
                self._tell(answer)

    def _tell(self, said: dict[str, Any]) -> None:
        if self._player is None:
            return
        try:
            self._player.send(told(said))
        except ConnectionClosed:
            self._player = None

    # -- the sockets' side, a thread each -------------------------------------------------------------------------------------

    def _listen(self, page: ServerConnection) -> None:
        self._put((page, HELLO))
        try:
            with suppress(ConnectionClosed):  # a page that was closed without a word
                for message in page:
                    self._put((page, _read(message)))
        finally:
            self._put((page, GONE))

    def _put(self, said: tuple[ServerConnection, Any] | None) -> None:
        """Wait until there is room, or nobody listens any more."""
        while not self._ended.is_set():
            with suppress(queue.Full):
                return self._said.put(said, timeout=0.2)

    def _answer(self, page: ServerConnection, request: Request) -> Response | None:
        """The page itself, a refusal, or None for a socket that may open."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if not _is_address(host):
            return _response(HTTPStatus.FORBIDDEN, b"open this page by the address that `unspool play` printed")
        if request.path == "/socket":
            same = origin == f"http://{host}"
            return None if same else _response(HTTPStatus.FORBIDDEN, b"only the page of this server may play here")
        if request.path == "/":
            return _response(HTTPStatus.OK, self._page, "text/html; charset=utf-8")
        return _response(HTTPStatus.NOT_FOUND, b"there is one page here: /")


def _silent() -> logging.Logger:
    """Pages that come, go and are refused are no news to whoever plays."""
    logger = logging.getLogger("unspool.play")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    """Whether a Host header is `localhost` or a number: a name that somebody points here would let his page in (rebinding)."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False


def _read(message: str | bytes) -> Any:
    """What a page said; None, which no session understands, for what is not JSON."""
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        return None


def _response(status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> Response:
    told = {
        "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", "Cache-Control": "no-store",
        "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    }  # fmt: skip
    return Response(status.value, status.phrase, Headers(told), body)

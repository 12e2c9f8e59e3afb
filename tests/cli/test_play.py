"""`unspool play`: a server in this process, its page fetched, its socket driven; and the command, ended by Ctrl-C."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from unspool.data.actions import Actions
from unspool.errors import NothingThere, UserError
from unspool.live import Player
from unspool.openings import Opening
from unspool.play.keys import keys_of
from unspool.play.server import Server
from unspool.play.session import Session
from unspool.schedule import Staircase
from unspool.testing.steered import NAMES, filmed, steered


def contexts(clip: int) -> Opening:
    clips = filmed()
    if clip >= len(clips.frames):
        raise NothingThere("two clips are all")
    assert clips.actions is not None
    return Opening(clips.frames[clip], 15.0, f"clip {clip}", clips.actions[clip], NAMES)


def session(schedule: Staircase | None = None, controls: int = 3, fps: float = 15.0) -> Session:
    return Session(Player(steered(schedule or Staircase(1), controls=controls), contexts(0)), contexts, fps)


def pictures(said: dict[str, Any]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))) for png in said["frames"]])


# -- what a page may say, without a socket


def test_the_page_is_told_what_there_is_to_do() -> None:
    told = session().about()["about"]
    assert told["names"] == list(NAMES) and told["keys"] == [(), ("up",), ("left",)] and told["rest"] == 0
    assert (told["width"], told["height"], told["fps"], told["frames_per_step"]) == (8, 8, 15.0, 1)
    assert session(controls=0).about()["about"]["names"] == []
    chunks = session(Staircase(1, 3))
    assert chunks.about()["about"]["frames_per_step"] == 3
    assert np.array_equal(pictures(chunks.step()), chunks.player.now.shown), "PNGs are exactly what was made"


def test_what_is_held_is_done_and_winding_back_comes_to_the_same_place() -> None:
    play = session()
    assert play.hear({"hold": 1}) is None
    first = [pictures(play.hear({"step": True}) or {}) for _ in range(4)]
    back = play.hear({"rewind": 3})
    assert back is not None and (back["behind"], back["ahead"], back["playing"]) == (1, 3, False)
    assert np.array_equal(pictures(back), first[0])
    again = [pictures(play.hear({"step": True}) or {}) for _ in range(3)]
    assert np.array_equal(np.stack(again), np.stack(first[1:]))
    play.hear({"rewind": 3})
    play.hear({"hold": 2})
    other = [pictures(play.hear({"step": True}) or {}) for _ in range(3)]
    assert np.abs(np.stack(other).astype(int) - np.stack(again)).mean() > 1
    far = play.hear({"rewind": 10**9})
    assert far is not None and far["behind"] == 0, "as far as there is"


def test_forks_and_other_places() -> None:
    play = session()
    play.step()
    forked = play.hear({"fork": True})
    assert forked is not None and (forked["forks"], forked["seed"], forked["behind"]) == (1, 1, 1)
    assert int(play.player.now.rollout.state["seed"][0]) == 1
    assert [(play.hear({"restart": True}) or {})["clip"] for _ in range(2)] == ["clip 1", "clip 0"], "round and round"


@pytest.mark.parametrize(
    "said",
    [None, 3, [], {}, {"open": "/etc/passwd"}, {"rewind": "3"}, {"rewind": True}, {"rewind": 1.5}, {"play": 1}, {"fork": 1},
     {"step": True, "fork": True}],
)  # fmt: skip
def test_what_is_not_understood_does_nothing(said: object) -> None:
    play = session()
    before = play.player.now
    answer = play.hear(said)
    assert answer is not None and "does not understand" in answer["error"] and play.player.now is before


@pytest.mark.parametrize("action", [7, -1, "jump", None, [0, 1], {}, True, 1.5])
def test_an_action_that_is_none_is_refused_and_the_old_one_held(action: object) -> None:
    play = session()
    play.hear({"hold": 2})
    answer = play.hear({"hold": action})
    assert answer is not None and "error" in answer and play.action == 2


def test_a_model_that_breaks_is_a_word_and_a_pause() -> None:
    play = session()
    play.player.system.model.leave.bias.fill_(float("nan"))
    told = play.step()
    assert "values are not finite" in told["error"] and not play.playing and not told["playing"]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("stay", "ahead", "ahead left", "pick up"), [(), ("up",), ("up", "left"), ("1",)]),
        (("NOOP", "FIRE", "UPRIGHT", "DOWNLEFTFIRE"), [(), ("fire",), ("up", "right"), ("down", "left", "fire")]),
        (("turn left", "move left", "jump"), [(), ("left",), ("1",)]),
        (("action 0", "action 1", "action 2"), [(), ("1",), ("2",)]),
    ],
)
def test_keys_go_by_names(names: tuple[str, ...], keys: list[tuple[str, ...]]) -> None:
    assert keys_of(Actions(names)) == keys


def test_many_actions_have_keys_of_their_own_as_far_as_there_are_any() -> None:
    keys = keys_of(Actions(tuple(f"do {n}" for n in range(40))))
    used = [key for key in keys if key]
    assert len(set(used)) == len(used) == 27 and keys[-1] == ()
    assert keys_of(None) == keys_of(Actions(low=(0.0,), high=(1.0,))) == []


# -- over the socket


@pytest.fixture
def server() -> Iterator[Server]:
    before = threading.active_count()
    made = Server(session(fps=200.0))
    thread = threading.Thread(target=made.play)
    thread.start()
    yield made
    made.stop()
    thread.join(20)
    for _ in range(200):  # connections end in threads of their own, at their own pace on a busy machine
        if threading.active_count() <= before:
            break
        time.sleep(0.1)
    assert not thread.is_alive() and threading.active_count() <= before, "nothing is left running"


def page(server: Server, **options: Any) -> ClientConnection:
    host = server.address.removeprefix("http://")
    return connect(f"ws://{host}/socket", **{"origin": server.address, **options}).__enter__()


def hear(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(socket.recv(timeout=20))


def test_the_page_is_served_and_plays(server: Server) -> None:
    with urllib.request.urlopen(server.address) as answer:
        text = answer.read().decode()
        assert "unspool play" in text and "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "http://" not in text and "https://" not in text, "nothing is fetched from elsewhere"
    socket = page(server)
    assert hear(socket)["about"]["names"] == list(NAMES)
    socket.send(json.dumps({"hold": 1}))
    shown = [hear(socket) for _ in range(5)]
    assert [told["at"] for told in shown] == [5, 6, 7, 8, 9] and shown[-1]["rate"] > 0
    socket.send(json.dumps({"play": False}))
    while hear(socket)["playing"]:
        pass
    with pytest.raises(TimeoutError):
        socket.recv(timeout=0.3)
    socket.send("not JSON")
    assert "does not understand" in hear(socket)["error"]
    socket.close()


def test_whoever_opens_the_page_last_plays_on(server: Server) -> None:
    first = page(server)
    for _ in range(4):
        at = hear(first).get("at")
    second = page(server)
    while "left" not in (told := hear(first)):
        at = told["at"]
    assert "another window" in told["left"] and hear(second)["at"] >= at, "the same rollout"
    first.send(json.dumps({"play": False}))
    assert all(hear(second)["playing"] for _ in range(3)), "the first page is not heard any more"
    first.close(), second.close()


def test_pages_of_others_are_refused(server: Server) -> None:
    for options in ({"origin": "http://evil.example"}, {"origin": None}, {"origin": "null"}):
        with pytest.raises(InvalidStatus, match="403"):
            page(server, **options)
    for path, host in (("/", "evil.example"), ("/", "evil.example:80"), ("/../pyproject.toml", None), ("/socket", None)):
        asked = urllib.request.Request(server.address + path, headers={"Host": host} if host else {})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked)
        assert refused.value.code in (403, 404)


def test_a_message_that_is_too_long_ends_the_page_and_nothing_else(server: Server) -> None:
    socket = page(server)
    socket.send(json.dumps({"hold": "x" * 10_000}))
    with pytest.raises(Exception, match=r"1009|too big"):
        for _ in range(10_000):
            hear(socket)
    assert "about" in hear(page(server))


def test_an_address_that_is_taken_is_refused(server: Server) -> None:
    with pytest.raises(UserError, match=r"cannot listen on 127\.0\.0\.1 port .*choose another --port"):
        Server(session(), port=int(server.address.rpartition(":")[2]))


# -- the command


def test_the_command_serves_until_ctrl_c(trained: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("play", trained, "--data", "duel", "--threads", 1)
    assert process.stdout is not None and process.stderr is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    with connect(f"{address.replace('http', 'ws')}/socket", origin=address) as socket:
        assert json.loads(socket.recv(timeout=60))["about"]["frames_per_step"] == 3
        assert len(pictures(json.loads(socket.recv(timeout=60)))) == 3
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err.endswith("ended\n") and "Traceback" not in err and out == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--host", "0.0.0.0"), "is reached by other machines, who could steer: add --shared"),
        (("--port", "70000"), "--port is 0 to 65535"),
        (("--data", "nowhere"), "cannot read nowhere: no such file"),
        (("--rollout.lag", "7"), "lag"),
    ],
)
def test_what_can_be_mended_is_one_line(trained: Path, unspool: Callable[..., Any], words: tuple[str, ...], why: str) -> None:
    done = unspool("play", trained, *words)
    assert done.code == 2 and why in done.err and done.err.count("\n") == 1 and not done.out

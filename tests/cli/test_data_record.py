"""`unspool data record`: what it films, what it refuses, and that it goes on where it was killed."""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from unspool.cli.data import record as verb
from unspool.data.record import recorder
from unspool.data.worlds.rooms import Rooms

Start = Callable[..., "subprocess.Popen[str]"]
WORDS = ("data", "record", "rooms", "--size", 32, "--frames", 300)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def until(ready: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the process does not get on"
        time.sleep(0.005)


def test_it_films_and_tells_how_fast(unspool, tmp_path):
    out = tmp_path / "rooms"
    done = unspool(*WORDS, "--out", out, "--episodes", 3, "--json")
    assert done.code == 0 and "3 / 3" in done.err, done.err
    told = json.loads(done.out)
    assert (told["episodes"], told["frames"], told["test"], told["filmed"], told["again"]) == (3, 900, 1, 3, 0)
    assert min(told[f"{part}_fps"] for part in ("simulator", "encoder", "recording")) > 0
    assert 0 < told["efficiency"] <= 1
    assert {path.suffix for path in out.iterdir()} == {".mp4", ".safetensors", ".jsonl", ".json", ""}
    before = bytes_of(out)
    done = unspool(*WORDS, "--out", out, "--episodes", 3)
    assert done.code == 0 and "3 episodes, 900 frames" in done.out and "filmed" not in done.out
    assert bytes_of(out) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rooms", "--episodes", 0), "episodes is 1 to 999999, not 0"),
        (("rooms", "--episodes", 2, "--frames", 15), "frames is 16 to 100000, not 15"),
        (("rooms", "--episodes", 2, "--size", 63), "even"),
        (("rooms", "--episodes", 2, "--size", 2000), "size is 16 to 1024, not 2000"),
        (("rooms", "--episodes", 2, "--size", 128), "32 or 64"),
        (("rooms", "--episodes", 2, "--workers", 0), "workers is 1 to 64, not 0"),
        (("rooms", "--episodes", 2, "--seed", -1), "seed is 0 to"),
        (("rooms", "--episodes", 2, "--holdout", 1), "holdout"),
        (("rooms", "--episodes", "many"), "--episodes"),
        (("rooms",), "--episodes"),
        (("rooms", "--episodes", 2, "--worker", 2), "did you mean '--workers'"),
        (("room", "--episodes", 2), "did you mean 'rooms'"),
        (("vizdom", "--episodes", 2), "did you mean 'vizdoom'"),
        (("rooms:plan=3", "--episodes", 2), "did you mean 'plans'"),
    ],
)
def test_bad_values_are_one_line_and_leave_nothing(unspool, tmp_path, words, told):
    done = unspool("data", "record", *words, "--out", tmp_path / "out")
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("unspool: ") and done.err.count("\n") == 1 and told in done.err, done.err
    assert not (tmp_path / "out").exists()


def test_help_shows_examples(unspool):
    done = unspool("data", "record", "--help")
    assert done.code == 0 and all(line in done.out for line in verb.EXAMPLES)
    assert all(name in done.out and what in done.out for name, what in verb.WORLDS.items())


def test_help_names_every_world_and_option():
    from unspool.data.record import SIMULATORS, _class

    listed = {re.split(r"[\[:]", name)[0]: name for name in verb.WORLDS}
    assert listed.keys() == {*SIMULATORS, "rooms"}
    for name in ("vizdoom", "memory-maze", "crafter", "miniworld"):
        try:
            made = _class(name)
        except ImportError:
            continue
        options = [key for key in inspect.signature(made).parameters if key != "size"]
        assert re.findall(r"(\w+)=", listed[name]) == options
    assert "plans" in inspect.signature(Rooms).parameters


def test_a_killed_recording_goes_on_and_ends_the_same(unspool, start: Start, tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    done = unspool(*WORDS, "--episodes", 8, "--out", whole)
    assert done.code == 0, done.err
    for number, workers in ((signal.SIGKILL, 1), (signal.SIGINT, 2)):
        there = len(list(torn.glob("*.safetensors")))
        process = start(*WORDS, "--episodes", 8, "--out", torn, "--workers", workers)
        until(lambda there=there: len(list(torn.glob("*.safetensors"))) > there, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert len(list(torn.glob("*.safetensors"))) < 8
    assert process.returncode == 130 and "of 8 episodes are in" in err and "Traceback" not in err, err
    assert not list(torn.glob(".0*"))
    done = unspool(*WORDS, "--episodes", 8, "--out", torn)
    assert done.code == 0, done.err
    assert bytes_of(torn) == bytes_of(whole)


def test_a_world_of_one_map_and_short_episodes_are_warned_of(monkeypatch, tmp_path, capsys):
    told = recorder.Report(4, 40, 1, 1, 1, 3, 4, 0, 10.0, 20.0, 6.0, 0.9)
    monkeypatch.setattr(recorder, "record", lambda *_, **__: told)
    options = {"world": "gym:Some-v0", "out": tmp_path, "episodes": 4, "frames": 100, "size": 64, "seed": 0, "workers": 1}
    with pytest.warns(UserWarning, match="one map"), pytest.warns(UserWarning, match="3 of 4 episodes have fewer than 16"):
        verb.run(Namespace(**options, holdout=0.1, json=True))
    assert json.loads(capsys.readouterr().out)["layouts"] == 1

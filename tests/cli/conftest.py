"""Command lines in processes of their own, and one small run that they work on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# A process per command, forked from one that has imported everything already: a second instead of three for each.
_SERVER = """
import json, os, sys, traceback
import unspool.cli, unspool.data.folder, unspool.data.video, unspool.sampling, unspool.training
import unspool.cli.demo, unspool.cli.explain, unspool.cli.info, unspool.cli.recipes, unspool.cli.sample, unspool.cli.train
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(job["cwd"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd in (1, 2):
            os.dup2(os.open(job[str(fd)], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), fd)
        sys.argv[1:] = job["argv"]
        try:
            code = unspool.cli.main(job["argv"])
        except SystemExit as leave:
            code = leave.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

TINY = (
    "--size", "nano", "--resolution", "32", "--patch", "16", "--chunk", "3", "--frames", "8", "--steps", "4",
    "--train.batch", "2", "--train.log-every", "1",
)  # fmt: skip

Run = Callable[..., "Done"]


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Settings of a model that trains in a second."""
    return TINY


@pytest.fixture(scope="session")
def unspool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """unspool("sample", ..., cwd=folder) -> Done(code, out, err)."""
    scratch = tmp_path_factory.mktemp("streams")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(scratch)}
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None

    def run(*argv: object, cwd: Path = scratch) -> Done:
        streams = {"1": str(scratch / "out"), "2": str(scratch / "err")}
        print(json.dumps({"argv": [str(word) for word in argv], "cwd": str(cwd), **streams}), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return Done(code, Path(streams["1"]).read_text(), Path(streams["2"]).read_text())

    yield run
    server.communicate(timeout=60)


@pytest.fixture(scope="session")
def trained(unspool: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    words = ("--data", "duel", "--out", run, *TINY, "--train.steps", 8, "--train.save-every", 4)
    done = unspool("train", "chunk-by-chunk", *words)
    assert done.code == 0, done.err
    return run


@pytest.fixture
def refused(unspool, tmp_path: Path) -> Callable[..., str]:
    """refused(*argv) -> the one line; whatever the command was to write is not there afterwards."""

    def run(*argv: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        done = unspool(*argv, cwd=tmp_path)
        assert done.code == 2, (done.code, done.out, done.err)
        lines = [line for line in done.err.splitlines() if line]
        assert len(lines) == 1 and lines[0].startswith("unspool: "), done.err
        assert sorted(tmp_path.rglob("*")) == before
        assert done.out == ""
        return lines[0]

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """start("sample", ...) -> a process of its own, to be killed; none outlives its test."""
    begun: list[subprocess.Popen[str]] = []

    def run(*argv: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "unspool", *map(str, argv)]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()

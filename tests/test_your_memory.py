"""The page on a memory of one's own runs as it stands: its file, its test, its commands; what only saves time is added."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from unspool.cli import main
from unspool.testing import memory_kit

TEXT = (Path(__file__).parents[1] / "docs" / "your-memory.md").read_text(encoding="utf-8")
RECIPE, TEST = re.findall(r"```python\n(.*?)```", TEXT, re.S)
COMMANDS = re.findall(r"```sh\n(.*?)```", TEXT, re.S)[0].splitlines()
QUICK = {"train": ["--train.steps", "2", "--train.batch", "2"], "sample": ["--frames", "6", "--seeds", "1"]}


def test_the_code_is_short() -> None:
    assert len([line for line in RECIPE.splitlines() if line.strip()]) <= 40
    assert max(map(len, RECIPE.splitlines())) <= 128


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_recipe", raising=False)
    Path("my_recipe.py").write_text(RECIPE)
    names: dict = {}
    exec(compile(TEST, "test_my_memory.py", "exec"), names)
    for check in memory_kit:
        names["test_my_memory"](check)
    for command in COMMANDS:
        program, verb, *rest = shlex.split(command)
        assert program == "unspool" and main([verb, *rest, *QUICK.get(verb, [])]) == 0, (command, *capsys.readouterr())
        if verb == "explain":
            assert "an average of the past that fades" in capsys.readouterr().out
    assert list(Path("futures").glob("*.mp4"))

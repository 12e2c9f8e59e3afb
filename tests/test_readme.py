"""README's code runs as it stands, and the files it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TEXT, re.S))
def test_the_code_runs(code: str, capsys: pytest.CaptureFixture[str]):
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["other"].state["seed"].tolist() == [2]  # type: ignore[attr-defined]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 40 + 8, "40 frames and 8 more, one at a time"
    assert lines[40].startswith("[42]"), "the fork goes on where the rollout stood: 2 of context and 40"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w./-]+)\)", TEXT))))
def test_what_it_links_to_exists(target: str):
    assert (ROOT / target).exists()

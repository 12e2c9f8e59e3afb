"""The page on memories tells bytes that are so, and knows every memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unspool import memory, store
from unspool.memory import LSTM, Delayed, Full, Gist, Latents, Memory, Window

TEXT = (Path(__file__).parents[1] / "docs" / "memories.md").read_text(encoding="utf-8")
ROWS: dict[str, Callable[[], Memory]] = {
    "window": lambda: Window(128, 2, 8),
    "window` with a sink": lambda: Window(128, 2, 8, 2),
    "full": lambda: Full(128, 2, 128),
    "lstm": lambda: LSTM(128),
    "delayed": lambda: Delayed(LSTM(128), 8, 128),
    "latents": lambda: Latents(128, 2, 64, 4),
    "gist": lambda: Gist(128, 2),
}


@pytest.mark.parametrize("name", ROWS)
def test_bytes_of_a_layer(name: str) -> None:
    (told,) = re.findall(rf"^\| \[`{re.escape(name)}`?\]\(#\w+\) \| ([\d ]+) bytes", TEXT, re.M)
    state = ROWS[name]().start(1, grid=(8, 8), device=torch.device("cpu"), dtype=torch.float32)
    assert int(told.replace(" ", "")) == store.size(state)


def test_every_memory_is_told_of() -> None:
    known = {kind.__name__.lower() for kind in vars(memory).values() if isinstance(kind, type) and issubclass(kind, Memory)}
    sections = {title.lower() for title in re.findall(r"^## (\w+)$", TEXT, re.M)}
    assert known - {"memory", "prompt"} == sections, "`prompt` keeps nothing and has a page of its own"

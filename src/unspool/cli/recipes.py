"""`unspool recipes`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from unspool.cli import VERBS
from unspool.cli.parser import Parser

EXAMPLES = ("unspool recipes", "unspool recipes --json")


def parser(argv: list[str]) -> Parser:
    parser = Parser("recipes", VERBS["recipes"], EXAMPLES)
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """One row per recipe, read off the system that it builds."""
    from unspool import recipes

    rows = [row_of(name) for name in recipes.RECIPES]
    if options.json:
        print(json.dumps(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(str, row.values()))
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)


def row_of(name: str) -> dict[str, Any]:
    """name, summary, lag, chunk, law of levels in training, memories, source."""
    import inspect

    import torch

    from unspool import recipes

    text = inspect.getdoc(recipes.RECIPES[name]) or ""
    source = next((part for part in text.split("\n\n") if part.startswith("Source:")), "Source: none given")
    with torch.device("meta"):
        system = recipes.RECIPES[name]()
    law = getattr(system.objective, "law", None)
    memories = [f"{type(m).__name__.lower()} {getattr(m, 'frames', '')}".strip() for m in _memories(system.model) if m.keeps]
    context = getattr(system.model, "context", None)
    beside = {"newest": context.newest, "first": context.beside - context.newest} if context else {}
    return {
        "recipe": name, "what it does": text.partition("\n")[0], "lag": f"{float(system.schedule.lag):g}",
        "chunk": system.schedule.chunk, "levels": type(law).__name__.lower() if law else "-",
        "memory": " + ".join(memories) or "-",
        "channels": " + ".join(f"{name} {count}" for name, count in beside.items() if count) or "-",
        "source": " ".join(source.split()).removeprefix("Source: ").partition(":")[0],
    }  # fmt: skip


def _memories(model: Any) -> list[Any]:
    from unspool.memory import Memory

    first = next((block for block in model.modules() if hasattr(block, "memories")), None)
    return [] if first is None else [memory for memory in first.memories if isinstance(memory, Memory)]

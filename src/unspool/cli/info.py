"""`unspool info`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unspool.cli import VERBS
from unspool.cli.parser import Parser
from unspool.cli.progress import size

EXAMPLES = ("unspool info", "unspool info duel-64", "unspool info runs/duel --json")


def parser(argv: list[str]) -> Parser:
    parser = Parser("info", VERBS["info"], EXAMPLES)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a run or checkpoint folder, a shipped name, or a Hub id")
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Facts as `name: value` lines or JSON."""
    facts = installation() if options.model is None else model(options.model)
    if options.json:
        print(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {_words(name, value)}")


def installation() -> dict[str, Any]:
    from unspool import hub, recipes
    from unspool.train.run import hardware, versions

    return {**versions(), **hardware(), "shipped models": hub.shipped(), "recipes": list(recipes.RECIPES)}


def model(where: str) -> dict[str, Any]:
    """Parameters, bytes on disk and of the state, recipe and arguments, and what the card and the run say."""
    import torch

    from unspool import hub, sampling, store
    from unspool.train.run import versions

    checkpoint = hub.find(where)
    system = hub.load(checkpoint)
    state = system.model.start(1, seed=torch.zeros(1, dtype=torch.int64), device="cpu", dtype=torch.float32)
    schedule = system.schedule
    facts: dict[str, Any] = {
        "folder": str(checkpoint.folder), "recipe": checkpoint.config["recipe"],
        "arguments": checkpoint.config.get("arguments") or {}, "parameters": sum(p.numel() for p in system.model.parameters()),
        "weights bytes": checkpoint.weights.stat().st_size, "state bytes": store.size(state),
        "picture": list(sampling.picture_size(system)), "chunk": schedule.chunk, "lag": str(schedule.lag),
        "steps": schedule.steps, "evaluations per frame": schedule.plan().evaluations, "versions": versions(),
    }  # fmt: skip
    if (checkpoint.folder / "README.md").is_file():
        facts["card"] = _card(checkpoint.folder / "README.md")
    folder = checkpoint.folder.resolve()
    if folder.parent.name == "checkpoints" and (journal := folder.parents[1] / "run.json").is_file():
        facts["trained"] = store.read_json(journal).get("totals")
    return facts


def _card(path: Path) -> dict[str, Any]:
    """The facts at the head of a model card (YAML between two lines of ---)."""
    import yaml

    parts = path.read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    return facts if isinstance(facts, dict) else {"path": str(path)}


def _words(name: str, value: Any) -> str:
    if name.endswith("bytes"):
        return size(value)
    if isinstance(value, dict):
        shown = (f"{inner:.4g}" if isinstance(inner, float) else str(inner) for inner in value.values())
        return ", ".join(f"{key} {inner}" for key, inner in zip(value, shown, strict=True)) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)

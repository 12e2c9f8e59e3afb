"""`unspool data inspect`: what a set holds, before it is trained on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unspool.cli.data import VERBS
from unspool.cli.parser import Parser
from unspool.cli.progress import Bar
from unspool.errors import UserError

EXAMPLES = (
    "unspool data inspect videos",
    "unspool data inspect videos --picture sheet.png --json",
    "unspool data inspect /data/huge --episodes 100",
)
LISTED = 40  # files told of by name; --json tells all


def parser(argv: list[str]) -> Parser:
    parser = Parser("data inspect", VERBS["inspect"], EXAMPLES)
    sets = "LeRobot, UCF-101, BAIR, TECO or Memory Maze"
    parser.add_argument("data", type=Path, metavar="DIR", help=f"videos, or a set as {sets} lay it")
    parser.add_argument("--episodes", type=int, metavar="N", help="look at so many of them only [all]")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a contact sheet there: .png, .webp or .jpg")
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Every episode is decoded once: only so is damage found."""
    from unspool import inspection
    from unspool.data.layouts import open_episodes
    from unspool.store import check_writable

    if options.episodes is not None and options.episodes < 1:
        raise UserError(f"episodes is at least 1, not {options.episodes}")
    if options.picture:
        check_writable(options.picture)
        if options.picture.suffix.lower() not in (".png", ".webp", ".jpg"):
            raise UserError(f"{options.picture} must end in .png, .webp or .jpg")
    found = open_episodes(options.data)
    total = min(len(found.episodes), options.episodes or len(found.episodes))
    with Bar("episodes", total) as bar:
        figures, looks = inspection.inspect(found, options.episodes, lambda done, _: bar(done, {}))
    if options.picture and looks:
        inspection.write_picture(looks, options.picture)
    if options.json:
        print(json.dumps(figures))
    else:
        _print(figures, options)
    if not looks:
        raise UserError(f"nothing in {options.data} can be used; add videos, or mend those named above")


def _print(figures: dict[str, Any], options: argparse.Namespace) -> None:
    from unspool.data.episodes import shown

    for key, value in figures.items():
        if key not in ("skipped", "notes", "root"):
            told = ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else value
            print(f"{key:<18}{told if told != '' else '-'}")
    for title, key, word in (("cannot be used", "skipped", "reason"), ("worth knowing", "notes", "note")):
        rows = figures[key]
        if rows:
            print(f"\n{title}: {len(rows)}")
        for row in rows[:LISTED]:
            print(f"  {shown(row['name'])}: {shown(row[word])}")
        if len(rows) > LISTED:
            print(f"  and {len(rows) - LISTED} more; --json tells them all")
    if options.picture and figures["usable"]:
        print(f"\npicture: {shown(str(options.picture))}")
    elif figures["usable"]:
        print(f"\nlook at it: unspool data inspect {shown(str(options.data))} --picture sheet.png")

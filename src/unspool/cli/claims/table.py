"""`unspool claims table`: all claims with their verdicts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from unspool.cli.claims import VERBS
from unspool.cli.parser import Parser
from unspool.errors import UserError

EXAMPLES = (
    "unspool claims table",
    "unspool claims table --check     # exit code 2 where docs/claims.md is not up to date",
    "unspool claims table --claims my_claims --page my_claims.md",
)


def parser(argv: list[str]) -> Parser:
    parser = Parser("claims table", VERBS["table"], EXAMPLES)
    parser.add_argument("--claims", type=Path, metavar="DIR", help="claim files, with results/ in it [bench/claims]")
    parser.add_argument("--page", type=Path, metavar="FILE", help="where the page is written [docs/claims.md]")
    parser.add_argument("--check", action="store_true", help="write nothing, only tell whether the page is up to date")
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Print the table and write the page."""
    from unspool import claims, store
    from unspool.claims.page import markdown, plain_rows, rows, text

    folder = options.claims or claims.folder()
    page = options.page or claims.folder().parents[1] / "docs" / "claims.md"
    found = rows(folder)
    if options.check:
        if not page.is_file() or page.read_text(encoding="utf-8") != markdown(found):
            raise UserError(f"{page} is not up to date; run: unspool claims table")
    else:
        store.write_text(page, markdown(found))
    if options.json:
        print(json.dumps(plain_rows(found)))
        return
    print(text(found))
    print(f"{page}: {'up to date' if options.check else 'written'}", file=sys.stderr)

"""`unspool explain`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from unspool.cli import VERBS
from unspool.cli.parser import Parser, rollout_settings
from unspool.errors import UserError

EXAMPLES = (
    "unspool explain chunk-by-chunk --size nano --window 16",
    "unspool explain diffusion-forcing --rollout.lag 1/8 --rollout.steps 32 --picture levels.png",
)


def parser(argv: list[str]) -> Parser:
    from unspool import config, recipes

    parser = Parser("explain", VERBS["explain"], EXAMPLES)
    parser.add_argument("recipe", metavar="RECIPE", help=f"{', '.join(recipes.RECIPES)}, or my_recipe.py:recipe")
    if argv and not argv[0].startswith("-"):
        parser.settings(f"settings of {argv[0]}", config.signature(recipes.find(argv[0])))
    elif not {"-h", "--help"} & set(argv):
        raise UserError(f"name the recipe first: unspool explain RECIPE; there are {', '.join(recipes.RECIPES)}")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the matrix of levels as a PNG")
    rollout_settings(parser)
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Print what the recipe will do and cost; nothing is trained."""
    from unspool import config, store
    from unspool.explain import explain, explain_dict, levels_picture

    settings = config.resolve(options.recipe, options.overrides)
    system = settings.build()
    if options.picture:
        store.check_writable(options.picture)
        levels_picture(system.schedule.plan(), options.picture)
    print(json.dumps(explain_dict(system, settings.recipe)) if options.json else explain(system, settings.recipe))

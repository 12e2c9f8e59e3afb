"""A recipe by its name, or out of a file of one's own."""

from __future__ import annotations

import difflib
import inspect
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from unspool.errors import UserError
from unspool.recipes.listing import RECIPES, Recipe


def find(name: str) -> Recipe:
    """The recipe function of a name (`chunk-by-chunk`) or of a file of one's own (`my_recipe.py:recipe`).

    The file runs with all rights of its user. Raises UserError when there is no such recipe, with the nearest name.
    """
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), function)
    known = name.replace("_", "-")
    if known not in RECIPES:
        near = difflib.get_close_matches(known, RECIPES, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}?" if near else "one of your own is named as my_recipe.py:recipe"
        raise UserError(f"there is no recipe {name!r}; {meant} (recipes: {', '.join(RECIPES)})")
    return RECIPES[known]


def _from_file(path: Path, function: str) -> Recipe:
    if not path.is_file():
        raise UserError(f"there is no recipe file {path}; check the path, it is relative to where the command runs")
    spec = spec_from_file_location(f"recipe_file_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # a path that ends in .py always has a loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path} does not run: {type(error).__name__}: {error}; mend the file") from error
    recipe = getattr(module, function, None)
    if not inspect.isfunction(recipe):
        own = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
        near = difflib.get_close_matches(function, own, n=1, cutoff=0) or own
        meant = f"did you mean {path}:{near[0]}?" if near else "define one"
        raise UserError(f"{path} has no function {function!r}; {meant}")
    return recipe

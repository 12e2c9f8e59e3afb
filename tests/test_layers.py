"""Imports point one way: a room of src/unspool imports rooms further left in ORDER, and its own files. Nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "unspool"

# Between two `<` stand peers: they do not know each other.
ORDER = (
    "types, errors, interrupt, flops, grid < device, noise < store, blend, laws, nn < solver, schedule"
    " < memory, context, codec, text < data, model < fits < rollout < system, snapshot < prompts, slots"
    " < train, evaluate, testing < inspection < recipes < config < hub < encoding, explain, sampling < openings"
    " < many, preparation < training, evaluation < claims, speed < live < env, play, studio < cli < __main__"
)
RANK = {room: rank for rank, peers in enumerate(ORDER.split(" < ")) for room in peers.split(", ")}
FREE = {"__version__"}  # all that a room may take from the package itself: its other names are there for users


def modules(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """The dotted names that an import statement may load, relative ones made absolute."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        base = (*base, *(node.module.split(".") if node.module else ()))
        yield from (".".join((*base, alias.name)) for alias in node.names)


def broken(source: str, path: str) -> list[str]:
    """The rules that the text of src/unspool/`path` breaks, a line each. Imports inside functions count."""
    package = ("unspool", *Path(path).parts[:-1])
    room = Path(path).parts[0].removesuffix(".py")
    found = []
    for node in ast.walk(ast.parse(source)):
        for name in modules(node, package):
            other = (*name.split("."), "")[1]
            if name.split(".")[0] != "unspool" or other == room or other in FREE:
                continue
            if RANK.get(other, len(RANK)) >= RANK.get(room, -1):
                rule = f"{other} must stand left of {room} in {ORDER}"
                why = rule if other in RANK else "import from the room that has it, or give that room a place in ORDER"
                found.append(f"src/unspool/{path}:{node.lineno} imports {name}: {why}")
    return found


@pytest.mark.parametrize("path", sorted(str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py")))
def test_imports_point_one_way(path: str) -> None:
    room = Path(path).parts[0].removesuffix(".py")
    assert room in RANK or path == "__init__.py", f"src/unspool/{path}: give the new room {room!r} a place in ORDER"
    assert not (errors := broken((SOURCE / path).read_text(encoding="utf-8"), path)), "\n".join(errors)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("blend.py", "from unspool.rollout import stream"),
        ("blend.py", "import unspool.rollout"),
        ("blend.py", "from unspool import model"),
        ("blend.py", "from unspool import stream"),
        ("blend.py", "import unspool"),
        ("blend.py", "def f():\n    from unspool.nn import rotary"),
        ("nn/rotary.py", "from ..memory import Window"),
        ("data/clips.py", "from unspool.model.video import VideoModel"),
        ("model/dit.py", "from unspool.data import clips"),
        ("types.py", "from .errors import UserError"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert len(broken(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("rollout.py", "from unspool import noise as rng"),
        ("nn/block.py", "from .rotary import rotate\nfrom unspool.nn.rotary import rotate"),
        ("nn/deep/block.py", "from ..rotary import rotate\nfrom ...types import Cond"),
        ("store.py", "from unspool import __version__\nimport torch"),
    ],
)
def test_a_right_import_passes(path: str, source: str) -> None:
    assert broken(source, path) == []

"""The public names: sorted, all there, and free until the first of them is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import unspool

HEAVY = {"PIL", "av", "huggingface_hub", "matplotlib", "numpy", "pydantic", "rich", "torch"}


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in sys.modules of a new process after the statement."""
    code = f"import json, sys; {statement}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_import_takes_no_heavy_package() -> None:
    loaded = loaded_by("import unspool; dir(unspool); unspool.__version__")
    assert "unspool" in loaded
    assert not loaded & HEAVY


def test_using_the_core_takes_no_tool_of_the_command_line() -> None:
    loaded = loaded_by("import unspool; unspool.begin, unspool.stream, unspool.VideoTransformer, unspool.Staircase")
    assert "torch" in loaded
    assert not loaded & {"PIL", "av", "matplotlib", "rich"}


def test_names_are_sorted_and_listed() -> None:
    assert unspool.__all__ == sorted(set(unspool.__all__))
    assert dir(unspool) == sorted([*unspool.__all__, "__version__"])


@pytest.mark.parametrize("name", unspool.__all__)
def test_name_resolves(name: str) -> None:
    value = getattr(unspool, name)
    assert value is getattr(unspool, name)
    assert value.__name__ == name
    assert value.__doc__, f"unspool.{name} has no docstring"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'steam'"):
        unspool.steam  # noqa: B018

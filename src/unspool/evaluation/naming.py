"""A model as a user names it for a comparison, with what this one of its rollouts is to be:

    runs/mine    runs/mine:lag=1/4,steps=16    runs/mine:recipe=fifo
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from unspool.config import RolloutOptions, nearest, signature
from unspool.errors import UserError


class Named(NamedTuple):
    """where: of the model; recipe: another one over its weights; rollout: settings of it alone."""

    where: str
    recipe: str | None = None
    rollout: dict[str, str] = {}  # noqa: RUF012

    @property
    def name(self) -> str:
        """In tables: the model's, then what is said of it."""
        base = Path(self.where).resolve().name if Path(self.where).exists() else self.where
        said = [f"{key.replace('_', ' ')} {value}" for key, value in self.rollout.items()]
        return " ".join([base, *([self.recipe] if self.recipe else []), *said])


def named(typed: str) -> Named:
    """What is there under the whole of what was typed is that; else the part behind the first colon says how it is rolled out.

    Raises UserError for settings that no rollout has, with the nearest one, and for those without a value.
    """
    where, colon, said = typed.partition(":")
    if not colon or Path(typed).exists():
        return Named(typed)
    known = ["recipe", *(setting.name for setting in signature(RolloutOptions))]
    given: dict[str, str] = {}
    for part in said.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        name = name.removeprefix("rollout.").replace("-", "_")
        if not equals or not value:
            raise UserError(f"{typed!r} says nothing of {part!r}: write settings as in {where}:lag=1/4,steps=16")
        if name not in known:
            raise UserError(f"a rollout has no setting {name!r} ({typed}); {nearest(name, known)}")
        if name in given:
            raise UserError(f"{typed!r} says {name} twice: leave one of them away")
        given[name] = value
    return Named(where, given.pop("recipe", None), given)

"""Which episodes are held out: by a hash of their names, so that each keeps its side when others come and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256


def place(name: str) -> float:
    """A name's place in [0, 1), as good as random."""
    return int(sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16], 16) / 2**64


def held_out(names: Iterable[str], share: float, said: Mapping[str, str | None] | None = None) -> set[str]:
    """The names of the test side. said: sides that the set gives itself, "train" or "test"; if there are any, they hold.

    Where a small set would leave one side empty, the name nearest to the border changes over.
    """
    names = set(names)
    told = {name: side for name, side in (said or {}).items() if side}
    if told:
        return {name for name in names if told.get(name) == "test"}
    test = {name for name in names if place(name) < share}
    if share and len(names) > 1 and not test:
        test = {min(names, key=place)}
    elif len(names) > 1 and test == names:
        test = names - {max(names, key=place)}
    return test

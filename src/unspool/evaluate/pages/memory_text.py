"""What models remember, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from unspool.evaluate.pages.columns import aligned, blocks
from unspool.evaluate.pages.memory_tables import compared, ends, known


def memory_text(memory: Mapping[str, Any]) -> Iterator[str]:
    """Lines, those of a table aligned, those of words as long as they are."""
    found = known(memory)
    yield f"What comes back after {memory['window']} frames or more out of sight, {memory['scenes']} walks of each kind."
    yield from _table([found.head, *found.lines])
    yield ends(memory)
    yield from found.why
    untold: dict[str, list[str]] = {}
    for which, pair, value, p, words in compared(memory):
        if p:
            yield f"{which}: recall of {pair}: {value}, p {p}: {words}"
        else:
            untold.setdefault(words, []).append(f"{pair} on {which}")
    yield from (f"difference of recall {words} ({'; '.join(who)})" for words, who in untold.items())


def _table(lines: list[tuple[str, ...]]) -> Iterator[str]:
    """The first line holds the titles, the first two columns say what a line is of."""
    columns = [[[cell] for cell in column] for column in zip(*lines, strict=True)]
    for block in blocks(columns[:2], columns[2:]):
        yield from (*aligned([*columns[:2], *block]), "")

"""Tables of text for a terminal: lines of at most 118 characters, as many columns beside each other as fit."""

from __future__ import annotations

from collections.abc import Iterator

WIDTH = 118  # characters of a terminal


def blocks(left: list[list[list[str]]], columns: list[list[list[str]]]) -> Iterator[list[list[list[str]]]]:
    """As many columns at a time as fit beside those on the left."""
    block: list[list[list[str]]] = []
    for column in columns:
        if block and max(map(len, aligned([*left, *block, column]))) > WIDTH:
            yield block
            block = []
        block.append(column)
    yield block


def aligned(columns: list[list[list[str]]]) -> list[str]:
    """columns[c][r]: the lines of a cell. The first two columns are flush left, the others right."""
    widths = [max(len(line) for cell in column for line in cell) for column in columns]
    lines = []
    for cells in zip(*columns, strict=True):
        for i in range(max(map(len, cells))):
            parts = [cell[i] if i < len(cell) else "" for cell in cells]
            pad = [part.ljust(w) if c < 2 else part.rjust(w) for c, (part, w) in enumerate(zip(parts, widths, strict=True))]
            lines.append("  ".join(pad).rstrip())
    return lines

"""Tables of what models remember, as text in cells: the same for the page and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from unspool.evaluate.pages.comparison_tables import interval
from unspool.evaluate.pages.parts import count, figures, table

Line = tuple[str, ...]
"""Cells of text."""
NOT_TOLD = "not told"


class Known(NamedTuple):
    """Recall of every model on every kind of walks. head, lines: the table; why: what is not told in it, and why."""

    head: Line
    lines: list[Line]
    why: list[str]


def parts_of(memory: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Kind and part, one for each number of windows."""
    yield from ((kind, part) for kind, parts in memory["kinds"].items() for part in parts)


def walks(kind: str, part: Mapping[str, Any]) -> str:
    """What a line is of: kind and windows of context."""
    return f"{kind}, {count(part['windows'], 'window')}"


def known(memory: Mapping[str, Any]) -> Known:
    """A line for every model on every kind of walks: over all that was out of sight for a window or more."""
    models = [name for name, row in memory["rows"].items() if row["kind"] == "model"]
    between = ["recall gain"] if memory["ends"] else []
    head = ("walks", "model", "recall", *between, "over its twin, dB", "and SSIM", "PSNR, dB", "SSIM")
    lines: list[Line] = []
    why: dict[tuple[str, str], list[str]] = {}
    for kind, part in parts_of(memory):
        for name in models:
            cells, gain = part["overall"][name], part["recall_gain"].get(name)
            told = [cells["recall"], *([gain and gain["overall"]] if between else []), part["gain_db"][name],
                    part["gain_ssim"][name], cells["psnr"], cells["ssim"]]  # fmt: skip
            lines.append((walks(kind, part), name, *(_limits(cell) for cell in told)))
            for title, cell in zip(("recall", "recall gain"), told, strict=False):
                if cell and "skipped" in cell and (title == "recall" or between):
                    why.setdefault((title, cell["skipped"]), []).append(f"{name} on {walks(kind, part)}")
    return Known(head, lines, [f"{title} {NOT_TOLD} ({'; '.join(who)}): {reason}" for (title, reason), who in why.items()])


def ends(memory: Mapping[str, Any]) -> str:
    """Between what models stand, in words."""
    window = memory["window"]
    words = f"Recall: 0 is the model's twin, the same weights that see {window} frames back, 1 the truth through its codec."
    if memory["ends"]:
        none, full = memory["ends"]["none"], memory["ends"]["full"]
        return f"{words} Recall gain: 0 is {none} (recipe none), 1 is {full} (recipe full)."
    return f"{words} No recall gain, for no models of the recipes none and full are both among these."


def compared(memory: Mapping[str, Any]) -> list[Line]:
    """Of every two models on every kind of walks: the difference of their recalls, and whether it is told."""
    lines = []
    for kind, part in parts_of(memory):
        for one in part["differences"]:
            if "skipped" in one:
                told: Line = ("–", "", f"{NOT_TOLD}: {one['skipped']}")
            else:
                value, low, high = figures(one["value"], one["low"], one["high"], sign="+")
                more = one["a"] if one["value"] > 0 else one["b"]
                words = f"{more} remembers more" if one["apart"] else "not told apart"
                told = (f"{value} [{low}, {high}]", _chance(one["p"]), words)
            lines.append((walks(kind, part), f"{one['a']} − {one['b']}", *told))
    return lines


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _limits(cell: Mapping[str, Any] | None) -> str:
    """A figure and its limits; "–" where there is none."""
    value, low, high = figures(*((cell or {}).get(end) for end in ("value", "low", "high")))
    return value if low == high == "–" else f"{value} [{low}, {high}]"


# -- on the page ------------------------------------------------------------------------------------------------------------


def overview(memory: Mapping[str, Any]) -> str:
    """`known` and `compared`."""
    found, differences = known(memory), compared(memory)
    lines = [[f"{which}: {model}", *rest] for which, model, *rest in found.lines]
    html = f"<p>{escape(ends(memory))}</p>" + table(["walks: model", *found.head[2:]], lines)
    html += "".join(f"<p class=faint>{escape(words)}</p>" for words in found.why)
    if differences:
        head = ["recall, difference", "value", "p", ""]
        html += table(head, [[f"{which}: {pair}", *rest] for which, pair, *rest in differences])
    return html


def recall(part: Mapping[str, Any], window: float) -> str:
    """Of one kind of walks: PSNR, SSIM, recall and recall by gap; above, what there is to remember; beneath, what is not
    told."""
    gaps = [span(gap) for gap in part["gaps"]]
    lines: list[list[str]] = []
    untold: dict[tuple[str, str], list[str]] = {}
    for name, cells in part["recall"].items():
        overall = part["overall"].get(name, {})
        lines.append([name, *(interval(cell) for cell in (*(overall.get(key) for key in ("psnr", "ssim", "recall")), *cells))])
        for gap, cell in zip(gaps, cells, strict=True):
            if cell and "skipped" in cell:
                untold.setdefault((gap, cell["skipped"]), []).append(name)
    for name, gained in part["recall_gain"].items():
        lines.append([f"{name}, recall gain", "", "", *(interval(cell) for cell in (gained["overall"], *gained["gaps"]))])
    head = ["out of sight for frames", *(f"{what}, {window:g} or more" for what in ("PSNR in dB", "SSIM", "recall")), *gaps]
    why = (f"Not told of {gap} frames ({', '.join(who)}): {reason}" for (gap, reason), who in untold.items())
    worth = ", ".join(f"{name} {cell.get('skipped') or interval(cell) + ' dB'}" for name, cell in part["gate_db"].items())
    first, *rest = (f"<p class=faint>{escape(words)}</p>" for words in (f"1 lies above 0 by: {worth}.", *why))
    return first + table(head, lines) + "".join(rest)


def needle(found: Mapping[str, Any]) -> str:
    """The share of signs that each row finds again, by haystack."""
    head = [f"of {found['needles']} signs, found after", *(f"{haystack} frames" for haystack in found["haystacks"])]
    chance = ["by chance", *(figures(found["chance"]) * len(found["haystacks"]))]
    return table(head, [*([name, *map(interval, cells)] for name, cells in found["found"].items()), chance])


READ = {
    "found": "{}", "scrambled": "{}, its weights in random order", "shuffled": "{}, targets dealt to other walks",
    "random": "random numbers for a state",
}  # fmt: skip


def probes(found: Mapping[str, Any]) -> str:
    """What is read off each model's state, with three controls beneath it."""
    lines = []
    for name, rows in found["models"].items():
        if "skipped" in rows:
            lines.append([name, rows["skipped"], *[""] * (len(found["targets"]) - 1)])
            continue
        lines += [[words.format(name), *map(interval, rows[row])] for row, words in READ.items() if row in rows]
    return table(["R²", *found["targets"]], lines)


def span(gap: Sequence[float | None]) -> str:
    """
    >>> span([16, 32]), span([128, None])
    ('16–32', '128 or more')
    """
    return f"{gap[0]:g} or more" if gap[1] is None else f"{gap[0]:g}–{gap[1]:g}"

"""What `unspool eval` found, on a page and in a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from unspool.errors import UserError
from unspool.evaluate.pages.columns import WIDTH, aligned, blocks
from unspool.evaluate.pages.comparison_page import comparison_page
from unspool.evaluate.pages.memory_tables import parts_of
from unspool.evaluate.pages.memory_text import memory_text
from unspool.evaluate.pages.parts import figures
from unspool.evaluate.pages.standing import (
    HOLM,
    Standing,
    in_reading_order,
    pairs,
    sentences,
    skipped,
    standings,
    without_interval,
)
from unspool.store import write_text

if TYPE_CHECKING:
    from PIL import Image

SCHEMA = "unspool/eval/2"
AGAIN = "write the results anew with this version's `unspool eval`"

NEEDED = {  # "*" stands for each part of a list or of an object
    "": "schema made data protocol arms measures table differences horizon horizon_frames segments stable notes",
    "made": "command version commit began seconds hardware precision",
    "data": "name is sha256 split fps height width",
    "protocol": "frames context_frames contexts futures segment window first_seed real_clips resize",
    "arms *": "name kind is weights_sha256 recipe futures frames_per_second",
    "measures *": "name title unit better sees blind with",
    "differences *": "a b measure value low high p apart",
    "segments *": "edges real low high unit arms",
    "segments * arms *": "mean low high outside slope",
    "stable *": "median whole by",
    "foretold *": "error predicted measured at_end",
    "memory": "window windows scenes ends rows kinds",
    "memory rows *": "kind is of",
    "memory kinds * *": "windows context frames gaps overall recall psnr ssim gate_db gain_db gain_ssim recall_gain"
    " differences",
    "needle": "haystacks needles chance found",
    "probes": "walks layouts frames targets models",
}


CURVES = ("recall", "psnr", "ssim")
BY_ROW = (*CURVES, "overall", "gate_db", "gain_db", "gain_ssim", "recall_gain")
"""Of a kind of walks, what is said of rows; the first by gap."""


def write_comparison(
    results: Mapping[str, Any], players: Mapping[str, bytes], sheet: Image.Image | bytes, path: Path, walks: bytes | None = None
) -> None:
    """One HTML file that needs no other: which model is best on what, videos, curves, what the measures see, the facts.

    results: as `results.json` of `unspool eval` holds them. players: label -> content of an mp4, in the order of the page; a
    label that is an arm's name gets the look of that arm. sheet: the contact sheet, a picture or the content of a PNG; walks:
    PNG of walks that measure memory, if any. Written whole or not at all; raises UserError where the results do not hold
    together or the file cannot be written.
    """
    _check(results)
    if not isinstance(sheet, bytes):
        buffer = io.BytesIO()
        sheet.save(buffer, format="png")
        sheet = buffer.getvalue()
    write_text(path, comparison_page(results, players, sheet, walks))


def comparison_table(results: Mapping[str, Any]) -> str:
    """The table of the page as text, lines of at most 118 characters: models first, as many arms beside each other as fit.

    A star marks the best model where it is told apart from every other. Raises UserError as `write_comparison` does.
    """
    _check(results)
    judged = pairs(results)
    found = standings(results, judged)
    arms = sorted(results["arms"], key=lambda arm: arm["kind"] == "control")
    measures = in_reading_order(results)
    titles = [wrap(", ".join(filter(None, (m["title"], m["unit"]))), 26) for m in measures]
    indented = [["  " * bool(m["with"]) + line for line in title] for m, title in zip(measures, titles, strict=True)]
    better = [["1 = real" if m["better"] == "real" else m["better"]] for m in measures]
    columns = []
    for arm in arms:
        name, kind = arm["name"], arm["kind"]
        cells = [_cell(results["table"][name][m["name"]], found.get(m["name"]), name) for m in measures]
        width = max(len(kind), 9, *map(len, cells))
        head = [f"{line}  " for line in (kind, *wrap(name, width))]
        columns.append([head, *([cell] for cell in cells)])
    left = [[["", "measure"], *indented], [["", "better"], *better]]
    lines = [line for block in blocks(left, columns) for line in [*aligned([*left, *block]), ""]]
    words = [*sentences(results, found)]
    if any(standing.leader for standing in found.values()):
        words.append("* the best model, told apart from every other.")
    if found:
        words.append(f"In brackets: 95 % intervals. {HOLM}")
    words += [f"skipped: {title} ({', '.join(who)}): {why}" for title, who, why in skipped(results)]
    words += [f"no interval: {which}: {why}" for which, why in without_interval(results)]
    words += _published(results.get("published", {}))
    if memory := results.get("memory"):
        words += ["", *memory_text(memory)]
    return "\n".join([*lines, *(line for text in words for line in _wrapped(text))]) + "\n"


def _wrapped(text: str) -> list[str]:
    """Lines of a terminal; one that fits, as those of a table do, stays as it is."""
    return [text] if len(text) <= WIDTH else wrap(text, WIDTH, subsequent_indent="  ")


def _published(rows: Mapping[str, Any]) -> Iterator[str]:
    """Distances by networks of others, a line each; those that were skipped for one reason in one."""
    for title, row in rows.items():
        if "arms" in row:
            told = ", ".join(f"{arm} {' '.join(figures(value)[0] for value in values)}" for arm, values in row["arms"].items())
            yield f"{title}: {told} ({'; '.join(filter(None, (row['verified'], row['note'])))})"
    for why in dict.fromkeys(row["skipped"] for row in rows.values() if "skipped" in row):
        yield f"skipped: {', '.join(title for title, row in rows.items() if row.get('skipped') == why)}: {why}"


def _cell(cell: Mapping[str, Any], standing: Standing | None, arm: str) -> str:
    if "skipped" in cell:
        return "skipped  "
    value, low, high = figures(cell["value"], cell["low"], cell["high"])
    limits = "" if low == high == "–" else f" [{low}, {high}]"
    return f"{value}{limits} {'*' if standing and standing.leader == arm else ' '}"


def _check(results: Mapping[str, Any]) -> None:
    """The schema, the keys, and that names and lengths meet."""
    if not isinstance(results, Mapping) or results.get("schema") != SCHEMA:
        schema = results.get("schema") if isinstance(results, Mapping) else type(results).__name__
        raise UserError(f"results of the schema {SCHEMA!r} are needed, not {schema!r}; {AGAIN}")
    results = {key: value for key, value in results.items() if value is not None}
    for path, keys in NEEDED.items():
        for where, part in _parts(results, path.split(), "results"):
            for key in keys.split():
                if not isinstance(part, Mapping) or key not in part:
                    raise UserError(f"{where} lacks {key!r}; {AGAIN}")
    arms, measures = ([part["name"] for part in results[key]] for key in ("arms", "measures"))
    if not arms or len({*arms}) < len(arms) or len({*measures}) < len(measures):
        raise UserError("a comparison needs one arm or more, each with a name of its own, as each measure; rename or add one")
    alone = [None, *(measure["name"] for measure in results["measures"] if not measure["with"])]
    for measure in results["measures"]:
        _among((measure["with"],), alone, f"measure {measure['name']!r}: 'with'")
        _among((measure["better"],), ("lower", "higher", "real"), f"measure {measure['name']!r}: 'better'")
    _among((arm["kind"] for arm in results["arms"]), ("model", "control", "videos"), "'kind' of an arm")
    for d in results["differences"]:
        _among((d["a"], d["b"]), arms, "differences")
        _among((d["measure"],), measures, "differences")
    for arm in arms:
        for measure in measures:
            cell = results["table"].get(arm, {}).get(measure)
            if cell is None or not ("skipped" in cell or {"value", "low", "high", "n"} <= {*cell}):
                raise UserError(f"the table needs {measure!r} of {arm!r}: value, low, high, n or why it was skipped; {AGAIN}")
    for where, named, known in _drawn(results, arms):
        _among(named, known, where)
    for where, lengths in _lengths(results):
        if len(lengths) > 1:
            raise UserError(f"{where} has lines of different lengths, {sorted(lengths)}; {AGAIN}")


def _parts(value: Any, path: list[str], where: str) -> Iterator[tuple[str, Any]]:
    """(where, part) for every part of the value that the path leads to; optional parts that are absent are left out."""
    if not path or not isinstance(value, Mapping | list | tuple):
        yield where, value
        return
    parts = value if isinstance(value, Mapping) else dict(enumerate(value))
    for key in parts if path[0] == "*" else {path[0]} & {*parts}:
        yield from _parts(parts[key], path[1:], f"{where}[{key!r}]")


def _among(names: Iterable[str | None], allowed: Iterable[str | None], where: str) -> None:
    allowed = [*allowed]
    for name in names:
        if name not in allowed:
            raise UserError(f"{where} is {name!r}, which is none of {', '.join(map(repr, allowed))}; {AGAIN}")


def _drawn(results: Mapping[str, Any], arms: list[str]) -> Iterator[tuple[str, Iterable[str | None], Iterable[str | None]]]:
    """(where, names, names that are known) of what is drawn or listed by its name."""
    yield from ((f"horizon of {name!r}", lines, arms) for name, lines in results["horizon"].items())
    yield from ((f"segments of {name!r}", part["arms"], arms) for name, part in results["segments"].items())
    yield from ((key, results.get(key, {}), arms) for key in ("stable", "foretold"))
    rows = results.get("memory", {"rows": {}})["rows"]
    yield "memory: 'of' a row", (row["of"] for row in rows.values()), [None, *arms]
    for kind, part in parts_of(results.get("memory", {"kinds": {}})):
        yield from ((f"memory: {key} of {kind!r}", part[key], rows) for key in BY_ROW)
        pairs = [name for one in part["differences"] for name in (one["a"], one["b"])]
        yield f"memory: differences of {kind!r}", pairs, rows
    yield "needle", results.get("needle", {"found": ()})["found"], rows
    yield "probes", results.get("probes", {"models": ()})["models"], arms


def _lengths(results: Mapping[str, Any]) -> Iterator[tuple[str, set[int]]]:
    """Of everything that is drawn over one axis: the lengths of its lines, all to be the same."""
    for name, arms in results["horizon"].items():
        yield f"horizon of {name!r}", {len(results["horizon_frames"].get(name, ())), *map(len, arms.values())}
    for name, segments in results["segments"].items():
        lines = [segments["edges"][1:], *(segments[key] for key in ("real", "low", "high"))]
        lines += [line for arm in segments["arms"].values() for key, line in arm.items() if key != "slope"]
        yield f"segments of {name!r}", {len(line) for line in lines}
    for kind, part in parts_of(results.get("memory", {"kinds": {}})):
        lines = [line for key in CURVES for line in part[key].values()]
        lines += [one["gaps"] for one in part["recall_gain"].values()]
        yield f"memory of {kind!r}", {len(part["gaps"]), *map(len, lines)}
    if needle := results.get("needle"):
        yield "needle", {len(needle["haystacks"]), *map(len, needle["found"].values())}
    if probes := results.get("probes"):
        lines = [line for model in probes["models"].values() if "skipped" not in model for line in model.values()]
        yield "probes", {len(probes["targets"]), *map(len, lines)}

"""The tables of a comparison's page, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from unspool.evaluate.pages.parts import figures, share, table
from unspool.evaluate.pages.standing import (
    Pair,
    Standing,
    contenders,
    in_reading_order,
    is_known,
    rivals,
    skipped,
    without_interval,
)

BETTER = {"lower": "↓ lower is better", "higher": "↑ higher is better", "real": "1 is as real"}
GROUPS = {"model": "models", "videos": "given as videos", "control": "controls"}


def board(results: Mapping[str, Any], found: Mapping[str, Standing]) -> str:
    """Measures down, arms across; the best model is marked only where it is told apart from every other."""
    arms = ordered(results)
    titles = {measure["name"]: measure["title"] for measure in results["measures"]}
    groups = "".join(f'<th class="{kind}" colspan={len([*group])}>{GROUPS[kind]}</th>'
                     for kind, group in groupby(arms, lambda arm: arm["kind"]))  # fmt: skip
    verdict = "<th>best of the models</th>" if found else ""
    names = "".join(f'<th class="{arm["kind"]}">{escape(arm["name"])}</th>' for arm in arms)
    body = ""
    for measure in in_reading_order(results):
        name, beside = measure["name"], measure["with"]
        standing = found.get(name)
        under = ", ".join(escape(part) for part in (_amount(results, name), measure["unit"]) if part)
        under = "<br>".join(filter(None, (under, BETTER[measure["better"]])))
        cells = f"<td class=verdict>{_verdict(standing, results, beside and titles[beside])}</td>" if found else ""
        for arm in arms:
            cell, also = (results["table"][arm["name"]].get(key) for key in (name, beside))
            best = " best" if standing and standing.leader == arm["name"] else ""
            cells += f'<td class="{arm["kind"]}{best}">{_cell(cell, also, beside and titles[beside])}</td>'
        line = "beside" if beside else ""
        body += f'<tr class="{line}"><th>{escape(measure["title"])}<small>{under}</small></th>{cells}</tr>'
    return (
        f'<div class="wide board"><table><thead><tr><th></th>{verdict and "<th></th>"}{groups}</tr>'
        f"<tr><th>measure</th>{verdict}{names}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _amount(results: Mapping[str, Any], measure: str) -> str:
    """How many videos a line of the table rests on."""
    cells = (results["table"][arm["name"]][measure] for arm in results["arms"])
    numbers = sorted({cell["n"] for cell in cells if "skipped" not in cell})
    return f"N {'–'.join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))}" if numbers else ""


def _verdict(standing: Standing | None, results: Mapping[str, Any], beside: str | None) -> str:
    if standing is None:
        return "–"
    if standing.leader:
        return f"<b>{escape(standing.leader)}</b>"
    if standing.uncounted:
        return f"–<small>{escape(', '.join(standing.uncounted))} ahead, but worse on {escape(beside or '')}</small>"
    whole = len(standing.front) == len(rivals(results))
    return "not told apart" if whole else f"{escape(', '.join(standing.front))}<small>not told apart</small>"


def _cell(cell: Mapping[str, Any], also: Mapping[str, Any] | None, title: str | None) -> str:
    if "skipped" in cell:
        return f'<span class=faint title="{escape(cell["skipped"])}">skipped</span>'
    value, low, high = figures(cell["value"], cell["low"], cell["high"])
    words = value + ("" if low == high == "–" else f"<small>{low} to {high}</small>")
    if also and title and is_known(cell):
        words += f"<small>{escape(title)} {figures(also.get('value'))[0]}</small>"
    return words


def apart(results: Mapping[str, Any], judged: Sequence[Pair]) -> str:
    """Differences between models; those with a control folded away."""
    models = {*contenders(results)}
    between = [pair for pair in judged if {pair.a, pair.b} <= models]
    others = [pair for pair in judged if not {pair.a, pair.b} <= models]
    html = _differences(results, between) if between else ""
    if others:
        html += f"<details><summary>Differences with controls</summary>{_differences(results, others)}</details>"
    return html


def _differences(results: Mapping[str, Any], judged: Sequence[Pair]) -> str:
    columns = list(dict.fromkeys((pair.a, pair.b) for pair in judged))
    known = {(pair.a, pair.b, pair.measure): pair for pair in judged}
    titles = {measure["name"]: measure["title"] for measure in results["measures"]}
    head = "".join(f"<th>{escape(a)} − {escape(b)}</th>" for a, b in columns)
    body = ""
    for measure in in_reading_order(results):
        line = [known.get((*column, measure["name"])) for column in columns]
        if any(line):
            cells = "".join(_difference(pair, titles.get(measure["with"], "")) if pair else "<td>–</td>" for pair in line)
            body += f'<tr class="{"beside" if measure["with"] else ""}"><th>{escape(measure["title"])}</th>{cells}</tr>'
    return f'<div class="wide board"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _difference(pair: Pair, beside: str) -> str:
    value, low, high = figures(pair.value, pair.low, pair.high, sign="+")
    chance = "" if pair.p is None else ", p &lt; 0.001" if pair.p < 0.001 else f", p = {pair.p:.3f}"
    words = "not told apart"
    if pair.better:
        words = f"<b>{escape(pair.better)}</b> better"
    elif pair.uncounted:
        words = f"{escape(pair.uncounted)} ahead, but worse on {escape(beside)}"
    elif pair.apart:
        words = "apart, but not which is nearer to 1"
    klass = "best" if pair.better else "faint"
    return f'<td class="{klass}">{value}<small>{low} to {high}{chance}</small><small>{words}</small></td>'


def arms(results: Mapping[str, Any]) -> str:
    """What stands in each column, in words."""
    return table(["", "kind", "what it is"], [[arm["name"], arm["kind"], arm["is"]] for arm in ordered(results)], "prose")


def ordered(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The arms, group by group."""
    return sorted(results["arms"], key=lambda arm: [*GROUPS].index(arm["kind"]))


def weights(results: Mapping[str, Any]) -> str:
    """What is needed to find the arms again."""
    head = ["", "recipe", "futures", "frames per second", "sha256 of the weights"]
    return table(head, [[
        arm["name"], arm["recipe"] or "–", str(arm["futures"]), figures(arm["frames_per_second"])[0],
        arm["weights_sha256"] or "–",
    ] for arm in ordered(results)], "prose")  # fmt: skip


def stable(results: Mapping[str, Any]) -> str:
    """How long each arm is like real video."""
    lines = []
    for arm in ordered(results):
        if found := results["stable"].get(arm["name"]):
            by = ", ".join(f"{metric} {share(part)}" for metric, part in found["by"].items() if part)
            lines.append([arm["name"], lasting(results, found["median"]), share(found["whole"]), by or "–"])
    head = ["", "like real video for (median)", "videos that are to the end", "what leaves first"]
    return table(head, lines) if lines else ""


def slopes(results: Mapping[str, Any]) -> str:
    """How fast each metric of each arm goes away from real video, and to which side."""
    metrics = results["segments"]
    lines = [
        [arm["name"], *(figures(part["arms"].get(arm["name"], {}).get("slope"), sign="+")[0] for part in metrics.values())]
        for arm in ordered(results)
    ]
    return table(["", *metrics], lines) if metrics else ""


def lasting(results: Mapping[str, Any], frames: float | None) -> str:
    return "–" if frames is None else f"{frames:g} frames ({frames / results['data']['fps']:.1f} s)"


def ladder(measures: Sequence[Mapping[str, Any]]) -> str:
    """Measures down, corruptions across: what each was shown to see, and what not."""
    rungs = list(dict.fromkeys(rung for measure in measures for rung in (*measure["sees"], *measure["blind"])))
    titles = {measure["name"]: measure["title"] for measure in measures}
    lines = []
    for measure in measures:
        marks = ["●" if rung in measure["sees"] else "○" if rung in measure["blind"] else "" for rung in rungs]
        lines.append([measure["title"], *marks, titles.get(measure["with"], "")])
    return table(["", *rungs, "read beside"], lines, "ladder") if rungs else ""


def not_there(results: Mapping[str, Any]) -> str:
    """What was skipped, and why."""
    lines = [[title, ", ".join(who), why] for title, who, why in skipped(results)]
    lines += [[title, "every arm", row["skipped"]] for title, row in results.get("published", {}).items() if "skipped" in row]
    lines += [[f"interval of {which}", "", why] for which, why in without_interval(results)]
    return table(["", "for", "why"], lines, "prose") if lines else ""


def published(results: Mapping[str, Any]) -> str:
    """Distances by networks of others: an arm a column."""
    names = [arm["name"] for arm in ordered(results)]
    lines = []
    for title, row in results["published"].items():
        if "arms" in row:
            cells = [", ".join(figures(value)[0] for value in row["arms"].get(name, [])) or "–" for name in names]
            told = f"{row['verified']}; {row['note']}".rstrip("; ")
            lines.append([title, *cells, told])
    return table(["", *names, "weights, and how many videos"], lines)


def interval(cell: Mapping[str, Any] | None) -> str:
    """A figure and its limits; "–" where there is none."""
    value, low, high = figures(*((cell or {}).get(end) for end in ("value", "low", "high")))
    return value if low == high == "–" else f"{value} ({low} to {high})"

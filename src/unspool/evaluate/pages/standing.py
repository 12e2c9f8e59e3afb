"""Which model is best on what, and where two models are not told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

HOLM = """Told apart: after Holm's correction over all measures of a pair, so that two equal arms are told apart on none of them
in 95 of 100 comparisons.""".replace("\n", " ")


class Pair(NamedTuple):
    """Two arms on one measure: a - b with its 95 % interval and p by themselves. apart: told apart after Holm's correction over
    all measures, so that of two equal arms none is in 95 of 100 comparisons.

    better: the arm told to be better, None where none is. uncounted: the arm that would be better, were it not worse on the
    measure that this one must be read beside.
    """

    a: str
    b: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    apart: bool
    better: str | None
    uncounted: str | None


class Standing(NamedTuple):
    """Of one measure. leader: the model told better than every other; front: the models no other is told better than;
    uncounted: where none leads, the models that are ahead of another one only because they are worse on the measure beside."""

    leader: str | None
    front: tuple[str, ...]
    uncounted: tuple[str, ...]


def contenders(results: Mapping[str, Any]) -> list[str]:
    """The arms that are asked about: all but controls."""
    return [arm["name"] for arm in results["arms"] if arm["kind"] != "control"]


def rivals(results: Mapping[str, Any]) -> list[str]:
    """The arms that can be best: contenders but for models that were named before, since none is better than itself."""
    found: dict[tuple[Any, ...], str] = {}
    for arm in results["arms"]:
        if arm["kind"] != "control":
            same = (arm["weights_sha256"], arm["is"]) if arm["weights_sha256"] else (arm["name"],)
            found.setdefault(same, arm["name"])
    return list(found.values())


def in_reading_order(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The measures, each right after the one that it must be read beside."""
    measures = results["measures"]
    alone = [measure for measure in measures if not measure["with"]]
    return [one for first in alone for one in (first, *(m for m in measures if m["with"] == first["name"]))]


def skipped(results: Mapping[str, Any]) -> list[tuple[str, list[str], str]]:
    """(title of the measure, arms, why) of what the table does not hold, arms with the same reason together."""
    return _missing(results, "skipped")


def without_interval(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(measures and the arms, why) of figures that have no interval, those with the same reason together."""
    found: dict[str, list[str]] = {}
    for title, arms, why in _missing(results, "no_interval"):
        found.setdefault(why, []).append(title if arms == [EVERY] else f"{title} ({', '.join(arms)})")
    return [(", ".join(which), why) for why, which in found.items()]


EVERY = "every arm"


def _missing(results: Mapping[str, Any], key: str) -> list[tuple[str, list[str], str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for measure in results["measures"]:
        for arm in results["arms"]:
            cell = results["table"][arm["name"]][measure["name"]]
            if key in cell:
                found.setdefault((measure["title"], cell[key]), []).append(arm["name"])
    every = len(results["arms"])
    return [(title, arms if len(arms) < every else [EVERY], why) for (title, why), arms in found.items()]


def is_known(cell: Mapping[str, Any]) -> bool:
    """Whether a cell of the table holds a figure: it is neither skipped nor NaN."""
    value = cell.get("value")
    return value is not None and isfinite(value)


def pairs(results: Mapping[str, Any]) -> list[Pair]:
    """Every difference of the results, judged.

    Where a measure must be read beside another one (flicker beside motion), an arm that is worse on the other is not told to be
    better on this one: what moves less flickers less. For that the interval of the other by itself is enough, uncorrected: a
    doubt about motion must not make a still video the best.
    """
    measures = {measure["name"]: measure for measure in results["measures"]}
    alone = {(d["a"], d["b"], d["measure"]): _ahead(results["table"], d, measures[d["measure"]]["better"])
             for d in results["differences"]}  # fmt: skip
    judged = []
    for d in results["differences"]:
        a, b, name = d["a"], d["b"], d["measure"]
        first, beside = alone[a, b, name] if d["apart"] else None, measures[name]["with"]
        other = alone.get((a, b, beside)) or alone.get((b, a, beside))
        better, uncounted = (None, first) if other and other != first else (first, None)
        judged.append(Pair(a, b, name, d["value"], d["low"], d["high"], d["p"], d["apart"], better, uncounted))
    return judged


def standings(results: Mapping[str, Any], judged: Sequence[Pair]) -> dict[str, Standing]:
    """measure -> its standing, for every measure of which two models or more have a figure."""
    found = {}
    for name in (measure["name"] for measure in results["measures"]):
        models = [arm for arm in rivals(results) if is_known(results["table"][arm][name])]
        won = {(p.better, p.b if p.better == p.a else p.a) for p in judged if p.measure == name and p.better}
        if len(models) < 2:
            continue
        leaders = [arm for arm in models if all((arm, other) in won for other in models if other != arm)]
        front = tuple(arm for arm in models if not any((other, arm) in won for other in models))
        held = dict.fromkeys(p.uncounted for p in judged if p.measure == name and p.uncounted and {p.a, p.b} <= {*models})
        found[name] = Standing(leaders[0], front, ()) if leaders else Standing(None, front, tuple(held))
    return found


def sentences(results: Mapping[str, Any], found: Mapping[str, Standing]) -> list[str]:
    """What the table comes to, for someone who reads nothing else."""
    models = rivals(results)
    if len(models) < 2:
        only = f"{models[0]} is the only model" if models else "There are only controls"
        return [f"{only}, and nothing is best of one. Read the figures beside the controls and real video."]
    if not found:
        return ["No measure has figures of two models, so none is best."]
    led = {arm: sum(standing.leader == arm for standing in found.values()) for arm in models}
    parts = [f"{arm} is best on {count}" for arm, count in led.items() if count]
    if rest := sum(not standing.leader and not standing.uncounted for standing in found.values()):
        parts.append(f"on {rest} no model is told apart from every other")
    if held := sum(bool(standing.uncounted) for standing in found.values()):
        parts.append(f"on {held} the better figure is not counted")
    measures = {measure["name"]: measure for measure in results["measures"]}
    why: dict[tuple[str, str], list[str]] = {}
    for name, standing in found.items():
        if standing.uncounted:
            beside = measures[measures[name]["with"]]["title"]
            why.setdefault((", ".join(standing.uncounted), beside), []).append(measures[name]["title"])
    words = [f"Of {len(found)} measures: {'; '.join(parts)}."]
    return words + [f"Not counted: {who} ahead on {', '.join(of)}, but worse on {beside}." for (who, beside), of in why.items()]


def _ahead(table: Mapping[str, Any], difference: Mapping[str, Any], better: str) -> str | None:
    """The arm that the interval of the difference by itself puts ahead."""
    a, b, name, value, low, high = (difference[key] for key in ("a", "b", "measure", "value", "low", "high"))
    if None in (value, low, high) or not isfinite(value) or not (low > 0 or high < 0):
        return None
    more, less = (a, b) if value > 0 else (b, a)
    if better != "real":
        return more if better == "higher" else less
    # Of two ratios that differ, the nearer to 1 is known only where their geometric middle is surely on one side of 1.
    high, low = (_product(table[a][name].get(end), table[b][name].get(end)) for end in ("high", "low"))
    if high is not None and high < 1:
        return more
    return less if low is not None and low > 1 else None


def _product(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else max(a, 0.0) * max(b, 0.0)

"""The table of all claims: what each says, what was found here, or why nothing was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unspool import store
from unspool.claims.claim import Claim, Experiment, read
from unspool.claims.measures import KNOWN, unit_of
from unspool.claims.running import CONTROLS, SCHEMA
from unspool.errors import UserError

HEAD = """# Claims

What each system's paper says, as one small experiment: two arms, as many FLOPs and the same training seeds for either, 32 or
64 pixels a side, under a million parameters. Which arm should be better, by which measure, and from which difference on it
would count stands in [bench/claims](../bench/claims) and was committed before the run; where it was not, or the file was
changed since, the verdict says so. The effect is how much better the expected arm is, in the measure's unit, with its 95 %
interval; a minus means worse. Three seeds are few: Student's t then has two degrees of freedom, and the interval reaches 4.3
standard errors to each side. It holds training seeds only: all runs are measured on the same contexts, so what other contexts
would say is not in it. The unit of the random-feature MMD is what chance alone seldom exceeds between as many real clips.
It knows motion, its order and its texture: a frozen video gets 281 of these units, one upside down none at all ([log](log.md)).

The verdict is read off the interval alone. **holds**: the whole interval lies at or above the smallest effect that counts.
**fails**: the whole interval lies below it. **undecided**: neither, and a claim about memory where no run of either arm
remembers 2 dB worth. A contrast this small speaks of this setting only; a failure here does not refute a paper.

*read*: what the experiment rests on stands in a text or code of the authors that was read. *reconstructed*: from descriptions
by others. *own*: found in this project. `unspool claims table` writes this page.
"""

NEEDED = {"claim_sha256", "registered", "effects", "arms", "verdict"}


class Row(NamedTuple):
    """A claim and what came of it. verdict: in words; result: of its run, if there is one."""

    claim: Claim
    result: Mapping[str, Any] | None
    verdict: str

    @property
    def effect(self) -> str:
        """The figure with its interval."""
        if self.result is None or self.claim.told.experiment is None:
            return "–"
        return interval(self.result["effects"][self.claim.told.experiment.measure])


def rows(folder: Path) -> list[Row]:
    """All claims of a folder, those that were run first. Raises UserError where it holds none, or a file that is no result."""
    claims = [read(path) for path in sorted(folder.glob("*.yaml"))]
    if not claims:
        raise UserError(f"{folder} holds no claim files; name a folder with some")
    found = [_row(claim, folder / "results" / f"{claim.name}.json") for claim in claims]
    return sorted(found, key=lambda row: (row.result is None, bool(row.claim.told.needs)))


def _row(claim: Claim, place: Path) -> Row:
    if claim.told.needs:
        return Row(claim, None, f"not run: needs {claim.told.needs}")
    if not place.is_file():
        return Row(claim, None, "not run: nobody has run it yet")
    result = store.read_json(place)
    if not isinstance(result, dict) or result.get("schema") != SCHEMA or not result.keys() >= NEEDED:
        raise UserError(f"{place} is not a result of `claims run`; run the claim again")
    asked = claim.told.experiment
    changed = "" if result["claim_sha256"] == claim.sha256 else ", changed since"
    late = "" if result["registered"] else ", not committed before its run"
    if asked is None or asked.measure not in result["effects"] or asked.arms.keys() != result["arms"].keys():
        return Row(claim, None, f"not run: the result is of another claim{changed}")
    return Row(claim, result, f"{result['verdict']}{changed}{late}")


def markdown(found: Sequence[Row]) -> str:
    """The page."""
    head = ["system", "claim", "source", "measure", "effect", "smallest", "verdict", "command"]
    lines = [_line(head), _line(["---"] * len(head)), *(_line(_cells(row)) for row in found)]
    beside = [line for row in found if row.result is not None for line in _beside(row)]
    if beside:
        lines += ["", "## Beside the verdicts", ""]
        lines += ["Means over the seeds. What a frozen video (copy last) and real video get is there to compare with.", ""]
        names = ["claim", "measure", "expected better", "other", "effect", *CONTROLS]
        lines += [_line(names), _line(["---"] * len(names)), *beside]
    return f"{HEAD}\n" + "\n".join(lines) + "\n"


def text(found: Sequence[Row]) -> str:
    """The table in a terminal."""
    wide = max(len(row.claim.name) for row in found)
    return "\n".join(f"{row.claim.name:<{wide}}  {row.effect:<24}  {row.verdict}" for row in found)


def plain_rows(found: Sequence[Row]) -> list[dict[str, Any]]:
    """For --json."""
    return [
        {"name": row.claim.name, **row.claim.told.model_dump(), "verdict": row.verdict, "result": row.result} for row in found
    ]


def interval(cell: Mapping[str, Any]) -> str:
    """+1.2 (0.3 to 2.1)."""
    if "skipped" in cell:
        return f"skipped: {cell['skipped']}"
    return f"{cell['value']:+.3g} ({cell['low']:.3g} to {cell['high']:.3g})"


def _cells(row: Row) -> list[str]:
    told, asked = row.claim.told, row.claim.told.experiment
    source = f"{told.source} ({told.mark})"
    run = "–" if told.needs else f"`unspool claims run {row.claim.name} --out runs/{told.runs or row.claim.name}`"
    what = [told.system, told.claim, source]
    if asked is None:
        return [*what, "–", "–", "–", row.verdict, run]
    return [*what, _measure(asked), row.effect, f"{asked.smallest:g}", row.verdict, run]


def _measure(asked: Experiment) -> str:
    measure = KNOWN[asked.measure]
    return f"{measure.title}, {unit_of(measure)}; {asked.better} against {asked.other}"


def _beside(row: Row) -> list[str]:
    asked, result = row.claim.told.experiment, row.result
    assert asked is not None and result is not None
    lines = []
    for name, cell in result["effects"].items():
        means = [_mean([seed[name] for seed in result["arms"][arm]["seeds"].values()]) for arm in (asked.better, asked.other)]
        controls = [_mean([result["controls"][control].get(name)]) for control in CONTROLS]
        measure = KNOWN[name]
        lines.append(_line([row.claim.name, f"{measure.title}, {measure.unit}", *means, interval(cell), *controls]))
    return lines


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3g}" if len(known) == len(values) else "–"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

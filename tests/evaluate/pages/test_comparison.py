"""The page and the table of a comparison: what is marked best, what is held back, and that the page stands alone."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unspool.errors import UserError
from unspool.evaluate.pages.comparison import comparison_table, write_comparison
from unspool.evaluate.pages.parts import figures
from unspool.evaluate.pages.standing import HOLM, pairs, sentences, standings

FRAMES, SEGMENT = 512, 64
MODELS = ("long <b>memory</b>", "short & soft")
LONG, SHORT = MODELS
CONTROLS = ("copy last", "nearest clip", "real against real")

# name, title, unit, better, with, sees, blind; then a value for each arm, models first
MEASURES: tuple[tuple[Any, ...], ...] = (
    ("moves", "motion", "of real", "real", None, "freeze noise", "swap", 0.92, 0.41, 0.0, 1.04, 1.01),
    ("mmd", "MMD of random features", "of the floor", "lower", None, "noise blur swap freeze", "", 6.1, 9.8, 21.4, 2.2, 1.0),
    ("coverage", "coverage", "", "higher", None, "collapse", "blur", 0.61, 0.58, 0.05, 0.88, 0.97),
    ("sharpness", "sharpness", "of real", "real", "moves", "blur noise", "freeze shuffle", 0.81, 0.95, 1.02, 1.0, 1.0),
    ("flow", "flow-warp error", "of real", "lower", "moves", "noise shuffle", "freeze", 1.32, 0.64, 0.0, 1.01, 1.0),
    ("colour", "colour shift", "grey levels", "lower", None, "colour", "loop", 8.31, 17.2, 0.9, 4.4, 4.3),
    ("psnr", "PSNR, first 64 frames", "dB", "higher", None, "noise", "", 18.2, 18.1, 17.9, 14.2, 14.4),
    ("tiny", "a tiny distance", "", "lower", None, "", "", 0.00042, 0.00044, 0.0019, 0.0001, 0.00005),
    ("fvd", "FVD (I3D)", "", "lower", None, "", "", None, None, None, None, None),
)


def fabricated(models: tuple[str, ...] = MODELS, controls: tuple[str, ...] = CONTROLS) -> dict[str, Any]:
    """What results.json may hold: skipped cells and figures that are not known among them."""
    arms = (*models, *controls)
    table = {arm: {row[0]: cell_of(row, arm) for row in MEASURES} for arm in arms}
    compared = [(a, b, row[0]) for i, a in enumerate(models) for b in arms[i + 1 :] for row in MEASURES]
    return {
        "schema": "unspool/eval/2",
        "made": {"command": "unspool eval runs/a runs/b --data rooms", "version": "0.9", "commit": None,
                 "began": "2000-01-01T12:00:00", "seconds": 1834.2, "precision": "float32", "hardware": {"threads": 2}},
        "data": {"name": "rooms", "is": "A walk through ray-cast rooms", "sha256": "f0" * 32, "split": "unseen", "fps": 15.0,
                 "height": 64, "width": 64},
        "protocol": {"frames": FRAMES, "context_frames": 16, "contexts": 16, "futures": 4, "segment": SEGMENT, "window": 16,
                     "first_seed": 0, "real_clips": 64, "resize": "none"},
        "arms": [{"name": arm, "kind": "model", "is": f"what {arm} is", "weights_sha256": "ab" * 32, "recipe": "chunk-by-chunk",
                  "futures": 4, "frames_per_second": 21.3} for arm in models]
        + [{"name": arm, "kind": "control", "is": f"what {arm} is", "weights_sha256": None, "recipe": None, "futures": 4,
            "frames_per_second": None} for arm in controls],
        "measures": [{"name": name, "title": title, "unit": unit, "better": better, "with": beside, "sees": sees.split(),
                      "blind": blind.split()} for name, title, unit, better, beside, sees, blind, *_ in MEASURES],
        "table": table,
        "differences": [difference(table, *one) for one in compared if all(known(table[arm][one[2]]) for arm in one[:2])],
        "horizon": {name: {arm: [None, *(top / (1 + 0.02 * (i + 1) * np.arange(1, 256)))] for i, arm in enumerate(arms)}
                    for name, top in (("psnr", 31.0), ("ssim", 0.95), ("diversity", 1.0))},
        "horizon_frames": {name: [*range(0, FRAMES, 2)] for name in ("psnr", "ssim", "diversity")},
        "segments": {"motion": segments(arms, 4.0, 2.5), "colour": segments(arms, 5.0, None)},
        "stable": {arm: {"median": 64.0 * i, "whole": 0.1 * i, "by": {"motion": 0.5, "colour": 0.0}}
                   for i, arm in enumerate(arms)},
        "foretold": {arm: {"error": interval(0.011), "predicted": [0.1, 0.2], "measured": [0.2, None, 0.5],
                           "at_end": {"predicted": interval(0.2), "measured": None}} for arm in models},
        **remembered(models),
        "notes": ["Eight futures are needed for the energy score <only>; four were made."],
    }  # fmt: skip


def remembered(models: tuple[str, ...]) -> dict[str, Any]:
    of = {name: arm for arm in models for name in (arm, f"{arm}, window alone", f"{arm}, codec alone")} | {"the oracle": None}
    kinds = dict(zip(of, ("model", "twin", "codec") * len(models), strict=False)) | {"the oracle": "control"}
    recall = [{"value": 0.813, "low": 0.6, "high": 0.9}, {"value": 0.3, "low": 0.2, "high": None}, {"skipped": "5 <scenes>"}]
    curve = {name: [21.0 - i, None, {"skipped": "broken"}] for i, name in enumerate(of)}
    cells = {"recall": recall[0], "psnr": {"value": 17.31, "low": 15.0, "high": 19.0}, "ssim": interval(0.47)}
    one = {"a": models[0], "b": models[-1], "value": 0.31, "low": 0.1, "high": 0.52, "p": 0.0004, "apart": True}
    part = {
        "windows": 2, "context": 32, "frames": 27, "gaps": [[0, 16], [16, 32], [32, None]],
        "recall": {name: recall for name in of}, "psnr": curve, "ssim": curve,
        "overall": {name: cells | {"recall": {"skipped": "gains <little>"}} if name == models[-1] else cells for name in of},
        "gate_db": {arm: {"value": 4.1, "low": 3.2, "high": 5.0} for arm in models},
        "gain_db": {arm: {"value": 3.3, "low": 2.9, "high": 3.7} for arm in models},
        "gain_ssim": {arm: {"value": 0.22, "low": 0.11, "high": 0.33} for arm in models},
        "recall_gain": {models[0]: {"overall": {"value": 0.64, "low": 0.51, "high": 0.77}, "gaps": recall}},
        "differences": [one, {"a": models[0], "b": models[-1], "skipped": "neither <remembers>"}],
    }  # fmt: skip
    cells = [recall[0], {"value": -0.04, "low": -0.1, "high": 0.1}]
    read = dict.fromkeys(("found", "shuffled", "random", "scrambled"), cells)
    return {
        "memory": {"window": 16, "windows": [2, 4], "scenes": 24, "ends": {"none": models[-1], "full": models[0]},
                   "kinds": {"retrieval": [part, part | {"windows": 4}], "reasoning": [part, part | {"windows": 4}],
                             "turn": [part | {"windows": 1}]},
                   "rows": {name: {"kind": kinds[name], "is": f"what {name} shows", "of": of[name]} for name in of}},
        "needle": {"haystacks": [32, 64], "needles": 16, "chance": 0.25, "found": {name: [recall[0]] * 2 for name in of}},
        "probes": {"walks": 192, "layouts": 190, "frames": 32, "targets": ["ahead", "map"],
                   "models": {arm: {"skipped": "keeps no state"} if i else read for i, arm in enumerate(models)}},
    }  # fmt: skip


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": 0.5 * value, "high": 2 * value}


def cell_of(row: tuple[Any, ...], arm: str) -> dict[str, Any]:
    if row[0] == "fvd":
        return {"skipped": "no weights: give --i3d FILE"}
    if (row[0], arm) == ("coverage", "real against real"):
        return {"skipped": "needs 8 clips <each>, had 4"}
    if (row[0], arm) == ("flow", "copy last"):
        return {"value": float("nan"), "low": None, "high": None, "n": 63}
    value = row[7:][[*MODELS, *CONTROLS].index(arm)]
    return {"value": value, "low": 0.92 * value, "high": 1.08 * value, "n": 64}


def known(cell: dict[str, Any]) -> bool:
    return cell.get("value") is not None and np.isfinite(cell["value"])


def difference(table: dict[str, Any], a: str, b: str, measure: str) -> dict[str, Any]:
    x, y = (table[arm][measure]["value"] for arm in (a, b))
    spread = 0.05 * (x + y)
    return {"a": a, "b": b, "measure": measure, "value": x - y, "low": x - y - spread, "high": x - y + spread, "p": 0.03,
            "apart": abs(x - y) > spread}  # fmt: skip


def segments(arms: tuple[str, ...], real: float, low: float | None) -> dict[str, Any]:
    steps = np.arange(FRAMES // SEGMENT)
    lines = {}
    for i, arm in enumerate(arms):
        mean = real * (1 + 0.1 * (i - 1) * steps)
        outside = np.clip(0.05 + 0.1 * abs(i - 1) * steps, 0, 1)
        lines[arm] = {"mean": [*mean[:-1], None], "low": [*(mean - 0.3)], "high": [*(mean + 0.3)], "outside": [*outside],
                      "slope": -0.31}
    band = {"real": [real] * len(steps), "low": [low] * len(steps), "high": [2 * real - (low or 0)] * len(steps)}
    return {"edges": [*range(0, FRAMES + 1, SEGMENT)], "unit": "grey levels", "arms": lines, **band}


def judged(results: dict[str, Any]) -> dict[str, Any]:
    return standings(results, pairs(results))


def test_a_model_named_twice_is_one_contender() -> None:
    """It is never told apart from itself, and that keeps nothing from being best."""
    results = fabricated()
    first, second = (arm for arm in results["arms"] if arm["kind"] == "model")
    before = judged(results)
    again = {**first, "name": "again"}
    results["arms"].append(again)
    results["table"]["again"] = results["table"][first["name"]]
    assert judged(results) == before and any(standing.leader for standing in before.values())
    results["arms"].remove(second)
    assert sentences(results, judged(results))[0].startswith(f"{first['name']} is the only model")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("comparison") / "new" / "page.html"
    players = {"real": b"the truth", **{arm: arm.encode() for arm in (*MODELS, *CONTROLS)}}
    write_comparison(fabricated(), players, Image.new("RGB", (40, 30)), path, b"walks")
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]
    return path.read_text()


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    bare = re.sub(r"base64,[^\"]*", "", page)
    assert not re.findall(r"https?:|//[a-z]|<link|@import|url\(|<script src|NaN|None|\bnan\b", bare)
    kinds = [kind for kind, _ in re.findall(r"data:(\S+?);base64,([^\"]*)", page)]
    assert kinds.count("video/mp4") == 6 and kinds.count("image/png") == 2 + 2 * 5  # sheet, walks; each plot light and dark
    assert page.count(base64.b64encode(b"the truth").decode()) == 1


def test_everything_of_the_results_is_there_and_escaped(page: str) -> None:
    results = fabricated()
    texts = ["no weights: give --i3d FILE", "needs 8 clips <each>, had 4", "5 <scenes>", "f0" * 32, "ab" * 32]
    texts += [results["made"]["command"], *results["notes"], *(measure["title"] for measure in results["measures"])]
    for text in (*MODELS, *CONTROLS, *texts):
        assert escape(text) in page, text
    assert "<b>memory" not in page and "short & soft" not in page and "<only>" not in page


def test_sections_stand_in_the_order_in_which_one_asks(page: str) -> None:
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Figures", "Told apart?", "Videos", "Frames", "Against time", "Against the horizon", "Foretold", "Memory",
        "Read off the state", "What the measures see", "Skipped", "Notes", "Facts",
    ]  # fmt: skip
    assert page.index("best on 3") < page.index("<h2>Figures")


def test_what_is_remembered_stands_by_row(page: str) -> None:
    names = [*MODELS, f"{LONG}, window alone", f"{SHORT}, codec alone", "the oracle"]
    lines = dict(re.findall(r"<tr><th>([^<]*)</th>((?:<td>[^<]*</td>)+)</tr>", page[page.index("<h3>Retrieval") :]))
    for name in map(escape, names):
        recall = "–" if name == escape(SHORT) else "0.81 (0.60 to 0.90)"
        assert f"<th>{name}</th><td>17.3 (15.0 to 19.0)</td><td>0.47 (0.23 to 0.94)</td><td>{recall}</td><td>0.81" in page
    assert f"1 lies above 0 by: {escape(LONG)} 4.10 (3.20 to 5.00) dB, " in page
    assert "0.30 (0.20 to –)</td><td>–</td>" in page and "Not told of 32 or more frames (" in page
    assert "behind 32 true frames (2 windows), 27 made" in page and "Turn: all the way round in place, " in page
    assert lines[f"{escape(LONG)}, recall gain"].startswith("<td></td><td></td><td>0.64 (0.51 to 0.77)</td><td>0.81")
    overview = page[page.index("<h2>Memory") : page.index("<h3>Retrieval")]
    for words in (
        f"0 is {SHORT} (recipe none), 1 is {LONG} (recipe full).", f"{LONG} remembers more", "not told: neither <remembers>",
        "+0.31 [+0.10, +0.52]", "3.30 [2.90, 3.70]", "0.22 [0.11, 0.33]", "0.64 [0.51, 0.77]", "retrieval, 4 windows: ",
        f"recall not told ({SHORT} on retrieval, 2 windows; ",
    ):  # fmt: skip
        assert escape(words) in overview, words
    assert lines["by chance"] == "<td>0.25</td><td>0.25</td>" and "Reasoning: on by new ways" in page
    assert lines[f"{escape(LONG)}, its weights in random order"].startswith("<td>0.81") and "keeps no state" in page


def test_a_model_is_marked_only_where_it_is_told_apart(page: str) -> None:
    found = judged(fabricated())
    assert {name for name, standing in found.items() if standing.leader == LONG} == {"moves", "mmd", "colour"}
    assert {name for name, standing in found.items() if standing.front == MODELS} >= {"coverage", "psnr", "tiny"}
    assert not any(standing.leader == SHORT for standing in found.values()) and "fvd" not in found
    marked = re.findall(r'<td class="model best">([^<]*)<', page)
    assert marked == ["0.92", "6.10", "8.31"] and 'class="control best"' not in page
    assert len(re.findall(r'<td class="control">', page)) == 3 * len(MEASURES)


def test_that_many_measures_are_compared_is_said_and_corrected(page: str) -> None:
    """An interval of one measure may leave out 0 where the pair is not told apart."""
    results = fabricated()
    assert HOLM in page and ", p = 0.030</small>" in page
    assert HOLM[:60] in comparison_table(results)
    for one in results["differences"]:
        one.update(apart=False, p=0.0004)
    assert not any(standing.leader for standing in judged(results).values())


def test_moving_less_makes_no_model_the_best(page: str) -> None:
    """The second model hardly moves: its sharpness and its flow-warp error are nearer to real, and count for nothing."""
    results = fabricated()
    found = judged(results)
    assert found["flow"].uncounted == found["sharpness"].uncounted == (SHORT,)
    words = sentences(results, found)
    assert words[0].endswith("on 3 no model is told apart from every other; on 2 the better figure is not counted.")
    assert words[1] == f"Not counted: {SHORT} ahead on sharpness, flow-warp error, but worse on motion."
    assert page.count("motion 0.41</small>") == 2 and f"{escape(SHORT)} ahead, but worse on motion</small>" in page
    for one in results["differences"]:
        one["apart"] &= one["measure"] != "moves"  # by its own interval apart, not among so many measures
    assert judged(results)["flow"].uncounted == (SHORT,) and judged(results)["moves"].leader is None
    for measure in results["measures"]:
        measure["with"] = None
    assert judged(results)["flow"].leader == judged(results)["sharpness"].leader == SHORT


@pytest.mark.parametrize(
    ("a", "b", "leader"),
    [
        ((0.9, 0.8, 1.0), (0.5, 0.4, 0.6), "a"),
        ((1.1, 1.0, 1.2), (0.5, 0.4, 0.6), "a"),  # on either side of 1, yet surely nearer
        ((1.9, 1.8, 2.0), (1.2, 1.1, 1.3), "b"),
        ((1.2, 1.1, 1.3), (0.8, 0.7, 0.9), None),  # apart, and as far from 1
        ((0.9, 0.8, 1.0), (0.5, None, None), None),
    ],
)
def test_of_two_ratios_the_nearer_to_one_is_better(a: tuple[Any, ...], b: tuple[Any, ...], leader: str | None) -> None:
    results = fabricated(controls=())
    for arm, cell in zip(MODELS, (a, b), strict=True):
        results["table"][arm]["moves"] = dict(zip(("value", "low", "high"), cell, strict=True)) | {"n": 64}
    told = {"measure": "moves", "p": 0.001, "apart": True}

    def ends(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    results["differences"] = [{"a": LONG, "b": SHORT, **told, **ends(a[0] - b[0])}]
    assert judged(results)["moves"].leader == {"a": LONG, "b": SHORT, None: None}[leader]
    results["differences"] = [{"a": SHORT, "b": LONG, **told, **ends(b[0] - a[0])}]  # the same pair, told the other way round
    assert judged(results)["moves"].leader == {"a": LONG, "b": SHORT, None: None}[leader]


def test_of_three_models_the_best_beats_both() -> None:
    results = fabricated()
    for arm in results["arms"]:
        arm["kind"] = "model" if arm["name"] == "nearest clip" else arm["kind"]
    found = judged(results)
    assert found["mmd"].leader == "nearest clip" and found["mmd"].front == ("nearest clip",)
    results["differences"] = [d for d in results["differences"] if (d["a"], d["b"]) != (SHORT, "nearest clip")]
    assert judged(results)["mmd"].leader is None and judged(results)["mmd"].front == ("nearest clip",)


def test_the_text_table_is_aligned_and_narrow() -> None:
    text = comparison_table(fabricated())
    lines = text.splitlines()
    assert max(map(len, lines)) <= 118 and "nan" not in text and "None" not in text
    row = next(line for line in lines if line.startswith("motion"))
    assert "0.92 [0.85, 0.99] *" in row and "0.41 [0.38, 0.44]" in row and row.count("*") == 1
    heads = [i for i, line in enumerate(lines) if line.startswith("measure")]
    assert len(heads) == 2  # five arms in two blocks
    assert all(arm in text for arm in (*MODELS, *CONTROLS)) and lines.index("") < heads[1]
    ends = {line.rindex("]") for line in lines[heads[0] + 1 : heads[0] + 4] if "]" in line and line.endswith("]")}
    assert len(ends) == 1
    told = f"retrieval, 4 windows: recall of {LONG} − {SHORT}: +0.31 [+0.10, +0.52], p < 0.001: {LONG} remembers more"
    assert told in " ".join(text.split())
    assert "skipped: FVD (I3D) (every arm): no weights" in text and "skipped: coverage (real against real): needs" in text
    order = [line.strip().split(",")[0] for line in lines[heads[0] + 1 : heads[0] + 4]]
    assert [re.split(" {2,}", name)[0] for name in order] == ["motion", "sharpness", "flow-warp error"]


def test_a_figure_without_an_interval_says_why(tmp_path: Path) -> None:
    results = fabricated()
    for arm, row in results["table"].items():
        row["tiny"] = {"value": 0.0, "low": None, "high": None, "n": 64, "no_interval": "alike in <all>"}
        if arm == MODELS[0]:
            row["psnr"] |= {"low": None, "high": None, "no_interval": "alike in <all>"}
    results["differences"] = [d for d in results["differences"] if d["measure"] not in ("tiny", "psnr")]
    text = " ".join(comparison_table(results).split())
    assert f"no interval: PSNR, first 64 frames ({MODELS[0]}), a tiny distance: alike in <all>" in text
    write_comparison(results, {}, Image.new("RGB", (40, 30)), tmp_path / "page.html")
    assert "alike in &lt;all&gt;" in (tmp_path / "page.html").read_text()


def test_one_arm_and_nothing_to_draw(tmp_path: Path) -> None:
    results = fabricated(models=MODELS[1:], controls=())
    for key in ("horizon", "horizon_frames", "segments", "stable"):
        results[key] = {}
    for key in ("foretold", "memory", "needle", "probes"):
        del results[key]
    write_comparison(results, {}, b"png", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "is the only model, and nothing is best of one" in page
    assert "<script" not in page and "<article" not in page and "best of the models" not in page
    assert re.findall("<h2>(.*?)</h2>", page) == ["Figures", "Frames", "What the measures see", "Skipped", "Notes", "Facts"]
    assert "0.41 [0.38, 0.44]" in comparison_table(results) and "*" not in comparison_table(results)


def drop(*path: Any) -> Callable[[dict[str, Any]], object]:
    def change(results: dict[str, Any]) -> None:
        for step in path[:-1]:
            results = results[step]
        del results[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("table"), "results lacks 'table'"),
        (drop("made", "command"), r"results\['made'\] lacks 'command'"),
        (drop("arms", 1, "kind"), r"results\['arms'\]\[1\] lacks 'kind'"),
        (drop("segments", "motion", "arms", LONG, "outside"), "lacks 'outside'"),
        (drop("table", LONG, "flow"), "the table needs 'flow' of"),
        (drop("table", LONG, "flow", "n"), "the table needs 'flow' of"),
        (drop("horizon_frames", "psnr"), "horizon of 'psnr' has lines of different lengths"),
        (drop("segments", "motion", "real", 0), "segments of 'motion' has lines of different lengths"),
        (lambda r: r["stable"].update(nobody=r["stable"][LONG]), "stable is 'nobody'"),
        (lambda r: r["memory"]["kinds"]["retrieval"][0]["psnr"].update(nobody=[]), "memory: psnr of 'retrieval' is 'nobody'"),
        (lambda r: r["memory"]["rows"][SHORT].update(of="nobody"), "memory: 'of' a row is 'nobody'"),
        (drop("memory", "kinds", "reasoning", 0, "gaps", 0), "memory of 'retrieval' has lines of different lengths"),
        (drop("memory", "rows"), "lacks 'rows'"),
        (drop("memory", "kinds", "turn", 0, "differences"), "lacks 'differences'"),
        (drop("memory"), "needle is"),
        (lambda r: r["needle"]["haystacks"].append(96), "needle has lines of different lengths"),
        (drop("probes", "models", LONG, "random", 0), "probes has lines of different lengths"),
        (lambda r: r["probes"]["models"].update(nobody={}), "probes is 'nobody'"),
        (lambda r: r.update(schema="unspool/eval/1"), "not 'unspool/eval/1'"),
        (lambda r: r.update(measures=3), r"results\['measures'\] lacks 'name'"),
        (lambda r: r.update(made=None), "results lacks 'made'"),
        (lambda r: r.update(arms=[]), "one arm or more"),
        (lambda r: r["arms"].append(r["arms"][0]), "a name of its own"),
        (lambda r: r["arms"][0].update(kind="hero"), "'kind' of an arm is 'hero'"),
        (lambda r: r["measures"][0].update(better="most"), "'better' is 'most'"),
        (lambda r: r["measures"][1].update({"with": "mention"}), "'with' is 'mention'"),
        (lambda r: r["differences"][0].update(b="nobody"), "differences is 'nobody'"),
    ],
)
def test_results_that_do_not_hold_together_are_refused(
    change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path
) -> None:
    results = fabricated()
    change(results)
    with pytest.raises(UserError, match=words) as error:
        write_comparison(results, {}, b"", tmp_path / "page.html")
    assert "\n" not in str(error.value) and not [*tmp_path.iterdir()]
    with pytest.raises(UserError, match=words):
        comparison_table(results)


def test_a_page_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    path.write_text("the page before")

    def full(self: Path, *_: Any, **__: Any) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    nothing = dict.fromkeys(("memory", "needle", "probes", "foretold"))
    results = fabricated(controls=()) | {"segments": {}, "horizon": {}, **nothing}
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="No space left"):
            write_comparison(results, {}, b"", path)
    assert path.read_text() == "the page before" and [*tmp_path.iterdir()] == [path]
    write_comparison(results, {}, b"", path)
    assert "best of the models" in path.read_text()


def test_numbers_of_a_cell_have_the_same_decimals() -> None:
    assert figures(0.3123, 0.2, None) == ["0.31", "0.20", "–"]
    assert figures(17.25, 9.04, 25.0) == ["17.2", "9.0", "25.0"]
    assert figures(-0.0001, 1234.5, sign="+") == ["+0", "+1,234"]
    assert figures(0.0, 0.0) == ["0.00", "0.00"] and figures(float("nan"), 0.00042) == ["–", "4.2e-4"]

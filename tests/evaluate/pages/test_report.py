"""What the demo leaves: the files, their figures, and verdicts that a frozen video cannot win."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unspool.errors import UserError
from unspool.evaluate import Metric, Series, copy_last
from unspool.evaluate.pages.report import closing_table, write_report
from unspool.evaluate.pages.sheet import columns_of, contact_sheet, side_by_side


@pytest.fixture(scope="module")
def given(fresh: np.ndarray, real: np.ndarray) -> dict[str, Any]:
    """Future 1 is as good as real: it is real. Future 2 freezes at frame 102."""
    second = np.concatenate([fresh[1, 2:102], copy_last(fresh[1, :102], len(fresh[1]) - 102)])
    return {
        "futures": np.stack([fresh[1, 2:], second]),
        "real": np.concatenate([fresh[1:2, 2:], real[:, 2:]]),
        "context": fresh[1, :2],
        "fps": 30,
    }


@pytest.fixture(scope="module")
def written(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("report") / "new"
    clip = out.parent / "clip.mp4"
    clip.write_bytes(b"moving <pictures>")
    frames = given["futures"].shape[1]
    rng = np.random.default_rng(0)
    extra: dict[str, Any] = {
        "joint error": Series(Metric("", "px", low=False), np.full((2, frames), 9.0), rng.uniform(1, 2, (10, frames))),
        "drawn only": np.ones((2, frames)),
    }
    facts = {"command": "demo --out <here>", "seeds": [0, 1], "state bytes": 1_234_567, "odd": float("nan")}
    return out, write_report(out, **given, facts=facts, extra=extra, videos={"future 1": clip})


def test_the_files_are_there_and_hold_together(written: tuple[Path, dict[str, Any]]) -> None:
    out, report = written
    assert sorted(path.name for path in out.iterdir()) == ["curves.png", "report.html", "report.json", "sheet.png"]
    text = (out / "report.json").read_text()
    assert json.loads(text) == report and "NaN" not in text
    assert report["schema"] == "unspool.report/1" and report["facts"]["odd"] is None
    for name in ("curves.png", "sheet.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300


def test_the_page_needs_nothing_from_elsewhere(written: tuple[Path, dict[str, Any]]) -> None:
    out, report = written
    html = (out / "report.html").read_text()
    assert not re.findall(r"https?://|<script|<link|url\(", html)
    assert "demo --out &lt;here&gt;" in html and "1,234,567" in html and "$" not in re.sub(r"base64,[^\"]*", "", html)
    embedded = re.findall(r"data:(\S+?);base64,([^\"]*)", html)
    assert [kind for kind, _ in embedded].count("video/mp4") == 1
    kept = {base64.b64decode(content) for _, content in embedded}
    assert {(out / "sheet.png").read_bytes(), (out / "curves.png").read_bytes(), b"moving <pictures>"} <= kept
    assert all(found["words"] in html.replace("&#x27;", "'") for found in report["verdict"]["findings"])


def test_the_real_continuation_passes_and_what_freezes_does_not(written: tuple[Path, dict[str, Any]]) -> None:
    _, report = written
    first, second, frozen = report["videos"]
    lasting = {name: h["whole"] for name, h in first["horizons"].items()}
    assert lasting == {"motion": True, "static": True, "sharpness": True, "colour": True, "joint error": False}
    assert first["motion"] == pytest.approx(1, abs=0.5) and not first["repeats_itself"]
    assert second["horizons"]["sharpness"]["frames"] == 100
    assert second["horizons"]["sharpness"]["by"] in ("motion", "static")
    assert second["motion_worst"] < 0.1 and second["repeats_itself"]
    assert frozen["label"] == "copy last" and frozen["horizon"]["frames"] == 0


def test_a_frozen_video_loses_on_every_headline(
    written: tuple[Path, dict[str, Any]], given: dict[str, Any], tmp_path: Path
) -> None:
    control = written[1]["controls"]["copy last"]["findings"]
    assert [found["name"] for found in control] == ["motion", "sharpness", "colour", "repetition"]
    assert not any(found["holds"] for found in control)
    frozen = given | {"futures": copy_last(given["context"], given["real"].shape[1])[None]}
    report = write_report(tmp_path, **frozen, facts={})
    assert not any(found["holds"] for found in report["verdict"]["findings"])
    assert report["ratios_to_real"]["motion"] == {"value": 0.0, "low": None, "high": None}


def test_real_video_wins_every_headline(given: dict[str, Any], tmp_path: Path) -> None:
    report = write_report(tmp_path, **given | {"futures": given["real"][:1]}, facts={})
    assert report["verdict"]["holds"] and all(found["holds"] for found in report["verdict"]["findings"])


def test_segments_and_closing_table(written: tuple[Path, dict[str, Any]]) -> None:
    _, report = written
    rows = [row for row in report["segments"] if row["metric"] == "motion"]
    spans = [(row["start"], row["stop"]) for row in rows if row["label"] == "future 2"]
    assert spans == [(0, 100), (100, 200), (200, 318)]
    assert {row["side"] for row in rows if row["label"] == "copy last"} == {"below"}
    table = closing_table(report)
    assert [row[0] for row in table] == ["", "future 1", "future 2", "copy last"]
    assert len({len(row) for row in table}) == 1 and table[3][1:3] == ["0.00", "100 %"]


def test_a_second_of_video_is_reported_too(given: dict[str, Any], tmp_path: Path) -> None:
    """Shorter than a segment and than two windows: one segment, and nothing is said of repetition."""
    short = given | {"futures": given["futures"][:, :20], "real": given["real"][:, :20]}
    report = write_report(tmp_path, **short, facts={})
    assert len({(row["start"], row["stop"]) for row in report["segments"]}) == 1
    assert [found["name"] for found in report["verdict"]["findings"]] == ["motion", "sharpness", "colour"]
    assert closing_table(report)[1][5] == "-"


def test_what_does_not_fit_is_refused_and_nothing_is_written(given: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    bad: list[tuple[dict[str, Any], str]] = [
        ({"real": given["real"][:7]}, "8 real clips"),
        ({"real": given["real"][:, :50]}, "as long as the futures"),
        ({"context": given["context"][:, :16]}, "one size"),
        ({"fps": 0}, "fps above 0"),
        ({"extra": {"e": Series(Metric("e"), np.ones((2, 5)), np.ones((8, 5)))}}, "'e' must have 318 frames"),
        ({"videos": {"future 1": tmp_path / "none.mp4"}}, "none.mp4"),
    ]
    for change, words in bad:
        with pytest.raises(UserError, match=words):
            write_report(out, **given | {"facts": {}} | change)
    assert not out.exists()


def test_the_sheet_shows_the_pixels_enlarged_whole(given: dict[str, Any]) -> None:
    assert columns_of(893) == [0, 1, 2, 5, 10, 30, 60, 100, 200, 300, 400, 500, 600, 700, 800, 892]
    assert columns_of(1) == [0] and columns_of(3) == [0, 1, 2] and columns_of(120)[-2:] == [100, 119]
    assert all(len(columns_of(n)) <= 18 and columns_of(n)[-1] == n - 1 for n in (2, 99, 100, 101, 4000, 100_000))
    sheet = contact_sheet({"real": given["real"][0], "future 1": given["futures"][0]}, given["context"], 30)
    buffer = io.BytesIO()
    sheet.save(buffer, format="png")
    with Image.open(buffer) as picture:
        pixels = np.asarray(picture)
    last = given["futures"][0, -1].repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(pixels[-140:-12, -140:-12], last)


def test_side_by_side_keeps_every_pixel(given: dict[str, Any]) -> None:
    futures = given["futures"]
    joined = side_by_side(futures, gap=2)
    assert joined.shape == (318, 32, 66, 3)
    np.testing.assert_array_equal(joined[:, :, :32], futures[0])
    np.testing.assert_array_equal(joined[:, :, 34:], futures[1])
    assert not joined[:, :, 32:34].any()

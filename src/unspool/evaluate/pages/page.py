"""`report.html`: one file that holds everything, without a script, a font or a picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from unspool.evaluate.pages.parts import count, data, document, facts, picture, player, share, table

TITLES = {"motion": "Motion", "static": "Still pairs", "sharpness": "Sharpness", "colour": "Colour shift"}
MARKS = {"inside": "", "below": "▼", "above": "▲"}


def page(report: Mapping[str, Any], *, sheet: bytes, light: bytes, dark: bytes, videos: Mapping[str, bytes]) -> str:
    """report: as in json. sheet, light, dark: PNG. videos: label -> content of an mp4."""
    video = report["video"]
    title = f"{count(video['futures'], 'future')} of {video['seconds']:.1f} seconds"
    body = BODY.substitute(
        size=f"{video['frames']} frames of {video['width']} × {video['height']} px at {video['fps']:g} per second",
        context=count(video["context_frames"], "true frame"),
        words=escape(report["verdict"]["words"]),
        findings="".join(_finding(found) for found in report["verdict"]["findings"]),
        videos="".join(player(label, content) for label, content in videos.items()),
        sheet=data(sheet, "image/png"),
        curves=picture(light, dark, "Curves of every metric with the band of real video"),
        summary=_summary(report),
        controls=_controls(report),
        segments="".join(_segments(report, metric) for metric in report["metrics"]),
        facts=facts(report["facts"]),
        clips=video["real_clips"],
        length=video["segment_length"],
        schema=escape(report["schema"]),
    )
    return document(title, body)


def _finding(found: Mapping[str, Any]) -> str:
    units = {"motion": "× real", "repetition": "repeated"}
    state = "good" if found["holds"] else "bad"
    return (
        f'<article class="{state}"><h3>{escape(found["name"])}</h3>'
        f'<p class="figure">{escape(found["figure"])} <small>{units.get(found["name"], "like real")}</small></p>'
        f"<p>{escape(found['words'])}</p></article>"
    )


def _summary(report: Mapping[str, Any]) -> str:
    head = ["", "motion / real", "in the worst segment", "still pairs", "sharpness / real", "largest colour shift",
            "repeats", "like real video for"]  # fmt: skip
    lines = [[
        video["label"], _number(video["motion"]), _number(video["motion_worst"]), share(video["still_pairs"]),
        _number(video["sharpness"]), _number(video["colour_shift"]), share(video["repetition"]),
        lasting(video),
    ] for video in report["videos"]]  # fmt: skip
    return table(head, lines)


def lasting(video: Mapping[str, Any]) -> str:
    """How long one of the report's videos is like real video, in a table's cell."""
    far = video["horizon"]
    if not far["whole"]:
        return f"{far['seconds']:.1f} s ({far['by']})"
    return "all of it, but repeats" if video["repeats_itself"] else "all of it"


def _controls(report: Mapping[str, Any]) -> str:
    copy, floor = report["controls"]["copy last"], report["controls"]["real against real"]
    lost = sum(not found["holds"] for found in copy["findings"])
    clips = report["video"]["real_clips"]
    kept = ", ".join(f"{escape(metric)} {kept}" for metric, kept in floor.items())
    ratios = {name: _interval(of) for name, of in report["ratios_to_real"].items() if name != "static"}
    return (
        f"<p><b>Copying the last frame</b> loses {lost} of {len(copy['findings'])} findings.</p>"
        f"<p><b>Real against real:</b> of {clips} real clips, each judged by the band of the others, so many stay "
        f"inside to the end: {kept}.</p>"
        f"<p><b>Mean of the futures over the mean of real video</b>, with a 95 % interval by bootstrap: "
        f"{', '.join(f'{escape(name)} {interval}' for name, interval in ratios.items())}.</p>"
    )


def _interval(of: Mapping[str, float | None]) -> str:
    limits = "no interval of one" if of["low"] is None else f"{_number(of['low'])} to {_number(of['high'])}"
    return f"{_number(of['value'])} ({limits})"


def _segments(report: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """A table of one metric: a line per segment, a column per video, what lies outside the band marked."""
    fps, name = report["video"]["fps"], metric["name"]
    rows = [row for row in report["segments"] if row["metric"] == name]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    body = ""
    for start, stop in dict.fromkeys((row["start"], row["stop"]) for row in rows):
        line = [row for row in rows if row["start"] == start]
        low, high = line[0]["low"], line[0]["high"]
        band = f"up to {_number(high)}" if low is None else f"{_number(low)} to {_number(high)}"
        cells = "".join(f'<td class="{row["side"]}">{MARKS[row["side"]]} {_number(row["value"])}</td>' for row in line)
        body += f"<tr><th>{start / fps:.1f} to {stop / fps:.1f} s</th>{cells}<td class=band>{band}</td></tr>"
    head = "".join(f"<th>{escape(label)}</th>" for label in ("", *labels, "95 % of real"))
    title = TITLES.get(name, name.capitalize())
    return (
        f"<section><h3>{escape(title)} <small>{escape(metric['unit'])}</small></h3><div class=wide><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


BODY = Template("""<p class="words">$words</p>
<p class="faint">Generated from $context: $size.</p>
<div class="cards">$findings</div>
<h2>Videos</h2><div class="videos">$videos</div>
<h2>Frames</h2><div class="wide sheet"><img src="$sheet" alt="Frames of the real and the generated videos"></div>
<h2>Against time</h2>$curves
<h2>Each video</h2>$summary
<h2>Controls</h2>$controls
<h2>Each segment</h2><div class="segments">$segments</div>
<h2>How to read this</h2>
<p>Every video is cut into segments of $length frames. For each of them, $clips real videos of the same length give the
band in which 95 of 100 further real videos would lie; ▼ marks what is below it, ▲ what is above. A metric has left the
band where two segments running are outside. Sharpness and colour count only as long as motion is alive, because a
frozen picture keeps both. A video repeats itself where a window of 30 frames is nearer to an earlier one than those of real
video come. Levels are those of 8-bit pictures, 0 to 255.</p>
<h2>Facts</h2>$facts
<p class="faint">$schema</p>
""")

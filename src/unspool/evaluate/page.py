"""`report.html`: one file that holds everything, without a script, a font or a picture from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

TITLES = {"motion": "Motion", "static": "Still pairs", "sharpness": "Sharpness", "colour": "Colour shift"}
MARKS = {"inside": "", "below": "▼", "above": "▲"}


def page(report: Mapping[str, Any], *, sheet: bytes, light: bytes, dark: bytes, videos: Mapping[str, bytes]) -> str:
    """report: as in json. sheet, light, dark: PNG. videos: label -> content of an mp4."""
    video = report["video"]
    title = f"{_count(video['futures'], 'future')} of {video['seconds']:.1f} seconds"
    return PAGE.substitute(
        title=escape(title),
        size=f"{video['frames']} frames of {video['width']} × {video['height']} px at {video['fps']:g} per second",
        context=_count(video["context_frames"], "true frame"),
        words=escape(report["verdict"]["words"]),
        findings="".join(_finding(found) for found in report["verdict"]["findings"]),
        videos="".join(_player(label, content) for label, content in videos.items()),
        sheet=_data(sheet, "image/png"),
        light=_data(light, "image/png"),
        dark=_data(dark, "image/png"),
        summary=_summary(report),
        controls=_controls(report),
        segments="".join(_segments(report, metric) for metric in report["metrics"]),
        facts=_facts(report["facts"]),
        clips=video["real_clips"],
        length=video["segment_length"],
        schema=escape(report["schema"]),
    )


def _finding(found: Mapping[str, Any]) -> str:
    units = {"motion": "× real", "repetition": "repeated"}
    state = "good" if found["holds"] else "bad"
    return (
        f'<article class="{state}"><h3>{escape(found["name"])}</h3>'
        f'<p class="figure">{escape(found["figure"])} <small>{units.get(found["name"], "like real")}</small></p>'
        f"<p>{escape(found['words'])}</p></article>"
    )


def _player(label: str, content: bytes) -> str:
    source = _data(content, "video/mp4")
    return (
        f'<figure><video src="{source}" controls loop muted autoplay playsinline></video>'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def _summary(report: Mapping[str, Any]) -> str:
    head = ["", "motion / real", "in the worst segment", "still pairs", "sharpness / real", "largest colour shift",
            "repeats", "like real video for"]  # fmt: skip
    lines = [[
        video["label"], _number(video["motion"]), _number(video["motion_worst"]), _share(video["still_pairs"]),
        _number(video["sharpness"]), _number(video["colour_shift"]), _share(video["repetition"]),
        lasting(video),
    ] for video in report["videos"]]  # fmt: skip
    return _table(head, lines)


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


def _facts(facts: Mapping[str, Any]) -> str:
    def cell(value: Any) -> str:
        if isinstance(value, Mapping):
            return "<br>".join(f"{escape(str(key))}: {cell(part)}" for key, part in value.items())
        if isinstance(value, list):
            return ", ".join(cell(part) for part in value)
        return escape(f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value))

    lines = "".join(f"<tr><th>{escape(str(key))}</th><td>{cell(value)}</td></tr>" for key, value in facts.items())
    return f"<table class=facts><tbody>{lines}</tbody></table>"


def _table(head: list[str], lines: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = ""
    for first, *rest in lines:
        body += f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>unspool: $title</title>
<style>
:root { color-scheme: light dark; --ground: #f4f5f7; --card: #fff; --ink: #1d2026; --faint: #666c77; --line: #e1e4e9;
  --good: #0a7a50; --bad: #b3400a; --tint: #fbeee6 }
@media (prefers-color-scheme: dark) { :root { --ground: #101216; --card: #191b20; --ink: #e6e8ec; --faint: #989eaa;
  --line: #2b2f37; --good: #46c795; --bad: #ff9457; --tint: #35241a } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 1120px; margin: 0 auto; padding: 40px 20px 80px }
h1 { font-size: 34px; line-height: 1.2; margin: 0 }
h2 { font-size: 20px; margin: 48px 0 12px }
h3 { font-size: 15px; margin: 0 }
p { margin: 6px 0; max-width: 76ch }
small, .faint { color: var(--faint); font-weight: 400 }
.words { font-size: 20px; margin: 10px 0 }
.cards { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); margin-top: 24px }
article { background: var(--card); border: 1px solid var(--line); border-top: 4px solid; border-radius: 10px;
  padding: 14px 16px }
article h3::first-letter { text-transform: uppercase }
article p { font-size: 14px; color: var(--faint) }
article .figure { font-size: 30px; line-height: 1.2; color: var(--ink); font-variant-numeric: tabular-nums }
.figure small { font-size: 14px }
.good { border-top-color: var(--good) }
.bad { border-top-color: var(--bad) }
.videos { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0 }
figcaption { font-size: 14px; color: var(--faint); padding: 4px 2px }
video { display: block; height: 250px; max-width: 100%; image-rendering: pixelated; border-radius: 8px }
.wide { overflow-x: auto }
.sheet { width: calc(100vw - 40px); margin-left: calc(50% - 50vw + 20px) }
.sheet img { display: block; margin: 0 auto; width: min(100%, 2000px); min-width: 1000px; border-radius: 8px }
.curves img { width: 100%; border-radius: 8px }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; width: 100%;
  background: var(--card) }
th, td { text-align: right; padding: 5px 12px; border-bottom: 1px solid var(--line); white-space: nowrap;
  font-weight: 400 }
thead th { color: var(--faint); white-space: normal; vertical-align: bottom }
th:first-child { text-align: left }
td.below, td.above { color: var(--bad); background: var(--tint) }
td.band { color: var(--faint) }
section { min-width: 0 }
.segments { display: grid; gap: 24px; grid-template-columns: repeat(auto-fit, minmax(min(510px, 100%), 1fr)) }
.segments h3 { margin-bottom: 6px }
.facts th { vertical-align: top; color: var(--faint) }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; width: 80% }
</style></head><body><main>
<p class="faint">unspool</p>
<h1>$title</h1>
<p class="words">$words</p>
<p class="faint">Generated from $context: $size.</p>
<div class="cards">$findings</div>
<h2>Videos</h2><div class="videos">$videos</div>
<h2>Frames</h2><div class="wide sheet"><img src="$sheet" alt="Frames of the real and the generated videos"></div>
<h2>Against time</h2><picture class="curves"><source srcset="$dark" media="(prefers-color-scheme: dark)">
<img src="$light" alt="Curves of every metric with the band of real video"></picture>
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
</main></body></html>
""")

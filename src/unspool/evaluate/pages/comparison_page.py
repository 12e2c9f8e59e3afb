"""The page of a comparison: what is told apart first, then what one can see, then every fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from unspool.evaluate.pages import comparison_plots as plots
from unspool.evaluate.pages import comparison_tables as tables
from unspool.evaluate.pages import memory_plots, memory_tables
from unspool.evaluate.pages.parts import count, data, document, facts, picture, player, table
from unspool.evaluate.pages.plots import DARK, LIGHT, Theme
from unspool.evaluate.pages.standing import HOLM, Standing, contenders, pairs, rivals, sentences, standings


def comparison_page(
    results: Mapping[str, Any], players: Mapping[str, bytes], sheet: bytes, walks: bytes | None = None
) -> str:
    """results: checked. players: label -> content of an mp4. sheet, walks: PNG."""
    judged = pairs(results)
    found = standings(results, judged)
    first, *more = (f"{escape(text)}</p>" for text in sentences(results, found))
    lead = f'<p class="words">{first}{"".join(f"<p>{text}" for text in more)}<p class="faint">{escape(_size(results))}</p>'
    sections = {
        "Figures": f"<p>{BOARD + MARKED if found else BOARD}</p>" + tables.board(results, found) + tables.arms(results),
        "Told apart?": _under(APART, tables.apart(results, judged)),
        "Videos": _videos(results, players),
        "Frames": f'<div class="wide sheet"><img src="{data(sheet, "image/png")}" alt="Frames of every arm"></div>',
        "Against time": _segments(results),
        "Against the horizon": _horizon(results),
        "Published distances": _published(results),
        "Foretold": _foretold(results),
        "Memory": _memory(results, walks),
        "Read off the state": _probes(results),
        "What the measures see": _under(LADDER, tables.ladder(results["measures"])),
        "Skipped": tables.not_there(results),
        "Notes": "".join(f"<p>{escape(note)}</p>" for note in results["notes"]),
        "Facts": "".join(f"<h3>{title}</h3>{facts(results[key])}" for key, title in FACTS.items())
        + f"<h3>Arms</h3>{tables.weights(results)}",
    }
    body = "".join(f"<h2>{title}</h2>{html}\n" for title, html in sections.items() if html)
    body = f'{lead}\n{_cards(results, found)}\n{body}<p class="faint">{escape(results["schema"])}</p>'
    title = f"{count(len(contenders(results)), 'model')} on {results['data']['name']}"
    return document(title, body + (SCRIPT if players else ""), STYLE)


def _size(results: Mapping[str, Any]) -> str:
    known, protocol = results["data"], results["protocol"]
    frames = protocol["frames"]
    return (
        f"{known['is']}. {count(protocol['contexts'], 'context')} of {count(protocol['context_frames'], 'true frame')}, "
        f"{count(protocol['futures'], 'future')} each, {frames} frames ({frames / known['fps']:.1f} s) of {known['width']} × "
        f"{known['height']} px; {count(protocol['real_clips'], 'real clip')} to compare with."
    )


def _cards(results: Mapping[str, Any], found: Mapping[str, Standing]) -> str:
    """Of two models or more, a card each: where it is best, how long it is like real video; and one for what is not told."""
    titles = {measure["name"]: measure["title"] for measure in results["measures"]}
    led = {arm: [titles[name] for name, standing in found.items() if standing.leader == arm] for arm in rivals(results)}
    cards = []
    for arm, names in led.items():
        last = results["stable"].get(arm)
        words = f"Like real video for {tables.lasting(results, last['median'])} in the median. " if last else ""
        cards.append(("good" if names else "", arm, names, words + f"Best on {', '.join(names) or 'none'}."))
    if rest := [titles[name] for name, standing in found.items() if not (standing.leader or standing.uncounted)]:
        cards.append(("open", "Not told apart", rest, f"{', '.join(rest)}."))
    html = "".join(
        f'<article class="{state}"><h4>{escape(title)}</h4><p class="figure">{len(names)} <small>of {len(found)}</small></p>'
        f"<p>{escape(words)}</p></article>"
        for state, title, names, words in cards
    )
    return f'<div class="cards">{html}</div>' if found else ""


def _under(words: str, html: str) -> str:
    return f"<p>{words}</p>{html}" if html else ""


def _drawn(results: Mapping[str, Any], draw: Callable[[Mapping[str, Any], Theme], bytes], words: str) -> str:
    return picture(draw(results, LIGHT), draw(results, DARK), words)


def _videos(results: Mapping[str, Any], players: Mapping[str, bytes]) -> str:
    kinds = {arm["name"]: arm["kind"] for arm in results["arms"]}
    shown = "".join(player(label, content, kinds.get(label, "")) for label, content in players.items())
    return f'{STEP}<div class="videos step">{shown}</div>' if players else ""


def _segments(results: Mapping[str, Any]) -> str:
    html = tables.stable(results) + _under(SLOPES, tables.slopes(results))
    if results["segments"]:
        drawn = _drawn(results, plots.draw_segments, "Metrics against time with the band of real video")
        html = _under(SEGMENTS, drawn) + html
    return html


def _horizon(results: Mapping[str, Any]) -> str:
    return _drawn(results, plots.draw_horizon, "Measures against the frame's number") if results["horizon"] else ""


def _foretold(results: Mapping[str, Any]) -> str:
    if not results.get("foretold"):
        return ""
    lines = []
    for arm, found in results["foretold"].items():
        ends = found["at_end"]
        lines.append([arm, *(tables.interval(cell) for cell in (found["error"], ends["predicted"], ends["measured"]))])
    head = ["", "error of one step", "foretold at the end", "measured at the end"]
    drawn = _drawn(results, plots.draw_foretold, "Error foretold and measured against time")
    return _under(FORETOLD, drawn + table(head, lines)) + _agreement(results.get("foretold_agreement"))


def _agreement(found: Mapping[str, Any] | None) -> str:
    """Whether the order of the arms is the one foretold."""
    if not found or found["rho"] is None:
        return ""
    surely = "undecided, it takes 4 arms" if found["p"] is None else f"p = {found['p']:.3f}"
    return f"<p>Rank correlation of foretold and measured over {found['arms']} arms: {found['rho']:.2f} ({surely}).</p>"


def _published(results: Mapping[str, Any]) -> str:
    there = results.get("published") or {}
    return _under(PUBLISHED, tables.published(results)) if any("arms" in row for row in there.values()) else ""


def _memory(results: Mapping[str, Any], walks: bytes | None) -> str:
    memory = results.get("memory")
    if not memory:
        return ""
    html = f"<p>{count(memory['scenes'], 'walk')} of each kind. {RECALL}</p>{memory_tables.overview(memory)}"
    if walks:
        html += f'<p>{SAME}</p><div class="wide sheet"><img src="{data(walks, "image/png")}" alt="Walks by model"></div>'
    if len(memory["windows"]) > 1:
        html += _drawn(results, memory_plots.draw_windows, "Recall, PSNR and SSIM against the windows of context")
    html += _drawn(results, memory_plots.draw_gaps, "Recall, PSNR and SSIM against the frames out of sight")
    for kind, part in memory_tables.parts_of(memory):
        behind = f"behind {count(part['context'], 'true frame')} ({count(part['windows'], 'window')}), {part['frames']} made"
        html += f"<h3>{escape(KINDS.get(kind, kind))}, {behind}</h3>{memory_tables.recall(part, memory['window'])}"
    if needle := results.get("needle"):
        html += f"<h3>A sign in the way</h3><p>{NEEDLE}</p>{memory_tables.needle(needle)}"
    are = [[name, row["is"]] for name, row in memory["rows"].items()]
    return html + table(["row", "what it is"], are, "prose")


def _probes(results: Mapping[str, Any]) -> str:
    probes = results.get("probes")
    if not probes:
        return ""
    walks = f"{count(probes['walks'], 'walk')} of {count(probes['frames'], 'frame')} through {probes['layouts']} plans. "
    return f"<p>{walks}{PROBES}</p>{memory_tables.probes(probes)}"


FACTS = {"made": "Run", "data": "Data", "protocol": "Protocol"}
BOARD = """Under each figure its 95 % interval. A measure that freezing flatters stands under the one it must be read beside,
whose figure is repeated in the cell. Intervals of the stable horizon, of drift and of the worst segment are given this band of
real video: they do not hold that other real clips would make another one. Controls are grey and cannot be best. """
MARKED = """<b class=best>Marked</b>: the best of the models, where it is told apart from every other model, and by the interval
of the measure beside it is not the worse one there."""
APART = f"""Differences over the same contexts; interval (95 %) and p are those of one measure by itself. {HOLM} Two models
that are not told apart may be equal, whatever their order in the table."""
SEGMENTS = """Grey: where 95 of 100 real videos lie in that segment. Shaded: the interval of an arm's mean. On the right, the
share of an arm's videos that lie outside the band; of real video it is 5 %."""
SLOPES = """Drift of single metrics, in deviations of real video per 100 frames: the line from 0 at the context through the mean
deviations of the segments. Plus is too much of it, minus too little."""
PUBLISHED = """With networks whose weights were given by path. Such distances depend on the number of videos, which the note
says; the first future of each context is compared with the other real videos of this page."""
FORETOLD = """The error of single steps on real video, summed without any rollout, beside what rollouts show. The order of the
arms can be compared, the heights cannot. Intervals (95 %) are by a bootstrap over contexts, too narrow where these are few."""
KINDS = {
    "retrieval": "Retrieval: there, back, and there again", "reasoning": "Reasoning: on by new ways",
    "turn": "Turn: all the way round in place",
}  # fmt: skip
RECALL = """Behind true frames a model goes on as it is told to act, in plans that were not in training. Only pixels count that
show again what was out of sight, in the overview for a window of frames or more, which the twin cannot see. Recall is told
where 0 and 1 are 2 dB or more apart and the model's own memory gains as much, surely above 0; recall gain where its ends are.
PSNR and SSIM are of the same pixels. Differences between models are told apart after Holm's correction, together with all other
lines of the pair, and only where one at least remembers enough."""
SAME = """The first walk of its kind: over each frame what the context showed from the nearest place, then the truth, then what
each model and its twin make of it."""
NEEDLE = """A sign is seen, then it is out of sight, then it is looked at again. Found: what the model shows is nearer to that
sign than to each of the others that could hang there."""
PROBES = """R² of linear regressions on a model's state, judged on plans that they were not fitted on: 1 is exact, 0 is no
better than the mean. The way from where the walk began, in cells ahead and to the right; the turn since; and which of the 24
cells around are solid, in the mean. Training put into a state what its first row has above the others."""
LADDER = """● of 8 contexts corrupted so in full this line of the table was beyond what real video gave against 16 real clips,
and no nearer to it than by half, in each of three worlds of 32 pixels: discs over a texture, duel and rooms; ○ not in all;
empty: not tried. What a measure does not see it cannot clear a model of."""
STEP = """<p class=bar hidden><button>pause</button> <input type=range min=0 max=1 step=any value=0 aria-label="time"></p>"""

SCRIPT = """<script>
(() => {
  const clips = [...document.querySelectorAll(".step video")], lead = clips[0], bar = document.querySelector(".bar")
  const [button, slider] = bar.children
  const each = (act) => clips.forEach(act)
  const to = (time) => each((clip) => { if (clip.duration) clip.currentTime = Math.min(time, clip.duration) })
  bar.hidden = false
  each((clip) => { clip.controls = false })
  button.onclick = () => { const act = lead.paused ? "play" : "pause"; each((clip) => clip[act]()) }
  lead.onplay = () => { button.textContent = "pause" }
  lead.onpause = () => { button.textContent = "play" }
  slider.oninput = () => { each((clip) => clip.pause()); to(slider.value * (lead.duration || 0)) }
  setInterval(() => {
    if (lead.paused || !lead.duration) return
    slider.value = lead.currentTime / lead.duration
    const late = (clip) => Math.abs(clip.currentTime - Math.min(lead.currentTime, clip.duration || 0)) > 0.2
    if (clips.some(late)) to(lead.currentTime)
  }, 250)
})()
</script>"""

STYLE = """:root { --win: #dff3e8 }
@media (prefers-color-scheme: dark) { :root { --win: #173a2c } }
h3 { margin: 20px 0 6px }
article p::first-letter { text-transform: uppercase }
h4 { font-size: 15px; margin: 0; overflow-wrap: anywhere }
b { font-weight: 650 }
.wide + .wide, picture + .wide { margin-top: 16px }
.board { width: max-content; min-width: 100%; max-width: calc(100vw - 40px); margin-left: 50%; transform: translateX(-50%) }
.board th, .board td { vertical-align: top; padding: 5px 9px }
.board td.verdict { white-space: normal; min-width: 150px; max-width: 190px }
.board small { display: block; font-size: 12px; line-height: 1.35 }
.board tbody th { white-space: normal; min-width: 150px; font-weight: 500; position: sticky; left: 0; background: var(--card) }
.board tbody th::first-letter { text-transform: uppercase }
.board tr.beside th { padding-left: 28px }
.board td.faint { white-space: normal }
th.model, th.videos { color: var(--ink); font-weight: 650; overflow-wrap: anywhere }
td.control, th.control, .control figcaption { color: var(--faint) }
td.control { background: color-mix(in srgb, var(--line) 35%, transparent) }
.model figcaption, figure.videos figcaption { color: var(--ink); font-weight: 650 }
.best { background: var(--win); color: var(--good); font-weight: 650 }
b.best { padding: 1px 6px; border-radius: 4px }
.open { border-top-color: var(--faint) }
article { border-top-color: var(--line) }
.step { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)) }
.step video { width: 100%; height: auto }
.bar { display: flex; gap: 12px; max-width: none }
.bar[hidden] { display: none }
.bar input { flex: 1 }
.bar button { width: 72px; font: inherit; font-size: 14px }
table.prose td { text-align: left; vertical-align: top; white-space: normal }
table.prose td:last-child { overflow-wrap: anywhere }
table.prose th { text-align: left; vertical-align: top }
table.ladder td { text-align: center }
table.ladder td:last-child { text-align: right }
table.ladder thead th:not(:first-child) { text-align: center }
details { margin-top: 16px }
summary { cursor: pointer; margin-bottom: 8px }
"""

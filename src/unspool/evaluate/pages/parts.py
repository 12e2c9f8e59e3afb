"""Parts of the pages we write: the frame with its style, tables, pictures and figures, all inside one file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from math import isfinite
from typing import Any


def document(title: str, body: str, style: str = "") -> str:
    """A whole page. title: text, escaped here; body: HTML; style: further rules of CSS."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>unspool: {escape(title)}</title>\n<style>\n{STYLE}{style}</style></head><body><main>\n"
        f'<p class="faint">unspool</p>\n<h1>{escape(title)}</h1>\n{body}</main></body></html>\n'
    )


def player(label: str, content: bytes, kind: str = "") -> str:
    """content: of an mp4. kind: a class of CSS."""
    klass = f' class="{kind}"' if kind else ""
    return (
        f'<figure{klass}><video src="{data(content, "video/mp4")}" controls loop muted autoplay playsinline></video>'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def picture(light: bytes, dark: bytes, words: str) -> str:
    """Two PNG of one thing, for a light and for a dark page. words: for who cannot see it."""
    return (
        f'<picture class="curves"><source srcset="{data(dark, "image/png")}" media="(prefers-color-scheme: dark)">\n'
        f'<img src="{data(light, "image/png")}" alt="{escape(words)}"></picture>'
    )


def facts(known: Mapping[str, Any]) -> str:
    """A line per key; what is nested stands in one cell."""

    def cell(value: Any) -> str:
        if isinstance(value, Mapping):
            return "<br>".join(f"{escape(str(key))}: {cell(part)}" for key, part in value.items())
        if isinstance(value, list):
            return ", ".join(cell(part) for part in value)
        if value is None:
            return "–"
        return escape(f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value))

    lines = "".join(f"<tr><th>{escape(str(key))}</th><td>{cell(value)}</td></tr>" for key, value in known.items())
    return f"<table class=facts><tbody>{lines}</tbody></table>"


def table(head: list[str], lines: list[list[str]], kind: str = "") -> str:
    """Text in cells, escaped here; the first cell of a line names it. kind: a class of CSS."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = ""
    for first, *rest in lines:
        body += f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
    klass = f' class="{kind}"' if kind else ""
    return f"<div class=wide><table{klass}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def count(number: int, thing: str) -> str:
    """
    >>> count(2, "future")
    '2 futures'
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def figures(*values: float | None, sign: str = "-") -> list[str]:
    """Numbers of one cell, all with as many decimals as the largest of them needs; "–" where one is not known.

    sign: "+" gives positive numbers one too.

    >>> figures(0.3123, 0.2, None), figures(17.25, 9.0), figures(0.00042)
    (['0.31', '0.20', '–'], ['17.2', '9.0'], ['4.2e-4'])
    """
    known = [abs(value) for value in values if value is not None and isfinite(value)]
    largest = max(known, default=0.0)
    kind = next((f"{d}f" for least, d in ((100, 0), (10, 1), (0.1, 2), (0.01, 3)) if largest >= least), "1e")
    kind = kind if largest else "2f"
    words = ["–" if value is None or not isfinite(value) else f"{value:{sign}z,.{kind}}" for value in values]
    return [word.replace("e-0", "e-") for word in words]


def data(content: bytes, kind: str) -> str:
    """The content as an address, so that the page needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


STYLE = """:root { color-scheme: light dark; --ground: #f4f5f7; --card: #fff; --ink: #1d2026; --faint: #666c77; --line: #e1e4e9;
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
"""

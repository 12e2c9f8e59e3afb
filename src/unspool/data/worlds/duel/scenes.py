"""Ten places to fight in: smooth gradients, a floor and a few simple shapes, muted so that the fighters stand out.

A scene is drawn once an episode. `s` are the episode's six numbers in [0, 1), each shaped (b, 1, 1); colours are RGB in
[0, 255]; (u, v) is the position in the picture, v down. Up to four objects of clutter stand in every place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .splits import BACKGROUNDS

Floats = NDArray[np.float32]
Colour = tuple[float, float, float]

_HORIZON = 0.76  # where the floor meets what is behind


class Easel(NamedTuple):
    """A batch of pictures being painted. Its brushes take numbers or arrays that broadcast with (b, size, size)."""

    image: Floats  # (b, 3, size, size)
    u: Floats  # (1, 1, size)
    v: Floats  # (1, size, 1)
    s: Sequence[Floats]  # 6 of (b, 1, 1)
    soft: float  # width of an edge, picture units
    clutter: float

    def paint(self, cover: Floats, colour: Colour) -> None:
        """Lay `colour` over the picture where `cover` (b | 1, size, size) is 1."""
        for channel in range(3):
            plane = self.image[:, channel]
            plane += cover * (np.float32(colour[channel]) - plane)

    def gradient(self, top: Colour, bottom: Colour, begin: float = 0.0, end: float = _HORIZON) -> None:
        """A vertical gradient between the heights `begin` and `end`."""
        t = np.clip((self.v - begin) / (end - begin), 0, 1)
        rows = (self.v >= begin) & (self.v < end)
        for channel in range(3):
            value = top[channel] + (bottom[channel] - top[channel]) * t
            np.copyto(self.image[:, channel], value.astype(np.float32), where=rows)

    def above(self, line: Any) -> Floats:
        """1 where v lies below the curve v = line(u) in the picture (that is, the ground under a ridge)."""
        return np.clip((self.v - line) / self.soft + 0.5, 0, 1).astype(np.float32)

    def disc(self, x: Any, y: Any, r: float, soft: float | None = None) -> Floats:
        """1 within r of (x, y)."""
        far = np.sqrt((self.u - x) ** 2 + (self.v - y) ** 2)
        return np.clip((r - far) / (soft or self.soft) + 0.5, 0, 1).astype(np.float32)

    def box(self, x: Any, y: Any, half_wide: float, half_high: float) -> Floats:
        """1 in the upright rectangle around (x, y)."""
        wide = np.clip((half_wide - np.abs(self.u - x)) / self.soft + 0.5, 0, 1)
        high = np.clip((half_high - np.abs(self.v - y)) / self.soft + 0.5, 0, 1)
        return (wide * high).astype(np.float32)

    def places(self, low: float = 0.08, high: float = 0.92) -> list[Floats]:
        """Where the clutter stands: a row of x, as many as the clutter asks for (at most four)."""
        count = round(4 * self.clutter)
        step = (high - low) / max(1, count)
        return [low + step * (k + 0.15 + 0.7 * self.s[2 + k]) for k in range(count)]


def _meadow(e: Easel) -> None:
    e.gradient((120, 170, 214), (198, 220, 224))
    for x in e.places():
        e.paint(0.8 * e.disc(x, 0.2, 0.07, 0.05), (236, 240, 242))
        e.paint(0.8 * e.disc(x + 0.07, 0.215, 0.05, 0.05), (236, 240, 242))
    hills = 0.66 + 0.06 * np.sin(6.28 * (e.u * 1.2 + e.s[0])) + 0.03 * np.sin(6.28 * (e.u * 2.3 + e.s[1]))
    e.paint(e.above(hills), (134, 172, 128))
    e.gradient((122, 156, 96), (92, 126, 74), _HORIZON, 1.01)


def _dusk(e: Easel) -> None:
    e.gradient((92, 78, 130), (232, 160, 120))
    e.paint(e.disc(0.15 + 0.7 * e.s[0], 0.5, 0.12), (250, 212, 150))
    e.paint(e.above(0.68 + 0.05 * np.sin(6.28 * (e.u + e.s[1]))), (112, 80, 104))
    e.gradient((104, 76, 84), (70, 54, 70), _HORIZON, 1.01)
    for x in e.places():
        e.paint(e.box(x, 0.66, 0.012, 0.10), (74, 56, 76))
        e.paint(e.disc(x, 0.54, 0.05), (84, 62, 84))


def _dojo(e: Easel) -> None:
    e.gradient((208, 190, 158), (186, 164, 130))
    e.gradient((146, 108, 74), (112, 80, 54), _HORIZON, 1.01)
    for x in e.places():
        e.paint(e.box(x, 0.36, 0.075, 0.14), (150, 116, 82))
        e.paint(e.box(x, 0.36, 0.060, 0.125), (232, 224, 204))
    e.paint(e.box(0.5, 0.09, 0.6, 0.022), (120, 86, 60))
    e.paint(e.box(0.1 + 0.8 * e.s[0], 0.4, 0.02, 0.36), (128, 92, 64))


def _night(e: Easel) -> None:
    e.gradient((26, 32, 62), (66, 74, 112))
    e.paint(e.disc(0.1 + 0.8 * e.s[0], 0.2, 0.07), (222, 222, 200))
    for k, x in enumerate(e.places(0.02, 0.98)):
        top = 0.42 + 0.2 * e.s[2 + (k + 1) % 4]
        e.paint(e.above(top) * e.box(x, 0.5, 0.09, 0.6), (44, 50, 82))
        e.paint(e.box(x - 0.03, top + 0.08, 0.014, 0.02), (190, 172, 110))
        e.paint(e.box(x + 0.03, top + 0.16, 0.014, 0.02), (190, 172, 110))
    e.gradient((72, 78, 96), (52, 56, 74), _HORIZON, 1.01)


def _desert(e: Easel) -> None:
    e.gradient((150, 190, 206), (236, 222, 188))
    e.paint(e.disc(0.1 + 0.8 * e.s[0], 0.17, 0.06, 0.04), (252, 244, 208))
    e.paint(e.above(0.64 + 0.07 * np.sin(6.28 * (e.u * 0.9 + e.s[1]))), (214, 178, 124))
    e.gradient((206, 168, 114), (176, 138, 90), _HORIZON, 1.01)
    for x in e.places():
        e.paint(e.box(x, 0.66, 0.018, 0.10), (112, 134, 86))
        e.paint(e.box(x + 0.03, 0.62, 0.03, 0.012), (112, 134, 86))
        e.paint(e.box(x + 0.05, 0.59, 0.012, 0.04), (112, 134, 86))


def _temple(e: Easel) -> None:
    e.gradient((92, 128, 128), (128, 158, 148))
    e.gradient((140, 132, 116), (108, 100, 88), _HORIZON, 1.01)
    e.paint(e.box(0.5, 0.07, 0.6, 0.04), (176, 168, 146))
    for x in e.places():
        e.paint(e.box(x, 0.43, 0.036, 0.33), (182, 174, 152))
        e.paint(e.box(x + 0.018, 0.43, 0.014, 0.32), (158, 150, 130))
        e.paint(e.box(x, 0.74, 0.055, 0.02), (168, 160, 138))
    e.paint(0.6 * e.disc(0.15 + 0.7 * e.s[0], 0.3, 0.09, 0.05), (206, 190, 130))


def _snow(e: Easel) -> None:
    e.gradient((136, 160, 190), (210, 220, 230))
    for shift, width, peak in ((e.s[0], 0.42, 0.30), (e.s[1], 0.34, 0.40)):
        ridge = peak + np.abs(e.u - (0.1 + 0.8 * shift)) / width * (_HORIZON - peak)
        e.paint(e.above(ridge), (128, 144, 170))
        e.paint(e.above(ridge) * (1 - e.above(peak + 0.10)), (226, 232, 240))
    e.gradient((206, 214, 224), (172, 182, 200), _HORIZON, 1.01)
    for x in e.places():
        tree = e.above(0.50 + 3.0 * np.abs(e.u - x)) * (1 - e.above(_HORIZON + 0.01))
        e.paint(tree, (84, 112, 108))


def _harbour(e: Easel) -> None:
    e.gradient((166, 190, 208), (222, 214, 206), 0.0, 0.5)
    e.gradient((82, 126, 150), (112, 150, 164), 0.5, _HORIZON)
    e.paint(0.5 * e.box(0.15 + 0.7 * e.s[0], 0.63, 0.05, 0.13), (214, 214, 204))
    for x in e.places():
        e.paint(e.box(x, 0.5, 0.06, 0.02), (110, 84, 80))
        e.paint(e.above(0.30 + 2.4 * np.abs(e.u - x)) * (1 - e.above(0.47)), (232, 228, 218))
    e.gradient((134, 120, 106), (102, 90, 80), _HORIZON, 1.01)


def _hall(e: Easel) -> None:
    e.gradient((120, 66, 70), (150, 92, 86))
    e.gradient((98, 92, 100), (70, 66, 76), _HORIZON, 1.01)
    for x in e.places():
        e.paint(np.maximum(e.disc(x, 0.30, 0.07), e.box(x, 0.44, 0.07, 0.14)), (206, 196, 160))
        e.paint(e.box(x, 0.42, 0.008, 0.18), (120, 70, 72))
    e.paint(e.box(0.5, 0.70, 0.6, 0.02), (92, 52, 58))


def _orchard(e: Easel) -> None:
    e.gradient((190, 200, 176), (226, 222, 186))
    e.paint(e.above(0.7 + 0.03 * np.sin(6.28 * (e.u * 1.5 + e.s[0]))), (150, 166, 112))
    for x in e.places():
        e.paint(e.box(x, 0.60, 0.016, 0.16), (118, 92, 70))
        e.paint(e.disc(x, 0.40, 0.10, 0.06), (116, 146, 88))
    e.gradient((166, 150, 104), (128, 114, 78), _HORIZON, 1.01)
    for k in range(6):
        e.paint(e.box((k + e.s[1]) / 6, 0.71, 0.014, 0.06), (196, 178, 148))
    e.paint(e.box(0.5, 0.69, 0.6, 0.012), (196, 178, 148))


_PAINTERS: dict[str, Callable[[Easel], None]] = {
    "meadow": _meadow, "dusk": _dusk, "dojo": _dojo, "night": _night, "desert": _desert, "temple": _temple,
    "snow": _snow, "harbour": _harbour, "hall": _hall, "orchard": _orchard,
}  # fmt: skip


def draw_scenes(background: NDArray[np.int64], scene: Floats, size: int, clutter: float) -> Floats:
    """Backgrounds (B, 3, size, size) in [0, 255] for the indices (B,) and numbers (B, 6)."""
    out = np.zeros((len(background), 3, size, size), np.float32)
    centre = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    u, v = centre[None, None, :], centre[None, :, None]
    for index in np.unique(background):
        rows = np.flatnonzero(background == index)
        image = out[rows]
        numbers = [scene[rows, k][:, None, None] for k in range(scene.shape[1])]
        _PAINTERS[BACKGROUNDS[index]](Easel(image, u, v, numbers, 1.5 / size, clutter))
        image *= 1 + np.float32(0.10) * (numbers[0][:, None] - np.float32(0.5))  # the hour of the day
        image *= 1 - np.float32(0.16) * ((u - np.float32(0.5)) ** 2 + (v - np.float32(0.5)) ** 2)[None]
        out[rows] = image
    return out

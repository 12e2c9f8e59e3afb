"""Many videos on one picture, and many videos in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

EARLY = (0, 1, 2, 5, 10, 30, 60)  # the first second shows how a model takes over; after that, hundreds
LATER = 9  # at most so many columns of hundreds
TILE = 128  # pixels that a frame is enlarged to
GROUND, INK, FAINT = (22, 24, 29), (235, 236, 240), (140, 144, 154)


def columns_of(frames: int) -> list[int]:
    """The frame numbers on a sheet: 0, 1, 2, 5, 10, 30, 60, 100, 200 ... and the last.

    >>> columns_of(893)
    [0, 1, 2, 5, 10, 30, 60, 100, 200, 300, 400, 500, 600, 700, 800, 892]
    """
    step = 100 * max(1, -(-frames // (100 * LATER)))
    last = frames - 1
    return [*(t for t in EARLY if t < last), *range(step, last - 9, step), last]


def contact_sheet(rows: Mapping[str, np.ndarray], context: np.ndarray, fps: float) -> Image.Image:
    """rows: label -> uint8 (T, H, W, 3), all of one shape; context: (c, H, W, 3), its last two frames open every row.

    Pixels are enlarged whole: nothing is smoothed that the model did not smooth.
    """
    at = columns_of(len(next(iter(rows.values()))))
    return tiles({label: video[at] for label, video in rows.items()}, at, context, fps)


def tiles(rows: Mapping[str, np.ndarray], at: Sequence[int], context: np.ndarray, fps: float) -> Image.Image:
    """The same of the frames `at` alone; rows: label -> uint8 (len(at), H, W, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = next(iter(rows.values())).shape[1:3]
    scale = max(1, round(TILE / max(height, width)))
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    left = max(92, 24 + round(max(font.getlength(label) for label in rows)))
    tile_h, tile_w, gap, top = height * scale, width * scale, 4, 44
    shown = context[-2:]
    start = left + len(shown) * (tile_w + gap) + 14
    sheet = Image.new("RGB", (start + len(at) * (tile_w + gap) + 8, top + len(rows) * (tile_h + gap) + 8), GROUND)
    draw = ImageDraw.Draw(sheet)

    def head(x: int, name: str, time: str) -> None:
        draw.text((x + tile_w / 2, 15), name, INK, font, anchor="mm")
        draw.text((x + tile_w / 2, 32), time, FAINT, small, anchor="mm")

    spots = [(left + i * (tile_w + gap), i - len(shown)) for i in range(len(shown))]
    spots += [(start + i * (tile_w + gap), t) for i, t in enumerate(at)]
    for x, t in spots:
        head(x, "context" if t < 0 else f"{t}", f"{t / fps:.2f} s")
    for row, (label, video) in enumerate(rows.items()):
        y = top + row * (tile_h + gap)
        draw.text((left - 10, y + tile_h / 2), label, INK, font, anchor="rm")
        for x, t in spots:
            pixels = shown[t] if t < 0 else video[at.index(t)]
            sheet.paste(Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)), (x, y))
    return sheet


def stacked(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Sheets under each other, each under its name."""
    from PIL import Image, ImageDraw, ImageFont

    line = 30
    width = max(picture.width for picture in pictures.values())
    sheet = Image.new("RGB", (width, sum(line + picture.height for picture in pictures.values())), GROUND)
    draw, y = ImageDraw.Draw(sheet), 0
    for name, picture in pictures.items():
        draw.text((10, y + line / 2), name, INK, ImageFont.load_default(16), anchor="lm")
        sheet.paste(picture, (0, y + line))
        y += line + picture.height
    return sheet


def gallery(rows: Mapping[str, np.ndarray]) -> Image.Image:
    """Rows of a few frames each, uint8 (n, H, W, 3), under their names."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = next(iter(rows.values())).shape[1:3]
    scale, gap, line = max(1, round(TILE / max(height, width))), 4, 20
    tile_h, tile_w = height * scale, width * scale
    most = max(len(frames) for frames in rows.values())
    sheet = Image.new("RGB", (gap + most * (tile_w + gap), gap + len(rows) * (tile_h + line + gap)), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (name, frames) in enumerate(rows.items()):
        y = gap + row * (tile_h + line + gap)
        draw.text((gap, y + line / 2), name, FAINT, font, anchor="lm")
        for i, pixels in enumerate(frames):
            sheet.paste(Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)), (gap + i * (tile_w + gap), y + line))
    return sheet


def side_by_side(videos: np.ndarray, gap: int = 2) -> np.ndarray:
    """uint8 (K, T, H, W, 3) -> (T, H, K * W + (K - 1) * gap, 3), with black between them."""
    count, frames, height, width, _ = videos.shape
    joined = np.zeros((frames, height, count * (width + gap) - gap, 3), np.uint8)
    for k, video in enumerate(videos):
        joined[:, :, k * (width + gap) : k * (width + gap) + width] = video
    return joined

"""The picture of docs/results.md: for each codec, real frames, what comes back of them, and the difference around grey.

    python bench/codec_picture.py docs/codecs.webp RUN=SHARDS [RUN=SHARDS ...]

Eight frames a codec, each pixel twice as large, evenly spaced over the test episodes and, from one to the next, over an
episode's length.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unspool.codec import load_codec, to_pixels, to_video
from unspool.data.shards import open_shards
from unspool.store import write_aside

FRAMES, SIDE, SCALE, GAP = 8, 64, 2, 8
BEFORE = 9  # frames in front of the one that is shown, for a codec that looks back


@torch.inference_mode()
def rows(run: str, shards: Path) -> np.ndarray:
    """(3 SCALE H, FRAMES SCALE W, 3) uint8."""
    codec, source = load_codec(run), open_shards(shards, SIDE, "test")
    columns = []
    for n, number in enumerate(np.linspace(0, len(source.episodes) - 1, FRAMES).round().astype(int)):
        room = source.episodes[number].frames - BEFORE
        clip = source.stretch(number, room * n // FRAMES, BEFORE)
        made = to_pixels(codec.decode(codec.encode(to_video(clip)[None], {})[0], {})[0])[0]
        real, back = clip[len(made) - 1].astype(int), made[-1].astype(int)
        columns.append(np.concatenate([real, back, (128 + back - real).clip(0, 255)], 0))
    return np.concatenate(columns, 1).astype(np.uint8).repeat(SCALE, 0).repeat(SCALE, 1)


def main(out: Path, *pairs: str) -> None:
    torch.set_num_threads(1)
    blocks = [rows(run, Path(shards)) for run, _, shards in (pair.partition("=") for pair in pairs)]
    gap = np.full((GAP, blocks[0].shape[1], 3), 255, np.uint8)
    stacked = np.concatenate([part for block in blocks for part in (block, gap)][:-1])
    write_aside(out, lambda aside: Image.fromarray(stacked).save(aside, "webp", quality=80, method=6))
    print(f"{out}: {stacked.shape[1]} x {stacked.shape[0]}, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

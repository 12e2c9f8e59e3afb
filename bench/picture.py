"""README's moving picture from what a demo left: the real video and its futures, every third frame of the first ten seconds.

    python bench/picture.py DEMO docs/demo.webp
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from unspool.data.video import read_video
from unspool.store import write_aside

FRAMES, EVERY, FPS = 300, 3, 30


def main(demo: Path, out: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in read_video(demo / "futures.mp4", frames=FRAMES)[::EVERY]]
    options = {"duration": 1000 * EVERY // FPS, "loop": 0, "quality": 70, "method": 6}
    write_aside(out, lambda aside: pictures[0].save(aside, "webp", save_all=True, append_images=pictures[1:], **options))
    print(f"{out}: {len(pictures)} pictures, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))

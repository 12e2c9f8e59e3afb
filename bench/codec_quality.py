"""What trained codecs keep of held-out video: every test episode goes through them whole, streamed as in use.

    python bench/codec_quality.py RUN SHARDS [--frames N] [--json FILE]

PSNR: of each frame, 10 log10(255^2 / mean squared error over its pixels and colours), pictures of 8 bits on both sides; the
mean over the frames of an episode. Sharpness: the mean size of the pixels' gradient over an episode, as a share of that of
the real frames. Both are told as the mean over episodes with a 95 % interval, by a bootstrap over episodes. Episodes on one
map look alike: where few maps are held out (seven levels of ViZDoom) the interval is of other walks there, not of other maps.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unspool import store
from unspool.cli.progress import Bar
from unspool.codec import load_codec, to_pixels, to_video
from unspool.codec.trained import find_codec
from unspool.data.shards import open_shards
from unspool.evaluate.bootstrap import Interval, ratio

BLOCK = 40  # frames that go through at once


def psnr(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 twice -> decibels of each frame (T,); 100 at most, as of equal ones."""
    error = np.square(made.astype(np.float32) - real).mean((1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 255**2 * 1e-10))


def gradient(frames: np.ndarray) -> float:
    """Its mean size times the number of frames (T, H, W, 3)."""
    video = frames.astype(np.float32)
    down, right = np.diff(video, axis=1)[:, :, :-1], np.diff(video, axis=2)[:, :-1]
    return float(np.hypot(down, right).mean((1, 2, 3)).sum())


@torch.inference_mode()
def through(codec: Any, episode: np.ndarray) -> tuple[float, float]:
    """(PSNR, sharpness) of an episode (T, H, W, 3). The last frames may wait for others to fill a group: they do not count."""
    there: Any = {}
    back: Any = {}
    seen, decibels, sizes = 0, list[np.ndarray](), np.zeros(2)
    for at in range(0, len(episode), BLOCK):
        latents, there = codec.encode(to_video(episode[at : at + BLOCK])[None], there)
        if not latents.shape[1]:
            continue
        video, back = codec.decode(latents, back)
        made = to_pixels(video)[0]
        real = episode[seen : seen + len(made)]
        seen += len(made)
        decibels.append(psnr(made, real))
        sizes += gradient(made), gradient(real)
    return float(np.concatenate(decibels).mean()), sizes[0] / sizes[1]


def spread(values: np.ndarray) -> Interval:
    """Mean over episodes, and its interval."""
    return ratio(values, np.ones(1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="of `unspool train codec`")
    parser.add_argument("shards", type=Path, help="the data, prepared as pixels")
    parser.add_argument("--frames", type=int, default=10**9, help="of each episode, its first [all]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    codec, told = load_codec(options.run), store.read_json(find_codec(options.run) / "config.json")
    source, rows = open_shards(options.shards, int(told["resolution"]), "test"), []
    with Bar("episodes", len(source.episodes)) as bar:
        for number in range(len(source.episodes)):
            rows.append(through(codec, source.stretch(number, 0, options.frames)))
            bar(number + 1, {"PSNR": f"{np.mean(rows, 0)[0]:.2f}"})
    decibels, sharp = (spread(np.array(column)) for column in zip(*rows, strict=True))
    frames = sum(min(options.frames, member.frames) for member in source.episodes)
    print(f"{options.run}: {len(rows)} test episodes, {frames} frames")
    for name, unit, (value, low, high), column in (("PSNR", " dB", decibels, 0), ("sharpness", "", sharp, 1)):
        print(f"{name:<10} {value:.3f}{unit} [{low:.3f}, {high:.3f}], worst episode {min(row[column] for row in rows):.3f}")
    if options.json:
        named = {member.name: row for member, row in zip(source.episodes, rows, strict=True)}
        store.write_json(options.json, {"format": 1, "psnr": decibels, "sharpness": sharp, "episodes": named})

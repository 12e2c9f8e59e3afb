"""Clips a second from shards, from mp4, and what training consumes, in one process; and whether memory stays flat.

    unspool data prepare SET --size 64 --out SHARDS
    python bench/reading.py SET SHARDS [--model duel-64] [--reads 1000000]

A clip is as long as the model's training clips. From mp4 means: open a random file of SET, seek to the key frame before the
clip (recordings have one every 15) and decode up to the clip's last frame. Memory is what the process owns (RssAnon): pages
of mapped files are the system's to take back.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import av
import numpy as np
import torch

from unspool import hub, store
from unspool.cli.progress import Bar
from unspool.data.shards import Shards
from unspool.data.video import cut
from unspool.train.options import TrainOptions
from unspool.train.trainer import Trainer

BATCH = 16


def owned() -> int:
    """Bytes that this process owns."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def from_shards(source: Shards, frames: int, reads: int) -> tuple[float, list[int]]:
    """Clips a second, and the bytes owned after each tenth."""
    memory, seconds, batches = [], 0.0, max(10, reads // frames // BATCH)
    with Bar("batches", batches) as bar:
        for n in range(batches):
            begun = perf_counter()
            source(np.arange(n * BATCH, (n + 1) * BATCH), frames)
            seconds += perf_counter() - begun
            if n % (batches // 10) == 0:
                memory.append(owned())
            bar(n + 1, {})
    return batches * BATCH / seconds, memory


def from_mp4(root: Path, frames: int, size: int, seconds: float = 20) -> float:
    """Clips a second: a random clip of a random file."""
    paths, rng, count = sorted(root.glob("*.mp4")), np.random.default_rng(0), 0
    begun = perf_counter()
    while perf_counter() - begun < seconds:
        clip = mp4_clip(paths[rng.integers(len(paths))], float(rng.random()), frames, size)
        count += len(clip) == frames
    return count / (perf_counter() - begun)


def mp4_clip(path: Path, where: float, frames: int, size: int) -> np.ndarray:
    """(frames, size, size, 3) uint8 from a share `where` of a file of an even frame rate and a known count of frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start = int(where * max(1, stream.frames - frames + 1))
        rate, unit = stream.average_rate, stream.time_base
        assert rate and unit
        container.seek(round(start / rate / unit) + (stream.start_time or 0), stream=stream)
        shown = []
        for picture in container.decode(stream):
            if picture.time is not None and round(picture.time * rate) >= start:
                shown.append(cut(picture.to_ndarray(format="rgb24"), (size, size)))
            if len(shown) == frames:
                break
    return np.stack(shown)


def consumed(model: str, source: Shards) -> tuple[int, float]:
    """Frames of a training clip, and clips a second that training takes in."""
    system = hub.from_pretrained(model)
    system.model.requires_grad_(True)
    trainer, times = Trainer(system, TrainOptions(batch=BATCH)), []
    anchor = system.anchor if system.reach else 0
    clips = source(np.arange(BATCH), system.frames, anchor=anchor, reach=system.reach)
    for _ in range(6):
        begun = perf_counter()
        trainer.train_step(clips)
        times.append(perf_counter() - begun)
    return system.frames, BATCH / float(np.median(times[2:]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="a recording")
    parser.add_argument("shards", type=Path, help="the same, prepared as pixels")
    parser.add_argument("--model", default="duel-64", help="whose training is fed [duel-64]")
    parser.add_argument("--reads", type=int, default=1_000_000, help="frames to read from the shards [1000000]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    source = Shards(options.shards)
    frames, train = consumed(options.model, source)
    shards, memory = from_shards(source, frames, options.reads)
    mp4 = from_mp4(options.set, frames, source.manifest.settings["size"])
    figures = {
        "frames of a clip": frames, "threads": torch.get_num_threads(), "shards clips/s": round(shards),
        "mp4 clips/s": round(mp4, 1), "training clips/s": round(train, 1), "shards / mp4": round(shards / mp4, 1),
        "shards / training": round(shards / train, 1), "frames read": options.reads,
        "owned MB after each tenth": [round(m / 1e6, 1) for m in memory],
    }  # fmt: skip
    for name, value in figures.items():
        print(f"{name:<26}{value}")
    if options.json:
        store.write_json(options.json, {"format": 1, **figures})

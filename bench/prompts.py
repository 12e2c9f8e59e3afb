"""Does a model do what it is told? Moves of `duel` in rollouts under known prompts, 60 s, every 10 s.

    python bench/prompts.py MODEL [--rollouts 16] [--seconds 60] [--weight 3] [--context 2] [--json prompts.json]
    python bench/prompts.py --real          # the same of real video under its own captions: the most that can be read

Each rollout is told, frame by frame, what happens in another held-out fight (`--hold S`: what happened there every S seconds,
said for so long). The reader that ships finds the moves; the same videos are then judged by the prompts of all others. What is
right under one's own prompts and wrong under those of others was heard. Intervals: bootstrap over rollouts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _common import load, table

from unspool import config, sampling, store
from unspool.cli.progress import Bar
from unspool.data.worlds.duel import Duel
from unspool.errors import UserError
from unspool.evaluate.duel.obeyed import Obeyed, by_move, obeyed, segments
from unspool.evaluate.duel.reader import load_reader
from unspool.prompts import Telling, frame_by_frame
from unspool.system import System

TOGETHER = 4
"""Rollouts that run side by side."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a checkpoint folder, or a recipe for random weights: the floor")
    parser.add_argument("--real", action="store_true", help="real video instead of a model's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="arguments of the recipe")
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--hold", type=float, default=0, metavar="S", help="a new prompt every so many seconds; 0: each frame")
    parser.add_argument("--weight", type=float, help="prompt guidance")
    parser.add_argument("--context", type=int, default=2, metavar="N", help="true frames of the fight to begin with; 0: noise")
    parser.add_argument("--data", default="speed=0.5", help="options of the world duel")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def fights(asked: argparse.Namespace) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Held-out fights a few at a time: frames (n, context + T, 64, 64, 3), what is said of each (n, context + T)."""
    from unspool.data import open_world

    world = open_world(f"duel:{asked.data}", 64, "seen")
    assert isinstance(world, Duel)
    length = round(asked.seconds * world.fps) + asked.context
    for first in range(0, asked.rollouts, TOGETHER):
        clips = world(np.arange(first, min(first + TOGETHER, asked.rollouts)), length)
        assert clips.text is not None
        yield clips.frames, held(clips.text, round(asked.hold * world.fps))


def held(said: np.ndarray, frames: int) -> np.ndarray:
    """(n, T) with each caption said for so many frames; 0 leaves it as it is."""
    at = np.arange(said.shape[1])
    return said[:, at - at % frames] if frames else said


@torch.inference_mode()
def told(system: System, context: np.ndarray, said: np.ndarray, seed: int) -> np.ndarray:
    """One rollout (T, H, W, 3) behind true frames (c, H, W, 3), under what is said of each frame (c + T,)."""
    assert system.text is not None
    telling = Telling(frame_by_frame(system.text, said.tolist()))
    rollout = sampling.start(system, context, 1, seed, script=telling.script)
    made = sampling.futures(system, rollout, len(said) - len(context), telling=telling)
    return np.concatenate([part[0] for part, _ in made])


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Make or take the videos, read them, judge them."""
    system = None if asked.real else load(asked.model, asked.set)
    if system is not None and system.text is None:
        raise UserError(f"{asked.model} hears no prompts: train one with --text captions")
    if system is not None and asked.weight:
        system = config.rollout_options({"prompt_guidance": asked.weight}).apply(system)
    reader, videos, captions = load_reader(), [], []
    with Bar("fights", asked.rollouts) as bar:
        for frames, said in fights(asked):
            for video, caption in zip(frames, said, strict=True):
                context = video[: asked.context]
                made = video[asked.context :] if system is None else told(system, context, caption, 1000 + len(videos))
                videos.append(made)
                captions.append(caption[asked.context :])
                bar(len(videos), {})
    begun, own = perf_counter(), []
    readings = [reader(video[None]) for video in videos]
    spent = perf_counter() - begun
    own = [obeyed(v[None], r, c[None]) for v, r, c in zip(videos, readings, captions, strict=True)]
    others = [
        obeyed(v[None], r, captions[(n + by) % len(videos)][None])
        for by in range(1, len(videos))
        for n, (v, r) in enumerate(zip(videos, readings, strict=True))
    ]
    right, shuffled = (np.concatenate([one.right for one in judged]) for judged in (own, others))
    rows = [row._asdict() for row in segments(right, shuffled, 30)] + [segments(right, shuffled, 30, 1e9)[0]._asdict()]
    print(table([shown(row) for row in rows]))
    together = Obeyed(*(np.concatenate(leaves) for leaves in zip(*own, strict=True)))
    moves = [dict(zip(("move", "frames", "right", "shuffled"), row, strict=True)) for row in by_move(together, others)]
    print(table(moves))
    print(f"{len(videos)} videos of {len(videos[0])} frames, read in {spent:.0f} s")
    return {"segments": rows, "moves": moves}


def shown(row: dict[str, Any]) -> dict[str, str]:
    cells = {"seconds": f"{row['begin']:.0f}-{row['end']:.0f}"}
    return cells | {name: "{:.3f} [{:.3f}, {:.3f}]".format(*row[name]) for name in ("right", "shuffled", "gain")}


def main() -> None:
    asked = options()
    torch.set_num_threads(asked.threads)
    try:
        if asked.real == bool(asked.model):
            raise UserError("name a model, or give --real")
        if asked.rollouts < 2 or not 1 <= asked.seconds <= 3600 or asked.context < 0 or asked.hold < 0:
            raise UserError("rollouts is at least 2, seconds 1 to 3600, context and hold at least 0")
        figures = measure(asked)
        told_of = {name: value for name, value in vars(asked).items() if name != "json"}
        if asked.json:
            store.write_json(asked.json, {**figures, "asked": told_of})
            print(json.dumps({"written": str(asked.json)}))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

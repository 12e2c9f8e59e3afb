"""`unspool data prepare`: videos and episodes in, memory-mapped shards out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unspool.cli.data import VERBS
from unspool.cli.parser import Parser, set_threads
from unspool.cli.progress import Bar, size

EXAMPLES = (
    "unspool data prepare videos --size 64 --out shards",
    "unspool data prepare videos --size 64 --fps 15 --max-mb 500 --out shards",
    "unspool data prepare videos --codec runs/duel --out latents      # latents of that model's codec",
    "unspool train frame-by-frame --data shards --out runs/mine",
)


def parser(argv: list[str]) -> Parser:
    parser = Parser("data prepare", VERBS["prepare"], EXAMPLES)
    parser.add_argument("data", type=Path, metavar="DIR", help="videos, or a set in a layout that `data inspect` knows")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the shards; goes on in it")
    parser.add_argument("--size", type=int, metavar="N", help="pixels of a side, after a cut to the centre square [64]")
    parser.add_argument("--fps", type=float, metavar="X", help="choose the frames nearest to this rate [every frame]")
    parser.add_argument("--codec", metavar="MODEL", help="keep latents of this model's or trained codec [pixels]")
    parser.add_argument("--max-mb", type=float, metavar="X", help="only as many episodes as fit, with tracks and codec [all]")
    parser.add_argument("--shard-mb", type=float, default=64, metavar="X", help="size of one file, about [64]")
    parser.threads()
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    from unspool import preparation
    from unspool.data.episodes import shown
    from unspool.data.layouts import open_episodes

    set_threads(options.threads)
    how = preparation.plan(options.size, options.fps, options.codec, options.max_mb, options.shard_mb)
    found = open_episodes(options.data)
    with Bar("episodes", len(found.episodes)) as bar:
        try:
            manifest = preparation.run(found, options.out, how, lambda at: bar(at.done, {"frames": f"{at.frames}"}))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("whole shards are kept; the same command goes on") from None
    frames = sum(member.frames for member in manifest.episodes)
    stored = sum(path.stat().st_size for path in options.out.glob("*.safetensors"))
    told: dict[str, Any] = {
        "out": str(options.out), "layout": manifest.source, "origin": manifest.origin,
        "episodes": len(manifest.episodes), "frames": frames, "bytes": stored, "shape": manifest.shape,
        "dtype": manifest.dtype, "fps": manifest.fps, "actions": manifest.actions, "poses": manifest.poses,
        "skipped": [{"name": name, "reason": reason} for name, _, reason in manifest.skipped],
    }  # fmt: skip
    if options.json:
        print(json.dumps(told))
        return
    for entry in told["skipped"]:
        print(f"skipped {shown(entry['name'])}: {shown(entry['reason'])}")
    shape = " x ".join(map(str, told["shape"]))
    out = shown(told["out"])
    print(f"{told['episodes']} episodes, {frames} frames of {shape} {told['dtype']}, {size(stored)} in {out}")
    codec = manifest.settings["codec"]
    if codec and codec["options"] and codec["options"]["kind"] != "frames":
        print("no recipe is trained on latents of several frames yet")
        return
    more = "" if manifest.settings["size"] == 64 else f" --resolution {manifest.settings['size']}"
    more += f" --components {manifest.shape[0]}" if codec else ""
    print(f"train on them: unspool train frame-by-frame{more} --data {out} --out RUN")

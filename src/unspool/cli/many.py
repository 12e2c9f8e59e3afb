"""`unspool sample --clips N`, also behind torchrun."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path

from unspool.cli.parser import rollout_given, set_threads
from unspool.cli.progress import Bar
from unspool.errors import UserError


def run(options: argparse.Namespace) -> None:
    """Write the futures of many contexts; what is whole already is not made again. Of several processes the first tells."""
    from unspool import config, device, hub, many, openings, store
    from unspool.explain import check_rollout
    from unspool.train import ranks

    _refuse(options)
    set_threads(options.threads)
    where = device.choose(options.device, ranks.found().here)
    with ranks.joined(where) as who:
        checkpoint = hub.find(options.model)
        given = rollout_given(options)
        loaded = hub.load(checkpoint, recipe=options.recipe, device=where)
        system = config.rollout_options(given).apply(loaded)
        if system.drain:
            raise UserError("a drained video ends by itself, and these end side by side: leave --rollout.drain or --clips away")
        if options.bf16:
            system.model.bfloat16()
        fps = checkpoint.config.get("fps")

        def context(clip: int) -> openings.Opening:
            follow = options.frames if system.model.controls else 0
            chosen = {"split": options.split, "clip": clip, "fps": fps, "follow": follow}
            return openings.context_of(options.context, system, options.context_frames, **chosen)

        clips = range(options.clip, options.clip + options.clips)
        first, seeds = options.seed or 0, options.seeds or 1
        tasks = many.tasks_of(options.out, clips, range(first, first + seeds))
        facts = store.plain({
            "model": options.model, "config_hash": checkpoint.digest, "checkpoint": checkpoint.folder.resolve().name,
            "recipe": options.recipe or checkpoint.config["recipe"], "frames": options.frames, "rollout": given,
        })  # fmt: skip
        with store.locked(options.out / f".rank-{who.rank}", "sampling"):
            left = many.left_of(tasks[who.rank :: who.size], facts)
            for warning in () if who.rank else check_rollout(system):
                print(warning, file=sys.stderr)
            with nullcontext() if who.rank else Bar("frames", max(1, options.frames * len(left))) as bar:
                whole = many.make(
                    system, left, context, options.frames, facts, slots=options.slots, upscale=options.upscale,
                    report=lambda frames, futures: bar and bar(frames, {"videos": str(futures)}),
                )  # fmt: skip
        if who.any(not whole):
            raise KeyboardInterrupt("what is whole stays; the same command goes on")
        who.wait()
        if who.rank == 0:
            _tell(options, many.merge(options.out, tasks, who), len(tasks))


def _tell(options: argparse.Namespace, report: Path, count: int) -> None:
    if options.json:
        print(json.dumps({"report": str(report), "futures": count}))
        return
    print(f"{count} futures of {options.frames} frames; {report} tells of each")


def _refuse(options: argparse.Namespace) -> None:
    """Raises UserError for what is of one context alone."""
    alone = {
        "--actions": options.actions, "--prompt": options.prompt, "--rollout-in": options.rollout_in,
        "--rollout-out": options.rollout_out,
    }  # fmt: skip
    if given := next((name for name, value in alone.items() if value), None):
        raise UserError(f"{given} is for one context: leave --clips and torchrun away, or leave {given} away")
    from unspool.many import MOST

    if options.context is None:
        raise UserError("many contexts come from a folder, shards or a world: give --context")
    if not 1 <= options.clips <= MOST or not 1 <= options.slots <= 1024:
        raise UserError(f"clips is 1 to {MOST} and slots 1 to 1024, not {options.clips} and {options.slots}")

"""`unspool bench sample`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unspool.cli.bench import VERBS
from unspool.cli.parser import Parser, rollout_given, rollout_settings, set_threads
from unspool.cli.progress import Bar, size
from unspool.errors import UserError

EXAMPLES = (
    "unspool bench sample duel-64",
    "unspool bench sample runs/mine --frames 1000 --streams 4 --rollout.steps 8 --json",
    "unspool bench sample duel-64 --frames 60 --profile trace.json     # open it in ui.perfetto.dev",
)


def parser(argv: list[str]) -> Parser:
    parser = Parser("bench sample", VERBS["sample"], EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a run or checkpoint folder, a shipped model's name, or a Hub id")
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="to make [300]")
    parser.add_argument("--streams", type=int, default=1, metavar="N", help="rollouts side by side in one batch [1]")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="leave a trace of a few chunks there")
    rollout_settings(parser)
    parser.device()
    parser.threads()
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, then print a table."""
    from unspool import config, device, hub, store
    from unspool.sampling import check_frames
    from unspool.speed import time_rollout

    check_frames(options.frames)
    if not 1 <= options.streams <= 1024:
        raise UserError(f"streams is 1 to 1024, not {options.streams}")
    if options.profile:
        store.check_writable(options.profile)
    set_threads(options.threads)
    given = rollout_given(options)
    loaded = hub.load(hub.find(options.model), device=device.choose(options.device))
    system = config.rollout_options(given).apply(loaded)
    if options.bf16:
        system.model.bfloat16()
    with Bar("frames", options.frames) as bar:
        figures = time_rollout(system, options.frames, options.streams, options.profile, lambda frame: bar(frame, {}))
    if options.json:
        print(json.dumps(store.plain({"model": options.model, **figures})))
        return
    each = f" ({figures['frames_per_s_each']:.4g} each)" if options.streams > 1 else ""
    print(f"frames a second      {figures['frames_per_s']:.4g}{each}")
    first = f"{figures['first_frame_s']:.3f} s, the first of a process {figures['first_frame_cold_s']:.3f} s"
    print(f"first frame after    {first}")
    told(figures, "a chunk")
    memory = ", ".join(f"{size(bytes)} at frame {frame}" for frame, bytes in figures["resident_bytes_by_frame"].items())
    print(f"memory               {memory}")


def told(figures: dict[str, Any], what: str) -> None:
    """The lines that both benches have."""
    print(f"ms {what:<18}p50 {figures['p50_ms']:.4g}, p95 {figures['p95_ms']:.4g}, p99 {figures['p99_ms']:.4g}")
    parts = ", ".join(f"{name} {value:.4g}" for name, value in figures["parts_ms"].items())
    print(f"of which, ms         {parts}")
    rates = f"{figures['flops_per_s'] / 1e9:.4g} of {figures['matmul_flops_per_s'] / 1e9:.4g} ({figures['precision']})"
    print(f"GFLOP/s              {rates}: {figures['mfu']:.2f} of the best matrix product of this process")
    print(f"peak memory          {size(figures['peak_bytes'])}")
    if (load := figures["machine"]["load"]) > figures["machine"]["threads"] + 0.5:
        print(f"the machine is busy (load {load:.1f}): figures of time do not count")

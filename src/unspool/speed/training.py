"""How fast a recipe trains: a few of its own steps, timed whole and by part."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unspool.flops import synchronize
from unspool.speed.clock import best_rate, machine, peak, quantiles, traced
from unspool.train.clips import to_clip
from unspool.train.ranks import Ranks
from unspool.train.run import clips_for
from unspool.train.trainer import Trainer
from unspool.training import Prepared

WARM = 3
"""Steps before any is timed: the first ones allocate, and compile where they are told to."""


def time_training(
    prepared: Prepared, steps: int, device: torch.device, ranks: Ranks | None = None, trace: Path | None = None,
    report: Callable[[int], None] = lambda step: None,
) -> dict[str, Any]:  # fmt: skip
    """Seconds, tokens and FLOP/s of `steps` steps after a few that warm up; what they take by part, in as many more steps, in
    which the device is waited for after each part; a trace of one, where a path for it is given. Nothing is saved.

    tokens: of the clips, each frame's patches once. mfu: FLOP/s of one process as a share of its best matrix product of the
    same precision, the better of before and after.
    """
    ranks = ranks or Ranks()
    system, options = prepared.system, prepared.job.settings.train
    trainer = Trainer(system, options, device, ranks)
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    before = best_rate(dtype, device)
    fetched: list[float] = []

    def step() -> float:
        indices = trainer.indices(trainer.step)
        begun = time.perf_counter()
        clips = clips_for(system, prepared.data, indices, options.seed)
        fetched.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        trainer.train_step(clips)
        synchronize(device)
        report(trainer.step)
        return time.perf_counter() - begun

    first, *_ = (step() for _ in range(WARM))
    fetched.clear()
    seconds = [step() for _ in range(steps)]
    data = float(np.median(fetched))
    parts = _parts(trainer, step, steps, prepared) | {"data": data}
    with traced(None if ranks.rank else trace, device):
        if trace is not None:
            step()
    middle = float(np.median(seconds))
    flops = prepared.flops / ranks.size  # of one process
    rate = max(before, best_rate(dtype, device))
    tokens = trainer.rows * ranks.size * system.frames * int(np.prod(getattr(system.model, "grid", (1, 1))))
    return {
        "recipe": prepared.job.settings.recipe, "parameters": sum(p.numel() for p in trainer.spread.parameters),
        "processes": ranks.size, "clips": trainer.rows * ranks.size, "frames": system.frames, "tokens": tokens,
        "steps": steps, "first_step_s": first, **quantiles(seconds), "clips_per_s": trainer.rows * ranks.size / middle,
        "tokens_per_s": tokens / middle, "flops_per_step": prepared.flops, "flops_per_s": flops / middle,
        "matmul_flops_per_s": rate, "mfu": flops / middle / rate, "precision": str(dtype).removeprefix("torch."),
        "peak_bytes": peak(device), "parts_ms": {name: 1e3 * value for name, value in parts.items()},
        "machine": machine(device),
    }  # fmt: skip


def _parts(trainer: Trainer, step: Callable[[], float], steps: int, prepared: Prepared) -> dict[str, float]:
    """Seconds of a step, by part: clips to latents on the device, forward passes (the objective up to its losses), optimisers,
    and the rest, of which the backward pass is nearly all. Fetching clips is no part of it: a thread does that."""
    spent: dict[str, float] = defaultdict(float)
    begun: list[float] = []

    def enter(*_: Any) -> None:
        synchronize(trainer.device)
        begun.append(time.perf_counter())

    def leave(part: str) -> Callable[..., None]:
        def left(*_: Any) -> None:
            synchronize(trainer.device)
            spent[part] += time.perf_counter() - begun.pop()

        return left

    clips = clips_for(trainer.system, prepared.data, trainer.indices(0), trainer.options.seed)
    for _ in range(steps):
        enter()
        to_clip(trainer.system, clips, trainer.device)
        leave("latents")()
    walk: Any = trainer.spread.walk
    handles = [walk.register_forward_pre_hook(enter), walk.register_forward_hook(leave("forward"))]
    for optimizer in trainer.optimizers:
        handles += [optimizer.register_step_pre_hook(enter), optimizer.register_step_post_hook(leave("optimizer"))]
    try:
        whole = sum(step() for _ in range(steps))
    finally:
        for handle in handles:
            handle.remove()
    spent["forward"] -= spent["latents"]  # an objective's first forward pass begins with them
    spent["backward and rest"] = whole - sum(spent.values())
    return {name: value / steps for name, value in spent.items()}

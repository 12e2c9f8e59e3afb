"""The training loop: clips in, losses and checkpoints out, exact resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unspool import store
from unspool.data import Clips, ClipSource
from unspool.interrupt import Interrupt
from unspool.system import System
from unspool.train.board import board
from unspool.train.checkpoints import Keeper
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks
from unspool.train.run import clips_for, locked
from unspool.train.trainer import Trainer

BLOCK = 4
"""Steps whose clips are fetched together: worlds are vectorised, and a clip is the same however many are asked for."""


def train(
    system: System,
    source: ClipSource,
    held_out: ClipSource | None,
    run: Path,
    options: TrainOptions,
    config: dict[str, Any],
    *,
    resume: Path | None = None,
    device: torch.device | str = "cpu",
    ranks: Ranks | None = None,
    report: Callable[[Trainer, dict[str, float]], None] | None = None,
) -> Trainer:
    """Train to `options.steps`, logging to metrics.jsonl and saving every `save_every` steps, at the end and on Ctrl-C.

    ranks: the processes that train together; the first one writes. Ctrl-C, SIGTERM and SIGUSR1, in any of them, let the step
    that is under way finish, save, and raise KeyboardInterrupt in all. Raises UserError when another process trains in this
    folder.
    """
    ranks = ranks or Ranks()
    trainer = Trainer(system, options, device, ranks)
    if resume is not None:
        trainer.load(resume)

    def fetch(block: int) -> Clips:
        return clips_for(system, source, trainer.indices(block * BLOCK, BLOCK), options.seed)

    validation = None if held_out is None else clips_for(system, held_out, np.arange(16, dtype=np.int64), options.seed)
    first = ranks.rank == 0
    with ExitStack() as held:
        if first:
            held.enter_context(locked(run))
        ranks.wait()  # until what a killed job left half-written is swept away
        stop, pool = held.enter_context(Interrupt()), held.enter_context(ThreadPoolExecutor(1))
        keeper = held.enter_context(Keeper(run, ranks))
        if first:
            _trim(run / "metrics.jsonl", trainer.step)
        metrics = held.enter_context((run / "metrics.jsonl").open("a", buffering=1) if first else nullcontext())
        told = held.enter_context(board(run, trainer.step)) if first and options.tensorboard else None
        block, ahead = None, pool.submit(fetch, trainer.step // BLOCK)
        while trainer.step < options.steps:
            if block is None or trainer.step % BLOCK == 0:
                block, ahead = ahead.result(), pool.submit(fetch, trainer.step // BLOCK + 1)
            begin = trainer.step % BLOCK * trainer.rows
            begun = time.perf_counter()
            taken = trainer.train_step(block.rows(slice(begin, begin + trainer.rows)))
            logs = {"step": trainer.step, **taken, "seconds": time.perf_counter() - begun}
            due = trainer.step == options.steps
            validated = validation is not None and (trainer.step % options.validate_every == 0 or due)
            if validation is not None and validated:
                logs |= {f"held_out_{k}": v for k, v in trainer.validate(validation).items()}
            if metrics is not None and (trainer.step % options.log_every == 0 or validated or due):
                metrics.write(json.dumps(logs) + "\n")
                if told is not None:
                    told(trainer.step, {name: value for name, value in logs.items() if name != "step"})
            leaving = ranks.any(bool(stop)) and not due
            if trainer.step % options.save_every == 0 or due or leaving:
                trainer.save(keeper, config)
            keeper.settle() if due or leaving else keeper.check()
            if report is not None:
                report(trainer, logs)
            if leaving:
                raise KeyboardInterrupt
    return trainer


def _trim(path: Path, step: int) -> None:
    """Drop the lines of steps that will be walked again, and one that a killed process left torn."""
    if path.exists():
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        lines = [line for line in whole if json.loads(line)["step"] <= step]
        store.write_text(path, "".join(lines))

"""How a model is trained: `--train.*` of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from unspool.types import Count, Natural, Positive, Share


@dataclass(frozen=True)
class TrainOptions:
    """steps: of training. batch: clips at a time, of each process. accumulate: batches to each step of a process, one after
    the other. lr: learning rate at its height. warmup: steps of its rise. decay: last share of the steps, in which it falls
    linearly to 0. weight_decay: of AdamW, on matrices. clip: largest norm of the gradient. spike: a gradient of so many
    times its usual norm is one; 0: none is. on_spike: what a spike or a loss that is not finite does: stop, or skip the
    update. ema: share of the moving average that a step keeps. bf16: compute in bfloat16. compile: compile the model first.
    recompute: activations of blocks in the backward pass, rather than keep them: less memory, a third more time. shard:
    weights, gradients and the optimiser's state over processes (FSDP), rather than have all of them everywhere (DDP).
    save_every: steps between checkpoints. log_every: steps between lines of progress. validate_every: steps between held-out
    losses. tensorboard: write events for it too, beside metrics.jsonl. pad: fill up episodes that are shorter than a clip,
    rather than leave them out; what is filled carries no loss. seed: of weights, clips, levels and noise.
    """

    steps: Count = 10_000
    batch: Count = 16
    accumulate: Count = 1
    lr: Positive = 1e-3
    warmup: Natural = 200
    decay: Share = 0.3
    weight_decay: Annotated[float, Ge(0)] = 0.01
    clip: Positive = 1.0
    spike: Annotated[float, Ge(0)] = 0.0
    on_spike: Literal["stop", "skip"] = "stop"
    ema: Share = 0.999
    bf16: bool = True
    compile: bool = False
    recompute: bool = False
    shard: bool = False
    save_every: Count = 500
    log_every: Count = 20
    validate_every: Count = 500
    tensorboard: bool = False
    pad: bool = False
    seed: Natural = 0

    def effective(self, processes: int) -> int:
        """Clips of one update, over all processes."""
        return self.batch * processes * self.accumulate

    def banner(self, processes: int) -> str:
        """The effective batch in words."""
        parts = f"batch {self.batch} x ranks {processes} x accumulation {self.accumulate}"
        return f"effective batch {self.effective(processes)} = {parts}; the learning rate is not scaled"

"""Bytes of a training step on several processes: what the cost model says, and what there is.

    torchrun --nproc-per-node 2 bench/scale.py [--recipe frame-by-frame] [--set size=nano resolution=32] [--json FILE]

Kept: tensors that live between two steps, counted. Sent: what passed over the loopback device in a step, all processes
together, TCP's own headers and other programs' words included; run it on a machine that is silent otherwise. DDP and FSDP in
one run; AdamW alone and with Muon, whose orthogonalisation of sharded matrices talks as well.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import table
from torch.distributed.tensor import DTensor

from unspool import config, store
from unspool.data import open_source
from unspool.sampling import picture_size
from unspool.speed.scale import bytes_of
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks, joined
from unspool.train.run import clips_for
from unspool.train.trainer import Trainer

STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="frame-by-frame")
    parser.add_argument("--set", nargs="*", default=["size=nano", "resolution=32"], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as ranks:
        rows = [measured(options, ranks, shard, muon) for shard in (False, True) for muon in (False, True)]
        if ranks.rank == 0:
            print(table(rows))
            if options.json:
                store.write_json(options.json, {"processes": ranks.size, "rows": rows})
                print(json.dumps({"written": str(options.json)}))


def measured(options: argparse.Namespace, ranks: Ranks, shard: bool, muon: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    system = config.build(options.recipe, dict(pair.split("=", 1) for pair in options.set))
    if not muon:
        system.model.hidden_matrices = list  # type: ignore[method-assign]
    matrices = sum(p.numel() for p in system.model.hidden_matrices())
    trainer = Trainer(system, TrainOptions(batch=2, bf16=False, shard=shard), ranks=ranks)
    source = open_source("duel", picture_size(system)[0], "train")
    clips = clips_for(system, source, np.arange(2, dtype=np.int64), 0)
    for _ in range(2):
        trainer.train_step(clips)
    ranks.wait()
    before = passed()
    for _ in range(STEPS):
        trainer.train_step(clips)
    ranks.wait()
    sent = (passed() - before) / STEPS
    parameters = sum(p.numel() for p in trainer.spread.parameters)
    wanted = bytes_of(parameters, matrices, ranks.size, shard)
    return {
        "way": "FSDP" if shard else "DDP", "muon": muon, "parameters": parameters,
        "kept MB": kept(trainer) / 1e6, "as told": wanted.kept / 1e6, "sent MB, all": sent / 1e6,
        "as told, all": ranks.size * wanted.sent / 1e6,
    }  # fmt: skip


def kept(trainer: Trainer) -> int:
    """Bytes of weights, averages and optimisers' states in this process."""
    slots = [value for optimizer in trainer.optimizers for state in optimizer.state.values() for value in state.values()]
    held = [*trainer.spread.parameters, *trainer.average, *(slot for slot in slots if slot.dim())]
    local = [t.to_local() if isinstance(t, DTensor) else t for t in held]
    return sum(t.numel() * t.element_size() for t in local)


def passed() -> int:
    """Bytes that went over the loopback device so far."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


if __name__ == "__main__":
    main()

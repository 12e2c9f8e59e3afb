"""The processes of one training, as torchrun starts them: who this one is, what they agree on, how a model is spread over them.

    torchrun --nproc-per-node 8 -m unspool train RECIPE ...

DDP keeps a whole model in each process; FSDP2 (`fully_shard`) a part of each of its weights, and of all that belongs to them.
Both hook the forward pass of ONE module: `Walk`, whose forward is whatever an objective does up to its next loss, rollouts and
several passes of the model included.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, NamedTuple, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from unspool.errors import UserError
from unspool.model.video import VideoModel
from unspool.system import Loss

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others before it takes them for dead; torchrun itself sees a death at once."""


class Ranks(NamedTuple):
    """rank: of this process, among `size`. here: its number on this machine, which is that of its GPU."""

    rank: int = 0
    size: int = 1
    here: int = 0

    def total(self, *numbers: float) -> list[float]:
        """Sums over all processes."""
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values)
        return values.tolist()

    def any(self, asked: bool) -> bool:
        """Whether any process was asked."""
        return self.total(float(asked))[0] > 0

    def gathered(self, thing: Any) -> list[Any]:
        """What each process has, by rank, in the first; in the others nothing."""
        if self.size == 1:
            return [thing]
        all_of_them: list[Any] = [None] * self.size
        dist.gather_object(thing, all_of_them if self.rank == 0 else None)
        return all_of_them if self.rank == 0 else []

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.barrier()


def found() -> Ranks:
    """Who torchrun says that this process is; the only one where it says nothing. Raises UserError for what cannot be."""
    try:
        who = Ranks(*(int(os.environ.get(name, default)) for name, default in zip(NAMES, Ranks(), strict=True)))
    except ValueError as error:
        raise UserError(f"{', '.join(NAMES)} must be numbers, as torchrun sets them: {error}") from None
    if not 0 <= who.rank < who.size:
        raise UserError(f"RANK {who.rank} of WORLD_SIZE {who.size} cannot be; start the processes with torchrun")
    return who


NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """This process among the others, for as long as the block lasts: over gloo for what lies on the CPU, NCCL on GPUs."""
    who = found()
    if who.size == 1 or dist.is_initialized():
        yield who
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield who
        dist.barrier()  # without it some leave while others still talk, and die of it
    finally:
        dist.destroy_process_group()


@final
class Walk(nn.Module):
    """One loss of an objective as a forward pass. `found` is that loss, None behind the last; the value is given back, because
    gradients start there."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model
        self.found: Loss | None = None

    def forward(self, losses: Iterator[Loss]) -> Tensor | None:
        self.found = next(losses, None)
        return None if self.found is None else self.found.value


@final
class Spread:
    """A model on its processes. parameters: what an optimiser steps, parts of the weights where these are sharded."""

    def __init__(self, model: VideoModel, ranks: Ranks, shard: bool) -> None:
        self.model, self.size = model, ranks.size
        self.walk = Walk(model)
        self.parts: list[FSDPModule] = []
        self.outer: nn.Module = self.walk
        if ranks.size > 1 and shard:
            self.parts = _sharded(self.walk)
        elif ranks.size > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # a new name, which older versions do not know
                # some clips never reach some weights: a prompt, a memory without a past
                self.outer = DistributedDataParallel(self.walk, find_unused_parameters=True, broadcast_buffers=False)
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = list(model.parameters())

    def next_loss(self, losses: Iterator[Loss]) -> Loss | None:
        """The next loss, its value ready for a backward pass that brings all processes together."""
        for part in self.parts:
            part.unshard()
        value = self.outer(losses)
        loss = self.walk.found
        return None if loss is None else loss._replace(value=value)

    def apart(self) -> AbstractContextManager[Any]:
        """Inside, backward passes add to each process's own gradient: those before the last of an accumulation."""
        if isinstance(self.outer, DistributedDataParallel):
            return self.outer.no_sync()
        return _unsynced(self.parts) if self.parts else nullcontext()

    def refresh(self) -> None:
        """After the weights were written to from outside a step."""
        for part in self.parts:
            part.reshard()

    def gather(self) -> None:
        """Every process holds all weights for now, so that one of them can use the model by itself."""
        for part in self.parts:
            part.unshard()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a part; every process has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def put(into: Tensor, value: Tensor) -> None:
    """Write a whole tensor into one of which this process may hold a part."""
    if isinstance(into, DTensor):
        mine = into.to_local()
        start = into.device_mesh.get_local_rank() * -(-into.shape[0] // into.device_mesh.size())
        value = value[start : start + len(mine)]
        into = mine
    into.copy_(value)


def _sharded(walk: Walk) -> list[FSDPModule]:
    """Each block by itself, then what is left. Weights are gathered once for each update and stay: rollouts within a step ask
    for them hundreds of times."""
    device = next(walk.parameters()).device.type
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    blocks: Sequence[nn.Module] = getattr(walk.model, "blocks", ())
    return [fully_shard(part, mesh=mesh, reshard_after_forward=False) for part in (*blocks, walk)]


@contextmanager
def _unsynced(parts: Sequence[FSDPModule]) -> Iterator[None]:
    for part in parts:
        part.set_requires_gradient_sync(False, recurse=False)
    yield
    for part in parts:
        part.set_requires_gradient_sync(True, recurse=False)

"""checkpoints/<step>/{model.safetensors, config.json, training_state/}: written aside and renamed, while training goes on.

A process that has all weights writes training_state/{weights, optimizer}.safetensors. Where they are sharded, each process
writes its part of both into training_state/shards, by torch.distributed.checkpoint. Either kind goes on in any number of
processes, sharded or not.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, final

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from unspool import store
from unspool.errors import UserError
from unspool.system import System
from unspool.train.ranks import Ranks, put

Parts = dict[str, Tensor]
"""weights.NAME, average.NAME, optimizer.NUMBER.INDEX.NAME: what a checkpoint holds; of sharded ones, this process's part."""


@final
class Keeper:
    """with Keeper(run, ranks) as keeper: keeper.keep(...) at every checkpoint. One is written at a time, in a thread.

    A file that cannot be written is told of at the next `check`, `keep` or at the end.
    """

    def __init__(self, run: Path, ranks: Ranks) -> None:
        self.place, self.ranks = run / "checkpoints", ranks
        self.pool = ThreadPoolExecutor(1)
        self.pending: list[Future[Any]] = []
        self.group = dist.new_group(backend="gloo") if ranks.size > 1 else None

    def keep(
        self, step: int, parts: Parts, objectives: list[Parts], more: Mapping[str, Any], codec: Parts, sharded: bool
    ) -> None:
        """objectives: what each process's objective carries, told to the first one; more: config.json and progress.json by
        name; codec: weights that stand beside the model's."""
        self.settle()
        files = {"config.json": more["config"], "training_state/progress.json": more["progress"]}
        others = {f"training_state/{_objective(r)}": part for r, part in enumerate(objectives)}
        if sharded:
            aside = self.place / f".{step:07d}.shards"
            written = dcp.async_save(
                parts, storage_writer=HuggingFaceStorageWriter(str(aside), save_distributed=True), process_group=self.group
            )
            assert isinstance(written, Future)
            self.pending.append(written)
            if self.ranks.rank == 0:
                self.pending.append(self.pool.submit(self._export, step, aside, written, parts, others, files, codec))
        elif self.ranks.rank == 0:
            held = {name: part.detach().to("cpu", copy=True) for name, part in parts.items()}
            self.pending.append(self.pool.submit(self._write, step, held, others, files, codec))

    def check(self) -> None:
        """Raises whatever went wrong with a checkpoint that is no longer being written."""
        if self.pending and all(future.done() for future in self.pending):
            self.settle()

    def settle(self) -> None:
        """Wait for the checkpoint that is being written."""
        pending, self.pending = self.pending, []
        for future in pending:
            future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.settle()
        self.pool.shutdown(wait=kind is None or self.ranks.size == 1)  # of several, one may wait for another that is gone

    def _write(self, step: int, parts: Parts, others: dict[str, Parts], files: dict[str, Any], codec: Parts) -> None:
        weights, average, optimizer = (_named(parts, name) for name in ("weights", "average", "optimizer"))
        tensors = {
            "model.safetensors": {**codec, **average}, "training_state/weights.safetensors": weights,
            "training_state/optimizer.safetensors": optimizer, **others,
        }  # fmt: skip
        self._place(step, tensors, files)

    def _export(
        self, step: int, shards: Path, written: Future[Any], parts: Parts, others: dict[str, Parts], files: dict[str, Any],
        codec: Parts,
    ) -> None:  # fmt: skip
        """Once all shards are there: the averaged weights as one file beside them, and the folder's name."""
        written.result()
        average = {name: torch.empty(part.shape, dtype=part.dtype) for name, part in parts.items() if name[:8] == "average."}
        _load(average, shards, alone=True)
        self._place(step, {"model.safetensors": {**codec, **_named(average, "average")}, **others}, files, shards)

    def _place(self, step: int, tensors: dict[str, Parts], files: dict[str, Any], shards: Path | None = None) -> None:
        path = self.place / f"{step:07d}"

        def write(aside: Path) -> None:
            (aside / "training_state").mkdir(parents=True)
            for name, some in tensors.items():
                store.save_tensors(aside / name, some)
            for name, content in files.items():
                store.write_json(aside / name, content)
            if shards:
                os.replace(shards, aside / "training_state" / "shards")

        store.write_aside(path, write)
        last = self.place / "last"
        pointer = last.with_name(".last")
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(path.name)
        os.replace(pointer, last)
        for old in sorted(p for p in self.place.iterdir() if p.name.isdigit() and p != path)[:-1]:
            store.remove(old)


def shapes_of(checkpoint: Path) -> dict[str, torch.Size]:
    """What training goes on with: weights.NAME and optimizer.NUMBER.INDEX.NAME, with their whole shapes."""
    state = checkpoint / "training_state"
    shards = state / "shards"
    if not shards.is_dir():
        return {name: part.shape for name, part in _whole(state).items()}
    for shard in shards.iterdir():
        store.check_tensors(shard)
    found = HuggingFaceStorageReader(str(shards)).read_metadata().state_dict_metadata
    sizes = {name: part.size for name, part in found.items() if isinstance(part, TensorStorageMetadata)}
    return {name: size for name, size in sizes.items() if not name.startswith("average.")}


def fill(parts: Parts, checkpoint: Path) -> None:
    """Read these tensors, or this process's part of them, from a checkpoint, whichever way it was written."""
    state = checkpoint / "training_state"
    if (state / "shards").is_dir():
        _load(parts, state / "shards", alone=not dist.is_initialized())
        return
    found = _whole(state)
    with torch.no_grad():
        for name, part in parts.items():
            put(part, found[name])


def objective_of(checkpoint: Path, rank: int) -> Parts:
    """What the objective of a process carried; nothing, where there was no such process."""
    path = checkpoint / "training_state" / _objective(rank)
    return store.load_tensors(path)[0] if path.exists() or rank == 0 else {}


def load_weights(into: System | nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Weights by name. Raises UserError when names, shapes or values do not fit."""
    wanted = dict(into.named_parameters())
    check({name: p.shape for name, p in wanted.items()}, {name: t.shape for name, t in tensors.items()}, where)
    bad = [name for name, t in tensors.items() if not torch.isfinite(t).all()]
    if bad:
        raise UserError(f"{where} holds values that are not finite ({bad[0]}); use an earlier checkpoint")
    with torch.no_grad():
        for name, p in wanted.items():
            put(p, tensors[name])


def check(wanted: Mapping[str, torch.Size], have: Mapping[str, torch.Size], where: Path) -> None:
    """Raises UserError when names or shapes differ."""
    odd = sorted(wanted.keys() ^ have.keys()) or [name for name, shape in wanted.items() if shape != have[name]]
    if odd:
        raise UserError(f"{where} is a checkpoint of another model: {odd[0]} does not fit ({len(odd)} tensors differ)")


def _load(parts: Parts, shards: Path, *, alone: bool) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as it should be, alone
        dcp.load(parts, storage_reader=HuggingFaceStorageReader(str(shards)), no_dist=alone)


def _whole(state: Path) -> Parts:
    """The training state that one process wrote."""
    kinds = ("weights", "optimizer")
    files = {kind: store.load_tensors(state / f"{kind}.safetensors")[0] for kind in kinds}
    return {f"{kind}.{name}": tensor for kind, some in files.items() for name, tensor in some.items()}


def _named(parts: Parts, kind: str) -> Parts:
    return {name.removeprefix(f"{kind}."): part for name, part in parts.items() if name.startswith(f"{kind}.")}


def _objective(rank: int) -> str:
    return "objective.safetensors" if rank == 0 else f"objective-{rank}.safetensors"

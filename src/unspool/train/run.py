"""A run's folder: who may write it, and the page that says what was run.

config.yaml    every setting of the last job, as `--config` takes it
run.json       one entry per job: command line, versions, hardware, seed, data, steps, hours, FLOPs; and their totals
metrics.jsonl  losses by step; checkpoints/<step>/, checkpoints/last; samples/
"""

from __future__ import annotations

import copy
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from unspool import __version__, flops, store
from unspool.data import Clips, ClipSource
from unspool.system import Stateful, System
from unspool.types import Clip


def locked(run: Path) -> AbstractContextManager[None]:
    """Hold a run's folder for this process; see `store.locked`."""
    return store.locked(run, "training", ("", "checkpoints"))


@final
class Journal:
    """run.json: entries of jobs and their totals. It is rewritten at each checkpoint, so a killed job is told of as well."""

    def __init__(self, run: Path, entry: Mapping[str, Any]) -> None:
        self.path = run / "run.json"
        before = store.read_json(self.path).get("jobs", []) if self.path.exists() else []
        self.entry = {**entry, "begun": _now()}
        self.jobs = [*before, self.entry]

    def write(self, **figures: Any) -> None:
        """Update this job's entry (steps, hours, flops) and the totals."""
        self.entry |= {**figures, "written": _now()}
        totals = {key: sum(job.get(key) or 0 for job in self.jobs) for key in ("hours", "flops", "clips")}
        store.write_json(self.path, {"format": 1, "totals": totals, "jobs": self.jobs})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """What computes: for run.json, `info` and bug reports."""
    return {
        "unspool": __version__, "python": platform.python_version(), "torch": torch.__version__,
        "numpy": np.__version__, "system": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip


def commit() -> str | None:
    """The commit of this checkout, with + where files of it were changed; None where the package was installed otherwise."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        ask = ["git", "describe", "--always", "--dirty=+"]
        shown = subprocess.run(ask, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip() or None


def hardware(device: torch.device | None = None) -> dict[str, Any]:
    """The processor, its cores and the threads that torch uses of them; a GPU, where that is what computes."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == "model name"), model)
    found = {"processor": model, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device is not None and device.type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(device)}
    return found


def clips_for(system: System, source: ClipSource, indices: np.ndarray, seed: int) -> Clips:
    """The clips (B, anchor + T, ...) of a system's training; a source need not know `reach` where none is asked for."""
    if not system.reach:
        return source(indices, system.frames, seed=seed)
    return source(indices, system.frames, seed=seed, anchor=system.anchor, reach=system.reach)


def describe(data: str, source: Any, system: System, seed: int) -> dict[str, Any]:
    """What was trained on: the name as typed, the source in words, and a hash of its first four clips.

    Raises UserError when the source cannot give clips of so many frames.
    """
    clips = clips_for(system, source, np.arange(4, dtype=np.int64), seed)
    return {"data": data, "is": repr(source), "sha256": sha256(np.ascontiguousarray(clips.frames).tobytes()).hexdigest()}


COUNTED = 16
"""Clips that FLOPs are counted on."""


def flops_per_clip(system: System, batch: int = COUNTED) -> flops.Flops:
    """Multiplications and additions of one training step on one clip, both passes, counted on shapes alone. batch: clips of a
    step, of which an objective may roll out a share."""
    model, objective = flops.on_meta(system.model).train(), copy.deepcopy(system.objective)
    if isinstance(objective, Stateful):
        objective.load_state_dict({})
    first = torch.empty(batch, system.anchor, *model.shape, device="meta") if system.reach else None
    control = torch.empty(batch, system.frames, model.controls, device="meta") if model.controls else None
    clip = Clip(torch.empty(batch, system.frames, *model.shape, device="meta"), control, first)

    def step() -> None:
        for loss in objective(model, system.blend, clip, torch.zeros(batch, dtype=torch.int64, device="meta")):
            loss.value.backward()

    return flops.Flops(*(part // batch for part in flops.count(step)))

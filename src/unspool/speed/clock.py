"""What measurements of speed share: the best matrix products of this process, quantiles, memory, and a trace to look into."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from unspool import store
from unspool.flops import matmul_rate
from unspool.train.run import hardware

SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
"""Of the square matrices whose products tell what a device can do."""


def best_rate(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of the best matrix product of this process, now."""
    return max(matmul_rate(dtype, device=device, size=side) for side in SIDES[device.type])


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which so large a share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: the middle one of the times, and those that 1 in 20 and 1 in 100 exceed."""
    return {f"p{share}_ms": 1e3 * quantile(seconds, share / 100) for share in (50, 95, 99)}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak(device: torch.device) -> int:
    """The most bytes so far: of a GPU what tensors took, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def traced(path: Path | None, device: torch.device) -> Iterator[None]:
    """What runs inside leaves a trace at `path`, for chrome://tracing or ui.perfetto.dev; nothing without a path."""
    if path is None:
        yield
        return
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        yield
    store.write_aside(path, lambda aside: profile.export_chrome_trace(str(aside)))


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures hold for. A load above that of this process means that they do not count."""
    return {**hardware(device), "torch": torch.__version__, "load": os.getloadavg()[0]}

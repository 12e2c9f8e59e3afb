"""How fast a model rolls out: chunk by chunk, from the first frame on, decoded."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unspool import noise as rng
from unspool.explain import explain_dict
from unspool.flops import synchronize
from unspool.noise import FrameNoise
from unspool.rollout import Chunk, Rollout, begin, stream
from unspool.schedule import Plan
from unspool.speed.clock import best_rate, machine, peak, quantiles, resident, traced
from unspool.system import System
from unspool.types import Controls


class Timed(NamedTuple):
    """A chunk, seconds it took with decoding, and the resident memory after it."""

    chunk: Chunk
    seconds: float
    resident: int


def rollout_of(system: System, plan: Plan, streams: int = 1) -> Rollout:
    """`streams` rollouts after max(2, redo) frames; the frames are noise, which takes as long as any others."""
    model, zero = system.model, torch.zeros(streams, dtype=torch.int64, device=system.device)
    context = FrameNoise(model.shape)(zero - 1, zero, max(2, plan.redo)).clamp(-1, 1)
    acted = actions_of(system)
    return begin(model, context, seed=0, redo=plan.redo, control=acted and acted(zero, context.shape[1]))


def actions_of(system: System) -> Controls | None:
    """Noise for actions as well, of each absolute frame its own, and nothing said; None for a model that takes none."""
    model = system.model

    def told(at: torch.Tensor, frames: int) -> torch.Tensor:
        frame = at[:, None] + torch.arange(frames, device=at.device)
        return torch.nn.functional.pad(rng.normal(rng.fold(frame, 7), model.controls), (0, model.prompts))

    return told if model.controls else None


@torch.inference_mode()
def walk(system: System, streams: int, frames: int, **options: Any) -> Iterator[Timed]:
    """Roll out `frames` frames, timing each chunk; the first one's time holds what begins a rollout."""
    plan, start = system.schedule.plan(), time.perf_counter()
    rollout = rollout_of(system, plan, streams)
    acted = actions_of(system)
    chunks = stream(system.model, system.blend, plan, rollout, frames=frames, solver=system.solver, controls=acted, **options)
    codec = rollout.codec
    while True:
        chunk = next(chunks, None)
        if chunk is None:
            return
        _, codec = system.codec.decode(chunk.frames, codec)
        synchronize(system.device)
        yield Timed(chunk, time.perf_counter() - start, resident())
        start = time.perf_counter()


def time_rollout(
    system: System, frames: int, streams: int = 1, trace: Path | None = None, report: Callable[[int], None] = lambda frame: None
) -> dict[str, Any]:
    """Frames a second, milliseconds a chunk and by part, time to the first frame, memory by frame; a trace of a few chunks,
    where a path for it is given.

    cold: the first rollout of this process. mfu: FLOP/s as a share of the best matrix product of the model's precision, the
    better of before and after.
    """
    device, dtype = system.device, next(system.model.parameters()).dtype
    before = best_rate(dtype, device)
    cold = next(walk(system, streams, 1)).seconds
    seconds: list[float] = []
    memory: dict[int, int] = {}
    shown = 0
    for timed in walk(system, streams, frames):
        shown += timed.chunk.frames.shape[1]
        seconds.append(timed.seconds)
        if shown >= 2 * max(memory, default=0):
            memory[shown] = timed.resident if device.type == "cpu" else peak(device)
        report(shown)
    warm, steady = seconds[0], seconds[1:] or seconds
    with traced(trace, device):
        if trace is not None:
            for _ in walk(system, streams, 3 * system.schedule.plan().hop):
                pass
    rate = max(before, best_rate(dtype, device))
    flops = explain_dict(system, measure=False)["flops"]["frame"] * streams
    pace = (shown - shown / len(seconds)) / sum(steady) if len(seconds) > 1 else shown / sum(steady)
    return {
        "parameters": sum(p.numel() for p in system.model.parameters()), "streams": streams, "frames": shown,
        "first_frame_cold_s": cold, "first_frame_s": warm, "frames_per_s": pace * streams, "frames_per_s_each": pace,
        **quantiles(steady), "flops_per_s": pace * flops, "matmul_flops_per_s": rate, "mfu": pace * flops / rate,
        "precision": str(dtype).removeprefix("torch."), "resident_bytes_by_frame": memory, "peak_bytes": peak(device),
        "parts_ms": components(system, frames), "machine": machine(device),
    }  # fmt: skip


def components(system: System, frames: int) -> dict[str, float]:
    """Milliseconds a chunk of one stream, by part; the clocks themselves cost a few microseconds a call."""
    spent: dict[str, float] = defaultdict(float)

    def clocked(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                synchronize(system.device)
                spent[part] += time.perf_counter() - start

        return call

    model, plan = system.model, system.schedule.plan()
    reader = clocked("prepare", model.reader)
    clocks: dict[str, Any] = {"reader": lambda *state: clocked("denoise", reader(*state))}
    clocks["remember"] = clocked("remember", model.remember)
    held = {key: model.__dict__.get(key) for key in clocks}
    source, decode = clocked("noise", FrameNoise(model.shape)), clocked("decode", system.codec.decode)
    try:
        for key, value in clocks.items():
            object.__setattr__(model, key, value)
        rollout = rollout_of(system, plan)
        chunks = stream(
            model, system.blend, plan, rollout, solver=system.solver, source=source, frames=max(frames, 2 * plan.hop),
            controls=actions_of(system),
        )  # fmt: skip
        codec, count = rollout.codec, 0
        with torch.inference_mode():
            next(chunks)
            spent.clear()
            begun = time.perf_counter()
            for chunk in chunks:
                _, codec = decode(chunk.frames, codec)
                count += 1
        whole = time.perf_counter() - begun
    finally:
        for key, value in held.items():
            object.__delattr__(model, key) if value is None else object.__setattr__(model, key, value)
    per = {part: 1e3 * spent[part] / count for part in ("noise", "prepare", "denoise", "remember", "decode")}
    return {**per, "rest": 1e3 * whole / count - sum(per.values()), "all": 1e3 * whole / count}

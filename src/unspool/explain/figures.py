"""The figures of a system: counted on shapes alone; only the clock needs the real model, for less than a second."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unspool import flops, store
from unspool.explain.check import check, memories, windows
from unspool.model import VideoModel, VideoTransformer
from unspool.model.wrapper import Wrapper
from unspool.schedule import Plan
from unspool.system import System
from unspool.train.run import flops_per_clip
from unspool.types import State

SHARE = 0.3
"""Share of the best matrix rate that a rollout is taken to reach: the goal that bench/speed.py measures against."""


@dataclass(frozen=True)
class _Verbs:
    """A model's verbs at batch 1 and in the shapes that a rollout of `plan` has."""

    model: VideoModel
    plan: Plan
    device: str

    def start(self) -> State:
        seed = torch.zeros(1, dtype=torch.int64, device=self.device)
        return self.model.start(1, seed=seed, device=self.device, dtype=torch.float32)

    def video(self, frames: int) -> Tensor:
        return torch.zeros(1, frames, *self.model.shape, device=self.device)

    @torch.no_grad()
    def denoise(self, state: State, frames: int | None = None) -> Tensor:
        level = self.plan.loop[:1, :frames].to(self.device)
        return self.model.denoise(self.video(level.shape[1]), level, state)

    @torch.no_grad()
    def prepare(self, state: State) -> Callable[..., Tensor]:
        return self.model.reader(state)

    @torch.no_grad()
    def remember(self, state: State, frames: int | None = None) -> State:
        return self.model.remember(self.video(self.plan.hop if frames is None else frames), state)


def explain_dict(system: System, name: str = "", *, batch: int = 16, fps: float = 30.0, measure: bool = True) -> dict[str, Any]:
    """All figures of a system. batch: clips of a training step; fps: of the videos; measure: also time this machine.

    Raises UserError for a system that cannot work, see `check`.
    """
    warnings = check(system)
    plan, model = system.schedule.plan(), system.model
    verbs = _Verbs(flops.on_meta(model), plan, "meta")
    state = verbs.start()
    per_step = _calls_per_step(system)
    calls = (len(plan.loop) - 1) * per_step
    first_calls = (len(plan.warmup) - 1) * per_step + calls
    tokens, columns = _anatomy(model, plan)
    both, remember = flops.count(lambda: verbs.denoise(state)), flops.count(lambda: verbs.remember(state))
    prepare = flops.count(lambda: verbs.prepare(state))  # once a chunk, however many calls follow
    denoise = flops.Flops(both.linear - prepare.linear, both.attention - prepare.attention)
    clip = flops_per_clip(system)
    decode = _decode_flops(system, plan.hop)
    frame = (calls * denoise.total + prepare.total + remember.total + decode) / plan.hop
    entering = Counter(plan.entering)  # how often so many frames are in flight before the loop
    opening = {width: flops.count(partial(verbs.denoise, state, width)).total - prepare.total for width in entering}
    first_flops = calls * denoise.total + prepare.total + sum(n * per_step * opening[width] for width, n in entering.items())
    kept = int(remember.total > 0)  # where nothing is kept, no network is called to remember
    window = max((memory.frames for memory in windows(model)), default=0)
    after = verbs.remember(verbs.remember(state, 2 * window + 8))
    figures = {
        "name": name,
        "levels": {
            "warmup": plan.warmup.tolist(), "loop": plan.loop.tolist(), "chunk": plan.chunk, "hop": plan.hop, "redo": plan.redo,
            "exist": list(plan.entering), "queued": plan.queued,
        },
        "mask": columns,
        "evaluations": {
            "solver_steps_per_chunk": len(plan.loop) - 1, "calls_per_step": per_step, "denoise_calls_per_chunk": calls,
            "remember_calls_per_chunk": kept, "frames_per_chunk": plan.hop, "calls_per_frame": (calls + kept) / plan.hop,
            "frames_per_call": plan.redo + plan.frames, "frames_computed": tokens["computed"],
            "tokens_per_frame": tokens["frame"],
            "token_forwards_per_frame": calls * tokens["flight"] / plan.hop + kept * tokens["frame"],
        },
        "latents": list(model.shape), "codec": type(system.codec).__name__,
        "codec_parameters": sum(p.numel() for _, p in system.codec.named_parameters()),
        "parameters": {
            "count": sum(p.numel() for p in model.parameters()),
            "bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        },
        "flops": {
            "denoise": denoise.total, "denoise_attention": denoise.attention, "prepare": prepare.total,
            "remember": remember.total, "decode": decode,
            "token_forward": denoise.total / tokens["flight"], "frame": frame,
            "training_clip": clip.total, "training_step": clip.total * batch, "batch": batch,
        },
        "state": {"bytes": store.size(state), "growth_bytes": store.size(after) - store.size(state)},
        "window": {
            "frames": window, "seconds": window / fps, "reach_frames": sum(memory.frames for memory in windows(model)),
            "newest": 0 if columns is None else columns["newest"], "anchor": 0 if columns is None else columns["anchor"],
            "in_front": 0 if columns is None else columns["context"], "overlap": plan.redo,
            "carried": list(dict.fromkeys(m.sight for m in memories(model) if m.keeps and m.sight)),
            "reach": system.reach, "clip_frames": system.frames, "clip_seconds": system.frames / fps, "fps": fps,
        },
        "first_frame": {"denoise_calls": first_calls, "flops": first_flops},
        "warnings": warnings,
    }  # fmt: skip
    if measure:
        figures["machine"] = _measure(model, plan, figures)
    return figures


def _calls_per_step(system: System) -> int:
    """How often the solver asks the network in one step: it is asked to make one."""
    calls = []

    def velocity(x: Tensor, level: Tensor) -> Tensor:
        calls.append(level)
        return x

    x, level = torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1)
    system.solver(velocity, system.blend, x, level, level / 2)
    return len(calls)


def _anatomy(model: VideoModel, plan: Plan) -> tuple[dict[str, int], dict[str, Any] | None]:
    """(tokens of a frame and of an evaluation, who sees whom); a model that is no transformer of frames counts frames, and
    who sees whom in a model around another is that one's affair."""
    flight = plan.redo + plan.frames
    if isinstance(model, Wrapper):
        inside, computed = _anatomy(model.model, plan)[0], model.evaluated(flight)
        return {**inside, **{name: computed * inside[name] // flight for name in ("flight", "computed")}}, None
    if not isinstance(model, VideoTransformer):
        return {"frame": 1, "flight": flight, "computed": flight}, None
    size, ahead = model.grid[0] * model.grid[1], model.context.frames
    order = model.order(flight)
    mask = {
        "window": max((memory.frames for memory in windows(model)), default=0), "context": ahead, "flight": flight,
        "newest": model.context.newest, "anchor": model.context.beside - model.context.newest,
        "sees": [[other <= mine for other in order] for mine in order],
    }  # fmt: skip
    return {"frame": size, "flight": (ahead + flight) * size, "computed": ahead + flight}, mask


def _decode_flops(system: System, frames: int) -> int:
    """Of the codec, for the frames of one chunk; a codec that is no module is counted on numbers."""
    codec = system.codec
    hollow = flops.on_meta(codec) if isinstance(codec, nn.Module) else codec
    latents = torch.zeros(1, frames, *system.model.shape, device="cpu" if hollow is codec else "meta")
    return flops.count(lambda: hollow.decode(latents, {})).total


def _measure(model: VideoModel, plan: Plan, figures: dict[str, Any]) -> dict[str, Any]:
    """What this machine would take: expected from its matrix rate, and timed on the model as it is where that is quick."""
    parameter = next(model.parameters())
    device, dtype = str(parameter.device), parameter.dtype
    rate = flops.matmul_rate(dtype, device=device)
    cost, calls = figures["flops"], figures["evaluations"]["denoise_calls_per_chunk"]
    told: dict[str, Any] = {
        "threads": torch.get_num_threads(), "load": os.getloadavg()[0], "dtype": str(dtype).removeprefix("torch."),
        "matmul_flops_per_second": rate, "share": SHARE,
        "expected": _pace(cost["denoise"] / rate / SHARE, cost["remember"] / rate / SHARE, calls, figures, plan),
    }  # fmt: skip
    if cost["denoise"] / rate < 0.1:
        verbs = _Verbs(model, plan, device)
        state = verbs.start()
        denoise, remember = (_timed(work, device) for work in (lambda: verbs.denoise(state), lambda: verbs.remember(state)))
        told["measured"] = _pace(denoise, remember, calls, figures, plan)
    return told


def _pace(denoise: float, remember: float, calls: int, figures: dict[str, Any], plan: Plan) -> dict[str, float]:
    return {
        "denoise_seconds": denoise, "remember_seconds": remember,
        "first_frame_seconds": figures["first_frame"]["denoise_calls"] * denoise,
        "frames_per_second": plan.hop / (calls * denoise + remember),
    }  # fmt: skip


def _timed(work: Callable[[], object], device: str, seconds: float = 0.3) -> float:
    """Median seconds of a call, the first ones not counted."""
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        work()
        flops.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[len(times[2:]) // 2]

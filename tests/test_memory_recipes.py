"""What the recipes that differ in memory leave to choose: every switch trains, rolls out, and changes what it says it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unspool import store
from unspool.data import Clips
from unspool.errors import UserError
from unspool.recipes import RECIPES
from unspool.rollout import begin, fork, stream
from unspool.system import System
from unspool.testing import assert_equal, draw, scale_weights
from unspool.train.options import TrainOptions
from unspool.train.trainer import Trainer
from unspool.training import write_samples
from unspool.types import Clip, Levels, State, Video

SWITCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "read late": ("rad", {"delay": 4, "window": 4}),
    "gradient of three frames": ("rad", {"horizon": 3}),
    "no gradient through the state": ("rad", {"horizon": 0}),
    "long prefixes": ("rad", {"prefix": 0.5}),
    "by chunks, with overlap": ("rad-chunkwise", {"window": 4}),
    "by chunks, read late": ("rad", {"chunk": 2, "delay": 2}),
    "noise on the frames": ("malt", {"noise_on": "frames", "forgotten": 0.0}),
    "gradient of two segments": ("malt", {"horizon": 2}),
    "frame by frame into the memory": ("malt", {"segment": 1}),
    "a sink": ("window", {"window": 3, "sink": 2}),
    "prefixes of the baseline": ("malt-nomemory", {"prefix": 1.0}),
}


def small(name: str, **more: Any) -> System:
    torch.manual_seed(0)
    return RECIPES[name](**{"frames": 10, **more}, size="nano", resolution=16, patch=8, components=0, steps=2, controls=2)


@pytest.mark.parametrize(("name", "more"), SWITCHES.values(), ids=SWITCHES.keys())
def test_a_switch_trains_and_rolls_out(name: str, more: dict[str, Any]) -> None:
    """Three steps reach every weight that has a use; a rollout under actions keeps its size, and saved or forked it goes on."""
    system = small(name, **more)
    trainer = Trainer(system, TrainOptions(steps=3, batch=2, lr=1e-3, warmup=0, bf16=False))
    scale_weights(trainer.model, 0.1)
    rng = np.random.default_rng(0)
    clips = Clips(rng.integers(0, 256, (2, 10, 16, 16, 3)).astype(np.uint8), rng.normal(size=(2, 10, 2)).astype(np.float32))
    dead = set(dict(system.model.named_parameters()))
    for _ in range(3):
        trainer.train_step(clips)
        dead -= {n for n, p in system.model.named_parameters() if p.grad is not None and p.grad.any()}
    idle = {n for n in dead if n.endswith(".told") and more.get("noise_on") == "frames"}  # no noise on the memory to be told of
    assert dead == idle, f"never had a gradient: {sorted(dead - idle)}"

    def act(at: torch.Tensor, frames: int) -> torch.Tensor:
        return torch.stack([(at[:, None] + torch.arange(frames)).sin(), torch.ones(len(at), frames)], -1)

    model, plan = system.model.eval(), system.schedule.plan()
    start = begin(model, torch.zeros(1, 2, *model.shape), seed=3, control=torch.zeros(1, 2, 2))
    chunks = list(stream(model, system.blend, plan, start, frames=24, controls=act))
    middle = chunks[len(chunks) // 2]
    assert store.size(middle.rollout.state) == store.size(start.state)
    again = list(stream(model, system.blend, plan, middle.rollout, frames=4, controls=act))
    rest = torch.cat([c.frames for c in chunks[len(chunks) // 2 + 1 :]], 1)
    assert_equal(torch.cat([c.frames for c in again], 1), rest[:, :4], "resumed")
    other = list(stream(model, system.blend, plan, fork(middle.rollout, 9), frames=4, controls=act))
    assert not torch.equal(other[0].frames, again[0].frames)


def phases(state: State) -> set[str]:
    """How many frames each rollout of a batch stands behind the newest segment of its memory, if there is one."""
    held = state["blocks"]["0"]["0"]
    empty = ~held["memory"].flatten(1).any(1)
    return {"no segment" if none else f"{count} behind" for none, count in zip(empty, held["count"].tolist(), strict=True)}


@pytest.mark.parametrize("more", [{}, {"chunk": 3}, {"segment": 3}, {"chunk": 1, "segment": 5}], ids=str)
def test_training_meets_every_phase_of_use(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """MALT: wherever a rollout begins, a clip of training had a flight as far behind its newest segment."""
    system = small("malt", **{"frames": 22, **more})
    model, trained, used = system.model, set[str](), set[str]()
    forward, control = model.forward, torch.zeros(32, 22, 2)

    def seen(clean: Video, x: Video, level: Levels, starts: tuple[int, ...], state: State, **told: Any):
        for start in starts:
            trained.update(phases(model.remember(clean[:, :start], state, control=control[:, :start])))
        return forward(clean, x, level, starts, state, **told)

    clip = Clip(draw(1, shape=(32, 22, *model.shape), dtype=torch.float32), control)
    monkeypatch.setattr(model, "forward", seen)
    with torch.no_grad():
        list(system.objective(model, system.blend, clip, torch.arange(32)))
    for context in range(2, 12):
        given = draw(2, shape=(1, context, *model.shape), dtype=torch.float32)
        begun = begin(model, given, seed=0, control=torch.zeros(1, context, 2))
        used |= phases(begun.state)
        for chunk in stream(
            model, system.blend, system.schedule.plan(), begun, frames=12, controls=lambda at, n: torch.zeros(1, n, 2)
        ):
            used |= phases(chunk.rollout.state)
    segment = more.get("segment", 4)
    assert used == {"no segment", *(f"{n} behind" for n in range(segment))}, "a use that is none"
    assert used <= trained, f"never trained: {sorted(used - trained)}"


def test_noise_on_the_memory_is_another_loss_than_none() -> None:
    losses = set()
    for noise, forgotten in ((0.0, 0.0), (0.9, 0.0), (0.0, 1.0)):
        system = small("malt", noise=noise, forgotten=forgotten, segment=1)
        trainer = Trainer(system, TrainOptions(steps=1, batch=2, bf16=False))
        scale_weights(trainer.model, 0.2)
        frames = np.random.default_rng(0).integers(0, 256, (2, 10, 16, 16, 3)).astype(np.uint8)
        clips = Clips(frames, np.zeros((2, 10, 2), np.float32))
        losses.add(float(next(trainer._losses(clips, torch.arange(2))).value.detach()))
    assert len(losses) == 3


def test_a_full_memory_says_where_it_ends() -> None:
    system = small("full", capacity=6)
    model = system.model
    rollout = begin(model, torch.zeros(1, 2, *model.shape), seed=0, control=torch.zeros(1, 2, 2))
    chunks = stream(
        model, system.blend, system.schedule.plan(), rollout, frames=5, controls=lambda at, frames: torch.zeros(1, frames, 2)
    )  # fmt: skip
    with pytest.raises(UserError, match="place for 6 frames and would hold 7"):
        list(chunks)


def test_samples_of_a_training_run_end_where_a_memory_is_full(tmp_path: Path) -> None:
    def source(indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> Clips:
        return Clips(np.zeros((len(indices), frames, 16, 16, 3), np.uint8), np.zeros((len(indices), frames, 2), np.float32))

    write_samples(small("full", capacity=12), source, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
    write_samples(small("full", capacity=2), source, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()

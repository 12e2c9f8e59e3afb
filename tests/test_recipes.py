"""What every recipe must do, as it stands in the list: all of it learns, it learns motion, and it goes on past its clips."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unspool import store
from unspool.codec import to_video
from unspool.data import Clips
from unspool.recipes import RECIPES
from unspool.rollout import begin, stream
from unspool.system import System
from unspool.train.checkpoints import Keeper
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks
from unspool.train.stages import Stages
from unspool.train.trainer import Trainer

CLIP = 10


def bars(indices: np.ndarray, frames: int, *, seed: int = 0) -> np.ndarray:
    """Clips (B, frames, 16, 16, 3): a bright bar on a grey ground moves right or left by two pixels a frame, for ever."""
    rng = [np.random.default_rng((seed, int(i))) for i in indices]
    start = np.array([r.integers(16) for r in rng])
    way = np.array([r.choice((-2, 2)) for r in rng])
    at = start[:, None] + way[:, None] * np.arange(frames)
    near = (np.arange(16) - at[..., None]) % 16 < 4  # (B, frames, 16)
    out = np.full((len(indices), frames, 16, 16, 3), 80, np.uint8)
    out[np.broadcast_to(near[:, :, None], out.shape[:-1])] = 230
    return out


def small(name: str, **more: Any) -> System:
    """The recipe with what any of them takes made small, and more of its settings; all else as it comes."""
    wanted = {"size": "nano", "resolution": 16, "patch": 4, "components": 0, "frames": CLIP, "steps": 4, "flight": 4,
              "window": 4, "reach": 0, "chunk": 4, "stages": 2, "chunks": 2}  # fmt: skip
    known = inspect.signature(RECIPES[name]).parameters
    wanted |= {"chunk": 2} if "chunks" in known else {}
    torch.manual_seed(0)
    return RECIPES[name](**{k: v for k, v in wanted.items() if k in known}, **more)


@pytest.mark.parametrize("name", RECIPES)
def test_a_hundred_steps_of_a_recipe(name: str) -> None:
    system = small(name)
    updates = system.objective.stages if isinstance(system.objective, Stages) else 1  # of a step
    options = TrainOptions(steps=100 // updates, batch=8, lr=3e-3, warmup=10, decay=0.5, ema=0.9, bf16=False)
    trainer = Trainer(system, options)
    dead = set(dict(system.model.named_parameters()))
    for step in range(options.steps):
        trainer.train_step(Clips(bars(np.arange(step * 8, step * 8 + 8), system.frames)))
        dead -= {n for n, p in system.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert not dead, f"never had a gradient: {sorted(dead)}"

    plan, in_front = system.schedule.plan(), getattr(getattr(system.model, "context", None), "frames", 0)
    length, first = 4 * CLIP, max(2, in_front, plan.redo)
    truth = to_video(bars(np.arange(16), first + length, seed=1))
    with trainer.averaged():
        rollout = begin(system.model.eval(), truth[:, :first], seed=0, redo=plan.redo)
        before = store.size(rollout.state)
        chunks = list(stream(system.model, system.blend, plan, rollout, frames=length, solver=system.solver))
    made, after = torch.cat([chunk.frames for chunk in chunks], 1), chunks[-1].rollout
    assert made.shape[1] == length and torch.isfinite(made).all()
    assert after is not None and store.size(after.state) == before
    near = made[:, :4], truth[:, first : first + 4], truth[:, first - 1 : first]
    wrong, frozen = (float((guess - near[1]).square().mean()) for guess in (near[0], near[2]))
    assert wrong < 0.85 * frozen, f"{wrong:.3f} against {frozen:.3f} of a frozen video"
    assert float(made[:, -8:].diff(dim=1).abs().mean()) > 0.02, "the video came to a stop"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_may_take_actions(name: str) -> None:
    """It learns from them, and the same frames under other actions are another loss."""
    system = small(name, controls=3)
    trainer = Trainer(system, TrainOptions(steps=6, batch=2, lr=3e-3, warmup=0, bf16=False))
    frames = bars(np.arange(2), system.frames)
    actions = np.random.default_rng(0).normal(size=(2, system.frames, 3)).astype(np.float32)
    for _ in range(6):
        trainer.train_step(Clips(frames, actions))
    heard = dict(system.model.named_parameters())["control.weight"].grad
    assert system.model.controls == 3 and heard is not None and heard.any()
    with torch.no_grad():
        losses = {float(next(trainer._losses(Clips(frames, told), torch.arange(2))).value) for told in (actions, -actions)}
    assert len(losses) == 2


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Through a checkpoint on disk: weights, averages, optimiser, and what the objective keeps."""

    def trainer() -> Trainer:
        return Trainer(small(name), TrainOptions(steps=3, batch=2, lr=3e-3, warmup=0, bf16=False))

    def walk(trained: Trainer, steps: int) -> Trainer:
        for _ in range(steps):
            at = 2 * trained.step
            trained.train_step(Clips(bars(np.arange(at, at + 2), trained.system.frames)))
        return trained

    whole, cut, resumed = walk(trainer(), 3), walk(trainer(), 2), trainer()
    with Keeper(tmp_path, Ranks()) as keeper:
        cut.save(keeper, {})
    resumed.load(tmp_path / "checkpoints" / "last")
    walk(resumed, 1)
    with whole.averaged(), resumed.averaged():
        got, expected = (dict(t.system.model.named_parameters()) for t in (resumed, whole))
        assert all(torch.equal(got[n], expected[n]) for n in expected)

"""Training on captions: every recipe that hears, what is left unsaid, a model that does what it is told, and exact resume."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unspool.data import Clips
from unspool.data.worlds.duel import Duel
from unspool.prompts import Telling, frame_by_frame
from unspool.recipes import RECIPES
from unspool.sampling import futures, start
from unspool.system import System
from unspool.text import Vocabulary, vocabulary_of
from unspool.train.checkpoints import Keeper
from unspool.train.clips import SILENT, hushed, to_clip
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks
from unspool.train.trainer import Trainer

HEARING = [name for name, recipe in RECIPES.items() if "text" in inspect.signature(recipe).parameters]
WORDS = Vocabulary(("bright", "dark", "it", "is"), 3)
OPTIONS: dict[str, Any] = {"batch": 8, "lr": 3e-3, "warmup": 5, "decay": 0.5, "ema": 0.9, "bf16": False}


def flicker(indices: np.ndarray, frames: int) -> Clips:
    """Clips (B, frames, 16, 16, 3), each frame bright or dark by chance: nothing but its caption tells which."""
    rng = [np.random.default_rng(int(i)) for i in indices]
    bright = np.stack([r.integers(2, size=frames) for r in rng])
    grain = np.stack([r.integers(30, size=(frames, 16, 16, 3)) for r in rng])
    pictures = (np.where(bright, 190, 40)[..., None, None, None] + grain).astype(np.uint8)
    return Clips(pictures, text=np.array(["it is dark", "it is bright"])[bright])


def small(name: str, **more: Any) -> System:
    wanted = {"size": "nano", "resolution": 16, "patch": 8, "components": 0, "frames": 10, "steps": 4, "flight": 4, "window": 4,
              "reach": 0, "chunk": 2, "chunks": 2, "text": WORDS, "own": 1, "context_noise": 0}  # fmt: skip
    known = inspect.signature(RECIPES[name]).parameters
    torch.manual_seed(0)
    return RECIPES[name](**{k: v for k, v in wanted.items() if k in known}, **more)


def walk(trainer: Trainer, steps: int) -> set[str]:
    """So many steps; the names of parameters that gradient never reached."""
    dead = set(dict(trainer.system.model.named_parameters()))
    for _ in range(steps):
        at = trainer.step * trainer.options.batch
        trainer.train_step(flicker(np.arange(at, at + trainer.options.batch), trainer.system.frames))
        dead -= {n for n, p in trainer.system.model.named_parameters() if p.grad is not None and p.grad.any()}
    return dead


@pytest.mark.parametrize("name", HEARING)
def test_every_recipe_that_takes_text_learns_from_it(name: str) -> None:
    """Gradient reaches all of it, encoder included, and other captions are another loss."""
    trainer = Trainer(small(name), TrainOptions(steps=8, **{**OPTIONS, "batch": 4}))
    dead = walk(trainer, 8)
    assert not dead, f"never had a gradient: {sorted(dead)}"
    clips, key = flicker(np.arange(4), trainer.system.frames), torch.arange(4)
    assert clips.text is not None
    with torch.no_grad():
        told = (clips, clips._replace(text=clips.text[::-1]), clips._replace(text=None))
        assert len({float(next(trainer._losses(one, key)).value) for one in told}) == 3


@pytest.mark.parametrize("name", ["progressive", "chunk-by-chunk"])
def test_it_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    options = TrainOptions(steps=4, **OPTIONS)
    whole, cut, resumed = (Trainer(small(name), options) for _ in range(3))
    walk(whole, 4)
    walk(cut, 2)
    with Keeper(tmp_path, Ranks()) as keeper:
        cut.save(keeper, {})
    resumed.load(tmp_path / "checkpoints" / "last")
    walk(resumed, 2)
    got, expected = (dict(t.system.model.named_parameters()) for t in (resumed, whole))
    assert all(torch.equal(got[n], expected[n]) for n in expected)


@pytest.mark.parametrize(("name", "steps"), [("progressive", 150), ("chunk-by-chunk", 80)])
def test_a_trained_model_does_what_it_is_told(name: str, steps: int) -> None:
    """Its loss is lower under the right captions than under shuffled ones or none, though most of it is grain that nobody can
    know; and its rollouts follow their prompts, not those of others."""
    more = {"predict": "clean", "channels": 0} if name == "chunk-by-chunk" else {}
    trainer = Trainer(small(name, **more), TrainOptions(steps=steps, **OPTIONS))
    walk(trainer, steps)
    clips, key = flicker(np.arange(1000, 1016), trainer.system.frames), torch.arange(16)
    assert clips.text is not None
    with torch.no_grad(), trainer.averaged():
        trainer.model.eval()
        shuffled = clips._replace(text=np.roll(clips.text, 1, 0))
        right, wrong, silent = (
            float(next(trainer._losses(told, key)).value) for told in (clips, shuffled, clips._replace(text=None))
        )
        assert right < 0.97 * min(wrong, silent), f"{right:.3f} right, {wrong:.3f} shuffled, {silent:.3f} silent"
        obeyed = [follows(trainer.system, seed) for seed in range(4)]
    own, others = (np.mean([seed[which] for seed in obeyed]) for which in (0, 1))
    assert own > 0.9 and 0.2 < others < 0.8, f"{own:.2f} of frames as told, {others:.2f} as others were told"


def follows(system: System, seed: int) -> tuple[float, float]:
    """Share of 40 frames that are as bright as was said, and as was said of another video."""
    clip, other = (flicker(np.array([5000 + s]), 44) for s in (seed, seed + 50))
    assert clip.text is not None and other.text is not None and system.text is not None
    telling = Telling(frame_by_frame(system.text, clip.text[0].tolist()))
    rollout = start(system, clip.frames[0, :4], 1, seed, script=telling.script)
    made = np.concatenate([part[0] for part, _ in futures(system, rollout, 40, telling=telling)])
    bright = made.mean((1, 2, 3)) > 127
    said, unsaid = ((told.text[0, 4:] == "it is bright") for told in (clip, other))
    return float((bright == said).mean()), float((bright == unsaid).mean())


def test_some_clips_are_left_unsaid_by_their_key_alone() -> None:
    """All of a clip or nothing; actions stay; neither batch nor order matters."""
    system = small("progressive", controls=2)
    clips = flicker(np.arange(400), 2)._replace(actions=np.ones((400, 2, 2), np.float32))
    clip, key = to_clip(system, clips), torch.arange(400)
    assert clip.control is not None and clip.control.shape == (400, 2, 5)
    got = hushed(clip, system.text, key, SILENT).control
    assert got is not None
    spoken = got[..., 2:].flatten(1).any(1)
    assert torch.equal(got[spoken], clip.control[spoken]) and not got[~spoken][..., 2:].any() and got[..., :2].all()
    assert 0.05 < float((~spoken).float().mean()) < 0.16
    part = hushed(clip.rows(slice(100, 200)), system.text, key[100:200], SILENT).control
    assert part is not None and torch.equal(part, got[100:200])
    assert hushed(clip, system.text, key, 0.0) is clip and hushed(clip, None, key, SILENT) is clip


def test_captions_of_duel_are_what_its_clips_show() -> None:
    """Frame by frame from exact state, behind anchors too, and the same however many are asked for."""
    world = Duel(size=32, speed=0.5)
    clips = world(np.arange(5), 12, anchor=2, reach=30)
    assert clips.text is not None and clips.text.shape == (5, 14)
    (plain,) = world.captions(world.simulate(world.seeds(np.array([3])), 42))
    assert clips.text[3, 2:].tolist() == plain[30:]
    again = world(np.array([3]), 12, anchor=2, reach=30)
    assert again.text is not None and np.array_equal(again.text[0], clips.text[3])
    said = {word for caption in clips.text.ravel() for word in caption.replace(",", "").split()}
    assert said <= {*vocabulary_of(world.wording()).words}

"""The story in one file gives the library's numbers: same weights, same velocities, same levels, same noise, same video."""

from __future__ import annotations

import sys
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unspool import noise as rng
from unspool.blend import AlphaBlend
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.noise import FrameNoise
from unspool.rollout import begin, stream
from unspool.schedule import Staircase

PATH = Path(__file__).parents[2] / "examples" / "one_file.py"
spec = spec_from_file_location("one_file", PATH)
assert spec is not None and spec.loader is not None
one = module_from_spec(spec)
sys.modules["one_file"] = one
spec.loader.exec_module(one)

WIDTH, DEPTH, HEADS, CHUNK, WINDOW = 48, 2, 2, 2, 5
SHAPE = (3, one.SIZE, one.SIZE)


def close(ours: Tensor, theirs: Tensor) -> None:
    """Within 1e-5 of the library's root mean square."""
    assert ours.shape == theirs.shape
    error = (ours - theirs).abs().max() / theirs.square().mean().sqrt()
    assert error <= 1e-5, f"apart by {error:.1e} of the root mean square"


def frames(key: int, *shape: int) -> Tensor:
    return 0.7 * rng.normal(torch.tensor(key), *shape, *SHAPE)


@pytest.fixture(scope="module")
def models():
    """(one file's, the library's) with the same weights, so large that gates and memories carry the output."""
    ours = one.VideoTransformer(WIDTH, DEPTH, HEADS, CHUNK, WINDOW)
    with torch.no_grad():
        for i, (name, p) in enumerate(ours.named_parameters()):
            scale = 0.3 if p.dim() != 2 else 1.5 * p.shape[1] ** -0.5
            p.copy_(scale * rng.normal(rng.fold(torch.tensor(1), i), *p.shape) + float(".norm_" in name))
    theirs = VideoTransformer(
        SHAPE, patch=one.PATCH, width=WIDTH, depth=DEPTH, chunk=CHUNK, memories=lambda: [Window(WIDTH, HEADS, WINDOW)]
    )
    theirs.load_state_dict(ours.state_dict(), strict=True)  # the names are the library's
    return ours.eval(), theirs.eval()


def start(model: VideoTransformer, seed: Tensor):
    return model.start(len(seed), seed=seed, device="cpu", dtype=torch.float32)


# -- the model ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("past", [0, 2, 4, 5, 9])
def test_denoise_behind_a_cache(models, past: int) -> None:
    """An empty, a young, a full and an overflowing cache; a flight of two chunks at levels of their own."""
    ours, theirs = models
    seed, clean, x = torch.arange(2), frames(2, 2, past), frames(3, 2, 4)
    level = torch.tensor([[0.2, 0.3, 0.8, 1.0], [0.0, 0.01, 0.6, 0.5]])
    state = ours.remember(clean, ours.start(seed)) if past else ours.start(seed)
    close(ours.denoise(x, level, state), theirs.denoise(x, level, theirs.remember(clean, start(theirs, seed))))


@torch.no_grad()
def test_the_past_matters(models) -> None:
    """Or the comparisons above would pass with broken memories."""
    ours, _ = models
    seed, x, level = torch.arange(1), frames(3, 1, 2), torch.full((1, 2), 0.7)
    velocity = [ours.denoise(x, level, ours.remember(frames(k, 1, 4), ours.start(seed))) for k in (4, 5)]
    assert (velocity[0] - velocity[1]).square().mean() > 0.01 * velocity[0].square().mean()


@torch.no_grad()
def test_caches_are_the_same_and_roll(models) -> None:
    ours, theirs = models
    seed, clean = torch.arange(2), frames(6, 2, 9)
    mine, state = ours.start(seed), start(theirs, seed)
    for first, last in ((0, 1), (1, 4), (4, 6), (6, 9)):
        mine, state = ours.remember(clean[:, first:last], mine), theirs.remember(clean[:, first:last], state)
        for b in range(DEPTH):
            cache, kept = mine["cache"][b], min(last, WINDOW)
            assert cache.shape[3] == kept
            close(cache[0], state["blocks"][str(b)]["0"]["k"][:, :, WINDOW - kept :])
            close(cache[1], state["blocks"][str(b)]["0"]["v"][:, :, WINDOW - kept :])
        assert mine["at"] == last == int(state["at"][0])


@pytest.mark.parametrize("starts", [(2, 4, 6), (0, 3), (8,)])
def test_training_pass_and_its_gradient(models, starts: tuple[int, ...]) -> None:
    """One pass over both streams: the velocities of `forward`, and the same gradient in every weight."""
    ours, theirs = models
    clean, x = frames(7, 2, max(starts)), frames(8, 2, len(starts), 2 * CHUNK)
    level = rng.uniform(torch.tensor(9), 2, len(starts), 2 * CHUNK)
    told = 0.2 * rng.uniform(torch.tensor(10), 2, max(starts))
    mine = ours(clean, x, level, starts, told)
    other, _ = theirs(clean, x, level, starts, context_level=told)
    close(mine, other)
    weights = dict(theirs.named_parameters())
    grads = torch.autograd.grad(mine.square().mean(), list(ours.parameters()), allow_unused=True)
    others = torch.autograd.grad(other.square().mean(), [weights[n] for n, _ in ours.named_parameters()], allow_unused=True)
    for a, b in zip(grads, others, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * b.square().mean().sqrt().item() + 1e-9)


# -- levels and noise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "chunk", "lag", "chunks"),
    [
        (8, 4, 1, None),
        (1, 1, 1, None),
        (8, 1, Fraction(1, 4), None),
        (8, 2, Fraction(3, 8), None),
        (49, 1, Fraction(1, 49), None),
        (6, 1, 0, 5),
        (8, 2, Fraction(1, 4), 2),
        (8, 1, Fraction(1, 2), 6),
    ],
)
def test_levels(steps: int, chunk: int, lag: Fraction, chunks: int | None) -> None:
    ours, theirs = one.staircase(steps, chunk, lag, chunks), Staircase(steps, chunk, lag, chunks).plan()
    assert torch.equal(ours.warmup, theirs.warmup) and torch.equal(ours.loop, theirs.loop)
    assert ours.hop == theirs.hop and theirs.redo == 0


def test_noise_bit_for_bit() -> None:
    seed = torch.tensor([0, 7, -3, 2**40])
    for at in (0, 5, 100_000):
        theirs = FrameNoise(SHAPE)(seed, torch.full_like(seed, at), 3)
        assert torch.equal(one.noise(seed, at, 3), theirs)


# -- the loop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lag", "chunks"), [(1, None), (Fraction(1, 2), None), (0, 3), (Fraction(1, 4), 2)], ids=["chunks", "half", "full", "short"]
)
def test_the_streamed_video_is_the_library_s(models, lag: Fraction | int, chunks: int | None) -> None:
    """Three seeds, two frames of context, 24 frames: far past the window."""
    ours, theirs = models
    context, seed, count = frames(11, 1, 2).expand(3, -1, -1, -1, -1), torch.tensor([4, 5, 6]), 24
    plan = one.staircase(4, CHUNK, lag, chunks)
    mine = islice(one.stream(ours, plan, one.begin(ours, context, seed)), count // plan.hop)
    rollout = begin(theirs, context, seed=seed)
    other = stream(theirs, AlphaBlend(), Staircase(4, CHUNK, lag, chunks).plan(), rollout, frames=count)
    video = torch.cat([clean for clean, _ in mine], 1)
    close(video, torch.cat([chunk.frames for chunk in other], 1))
    assert (video[0] - video[1]).square().mean() > 0.01 * video.square().mean()  # seeds part


@torch.no_grad()
def test_a_rollout_is_a_value_of_constant_size(models) -> None:
    ours, _ = models
    plan = one.staircase(4, CHUNK, Fraction(1, 2))
    run = list(islice(one.stream(ours, plan, one.begin(ours, frames(11, 1, 2), torch.tensor([4]))), 12))
    sizes = {rollout.state["cache"][0].numel() for _, rollout in run[2:]}
    assert len(sizes) == 1
    again = list(islice(one.stream(ours, plan, run[5][1]), 6))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(again, run[6:], strict=True))


# -- the world and the whole --------------------------------------------------------------------------------------------------


def test_world_moves_and_bounces() -> None:
    torch.manual_seed(0)
    clip = one.world(16, 40)
    assert clip.shape == (16, 40, *SHAPE) and clip.min() >= -1 and clip.max() <= 1
    lit = (clip.amax(2) > -0.5).float()
    assert (lit.sum((2, 3)) > 20).all()  # no propeller ever leaves
    assert ((clip[:, 1:] - clip[:, :-1]).abs().amax((2, 3, 4)) > 0.05).float().mean() > 0.95


def test_learns(capsys: pytest.CaptureFixture[str]) -> None:
    """Thirty steps of a tiny model leave half of what a blank answer costs."""
    torch.manual_seed(0)
    model = one.VideoTransformer(48, 1, 2, CHUNK, 4)
    blank = one.loss(model, one.world(16, 6)).item()
    one.train(model, 30, batch=4, frames=6)
    assert "step 30/30" in capsys.readouterr().out
    assert one.loss(model, one.world(16, 6)).item() < 0.5 * blank


def test_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    model = one.VideoTransformer(WIDTH, 1, HEADS, CHUNK, WINDOW)
    nn.init.normal_(model.leave.bias)
    monkeypatch.setattr(one, "VideoTransformer", lambda: model)
    monkeypatch.setattr(one, "train", lambda model, steps: None)
    one.main(steps=1, frames=21, out=str(tmp_path / "a"))
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames > 1 and gif.size == (4 * 3 * one.SIZE, 4 * one.SIZE)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (4 * 2 * one.SIZE, 4 * 3 * one.SIZE)  # frames 0 and 20 of three futures

"""The story in one file gives the library's numbers: same weights, same velocities, same levels, same noise, same video."""

from __future__ import annotations

import sys
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unspool import noise as rng
from unspool.blend import AlphaBlend
from unspool.context import Channels
from unspool.laws import Independent
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.noise import FrameNoise
from unspool.rollout import begin, stream
from unspool.schedule import Staircase
from unspool.train.objectives import TeacherForcing
from unspool.types import Clip

PATH = Path(__file__).parents[2] / "examples" / "one_file.py"
spec = spec_from_file_location("one_file", PATH)
assert spec is not None and spec.loader is not None
one = module_from_spec(spec)
sys.modules["one_file"] = one
spec.loader.exec_module(one)

WIDTH, DEPTH, HEADS = 48, 2, 2
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
    """(one file's, the library's) with the same weights, so large that gates and attention carry the output."""
    ours = one.VideoTransformer(WIDTH, DEPTH, HEADS)
    with torch.no_grad():
        for i, (name, p) in enumerate(ours.named_parameters()):
            scale = 0.3 if p.dim() != 2 else 1.5 * p.shape[1] ** -0.5
            p.copy_(scale * rng.normal(rng.fold(torch.tensor(1), i), *p.shape) + float(".norm_" in name))
    theirs = VideoTransformer(
        SHAPE, patch=one.PATCH, width=WIDTH, memories=[[Window(WIDTH, HEADS, 0)] for _ in range(DEPTH)], context=Channels(2, 1)
    )
    theirs.load_state_dict(ours.state_dict(), strict=True)  # the names are the library's
    return ours.eval(), theirs.eval()


def start(model: VideoTransformer, seed: Tensor):
    return model.start(len(seed), seed=seed, device="cpu", dtype=torch.float32)


# -- the model ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("past", [0, 1, 2, 3, 9])
def test_denoise_behind_a_state(models, past: int) -> None:
    """Behind nothing, less than the channels hold, and more; a flight of three frames at levels of their own."""
    ours, theirs = models
    seed, clean, x = torch.arange(2), frames(2, 2, past), frames(3, 2, 3)
    level = torch.tensor([[0.2, 0.3, 1.0], [0.0, 0.01, 0.6]])
    state = ours.remember(clean, ours.start(seed)) if past else ours.start(seed)
    close(ours.denoise(x, level, state), theirs.denoise(x, level, theirs.remember(clean, start(theirs, seed))))


@torch.no_grad()
@pytest.mark.parametrize("place", [0, 3, 4], ids=["first", "newest but one", "newest"])
def test_the_past_matters(models, place: int) -> None:
    """Or the comparisons above would pass with a broken state; frames that are neither first nor newest do not."""
    ours, _ = models
    x, level, clean = frames(3, 1, 2), torch.full((1, 2), 0.7), frames(4, 1, 5)

    def velocity(at: int) -> Tensor:
        changed = clean.clone()
        changed[:, at] = frames(5, 1)
        return ours.denoise(x, level, ours.remember(changed, ours.start(torch.arange(1))))

    base = ours.denoise(x, level, ours.remember(clean, ours.start(torch.arange(1))))
    assert (velocity(place) - base).square().mean() > 0.01 * base.square().mean()
    assert torch.equal(velocity(1), base) and torch.equal(velocity(2), base)


@torch.no_grad()
def test_a_flight_is_seen_up_to_its_own_frame(models) -> None:
    ours, _ = models
    x, level, state = frames(3, 1, 3), torch.full((1, 3), 0.7), ours.remember(frames(4, 1, 2), ours.start(torch.arange(1)))
    base, changed = ours.denoise(x, level, state), x.clone()
    changed[:, 1] = frames(5, 1)
    parted = (ours.denoise(changed, level, state) - base).square().mean((0, 2, 3, 4)) / base.square().mean()
    assert parted[0] < 1e-10 and parted[2] > 1e-4


@torch.no_grad()
def test_the_state_is_the_library_s_and_a_value(models) -> None:
    ours, theirs = models
    seed, clean = torch.arange(2), frames(6, 2, 9)
    mine, state, empty = ours.start(seed), start(theirs, seed), ours.start(seed)
    passed = [mine]
    for first, last in ((0, 1), (1, 2), (2, 6), (6, 9)):
        mine, state = ours.remember(clean[:, first:last], mine), theirs.remember(clean[:, first:last], state)
        passed.append(mine)
        assert torch.equal(mine["beside"][:, :1], state["context"]["first"])
        assert torch.equal(mine["beside"][:, 1:], state["context"]["last"])
        assert torch.equal(mine["beside"].flatten(1, 2)[:, None], theirs.context.channels(state["context"]))
        assert mine["at"] == last == int(state["at"][0]) and torch.equal(mine["seed"], seed)
    assert passed[0]["at"] == 0 and torch.equal(passed[0]["beside"], empty["beside"])  # what was handed in is as it was


# -- training -------------------------------------------------------------------------------------------------------------


def same_gradients(models, mine: Tensor, other: Tensor) -> None:
    ours, theirs = models
    weights = dict(theirs.named_parameters())
    grads = torch.autograd.grad(mine, list(ours.parameters()))
    others = torch.autograd.grad(other, [weights[n] for n, _ in ours.named_parameters()])
    for a, b in zip(grads, others, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * b.square().mean().sqrt().item() + 1e-9)


@pytest.mark.parametrize("own", [False, True], ids=["true past", "another past"])
def test_loss_and_its_gradient_are_those_of_the_parallel_pass(models, own: bool) -> None:
    """One batch of flights of one frame: the velocities of `forward`, their error, and the same gradient in every weight."""
    ours, theirs = models
    first, clip, eps = frames(6, 2, 1), frames(7, 2, 6), frames(8, 2, 4)
    past = frames(9, 2, 6) if own else clip
    level = 0.1 + 0.9 * rng.uniform(torch.tensor(10), 2, 4)
    mine, guess = one.denoising(ours, first, clip, past, level, eps)
    x, state = AlphaBlend().blend(clip[:, 2:], eps, level), theirs.anchored(first, start(theirs, torch.arange(2)))
    velocity = theirs(past[:, :-1], x[:, :, None], level[:, :, None], (2, 3, 4, 5), state)[0][:, :, 0]
    other = (velocity - AlphaBlend().target(clip[:, 2:], eps, level)).square().mean()
    close(mine, other)
    close(guess, AlphaBlend().clean(x, velocity, level))
    same_gradients(models, mine, other)


@pytest.mark.parametrize("late", [False, True], ids=["from the beginning", "long after it"])
def test_loss_is_that_of_teacher_forcing(models, late: bool) -> None:
    """The library's objective, with the noise and the levels that its key means."""
    ours, theirs = models
    clip, key = frames(7, 2, 6), torch.tensor([3, 4])
    first = frames(6, 2, 1) if late else clip[:, :1]
    sample = Clip(clip, first=first if late else None)
    (other,) = (item.value for item in TeacherForcing(1, 2)(theirs, AlphaBlend(), sample, key))
    eps = rng.normal(rng.fold(key, 1), 4, 1, *SHAPE)[:, :, 0]
    mine, _ = one.denoising(ours, first, clip, clip, Independent()(rng.fold(key, 2), 4), eps)
    close(mine, other)
    same_gradients(models, mine, other)


def test_the_past_is_in_part_the_model_s_own(models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some frames of the past are guesses, made without gradient, the second time behind guesses; the first two never."""
    ours, _ = models
    calls, denoising = [], one.denoising

    def spy(model, first: Tensor, clip: Tensor, past: Tensor, level: Tensor, eps: Tensor):
        calls.append((past, level, denoising(model, first, clip, past, level, eps)))
        return calls[-1][2]

    monkeypatch.setattr(one, "denoising", spy)
    torch.manual_seed(0)
    clip = one.world(32, 6)
    value = one.loss(ours, clip[:, :1], clip)
    assert torch.equal(calls[0][0], clip) and value is calls[2][2][0] and value.requires_grad
    for (_, high, (_, guess)), (past, level, _) in pairwise(calls):
        assert torch.equal(past[:, :2], clip[:, :2]) and not guess.requires_grad
        own, true = ((past[:, 2:] == t).flatten(2).all(2) for t in (guess, clip[:, 2:]))
        assert (own ^ true).all() and 0.3 < own.float().mean() < 0.7
        assert level.min() > 0.05 and high.min() >= 0.3 and max(level.max(), high.max()) <= 1  # within the clamp


# -- levels and noise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "lag", "count"),
    [
        (8, 1, None),
        (1, 1, None),
        (8, Fraction(1, 4), None),
        (8, Fraction(3, 8), None),
        (49, Fraction(1, 49), None),
        (6, 0, 5),
        (8, Fraction(1, 4), 2),
        (8, Fraction(1, 2), 6),
    ],
)
def test_levels(steps: int, lag: Fraction, count: int | None) -> None:
    (levels, hop, again), theirs = one.staircase(steps, lag, count), Staircase(steps, 1, lag, count).plan()
    assert torch.equal(levels[: again + 1], theirs.warmup) and torch.equal(levels[again:], theirs.loop)
    assert hop == theirs.hop and theirs.redo == 0


def test_a_lag_must_be_a_whole_number_of_steps() -> None:
    with pytest.raises(AssertionError, match="whole number"):
        one.staircase(8, Fraction(1, 3))


def test_noise_bit_for_bit() -> None:
    seed = torch.tensor([0, 7, -3, 2**40])
    for at in (0, 5, 100_000):
        theirs = FrameNoise(SHAPE)(seed, torch.full_like(seed, at), 3)
        assert torch.equal(one.noise(seed, at, 3), theirs)


# -- the loop -------------------------------------------------------------------------------------------------------------


def behind(model, context: Tensor, seed: Tensor):
    """One file's rollout behind these frames."""
    return model.remember(context, model.start(seed)), context[:, :0]


@pytest.mark.parametrize(
    ("lag", "count"),
    [(1, None), (Fraction(1, 2), None), (Fraction(1, 4), None), (0, 3), (Fraction(1, 4), 2)],
    ids=["frames", "half", "quarter", "full", "short"],
)
def test_the_streamed_video_is_the_library_s(models, lag: Fraction | int, count: int | None) -> None:
    """Three seeds, two frames of context, 24 frames: far past what is beside them."""
    ours, theirs = models
    context, seed, length = frames(11, 1, 2).expand(3, -1, -1, -1, -1), torch.tensor([4, 5, 6]), 24
    plan = one.staircase(4, lag, count)
    mine = islice(one.stream(ours, plan, behind(ours, context, seed)), length // plan[1])
    rollout = begin(theirs, context, seed=seed)
    other = stream(theirs, AlphaBlend(), Staircase(4, 1, lag, count).plan(), rollout, frames=length)
    video = torch.cat([clean for clean, _ in mine], 1)
    close(video, torch.cat([chunk.frames for chunk in other], 1))
    assert (video[0] - video[1]).square().mean() > 1e-3 * video.square().mean()  # seeds part, far beyond `close`


@torch.no_grad()
def test_a_rollout_is_a_value_of_constant_size(models) -> None:
    ours, _ = models
    plan = one.staircase(4, Fraction(1, 2))
    run = list(islice(one.stream(ours, plan, behind(ours, frames(11, 1, 2), torch.tensor([4]))), 12))
    assert len({(state["beside"].shape, window.shape) for _, (state, window) in run}) == 1
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
    model = one.VideoTransformer(48, 1, 2)
    held = one.world(16, 6)
    blank = one.loss(model, held[:, :1], held).item()
    one.train(model, 30, batch=4, frames=6)
    assert "step 30/30" in capsys.readouterr().out
    assert one.loss(model, held[:, :1], held).item() < 0.5 * blank


def test_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    model = one.VideoTransformer(WIDTH, 1, HEADS)
    nn.init.normal_(model.leave.bias)
    monkeypatch.setattr(one, "VideoTransformer", lambda: model)
    monkeypatch.setattr(one, "train", lambda model, steps: None)
    one.main(steps=1, frames=39, out=str(tmp_path / "a"))
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames > 1 and gif.size == (4 * 3 * one.SIZE, 4 * one.SIZE)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (4 * 3 * one.SIZE, 4 * 3 * one.SIZE)  # frames 0, 20 and 40 of three futures

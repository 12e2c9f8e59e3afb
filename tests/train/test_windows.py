"""Training on windows that grow and shrink: what is absent counts for nothing, and equals clips without it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unspool import noise as rng
from unspool.blend import AlphaBlend
from unspool.context import Tokens
from unspool.errors import UserError
from unspool.laws import Independent, Ramp
from unspool.model import VideoModel
from unspool.testing import SHAPE, assert_close, assert_equal, error, nano, video
from unspool.train.objectives import ByContext, DiffusionForcing, TeacherForcing
from unspool.train.windows import Windows
from unspool.types import Clip, Video

KEY = torch.arange(8) * 1000
LAW = Ramp(2, start=0.4, finish=0.3)


def progressive(**options: Any) -> VideoModel:
    return nano(chunk=8, context=Tokens(2, joined=True), window=0, **options)


def loss(objective: Any, model: VideoModel, frames: Video, key: Tensor, control: Tensor | None = None) -> Tensor:
    (only,) = objective(model, AlphaBlend(), Clip(frames, control), key)
    assert only.of == "model" and not only.logs["loss"].requires_grad
    return only.value


def by_hand(objective: Windows, model: VideoModel, frames: Video, key: Tensor, control: Tensor | None = None) -> Tensor:
    """Clip by clip through `remember` and `denoise`, each window cut to the frames that it has."""
    errors = []
    for b in range(len(frames)):
        drawn = objective.law.windows(rng.fold(key[b : b + 1], 2), frames.shape[1] - objective.first)
        here = int(drawn.present.sum())
        bare = bool(drawn.opening) and float(rng.uniform(rng.fold(key[b : b + 1], 5), 1)) < objective.bare
        before = int(objective.before(drawn.opening, key[b : b + 1]))
        assert before == 0 if bare else before > 0 or not objective.first
        clean = frames[b : b + 1, objective.first - before : objective.first]
        target = frames[b : b + 1, objective.first :][:, :here]
        noise = rng.normal(rng.fold(key[b : b + 1], 1), frames.shape[1] - objective.first, *SHAPE)[:, :here]
        level = drawn.level[:, :here].double()
        state = model.start(1, seed=key[b : b + 1], device="cpu", dtype=torch.float64)
        told = None if control is None else control[b : b + 1, objective.first :][:, :here]
        if not bare:
            past = None if control is None else control[b : b + 1, objective.first - before : objective.first]
            state = model.remember(clean, state, control=past)
        x = AlphaBlend().blend(target, noise, level)
        velocity = model.denoise(x, level, state, control=told)
        square = (velocity - (noise - target)).square().mean((-1, -2, -3))
        errors.append(square[level > 0])
    return torch.cat(errors).mean()


@pytest.mark.parametrize("controls", [0, 3])
@pytest.mark.parametrize("bare", [0.0, 0.5])
@pytest.mark.parametrize(
    ("first", "law"),
    [
        (2, LAW), (2, Ramp(2, start=0.5, ahead=True)), (2, Ramp(3, 2)), (2, Ramp(2, brief=0.7)),
        (4, Ramp(1, start=0.5, brief=0.2)),
    ],
)  # fmt: skip
def test_windows_are_the_loop_by_hand(first: int, law: Ramp, bare: float, controls: int) -> None:
    model = nano(chunk=8, context=Tokens(first, joined=True), window=0, std=0.15, controls=controls)
    frames = video(8, 8)
    control = rng.normal(torch.tensor(3), 8, 8, 3).double() if controls else None
    objective = Windows(first, law, bare)
    got = loss(objective, model, frames, KEY, control)
    assert error(got, by_hand(objective, model, frames, KEY, control)) < 1e-6
    if bare and law.start + law.brief:
        assert error(got, loss(Windows(first, law), model, frames, KEY, control)) > 1e-5


def test_a_rollout_from_nothing_stands_behind_ever_more_clean_frames() -> None:
    """Of those that begin, a share has nothing before it; as many others have 1 .. all but one of the clean chunks."""
    objective, key = Windows(6, Ramp(2, start=0.2, finish=0.2, brief=0.1), 0.5), torch.arange(20_000)
    opening = objective.law.windows(rng.fold(key, 2), 8).opening
    before = objective.before(opening, key)
    shares = {held: float((before == held).double().mean()) for held in (0, 2, 4, 6)}
    assert shares[0] == pytest.approx(0.5 * 0.3, abs=0.01) and sum(shares.values()) == pytest.approx(1)
    assert shares[2] == pytest.approx(shares[4], abs=0.01) and shares[2] == pytest.approx(0.5 * 0.3 * 0.7 / 2, abs=0.01)
    assert not (opening & (before != 0) & (before != 6)).any()
    assert (Windows(2, objective.law, 0.5).before(opening, key)[~opening] == 2).all(), "one clean chunk is there or not"


def test_what_is_absent_counts_for_nothing() -> None:
    """By gradient: only frames of the window, and the clean ones in front of it, move the loss."""
    model, frames = progressive(std=0.15), video(8, 8).requires_grad_()
    objective = Windows(2, LAW, 0.5)
    (grad,) = torch.autograd.grad(loss(objective, model, frames, KEY), frames)
    drawn = LAW.windows(rng.fold(KEY, 2), 6)
    moved = grad.flatten(2).any(2)
    assert_equal(moved[:, 2:].double(), drawn.present.double())
    bare = drawn.opening & (rng.uniform(rng.fold(KEY, 5), 1)[:, 0] < 0.5)
    assert bare.any() and not bare.all()
    assert_equal(moved[:, :2].double(), (~bare)[:, None].expand(-1, 2).double())


@pytest.mark.parametrize("objective", [Windows(2, LAW, 0.5), Windows(0, Ramp(1, start=0.3, ahead=True))])
def test_each_clip_has_its_own_randomness(objective: Windows) -> None:
    model, frames, order = progressive(std=0.1), video(8, 8), torch.tensor([2, 0, 3, 1, 7, 6, 4, 5])
    whole = loss(objective, model, frames, KEY)
    assert_close(loss(objective, model, frames[order], KEY[order]), whole)
    assert error(loss(objective, model, frames, KEY + 1), whole) > 1e-4


def test_gradient_reaches_every_parameter() -> None:
    model = progressive(dtype=torch.float32, std=0.1, predict="velocity").requires_grad_(True)
    loss(Windows(2, LAW, 0.5), model, video(8, 8, dtype=torch.float32), KEY).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_clips_that_are_too_short_are_refused() -> None:
    with pytest.raises(UserError, match="clips of 8 frames"):
        loss(Windows(8, LAW), progressive(), video(8, 8), KEY)


# -- weights by context ---------------------------------------------------------------------------------------------------


def test_weights_by_context_the_slow_way() -> None:
    before, level = torch.rand(2, 3), torch.rand(2, 4)
    got = ByContext(2.0, 0.5)(before, level)
    for b in range(2):
        whole = [*before[b].tolist(), *level[b].tolist()]
        for f in range(4):
            past = [(0.5 ** (age - 1), whole[3 + f - age]) for age in range(1, 3 + f + 1)]
            hidden = sum(w * x for w, x in past) / sum(w for w, _ in past)
            assert float(got[b, f]) == pytest.approx(1 / (1 + 2 * hidden), rel=1e-5)
    assert_equal(ByContext()(before[:, :0], level)[:, 0], torch.ones(2))
    assert_equal(ByContext()(torch.zeros(2, 3), torch.zeros(2, 4)), torch.ones(2, 4))


@pytest.mark.parametrize("objective", [TeacherForcing, DiffusionForcing])
def test_weights_enter_the_loss(objective: Any) -> None:
    """Equal weights change nothing, whatever they are; those by context do; so does noise on the history of a chunk."""
    model, frames = nano(std=0.1), video(8, 8)
    told = {"first": 2, "law": Independent(2)} | ({"chunk": 2, "context_noise": 0.8} if objective is TeacherForcing else {})
    plain = loss(objective(**told), model, frames, KEY)
    same = loss(objective(**told, weigh=lambda before, level: torch.full_like(level, 0.3)), model, frames, KEY)
    assert_close(same, plain)
    assert error(loss(objective(**told, weigh=ByContext()), model, frames, KEY), plain) > 1e-4

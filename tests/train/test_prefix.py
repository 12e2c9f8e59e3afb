"""Clips that begin clean: how many, how long, and that only what comes after carries loss."""

from __future__ import annotations

import pytest
import torch

from unspool.blend import AlphaBlend
from unspool.laws import Independent
from unspool.testing import assert_equal, error, nano, video
from unspool.train.objectives import TeacherForcing
from unspool.train.prefix import Prefixed
from unspool.types import Clip

KEY = torch.arange(400) * 1000


@pytest.mark.parametrize(("frames", "chunk"), [(12, 1), (12, 4), (13, 1), (2, 1), (20, 2)])
def test_prefixes_are_half_as_long_or_longer(frames: int, chunk: int) -> None:
    law = Independent(chunk)
    level, plain = Prefixed(law, 0.5, chunk)(KEY, frames), law(KEY, frames)
    length = (level == 0).sum(1)
    begun = length > 0
    assert 0.4 < begun.float().mean() < 0.6
    chunks = frames // chunk
    assert set(length.tolist()) == {0} | {n * chunk for n in range(min((chunks + 1) // 2, chunks - 1), chunks)}
    assert_equal(level, plain.where(torch.arange(frames) >= length[:, None], 0.0))


def test_a_share_of_none_and_of_all() -> None:
    law = Independent()
    assert_equal(Prefixed(law, 0.0)(KEY, 8), law(KEY, 8))
    assert (Prefixed(law, 1.0)(KEY, 8)[:, :4] == 0).all()
    assert (Prefixed(law, 1.0)(KEY, 1) > 0).all(), "one frame is always learned"


def test_loss_falls_behind_the_prefix() -> None:
    """Targets inside the prefix move nothing but as the past of those behind it."""
    model, frames, key = nano(std=0.1, chunk=1, window=2), video(12), torch.arange(2)
    task = TeacherForcing(1, 2, law=Prefixed(Independent(), 1.0))
    lengths = (task.law(key, 10) == 0).sum(1)

    def loss(clip: torch.Tensor) -> torch.Tensor:
        (only,) = task(model, AlphaBlend(), Clip(clip), key)
        return only.value

    for row, length in enumerate(lengths.tolist()):
        last, far = 2 + length, 2 + length - 2 * 2 - 1  # two layers of a window of 2 reach no further
        early, late = frames.clone(), frames.clone()
        early[row, : far - 1] += 1
        late[row, last] += 1
        assert_equal(loss(early), loss(frames))
        assert error(loss(late), loss(frames)) > 1e-6

"""The codec that looks back: streamed is one-shot, the future leaves the past alone, slots leave each other alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspool import noise as rng
from unspool import store
from unspool.codec import Causal
from unspool.types import State


def lively(time: int = 2) -> Causal:
    """Weights large enough that what is remembered matters: blocks begin as nothing."""
    codec = Causal(4, 8, 1, time)
    with torch.no_grad():
        for i, p in enumerate(codec.parameters()):
            p.copy_(rng.normal(torch.tensor(i), *p.shape) * (1.5 / p.shape[-1] ** 0.5 if p.dim() == 2 else 0.3))
    return codec


def clip(frames: int, batch: int = 2) -> torch.Tensor:
    return rng.normal(torch.arange(batch), frames, 3, 8, 16).clamp(-1, 1)


def streamed(way: Any, video: torch.Tensor, cuts: list[int]) -> tuple[torch.Tensor, State]:
    state: State = {}
    parts = []
    for first, last in zip([0, *cuts], [*cuts, video.shape[1]], strict=True):
        part, state = way(video[:, first:last], state)
        parts.append(part)
    return torch.cat(parts, 1), state


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("time", [1, 2, 4])
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(1, 12), unique=True).map(sorted))
def test_any_chunks_are_one_shot(dtype: torch.dtype, tolerance: float, time: int, cuts: list[int]) -> None:
    codec, video = lively(time).to(dtype), clip(13).to(dtype)
    with torch.no_grad():
        latents, _ = codec.encode(video, {})
        assert latents.shape == (2, 1 + 12 // time, 4, 1, 2)
        torch.testing.assert_close(streamed(codec.encode, video, cuts)[0], latents, atol=tolerance, rtol=0)
        shown, _ = codec.decode(latents, {})
        assert shown.shape == video.shape
        made, _ = streamed(codec.decode, latents, [cut for cut in cuts if cut < latents.shape[1]])
        torch.testing.assert_close(made, shown, atol=tolerance * float(shown.square().mean().sqrt()), rtol=0)


def test_states_are_saved_and_gone_on_with(tmp_path: Any) -> None:
    """Nested tensors, batch first, of one size however long the video; a file brings them back."""
    codec, video = lively(4), clip(15)
    with torch.no_grad():
        whole, _ = codec.encode(video, {})
        first, state = codec.encode(video[:, :7], {})
        assert {len(leaf) for leaf in store.flatten(state).values()} == {2}
        assert state["waiting"].shape[1] == 2, "frame 0, then a group of four, then two that wait"
        store.save_tensors(tmp_path / "state", store.flatten(state))
        again = store.unflatten(store.load_tensors(tmp_path / "state")[0])
        torch.testing.assert_close(torch.cat([first, codec.encode(video[:, 7:], again)[0]], 1), whole, atol=1e-5, rtol=0)
        sizes = [store.size(codec.decode(whole[:, :n], {})[1]) for n in (1, 2, 4)]
        assert len(set(sizes)) == 1


def test_the_future_leaves_the_past_alone_and_the_past_counts() -> None:
    codec = lively()
    video = clip(7).requires_grad_()
    latents, _ = codec.encode(video, {})
    seen = torch.autograd.grad(latents[:, 2].sum(), video, retain_graph=True)[0].abs().amax((0, 2, 3, 4))
    assert (seen[:5] > 0).all() and (seen[5:] == 0).all()
    given = latents.detach().requires_grad_()
    seen = torch.autograd.grad(codec.decode(given, {})[0][:, 3:5].sum(), given)[0].abs().amax((0, 2, 3, 4))
    assert (seen[:3] > 0).all() and (seen[3:] == 0).all()


def test_slots_of_a_batch_are_independent() -> None:
    codec, video = lively().double(), clip(6, batch=3).double()
    with torch.no_grad():
        latents, state = codec.encode(video, {})
        shown, _ = codec.decode(latents, {})
        for i in range(3):
            alone, own = codec.encode(video[i : i + 1], {})
            torch.testing.assert_close(alone[0], latents[i], atol=1e-10, rtol=0)
            torch.testing.assert_close(codec.decode(alone, {})[0][0], shown[i], atol=1e-10, rtol=0)
            leaves, flat = store.flatten(own), store.flatten(state)
            assert all(torch.allclose(leaves[name][0], leaf[i], atol=1e-10) for name, leaf in flat.items())


def test_frames_of_less_than_a_group_wait() -> None:
    codec, video = lively(4), clip(4)
    first, state = codec.encode(video[:, :1], {})
    none, after = codec.encode(video[:, 1:3], state)
    assert first.shape[1] == 1 and none.shape == (2, 0, 4, 1, 2)
    assert after["waiting"].shape[1] == 2 and after["blocks"] is state["blocks"]

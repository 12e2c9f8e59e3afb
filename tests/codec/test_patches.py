"""The codec of principal components: orthonormal, exact with all of them, best among linear ones, and streaming."""

from __future__ import annotations

import pytest
import torch

from unspool import noise as rng
from unspool.codec import Patches


@pytest.fixture
def video() -> torch.Tensor:
    """(2, 6, 3, 16, 24): smooth random pictures, so that few components hold most of them."""
    rough = rng.normal(torch.arange(2), 6, 3, 4, 6)
    return torch.nn.functional.interpolate(rough.flatten(0, 1), size=(16, 24), mode="bilinear").unflatten(0, (2, 6))


def fitted(channels: int, video: torch.Tensor) -> Patches:
    codec = Patches(channels).double()
    codec.fit(video.double())
    return codec


def there_and_back(codec: Patches, video: torch.Tensor) -> torch.Tensor:
    return codec.decode(codec.encode(video.double(), {})[0], {})[0]


def test_with_all_components_it_is_exact(video: torch.Tensor):
    torch.testing.assert_close(there_and_back(fitted(192, video), video), video.double(), atol=1e-10, rtol=0)


def test_latents_have_the_promised_shape_and_a_mean_variance_of_one(video: torch.Tensor):
    latents, _ = fitted(12, video).encode(video.double(), {})
    assert latents.shape == (2, 6, 12, 2, 3)
    variances = latents.movedim(2, 0).flatten(1).var(1)
    assert float(variances.mean()) == pytest.approx(1, abs=1e-6)
    assert (variances.diff() <= 1e-9).all(), "strong components come first and stay stronger"


def test_the_rows_of_the_basis_are_orthonormal_and_beat_other_bases(video: torch.Tensor):
    codec = fitted(12, video)
    torch.testing.assert_close(codec.basis @ codec.basis.T, torch.eye(12).double(), atol=1e-10, rtol=0)
    ours = (there_and_back(codec, video) - video).square().mean()
    other = fitted(12, video)
    other.basis.copy_(torch.linalg.qr(rng.normal(torch.tensor(7), 192, 12).double())[0].T)
    assert ours < 0.5 * (there_and_back(other, video) - video).square().mean()


def test_more_components_lose_less(video: torch.Tensor):
    lost = [(there_and_back(fitted(n, video), video) - video).square().mean().item() for n in (4, 8, 16, 64)]
    assert lost == sorted(lost, reverse=True)


def test_streamed_equals_one_shot(video: torch.Tensor):
    codec = fitted(12, video)
    whole, _ = codec.encode(video.double(), {})
    state: dict[str, object] = {}
    parts = []
    for first, last in ((0, 1), (1, 4), (4, 6)):
        latents, state = codec.encode(video[:, first:last].double(), state)
        parts.append(latents)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=0, rtol=0)


def test_nothing_of_it_is_trained(video: torch.Tensor):
    assert not [name for name, p in fitted(12, video).named_parameters() if p.requires_grad]

"""LPIPS against torchmetrics' own, on an AlexNet of random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unspool.errors import UserError
from unspool.evaluate.pretrained.lpips import open_lpips

PARTS = [
    *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
    *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
    *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
    *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
]


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    features = nn.Sequential(*PARTS)
    generator = torch.Generator().manual_seed(0)
    for weight in features.parameters():  # so small that what keeps a division from 0 shows
        scale = 0.2 * weight[0].numel() ** -0.5 if weight.ndim > 1 else 1e-3
        weight.data = torch.randn(weight.shape, generator=generator) * scale
    path = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.save({f"features.{name}": w for name, w in features.state_dict().items()}, path)
    return features, path


def videos(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(("high", "wide"), [(31, 31), (64, 48)])
def test_it_is_that_of_torchmetrics(
    alexnet: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch, high: int, wide: int
) -> None:  # fmt: skip
    from torchmetrics.functional.image import lpips as theirs

    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda net, pretrained: alexnet[0])
    reference = theirs._LPIPS(net="alex", pnet_rand=True)
    made, real = videos(2, 33, high, wide, seed=1), videos(2, 33, high, wide, seed=2)
    pictures = [torch.from_numpy(v).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1 for v in (made, real)]
    with torch.no_grad():
        expected = reference(*pictures).reshape(2, 33).numpy()
    ours = open_lpips(alexnet[1])
    assert ours.verified == "not verified" and len(ours.sha256) == 64
    found = ours.distance(made, real)
    assert found.dtype == np.float64 and np.abs(found / expected - 1).max() < 1e-4
    assert np.array_equal(ours.distance(real, real), np.zeros((2, 33)))


def test_other_input_is_refused(alexnet: tuple[nn.Module, Path]) -> None:
    ours = open_lpips(alexnet[1])
    with pytest.raises(UserError, match="31 pixels or more"):
        ours.distance(videos(1, 2, 30, 40, seed=0), videos(1, 2, 30, 40, seed=1))
    with pytest.raises(UserError, match="of one shape"):
        ours.distance(videos(1, 2, 40, 40, seed=0), videos(1, 3, 40, 40, seed=1))
    with pytest.raises(UserError, match="must be uint8"):
        ours.distance(videos(1, 2, 40, 40, seed=0) / 255, videos(1, 2, 40, 40, seed=1))


def test_other_files_are_refused(alexnet: tuple[nn.Module, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file"):
        open_lpips(tmp_path / "absent.pth")
    state = torch.load(alexnet[1], weights_only=True)
    for name, odd in (("features.10.bias", None), ("features.0.weight", torch.ones(64, 3, 3, 3)), ("features.3.bias", 7)):
        torch.save({**state, name: odd}, tmp_path / "odd.pth")
        with pytest.raises(UserError, match=f"is not AlexNet: it lacks {name}"):
            open_lpips(tmp_path / "odd.pth")
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(UserError, match=r"pip install 'unspool\[eval\]'"):
        open_lpips(alexnet[1])

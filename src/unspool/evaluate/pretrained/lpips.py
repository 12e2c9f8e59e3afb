"""LPIPS: how different two pictures look, by AlexNet's features. The user gives the backbone's weights by path.

The small linear layers on top come with torchmetrics. Higher is worse; 0 for equal pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unspool.errors import UserError
from unspool.evaluate.curves import check
from unspool.evaluate.pretrained.weights import read_tensors, sha256_of

SHA256 = "7be5be79"  # torchvision's name of the file, alexnet-owt-7be5be79.pth, ends in the first digits of its hash
SMALLEST = 31  # pixels a side: less does not survive AlexNet's pooling

# Of AlexNet (torchvision's features.N): stride, padding, whether pooling comes before; and the shapes of the weights.
_CONVOLUTIONS = {0: (4, 2, False), 3: (1, 2, True), 6: (1, 1, True), 8: (1, 1, False), 10: (1, 1, False)}
_SHAPES = [(64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)]
_AT_ONCE = 64  # pairs of frames


@dataclass(frozen=True)
class Lpips:
    """AlexNet and LPIPS's layers. sha256: of the backbone's file. verified: how it is known to be the right one."""

    sha256: str
    verified: str
    backbone: Mapping[str, Tensor]
    layers: tuple[Tensor, ...]
    device: torch.device | str = "cpu"

    @torch.inference_mode()
    def distance(self, made: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Both uint8 (N, T, H, W, 3), H and W >= 31 -> float64 (N, T): frame against frame, mean over pixels.

        Zhang et al. 1801.03924, version 0.1. Frames keep their size. Raises UserError for another type or shape.
        """
        check(made)
        check(real)
        if made.shape != real.shape or min(made.shape[2:4]) < SMALLEST:
            raise UserError(f"LPIPS compares videos of one shape, {SMALLEST} pixels or more, not {made.shape} and {real.shape}")
        pairs = [videos.reshape(-1, *videos.shape[2:]) for videos in (made, real)]
        parts = []
        for at in range(0, len(pairs[0]), _AT_ONCE):
            one, other = (self._features(frames[at : at + _AT_ONCE]) for frames in pairs)
            parts.append(torch.stack([_apart(*layer) for layer in zip(one, other, self.layers, strict=True)]).sum(0).cpu())
        return torch.cat(parts).double().numpy().reshape(made.shape[:2])

    def _features(self, frames: np.ndarray) -> list[Tensor]:
        """uint8 (B, H, W, 3) -> what each of the five convolutions gives, unit vectors at every place."""
        x = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        # ImageNet's mean and deviation for pixels in [-1, 1], as rounded in LPIPS.
        x = (x - x.new_tensor([-0.030, -0.088, -0.188])[:, None, None]) / x.new_tensor([0.458, 0.448, 0.450])[:, None, None]
        found = []
        for layer, (stride, padding, pool) in _CONVOLUTIONS.items():
            x = F.max_pool2d(x, 3, 2) if pool else x
            weight, bias = self.backbone[f"features.{layer}.weight"], self.backbone[f"features.{layer}.bias"]
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            found.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return found


def _apart(one: Tensor, other: Tensor, layer: Tensor) -> Tensor:
    """(B, C, h, w) twice -> (B,)"""
    return F.conv2d((one - other).square(), layer).mean((1, 2, 3))


def open_lpips(path: str | Path, device: torch.device | str = "cpu") -> Lpips:
    """From a state dict of torchvision's AlexNet, `alexnet-owt-7be5be79.pth`, or the same as safetensors.

    Raises UserError for a file that is missing, damaged or of another network, and where torchmetrics is missing.
    """
    path = Path(path)
    found = sha256_of(path)
    state = read_tensors(path)
    backbone = {}
    for layer, shape in zip(_CONVOLUTIONS, _SHAPES, strict=True):
        for name, expected in ((f"features.{layer}.weight", shape), (f"features.{layer}.bias", shape[:1])):
            if tuple(getattr(state.get(name), "shape", ())) != expected:
                fix = "give torchvision's alexnet-owt-7be5be79.pth"
                raise UserError(f"{path} is not AlexNet: it lacks {name} {expected}; {fix}")
            backbone[name] = state[name].to(device, torch.float32)
    verified = "published sha256" if found.startswith(SHA256) else "not verified"
    return Lpips(found, verified, backbone, tuple(layer.to(device) for layer in _layers()), device)


def _layers() -> list[Tensor]:
    """Five (1, C, 1, 1)."""
    try:
        from torchmetrics.functional.image import lpips
    except ImportError as error:
        raise UserError("LPIPS needs torchmetrics: pip install 'unspool[eval]'") from error
    state = read_tensors(Path(lpips.__file__).parent / "lpips_models" / "alex.pth")
    return [state[f"lin{i}.model.1.weight"] for i in range(5)]

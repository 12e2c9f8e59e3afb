"""Networks that turn clips into rows of features, from weights that the user gives by path: I3D, VideoMAE, V-JEPA.

`open_extractor` hashes the file, loads it and tests it against a published figure where there is one. A network that gives
another figure is refused: its distances would look like FVD and be something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unspool.errors import UserError
from unspool.evaluate.curves import check
from unspool.evaluate.pretrained.video_transformers import Forward, videomae, vjepa
from unspool.evaluate.pretrained.weights import read_tensors, read_torchscript, sha256_of

SIDE = 224  # pixels: all three networks see squares of it
_AT_ONCE = 64  # frames in the network together, so that memory does not grow with N


@dataclass(frozen=True)
class Golden:
    """A published Frechet distance of black clips against white ones, `frames` of `size` x `size` pixels.

    Equal clips have equal features, so the covariances are 0 and one clip of each gives the same figure as many.
    """

    frames: int
    size: int
    value: float
    within: float


@dataclass(frozen=True)
class Network:
    """What a file of weights should be.

    name: as printed. frames: clip lengths that the network takes. mean, deviation: of RGB in [0, 1], which is normed by them.
    load: (files, device) -> function of clips. files: their names in the folder, where the weights are more than one file.
    sha256: published hashes, first digits or all. golden: a published figure.
    """

    name: str
    frames: range
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    load: Callable[[Sequence[Path], torch.device | str], Forward]
    files: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    golden: Golden | None = None


def _load_i3d(files: Sequence[Path], device: torch.device | str) -> Forward:
    network = read_torchscript(files[0], device)
    # Our own scaling and resizing: theirs cannot be read in a TorchScript file that is not at hand.
    return lambda clips: network(clips, rescale=False, resize=False, return_features=True)


def _load_videomae(files: Sequence[Path], device: torch.device | str) -> Forward:
    return videomae(read_tensors(files[0]), 16, device)


def _load_vjepa(files: Sequence[Path], device: torch.device | str) -> Forward:
    return vjepa(read_tensors(files[0]), read_tensors(files[1]), 16, device)


# `i3d_torchscript.pt` of StyleGAN-V (2112.14683), which most FVD since then was computed with: 400 logits, mean over time. Read
# in the code of StyleGAN-V, MCVD and universome/fvd-comparison: its arguments, input in [-1, 1], fewer than 10 frames refused.
# The golden figure is that of the README of JunyaoHu/common_metrics_on_video_quality, which allows 1 either way between torch
# versions; ten public programs give the same SHA-256. Neither was checked against the file itself.
I3D = Network(
    name="FVD-I3D",
    frames=range(10, 4097),
    mean=(0.5, 0.5, 0.5),
    deviation=(0.5, 0.5, 0.5),
    load=_load_i3d,
    sha256=("bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",),
    golden=Golden(frames=30, size=64, value=151.25648, within=1.0),
)

# `vit_g_hybrid_pt_1200e_ssv2_ft.pth` of VideoMAE v2, for content-debiased FVD (2404.12391): 1408 features. Read in its public
# code: pixels stay in [0, 1], no mean is taken off. Three public programs give the same SHA-256. No published figure for
# black and white clips is known.
VIDEOMAE = Network(
    name="FVD-VideoMAE",
    frames=range(16, 4097, 2),
    mean=(0.0, 0.0, 0.0),
    deviation=(1.0, 1.0, 1.0),
    load=_load_videomae,
    sha256=("5a210a92f035dff30c53b46157b612e7a1a5d3c99700e1b2d71da5c399ca7e70",),
)

# A folder with V-JEPA's ViT-H and its probe on SSv2, for JEDi (2410.05203): 1280 features. The networks were read, the way
# there is reconstructed: the public code norms the channels along the wrong axis (it stops with an error for clips of 16
# frames) and leaves sizes to its caller. Here RGB is normed and clips are 16 frames of 224 pixels.
VJEPA = Network(
    name="JEDi",
    frames=range(16, 17),
    mean=(0.485, 0.456, 0.406),
    deviation=(0.229, 0.224, 0.225),
    load=_load_vjepa,
    files=("vith16.pth.tar", "ssv2-probe.pth.tar"),
)


@dataclass(frozen=True)
class Extractor:
    """A network with its weights. sha256: of each file. verified: how they are known to be the right ones, to be printed."""

    network: Network
    sha256: tuple[str, ...]
    verified: str
    forward: Forward
    device: torch.device | str = "cpu"

    @torch.inference_mode()
    def features(self, windows: np.ndarray) -> np.ndarray:
        """uint8 (N, T, H, W, 3) -> float32 (N, D). A row does not depend on its batch, beyond rounding.

        Raises UserError for another type or shape, a length that the network does not take, and a network whose output is
        no finite row a clip.
        """
        check(windows)
        frames, name = windows.shape[1], self.network.name
        if frames not in self.network.frames:
            raise UserError(f"{name} takes clips of {_lengths(self.network.frames)} frames, not {frames}; choose such windows")
        step = max(1, _AT_ONCE // frames)
        rows = []
        for at in range(0, len(windows), step):
            clips = to_clips(windows[at : at + step], self.network).to(self.device)
            try:
                row = self.forward(clips).float().cpu().numpy()
            except RuntimeError as error:
                said = str(error).strip().splitlines()[-1]
                raise UserError(f"the weights given for {name} do not take {tuple(clips.shape)}: {said}") from error
            if row.ndim != 2 or len(row) != len(clips) or not np.isfinite(row).all():
                raise UserError(f"the weights given for {name} make {row.shape} of {len(clips)} clips, or NaN, not a row each")
            rows.append(row)
        return np.concatenate(rows)


def _lengths(frames: range) -> str:
    if len(frames) == 1:
        return str(frames[0])
    return f"{frames[0]} to {frames[-1]}{f', in steps of {frames.step},' if frames.step > 1 else ''}"


def to_clips(windows: np.ndarray, network: Network) -> Tensor:
    """uint8 (N, T, H, W, 3) -> float32 (N, 3, T, 224, 224), normed.

    Bilinear, frame by frame, without antialiasing and with align_corners=False, as read in MCVD, cd-fvd and TECO (whose
    tf.image.resize does the same). Sides of other lengths are squeezed, as the last two do; MCVD cuts the middle out.
    """
    count, frames = windows.shape[:2]
    pictures = torch.from_numpy(np.ascontiguousarray(windows)).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    pictures = F.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    mean, deviation = (torch.tensor(part)[:, None, None] for part in (network.mean, network.deviation))
    return ((pictures - mean) / deviation).unflatten(0, (count, frames)).transpose(1, 2).contiguous()


def open_extractor(network: Network, path: str | Path, device: torch.device | str = "cpu") -> Extractor:
    """I3D, VIDEOMAE or VJEPA from a file, or from a folder where the network is several files.

    What trust a file asks for is said in `weights.read_tensors` and, for I3D, in `weights.read_torchscript`. Raises UserError
    for a file that is missing, of another kind or of another network, and for one that misses the golden figure.
    """
    files = [Path(path) / name for name in network.files] or [Path(path)]
    hashes = tuple(sha256_of(file) for file in files)
    extractor = Extractor(network, hashes, "not verified", network.load(files, device), device)
    said = []
    if network.sha256 and all(found.startswith(known) for found, known in zip(hashes, network.sha256, strict=True)):
        said.append("published sha256")
    if network.golden:
        said.append(_test(extractor, network.golden, files[0]))
    return Extractor(network, hashes, " and ".join(said) or "not verified", extractor.forward, device)


def _test(extractor: Extractor, golden: Golden, path: Path) -> str:
    """How it did. Raises UserError when it gives another figure."""
    clips = np.zeros((2, golden.frames, golden.size, golden.size, 3), np.uint8)
    clips[1] = 255
    black, white = extractor.features(clips).astype(np.float64)
    found = float(np.square(black - white).sum())
    if not abs(found - golden.value) <= golden.within:
        raise UserError(
            f"{path} is not the network of published {extractor.network.name}: black against white clips are {found:.6g} "
            f"apart, not {golden.value:.6g}; copy the published file again"
        )
    return f"golden figure {found:.6g} (published {golden.value:.6g})"

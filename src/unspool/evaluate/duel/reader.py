"""From pictures of `duel` back to its state: where every joint is, and which move is under way.

Two small networks. `Pose` reads ONE picture: a probability map for each joint of each fighter. It has no memory, so it
cannot smooth over a broken video. `Action` reads the joints of 21 frames around an instant: the move.

Whose joints are whose: in one picture the fighters are told apart by place alone, the left one (by pelvis) first, which
any picture says by itself. Along a video each is then followed, see identity.py: fighter 0 is the one who is on the left
when the two first stand apart.

N videos, T frames, F = 2 fighters, J = 21 joints, M = 26 moves. Joints are in picture units: x right, y DOWN, in [0, 1].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unspool import store
from unspool.data.worlds.duel import JOINTS, MOVES
from unspool.errors import UserError
from unspool.evaluate.duel.identity import cloth, follow

SHIPPED = Path(__file__).parents[2] / "shipped" / "reader-duel-64" / "model.safetensors"
FIGHTERS, SIZE, CELLS = 2, 64, 16
_HEIGHT = 0.6  # of a fighter, picture units: the scale of what `Action` sees
_AT_ONCE = 256  # pictures that `Pose` reads together: about 100 MB

Floats = NDArray[np.float32]


class Reading(NamedTuple):
    """What was read. Fighter 0 is the one who is on the left when the two first stand apart."""

    joints: Floats  # (N, T, F, J, 2) in [0, 1]
    chances: Floats  # (N, T, F, M) probability of each move
    confidence: Floats  # (N, T, F, J) in [0, 1]: how much of the probability lies within 6 pixels of the joint

    @property
    def move(self) -> NDArray[np.int64]:
        """(N, T, F) the likeliest move, an index into MOVES."""
        return self.chances.argmax(-1)


class _Block(nn.Module):
    """Residual: two 3 x 3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(width, width), *_conv(width, width)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def _conv(wide: int, out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(wide, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


@final
class Pose(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] -> logits (B, F, J, 16, 16). An hourglass: the coarsest level sees it all."""

    def __init__(self, fine: int = 64, coarse: int = 72) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, 24, 2), *_conv(24, fine, 2), _Block(fine))  # 16 x 16
        self.down = nn.Sequential(*_conv(fine, coarse, 2), _Block(coarse))  # 8 x 8
        self.deep = nn.Sequential(*_conv(coarse, coarse, 2), _Block(coarse))  # 4 x 4
        self.join = nn.Sequential(*_conv(coarse, coarse))
        self.narrow = nn.Conv2d(coarse, fine, 1)
        self.top = nn.Sequential(_Block(fine), nn.Conv2d(fine, FIGHTERS * len(JOINTS), 1))

    def forward(self, pictures: Tensor) -> Tensor:
        fine = self.stem(pictures.contiguous(memory_format=torch.channels_last))
        coarse = self.down(fine)
        coarse = self.join(coarse + F.interpolate(self.deep(coarse), scale_factor=2))
        logits = self.top(fine + F.interpolate(self.narrow(coarse), scale_factor=2))
        return logits.unflatten(1, (FIGHTERS, len(JOINTS)))


@final
class Action(nn.Module):
    """Joints (B, T, F, J, 2) -> logits (B, T, F, M), from 10 frames before to 10 after; the ends are held still."""

    REACH = 10

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        wide = 2 * len(JOINTS) + 5
        self.layers = nn.ModuleList(
            [nn.Conv1d(wide, width, 5), nn.Conv1d(width, width, 5, dilation=2), nn.Conv1d(width, width, 5, dilation=2)]
        )
        self.head = nn.Conv1d(width, len(MOVES), 1)

    def forward(self, joints: Tensor) -> Tensor:
        batch = len(joints)
        x = self.features(joints).permute(0, 2, 3, 1).flatten(0, 1)  # (B F, features, T)
        x = F.pad(x, (self.REACH, self.REACH), mode="replicate")
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.head(x).unflatten(0, (batch, FIGHTERS)).permute(0, 3, 1, 2)

    @staticmethod
    def features(joints: Tensor) -> Tensor:
        """(B, T, F, 2 J + 5), body heights: own joints from the own pelvis, its step and height, the way to the other."""
        pelvis = joints[..., 0, :]
        limbs = (joints - pelvis[..., None, :]).flatten(-2)
        moved = torch.diff(pelvis, dim=1, prepend=pelvis[:, :1])
        return torch.cat([limbs, 8 * moved, pelvis[..., 1:] - 0.6, pelvis.flip(2) - pelvis], -1) / _HEIGHT


@final
class Reader(nn.Module):
    """Call it with videos; see `load_reader`."""

    def __init__(self) -> None:
        super().__init__()
        self.pose, self.action = Pose(), Action()

    @torch.inference_mode()
    def forward(self, videos: NDArray[np.uint8]) -> Reading:
        """uint8 (N, T, 64, 64, 3) -> Reading. Raises UserError for another type or shape."""
        if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[2:] != (SIZE, SIZE, 3) or not videos.size:
            raise UserError(
                f"the reader of duel reads uint8 videos (N, T, {SIZE}, {SIZE}, 3), not {videos.dtype} {videos.shape}: "
                f"make them with size {SIZE}"
            )
        count, frames = videos.shape[:2]
        pictures = videos.reshape(count * frames, *videos.shape[2:])
        parts = [decode(self.pose(to_input(pictures[i : i + _AT_ONCE]))) for i in range(0, len(pictures), _AT_ONCE)]
        shape = (count, frames, FIGHTERS, len(JOINTS))
        joints = torch.cat([part[0] for part in parts]).reshape(*shape, 2).numpy()
        confidence = torch.cat([part[1] for part in parts]).reshape(shape).numpy()
        crossed = follow(joints, cloth(videos, joints))[..., None, None]
        joints = np.where(crossed[..., None], joints[:, :, ::-1], joints)
        confidence = np.where(crossed, confidence[:, :, ::-1], confidence)
        return Reading(joints, self.action(torch.from_numpy(joints)).softmax(-1).numpy(), confidence)


def to_input(pictures: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, H, W, 3) -> (B, 3, H, W) float in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def decode(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 16, 16) -> places (..., 2) in [0, 1] and confidence (...).

    The place is the mean over the 5 x 5 cells around the peak: over the whole map, a second guess elsewhere would drag it
    to where there is nothing. The confidence is the probability within the 3 x 3 cells.
    """
    chance = logits.float().flatten(-2).softmax(-1)
    peak = chance.argmax(-1, keepdim=True)
    cell = torch.arange(CELLS * CELLS)
    x, y = cell % CELLS, cell // CELLS
    away = torch.maximum((x - peak % CELLS).abs(), (y - peak // CELLS).abs())
    near = chance * (away <= 2)
    near = near / near.sum(-1, keepdim=True)
    place = torch.stack([(near * (x + 0.5)).sum(-1), (near * (y + 0.5)).sum(-1)], -1) / CELLS
    return place, (chance * (away <= 1)).sum(-1).clamp(max=1)


def metadata() -> dict[str, str]:
    """What the weights are for, beside them in their file."""
    return {"kind": "reader", "world": "duel", "size": str(SIZE), "joints": json.dumps(JOINTS), "moves": json.dumps(MOVES)}


def load_reader(path: str | Path | None = None) -> Reader:
    """The reader that ships, or that of a safetensors file which `bench/train_reader.py` wrote.

    Raises UserError when the file is missing, not whole, not a reader, or of other joints or moves than today's.
    """
    path = Path(path or SHIPPED)
    weights, said = store.load_tensors(path)
    reader = Reader()
    if said != metadata() or {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in reader.state_dict().items()}:
        raise UserError(f"{path} holds no reader of today's duel; train one with bench/train_reader.py")
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise UserError(f"{path} holds weights that are not finite; copy it again, or train anew with bench/train_reader.py")
    reader.load_state_dict(weights)
    return reader.eval().requires_grad_(False)


def save_reader(reader: Reader, path: Path) -> None:
    """Atomic, in half precision."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in reader.state_dict().items()}
    store.save_tensors(path, half, metadata())

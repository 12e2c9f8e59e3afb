"""How episodes are prepared: the size and rate of their frames, the codec that they go through, and how much room there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from unspool.data.carried import weights_bytes
from unspool.errors import UserError

Encode = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]


class Encoder(NamedTuple):
    """How frames become latents: encode(frames (n, H, W, 3) uint8, state) -> (latents (m, C, h, w) float16, state); the first
    state is {}. name, sha256, weights: of the codec; options: of a trained one, by which it is built again."""

    encode: Encode
    name: str
    sha256: str
    weights: Mapping[str, Tensor]
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Preparation:
    """size: pixels of a side, after a centre cut. fps: choose the frames nearest in time to this rate; None: all. encoder: None
    keeps pixels. most_bytes: of all that is written, tracks and codec too: take only as many episodes as fit, the same ones at
    every call and, with more bytes, these and others. refuse_bytes: rather refuse a set that is larger. shard_bytes: about how
    large a shard grows."""

    size: int
    fps: float | None = None
    encoder: Encoder | None = None
    most_bytes: int | None = None
    refuse_bytes: int | None = None
    shard_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 4096:
            raise UserError(f"size is 8 to 4096 pixels, not {self.size}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UserError(f"fps is above 0 and at most 1000, not {self.fps}")
        if self.most_bytes is not None and self.most_bytes < 1:
            raise UserError("there is no room for any frame; raise --max-mb")
        weights = weights_bytes(self.encoder.weights) if self.encoder else 0
        if self.most_bytes is not None and self.most_bytes <= weights:
            raise UserError(f"the codec alone fills {weights / 1e6:.3g} MB; raise --max-mb, or leave --codec away")

    def sample(self) -> np.ndarray:
        """A black frame as it would be stored, (1, ...). Raises UserError for a size that the codec cannot take."""
        black = np.zeros((1, self.size, self.size, 3), np.uint8)
        return self.encoder.encode(black, {})[0] if self.encoder else black

    def told(self) -> dict[str, Any]:
        """What decides the bytes of a frame."""
        codec = self.encoder and {key: getattr(self.encoder, key) for key in ("name", "sha256", "options")}
        return {"size": self.size, "fps": self.fps, "codec": codec}

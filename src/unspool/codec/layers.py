"""What the trained codecs are built of: convolutions over frames, and stacks of them that stream.

A convolution over a frame and the one before it is one in two dimensions over twice the channels: processors are many times
faster at those than at convolutions in three.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.codec.patches import Patches, check_size
from unspool.types import State, Video

if TYPE_CHECKING:
    from unspool.codec.trained import CodecOptions

STRIDE = 8
"""Pixels a side of one latent."""


@final
class Conv(nn.Module):
    """A convolution (N, inside, H, W) -> (N, outside, H, W) whose weight is kept as the matrix that it is."""

    def __init__(self, inside: int, outside: int, kernel: int = 3, gain: float = 1.0) -> None:
        super().__init__()
        self.inside, self.kernel = inside, kernel
        fan = inside * kernel**2
        self.weight = nn.Parameter(torch.randn(outside, fan) * gain / math.sqrt(fan))
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unflatten(1, (self.inside, self.kernel, self.kernel))
        return F.conv2d(x, weight, self.bias, padding=self.kernel // 2)


@final
class Block(nn.Module):
    """x + conv(silu(conv(normed x))) at each frame; looking `back`, the first convolution sees the frame before as well."""

    def __init__(self, width: int, back: bool) -> None:
        super().__init__()
        self.back = back
        self.enter, self.leave = Conv(width * (1 + back), width), Conv(width, width, gain=0.0)

    def forward(self, x: Video, before: Tensor | None) -> Video:
        """x (B, T, C, H, W); before (B, 1, C, H, W): what entered for the frame before x, None at the start."""
        seen = x
        if self.back:
            before = torch.zeros_like(x[:, :1]) if before is None else before
            seen = torch.cat([torch.cat([before, x[:, :-1]], 1), x], 2)
        inner = self.leave(F.silu(self.enter(_normed(seen.flatten(0, 1)))))
        return x + inner.unflatten(0, x.shape[:2])


def _normed(x: Tensor) -> Tensor:
    """Mean square 1 over the channels of each place."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


@final
class Stack(nn.Module):
    """Layers in a row over (B, T, C, H, W). The state holds what entered each block that looks back for the newest frame."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Video, state: State) -> tuple[Video, State]:
        after: State = {}
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Block):
                x = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
                continue
            if layer.back:
                after[f"{i}"] = x[:, -1:]
            x = layer(x, state.get(f"{i}"))
        return x, after


def encoder(inside: int, channels: int, width: int, depth: int, back: bool) -> Stack:
    """(B, T, inside, H, W) -> (B, T, channels, H / 8, W / 8), through `depth` blocks of `width` and as many of twice that.
    It begins as nothing: 0 everywhere."""
    fine, coarse = ([Block(w, back) for _ in range(depth)] for w in (width, 2 * width))
    halve = (nn.PixelUnshuffle(2), Conv(4 * width, 2 * width, 1))
    return Stack(nn.PixelUnshuffle(4), Conv(16 * inside, width), *fine, *halve, *coarse, Conv(2 * width, channels, gain=0.0))


def decoder(channels: int, outside: int, width: int, depth: int, back: bool) -> Stack:
    """The way back, with one block of half the `width` at twice the resolution more: edges are drawn there."""
    coarse, fine = ([Block(w, back) for _ in range(depth)] for w in (2 * width, width))
    half = width // 2
    return Stack(
        Conv(channels, 2 * width), *coarse, Conv(2 * width, 4 * width, 1), nn.PixelShuffle(2), *fine,
        Conv(width, 4 * half, 1), nn.PixelShuffle(2), Block(half, back),
        Conv(half, 4 * outside, gain=0.0), nn.PixelShuffle(2),
    )  # fmt: skip


class Autoencoder(nn.Module, ABC):
    """What the trained codecs have in common: principal components, and convolutions that learn what those leave.

    It is as good as `Patches` before the first step of training. `groups` makes pictures (B, T, colours, H, W) of video.
    """

    options: CodecOptions  # those it was built by
    controls = 0  # of a model the training loop asks for it; a codec is told of nothing but the frames

    def __init__(self, colours: int, channels: int, width: int, depth: int, back: bool) -> None:
        super().__init__()
        self.linear = Patches(channels, STRIDE, colours)
        self.encoder = encoder(colours, channels, width, depth, back)
        self.decoder = decoder(channels, colours, width, depth, back)

    @abstractmethod
    def encode(self, video: Video, state: State) -> tuple[Video, State]:
        """See `Codec`."""

    @abstractmethod
    def decode(self, latents: Video, state: State) -> tuple[Video, State]:
        """See `Codec`."""

    @abstractmethod
    def groups(self, video: Video) -> Video:
        """All pictures of a video that begins here."""

    def begin(self, video: Video) -> None:
        """Measure the principal components on these frames (B, T, 3, H, W), before training."""
        self.linear.fit(self.groups(video))

    def fit(self, video: Video) -> None:
        """Nothing: when a model is trained on its latents, it is trained itself."""

    def to_latents(self, pictures: Video, state: State) -> tuple[Video, State]:
        """Pictures (B, T, colours, H, W) to latents (B, T, channels, H / 8, W / 8). Raises UserError for an odd size."""
        check_size(pictures.shape[-2:], STRIDE)
        learnt, after = self.encoder(pictures, state)
        return self.linear.encode(pictures, {})[0] + learnt, after

    def to_pictures(self, latents: Video, state: State) -> tuple[Video, State]:
        """The way back."""
        learnt, after = self.decoder(latents, state)
        return self.linear.decode(latents, {})[0] + learnt, after

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights inside the stacks, for optimisers that treat them apart."""
        blocks = [layer for stack in (self.encoder, self.decoder) for layer in stack.layers if isinstance(layer, Block)]
        return [conv.weight for block in blocks for conv in (block.enter, block.leave)]

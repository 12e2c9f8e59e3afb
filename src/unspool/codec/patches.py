"""A linear codec that is fitted in a second: principal components of patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from einops import rearrange
from torch import nn

from unspool.errors import UserError
from unspool.types import State, Video


def check_size(size: Sequence[int], patch: int) -> None:
    """Raises UserError for frames whose (height, width) are no whole number of patches."""
    height, width = size
    if height % patch or width % patch:
        raise UserError(f"frames of {height} x {width} do not divide by {patch}, as this codec needs; choose another size")


@final
class Patches(nn.Module):
    """Video (B, T, 3, H, W) <-> latents (B, T, channels, H / patch, W / patch), frame by frame, so streaming is exact.

    Each patch is projected on its leading principal components (the Karhunen-Loeve transform, of which JPEG's cosine transform
    is a fixed approximation). Channel i is the i-th component divided by the square root of its standard deviation, times one
    constant that makes the mean variance 1: strong components stay stronger, for an error in them shows more.

    `encode` and `fit` raise UserError for frames that do not divide into patches.
    """

    def __init__(self, channels: int, patch: int = 8, colours: int = 3) -> None:
        super().__init__()
        pixels = colours * patch * patch
        self.channels, self.patch, self.colours = channels, patch, colours
        self.mean = nn.Parameter(torch.zeros(pixels), requires_grad=False)
        self.basis = nn.Parameter(torch.eye(pixels)[:channels], requires_grad=False)  # (channels, pixels), orthonormal rows
        self.scale = nn.Parameter(torch.ones(channels), requires_grad=False)

    def encode(self, video: Video, state: State) -> tuple[Video, State]:
        p = self.patch
        check_size(video.shape[-2:], p)
        patches = rearrange(video, "b t c (y p) (x q) -> b t y x (c p q)", p=p, q=p)
        return ((patches - self.mean) @ self.basis.T / self.scale).movedim(-1, 2), state

    def decode(self, latents: Video, state: State) -> tuple[Video, State]:
        p = self.patch
        patches = (latents.movedim(2, -1).to(self.basis) * self.scale) @ self.basis + self.mean
        return rearrange(patches, "b t y x (c p q) -> b t c (y p) (x q)", c=self.colours, p=p, q=p), state

    @torch.no_grad()
    def fit(self, video: Video) -> None:
        """Mean, components and scales of the patches of these frames (B, T, 3, H, W), by an eigendecomposition."""
        p = self.patch
        check_size(video.shape[-2:], p)
        patches = rearrange(video, "b t c (y p) (x q) -> (b t y x) (c p q)", p=p, q=p).double()
        self.mean.copy_(patches.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        self.basis.copy_(vectors.flip(1)[:, : self.channels].T)
        deviation = values.flip(0)[: self.channels].clamp(min=1e-12).sqrt()
        self.scale.copy_(deviation.sqrt() * deviation.mean().sqrt())

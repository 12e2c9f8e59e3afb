"""The systems, ten lines each: a function of named settings that returns a `System`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from unspool.blend import AlphaBlend
from unspool.codec import Pixels
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.schedule import Independent, Staircase, Together
from unspool.solver import euler
from unspool.system import System
from unspool.train.objectives import DiffusionForcing, TeacherForcing

SizeName = Literal["nano", "tiny", "small", "base"]


class Size(NamedTuple):
    width: int
    depth: int
    heads: int


SIZES: dict[str, Size] = {
    "nano": Size(128, 2, 2),
    "tiny": Size(192, 4, 3),
    "small": Size(384, 8, 6),
    "base": Size(768, 12, 12),
}


def chunk_by_chunk(
    *,
    size: SizeName = "tiny",
    resolution: int = 64,
    patch: int = 16,
    chunk: int = 4,
    window: int = 8,
    steps: int = 8,
    frames: int = 22,
    shift: float = 3.0,
    context_noise: float = 0.2,
    substitute: float = 0.0,
    predict: Literal["clean", "velocity"] = "clean",
) -> System:
    """Chunks of frames denoised one after the other behind a rolling key/value cache, trained by teacher forcing with a
    little told noise on the history."""
    width, depth, heads = SIZES[size]
    model = VideoTransformer(
        (3, resolution, resolution), patch=patch, width=width, depth=depth, chunk=chunk, predict=predict,
        memories=lambda: [Window(width, heads, window)],
    )  # fmt: skip
    objective = TeacherForcing(chunk, 2, context_noise, substitute, Independent(chunk, shift))
    return System(model, Pixels(), AlphaBlend(), Staircase(steps=steps, chunk=chunk), euler, objective, frames)

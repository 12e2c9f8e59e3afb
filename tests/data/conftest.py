"""Moving pictures to write, a plain encoder that is not ours, and what both are measured with."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest


def _draw(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Drifting coloured waves: (frames, height, width, 3) uint8. Every frame differs from every other."""
    t = np.arange(frames)[:, None, None]
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [np.sin(a * x / width + b * y / height + c * t + p) for (a, b, c), p in
             zip(((6, 2, 0.2), (3, 5, 0.15), (1, 7, 0.1)), phase, strict=True)]  # fmt: skip
    return (128 + 100 * np.stack(waves, -1)).astype(np.uint8)


def _encode(
    path: Path,
    video: np.ndarray | None,
    codec: str = "libx264",
    *,
    pixels: str = "yuv420p",
    rate: int = 30,
    times: list[int] | None = None,
    rotation: float = 0,
    aspect: int = 1,
    sound: bool = False,
    muxer: dict[str, str] | None = None,
) -> Path:
    """A file as PyAV alone writes it. times: stamps in units of 1 / rate; aspect: width of a pixel over its height."""
    with av.open(str(path), "w", options=muxer or {}) as out:
        stream = None
        if video is not None:
            stream = out.add_stream(codec, rate=rate)
            stream.height, stream.width = video.shape[1:3]
            stream.pix_fmt = pixels
            stream.codec_context.sample_aspect_ratio = aspect
            if rotation:
                stream.set_display_rotation(rotation)
        noise = out.add_stream("aac", rate=8000) if sound else None
        for i, picture in enumerate(video if video is not None else ()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, rate)
            out.mux(stream.encode(frame))
        for i in range(8 if sound else 0):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 8000, 1024 * i
            out.mux(noise.encode(frame))
        for track in filter(None, (stream, noise)):
            out.mux(track.encode(None))
    return path


@pytest.fixture(scope="session")
def games() -> ModuleType:
    """games.py beside this file: test folders are no packages."""
    spec = importlib.util.spec_from_file_location("games", Path(__file__).with_name("games.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    return _draw


@pytest.fixture
def encode() -> Callable[..., Path]:
    return _encode


@pytest.fixture
def psnr() -> Callable[[np.ndarray, np.ndarray], float]:
    """Peak signal to noise in dB, over all frames together."""
    return lambda a, b: float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """Permissions bind nobody who is root: become somebody else for a moment."""

    @contextmanager
    def somebody_else() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)

    return somebody_else

"""Which frames of a video a published distance looks at, and the distances: FVD by protocol, JEDi.

"FVD" is many numbers: window, sub-sampling, context in or out, and N move it tenfold. A `Preset` says them. All of the
published ones count the context frames of a prediction as part of the video, where made and real are the same.

Frechet distances here divide covariances by N - 1, as MCVD and FAR do; StyleGAN-V and cd-fvd divide by N (read in their code).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from unspool.errors import UserError
from unspool.evaluate.distance import frechet
from unspool.evaluate.pretrained.extractors import Extractor

PUBLISHED = 2048  # videos a side


class Preset(NamedTuple):
    """window: frames of a window; None is the whole video. windows: how many at most, from the first on; None is all.

    every: of so many frames one is taken. context: whether the given frames count as part of the video. published: videos
    a side of figures in papers.
    """

    name: str
    window: int | None
    windows: int | None = 1
    every: int = 1
    context: bool = True
    published: int = PUBLISHED


# Read in the code of StyleGAN-V (2112.14683), metric_main.py: fvd2048_16f, fvd2048_128f, fvd2048_128f_subsample8f. Real windows
# begin there at a random frame, made ones at the first; clips that are too short are left out.
STYLEGANV_16 = Preset("StyleGAN-V, 16 frames", 16)
STYLEGANV_128 = Preset("StyleGAN-V, 128 frames", 128)
STYLEGANV_128_BY_8 = Preset("StyleGAN-V, 16 of 128 frames", 16, every=8)

# Read in the code of TECO (2210.02396; sample.py, compute_fvd.py), FAR (2503.19325; metric.py, options of its tests) and MCVD
# (2205.09853; ncsn_runner.py): all frames of both, the real context in front of the prediction, 256 videos. What they do beyond
# that is left out: TECO takes the mean over batches of 256 through the TensorFlow I3D, FAR the mean of the distances of several
# trajectories, MCVD that and the distance of all of them pooled, behind a resize and crop of its own.
WHOLE_VIDEO = Preset("the whole video", None, published=256)

# This project's drift curve, over the eight windows of a video of UCF-101's 128 frames.
UCF101_16 = Preset("windows of 16 of 128 frames", 16, windows=8)


def windows_of(video: np.ndarray, preset: Preset, context: int = 0) -> np.ndarray:
    """uint8 (T, H, W, 3) -> (M, t, H, W, 3): the windows that enter. Frames that fill no window are left out.

    context: how many of the first frames were given. Raises UserError for another type or shape and too few frames.
    """
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3:
        raise UserError(f"a video must be uint8 (T, H, W, 3), not {video.dtype} {tuple(video.shape)}")
    if not 0 <= context < max(1, len(video)):
        raise UserError(f"of {len(video)} frames {context} cannot be context; give 0 or more, and frames to judge")
    kept = video if preset.context else video[context:]
    span = len(kept) if preset.window is None else preset.window * preset.every
    count = len(kept) // max(1, span)
    if count < 1:
        raise UserError(f"{preset.name} needs {span} frames, a video has {len(kept)}; make longer ones or take another preset")
    if preset.windows is not None:
        count = min(count, preset.windows)
    return kept[: count * span].reshape(count, span, *kept.shape[1:])[:, :: preset.every]


def embed(
    extractor: Extractor, videos: Iterable[np.ndarray], *presets: Preset, context: int = 0
) -> list[np.ndarray]:  # fmt: skip
    """Videos (T, H, W, 3), one at a time -> for each preset float32 (N, M, D), a row for each of M windows.

    Memory does not depend on N but for the rows. Raises UserError as `windows_of` and `Extractor.features` do, for no
    videos at all, and for videos of different sizes or numbers of windows.
    """
    rows: list[list[np.ndarray]] = [[] for _ in presets]
    for video in _of_one_size(videos, set()):
        for row, preset in zip(rows, presets, strict=True):
            row.append(extractor.features(windows_of(video, preset, context)))
            if len(row[-1]) != len(row[0]):
                raise UserError(f"{preset.name}: all videos must have as many windows, not {len(row[0])} and {len(row[-1])}")
    if not all(rows):
        raise UserError("there are no videos to measure; give at least 2")
    return [np.stack(row) for row in rows]


def fvd(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Rows of `embed`, (N, M, D) and (N', M, D) -> float64 (M,): Frechet distance of each window to the same of real video.

    Unterthiner et al. 1812.01717. N and N' of at least 2; `sample_note` says what few are worth. Raises UserError otherwise.
    """
    if made.ndim != 3 or real.ndim != 3 or made.shape[1:] != real.shape[1:]:
        raise UserError(f"made and real rows must be (N, M, D) of the same M and D, not {made.shape} and {real.shape}")
    return np.array([frechet(made[:, i], real[:, i]) for i in range(made.shape[1])])


def jedi(made: np.ndarray, real: np.ndarray) -> float:
    """Rows of V-JEPA, (N, D) and (N', D) -> 100 x biased squared MMD of the kernel (x.y / D)^2.

    Read in the code of JEDi (Luo et al. 2410.05203). It is 100 / D^2 |E x x' - E y y'|^2, which is what is computed. Biased
    upwards for few rows; that of `clipwise.py` is not, and has another kernel. Raises UserError for other shapes and NaN.
    """
    if made.ndim != 2 or real.ndim != 2 or made.shape[1] != real.shape[1] or not len(made) or not len(real):
        raise UserError(f"made and real rows must be (N, D) of one D, 1 row or more, not {made.shape} and {real.shape}")
    if not (np.isfinite(made).all() and np.isfinite(real).all()):
        raise UserError("made and real rows must be finite; look for NaN in the features")
    one, other = (rows.T.astype(np.float64) @ rows.astype(np.float64) / len(rows) for rows in (made, real))
    return float(100 * np.square(one - other).sum() / made.shape[1] ** 2)


def sample_note(made: int, real: int, published: int = PUBLISHED) -> str:
    """What to print beside a distance of so many videos; "" where published figures have no more."""
    count = min(made, real)
    return "" if count >= published else f"N = {_spaced(count)} of the {_spaced(published)} that published figures use"


def _of_one_size(videos: Iterable[np.ndarray], seen: set[tuple[int, ...]]) -> Iterator[np.ndarray]:
    """The same videos; UserError once two sizes are in `seen`: all become 224 pixels, and the larger would stay sharper."""
    for video in videos:
        seen.add(video.shape[1:3])
        if len(seen) > 1:
            raise UserError(f"all videos, made and real, must have one size, not {sorted(seen)}: resample the real ones")
        yield video


def _spaced(count: int) -> str:
    return f"{count:,}".replace(",", " ")

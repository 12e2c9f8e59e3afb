"""Published distances, with networks whose weights the user gives by path: what they look at, and their rows of the table.

All look at the first future of each context; the real side is the other episodes. FVD counts the context as part of the video,
as all published presets do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from unspool.evaluate.pretrained.extractors import I3D, VIDEOMAE, VJEPA, Extractor, Network, open_extractor
from unspool.evaluate.pretrained.lpips import Lpips, open_lpips
from unspool.evaluate.pretrained.protocols import (
    STYLEGANV_16,
    STYLEGANV_128,
    STYLEGANV_128_BY_8,
    UCF101_16,
    WHOLE_VIDEO,
    Preset,
    embed,
    fvd,
    jedi,
    sample_note,
)
from unspool.evaluate.pretrained.weights import Skipped
from unspool.evaluate.tables import Gathered
from unspool.evaluate.watch import Distance, Figures

WHOLE = 300
"""Frames of a video, context included, up to which it is looked at as a whole, as TECO, FAR and MCVD do."""


class Row(NamedTuple):
    """of: the network; preset: which frames; distance of rows (N, M, D) to (N', M, D), (M,)."""

    name: str
    of: Network
    preset: Preset
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _jedi(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    return np.array([jedi(made[:, 0], real[:, 0])])


ROWS = (
    Row("FVD of 16 frames (StyleGAN-V)", I3D, STYLEGANV_16, fvd),
    Row("FVD of 128 frames (StyleGAN-V, UCF-101)", I3D, STYLEGANV_128, fvd),
    Row("FVD of 16 of 128 frames (StyleGAN-V)", I3D, STYLEGANV_128_BY_8, fvd),
    Row("FVD of windows of 16 (UCF-101)", I3D, UCF101_16, fvd),
    Row("FVD of the whole video (TECO, FAR, MCVD)", I3D, WHOLE_VIDEO, fvd),
    Row("content-debiased FVD of 16 frames", VIDEOMAE, STYLEGANV_16, fvd),
    Row("JEDi", VJEPA, STYLEGANV_16, _jedi),
)


@final
@dataclass(frozen=True)
class Published:
    """The networks that there are weights for, by name. An empty one skips every row."""

    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    lpips: Lpips | None = None

    @property
    def identity(self) -> str:
        """The hashes of all weights."""
        told = {name: extractor.sha256 for name, extractor in sorted(self.extractors.items())}
        return f"{told} {self.lpips and self.lpips.sha256}"

    @property
    def perceptual(self) -> Distance | None:
        return self.lpips.distance if self.lpips else None

    def reach(self, frames: int) -> int:
        """How many frames of a video, context included, are looked at."""
        return max((_needs(row.preset, frames) for row in self._there(frames)), default=0)

    def rows(self, video: np.ndarray, frames: int) -> Figures:
        """Features of one video (T, H, W, 3) for each row, (1, M, D). frames: of a whole video, context included; files of
        others have no context in front and are as much shorter."""
        found = {}
        for row in self._there(frames):
            if len(cut := video[: _needs(row.preset, frames)]) >= _needs(row.preset, len(video)):
                found[row.name] = embed(self.extractors[row.of.name], [cut], row.preset)[0]
        return found

    def table(self, arms: Mapping[str, Gathered], real: Gathered, frames: int) -> dict[str, Any]:
        """For results.json: for each row what it is worth, and the figure of each arm, all against the same other episodes; or
        why there is none."""
        out: dict[str, Any] = {}
        there = self._there(frames)
        for row in ROWS:
            extractor = self.extractors.get(row.of.name)
            if extractor is None:
                out[row.name] = {"network": row.of.name, "skipped": Skipped().why}
            elif row not in there:
                out[row.name] = {"network": row.of.name, "skipped": f"needs {_limits(row.preset)} frames, videos have {frames}"}
            else:
                others = real[row.name][:, 0]
                made = {name: arm[row.name][:, 0] for name, arm in arms.items() if row.name in arm.figures}
                values = {name: row.distance(rows, others).tolist() for name, rows in made.items()}
                note = sample_note(len(arms["real"]["motion"]), len(others), row.preset.published)
                missing = [name for name in arms if name not in values]
                note += f"; too short: {', '.join(missing)}" if missing else ""
                facts = {"sha256": extractor.sha256, "verified": extractor.verified, "note": note.removeprefix("; ")}
                out[row.name] = {"network": row.of.name, **facts, "arms": values}
        return out

    def _there(self, frames: int) -> list[Row]:
        """The rows that there are weights and frames for."""
        return [row for row in ROWS if row.of.name in self.extractors and _fits(row, frames)]


def open_published(
    i3d: Path | None = None, videomae: Path | None = None, vjepa: Path | None = None, lpips: Path | None = None
) -> Published:
    """Weights by path. Raises UserError for a file that is missing or another."""
    given = ((I3D, i3d), (VIDEOMAE, videomae), (VJEPA, vjepa))
    extractors = {network.name: open_extractor(network, path) for network, path in given if path}
    return Published(extractors, open_lpips(lpips) if lpips else None)


def _needs(preset: Preset, frames: int) -> int:
    """Frames of a video that a preset looks at; of the whole it is all that there are."""
    if preset.window is None:
        return frames
    return preset.window * preset.every * (preset.windows or 1)


def _limits(preset: Preset) -> str:
    return f"at most {WHOLE}" if preset.window is None else str(_needs(preset, 0))


def _fits(row: Row, frames: int) -> bool:
    length = frames if row.preset.window is None else row.preset.window
    enough = _needs(row.preset, frames) <= frames and (row.preset.window is not None or frames <= WHOLE)
    return enough and length in row.of.frames

"""Every arm plays on from every context and each frame is looked at once; what was measured is kept, and gone on from.

OUT/measured/ARM/000.safetensors   figures of one context
OUT/videos/ARM/1.mp4               the first future of the first contexts
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from unspool import store
from unspool.data.reels import Parted, Reels
from unspool.data.writer import VideoWriter
from unspool.errors import NothingThere, UserError
from unspool.evaluate.tables import Gathered
from unspool.evaluate.watch import Figures, Watch, in_blocks
from unspool.evaluation.arms import CONTROLS, Arm, Blocks, Conditions, after, truth
from unspool.evaluation.published import Published
from unspool.interrupt import Interrupt

KIND = "unspool.measured/1"
PIXELS = 256
"""About so many that a video's side is enlarged to."""

Report = Callable[[int, int, str], None]
"""(frames seen, of so many, whose), after each block."""


class Measured(NamedTuple):
    """arms: their figures, or why there are none. real: those of the clips that the band is made of. rates: frames of all
    futures a second, made and measured, in whichever call it was."""

    arms: dict[str, Gathered | str]
    real: Gathered
    rates: dict[str, float]


def measure(
    arms: Sequence[Arm], reels: Parted, asked: Conditions, out: Path, published: Published, filmed: int = 2,
    report: Report | None = None,
) -> Measured:  # fmt: skip
    """published: what is measured with weights that the user gave. filmed: contexts whose first future is kept as a video.

    An arm without futures, or a model that breaks, says why in its place. Raises KeyboardInterrupt after Ctrl-C, with all that
    is measured kept; UserError where no model is left, or what is wrong is no model's.
    """
    total = asked.frames * (asked.contexts * sum(arm.futures for arm in arms) + asked.real)
    found: dict[str, Gathered | str] = {}
    with Interrupt() as stop:
        work = _Work(out, asked, published, filmed, total, stop, report)
        for arm in arms:
            begun = work.done
            try:
                found[arm.name] = Gathered([work.figures(arm, reels.contexts, k) for k in range(asked.contexts)])
            except UserError as error:
                if not (isinstance(error, NothingThere) or arm.weights) or _alone(arm, arms, found):
                    raise
                found[arm.name] = str(error)
                work.done = begun + arm.futures * asked.contexts * asked.frames
        band, work.filmed = truth(reels.others, asked, CONTROLS[1]), 0
        real = Gathered([work.figures(band, reels.others, k) for k in range(asked.real)])
    rates = {name: frames / seconds for name, (frames, seconds) in work.spent.items()}
    return Measured(found, real, rates)


def _alone(arm: Arm, arms: Sequence[Arm], found: Mapping[str, Gathered | str]) -> bool:
    """Whether nothing but controls is left without this arm."""
    others = [other.name for other in arms if other.kind != "control" and other is not arm]
    return arm.kind != "control" and all(isinstance(found.get(name), str) for name in others)


@cache
def version() -> str:
    """A hash of this program, models and measures alike: figures of another one are not gone on from."""
    digest = sha256(KIND.encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kept_tensors(place: Path, key: str) -> tuple[Figures, float] | None:
    """Figures of an earlier call and the seconds that they took; None where there are none, or they are damaged or of
    something else: they are made again."""
    with suppress(UserError):
        tensors, told = store.load_tensors(place)
        if told.get("key") == key:
            return {name: tensor.numpy() for name, tensor in tensors.items()}, float(told["seconds"])
    return None


@dataclass
class _Work:
    out: Path
    asked: Conditions
    published: Published
    filmed: int
    total: int
    stop: Interrupt
    report: Report | None
    done: int = 0

    def __post_init__(self) -> None:
        self.spent: dict[str, tuple[int, float]] = {}

    def figures(self, arm: Arm, reels: Reels, k: int) -> Figures:
        """Of one context: those of an earlier call, or made now."""
        place = self.out / "measured" / slug(arm.name) / f"{k:03d}.safetensors"
        whatever = (version(), arm.identity, tuple(self.asked), reels.identity, self.published.identity, k)
        key = sha256(repr(whatever).encode()).hexdigest()
        film = film_of(self.out, arm.name, k) if k < self.filmed else None
        kept = kept_tensors(place, key) if film is None or film.is_file() else None
        if kept is None:
            begun = time.perf_counter()
            figures = self._see(arm, reels, k, film)
            seconds = time.perf_counter() - begun
            tensors = {name: torch.from_numpy(np.ascontiguousarray(leaf)) for name, leaf in figures.items()}
            store.save_tensors(place, tensors, {"key": key, "seconds": f"{seconds:.3f}"})
        else:
            (figures, seconds), self.done = kept, self.done + arm.futures * self.asked.frames
        frames, before = self.spent.get(arm.name, (0, 0.0))
        self.spent[arm.name] = frames + arm.futures * self.asked.frames, before + seconds
        return figures

    def _see(self, arm: Arm, reels: Reels, k: int, film: Path | None) -> Figures:
        context = reels.beginnings([k], self.asked.context)[0]
        begun = context if arm.paired or arm.real else None
        reach, perceptual = self.published.reach(self.asked.whole), self.published.perceptual
        watch = Watch(self.asked.frames, self.asked.segment, begun, keep=reach, perceptual=perceptual)
        true = in_blocks(after(reels.blocks(k), self.asked.context), 0) if arm.paired else None
        before, digest = self.done, sha256(np.ascontiguousarray(context).tobytes())
        with _Film(film, reels.fps) as video:
            for made in in_blocks(_checked(arm, arm.play(k), context), 1):
                watch.update(made, None if true is None else next(true))
                video.write(made[0])
                if arm.real:
                    digest.update(np.ascontiguousarray(made).tobytes())
                self.done = before + arm.futures * watch.done
                if self.stop:
                    share = f"{self.done} of {self.total} frames are measured"
                    raise KeyboardInterrupt(f"{share}, the same command goes on")
                if self.report:
                    self.report(self.done, self.total, arm.name)
        figures = watch.figures()
        if arm.real:
            figures["sha256"] = np.frombuffer(digest.digest(), np.uint8).copy()
        if reach:
            whole = watch.kept if begun is None else np.concatenate([begun, watch.kept])[:reach]
            figures |= self.published.rows(whole, self.asked.whole)
        return figures


class _Film:
    """A video that appears when it is whole, if it is wanted at all."""

    def __init__(self, path: Path | None, fps: float) -> None:
        self.path, self.fps = path, fps
        self.writer: VideoWriter | None = None

    def __enter__(self) -> _Film:
        return self

    def write(self, frames: np.ndarray) -> None:
        if self.writer is None and self.path is not None:  # an arm that has no futures leaves no folder either
            self.path.parent.mkdir(parents=True, exist_ok=True)
            high, wide = frames.shape[1:3]
            upscale = max(1, round(PIXELS / max(high, wide)))
            self.writer = VideoWriter(self.path, size=(high, wide), fps=self.fps, upscale=upscale)
        if self.writer is not None:
            self.writer.write(frames)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.writer is not None:
            (self.writer.discard if kind else self.writer.close)()


def _checked(arm: Arm, blocks: Blocks, context: np.ndarray) -> Blocks:
    """Raises UserError for frames of another size than the data's."""
    for block in blocks:
        if block.shape[2:] != context.shape[1:]:
            made, real = (" x ".join(map(str, shape)) for shape in (block.shape[2:4], context.shape[1:3]))
            raise UserError(f"{arm.name} makes frames of {made} and the data has {real}: choose data of that size")
        yield block


def film_of(out: Path, arm: str, context: int) -> Path:
    """Where the first future of a context lies as a video."""
    return out / "videos" / slug(arm) / f"{context + 1}.mp4"


def slug(name: str) -> str:
    """A name that any file system takes; different names stay different."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60]
    return plain if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:6]}"

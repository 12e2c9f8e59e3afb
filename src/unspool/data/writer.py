"""One video file out, frame by frame as they come.

Files are H.264 mp4. They grow aside as `NAME.part.mp4` in fragments of one key-frame interval, each playable as soon as it is
on disk, so that even a killed process leaves a video. Closing turns the same file into an ordinary mp4 in place (FFmpeg's
`hybrid_fragmented`: the fragments become one run of media, the index goes behind it) and renames it. A second pass that
moves the index to the front would write every byte twice, for a gain only over servers without range requests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from unspool.errors import UserError
from unspool.store import write_aside

KEY_FRAME_EVERY = 15  # half a second at 30 fps: cheap to seek in, and the most that a killed process loses
BT709 = 1  # primaries, transfer and matrix alike (ITU-T H.273); untagged video is shown with guessed colours

_WIDEST = 8192  # pixels: x264 takes more, players do not


@final
class VideoWriter:
    """Write frames to an H.264 mp4 as they come.

        with VideoWriter("future.mp4", size=(64, 64), upscale=4) as out:
            out.write(frames)  # (T, 64, 64, 3) uint8, as often as there are some

    Leaving the block finishes the file and gives it its name, also when Ctrl-C or an error leaves it: what was written
    is then a whole, shorter video. A process that is killed leaves `NAME.part.mp4`, playable up to its last half
    second. When the disk is full nothing stays behind.

    size: (H, W) of the frames; odd sides are padded by one edge pixel (yuv420p halves its colours). fps: frames per
    second. crf: 1 (best) to 51; 18 is hard to tell from the source. upscale: whole factor of nearest-neighbour
    enlargement, which also keeps the colour of small frames sharp. full_colour: every pixel keeps its own (yuv444p), for
    data; web browsers do not play it.

    Raises UserError: a folder that is missing or not writable, another ending than .mp4, a full disk, settings out of
    range.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, size: tuple[int, int], fps: float = 30, crf: int = 18, upscale: int = 1,
        full_colour: bool = False,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        self.part = self.path.with_name(f"{self.path.stem}.part.mp4")
        self.frames = 0
        self._size, self._upscale, self._pixels = size, upscale, "yuv444p" if full_colour else "yuv420p"
        self._reformatter = VideoReformatter()  # one for all frames: to set it up takes longer than to encode a small frame
        if self.path.suffix.lower() != ".mp4":
            raise UserError(f"cannot write {path}: videos are written as mp4; let the name end in .mp4")
        sides_fit = min(size) >= 1 and max(size) * upscale <= _WIDEST
        if not (sides_fit and upscale >= 1 and 0 < fps <= 1000 and 1 <= crf <= 51):
            fix = f"use an fps up to 1000, a crf of 1 to 51, sides of 1 to {_WIDEST} px with the upscale in"
            raise UserError(f"cannot write {path} with these settings: {fix}")
        self._rate = Fraction(fps).limit_denominator(1001)
        with _told(self.path):
            if self.path.is_dir():
                raise UserError(f"cannot write {path}: it is a folder; give the name of a file in it")
            self.part.open("wb").close()  # before the first frame is computed, not after
        self._container, self._stream = self._begin(crf)

    def _begin(self, crf: int) -> tuple[Any, Any]:
        options = {"movflags": "hybrid_fragmented+frag_keyframe", "flush_packets": "1"}
        container = av.open(f"file:{self.part}", "w", format="mp4", options=options)
        stream: Any = container.add_stream("libx264", rate=self._rate)
        stream.height, stream.width = (side * self._upscale + side * self._upscale % 2 for side in self._size)
        stream.pix_fmt = self._pixels
        # No look-ahead, so that frames reach the disk as they are made; one thread, because the model needs the others. Data is
        # for models, not for eyes: nothing is spent on what only pleases them.
        plain = ":psy=0:aq-mode=0" if self._pixels == "yuv444p" else ""
        stream.options = {
            "crf": str(crf), "g": str(KEY_FRAME_EVERY), "x264-params": f"scenecut=0{plain}",
            "preset": "veryfast", "tune": "zerolatency", "threads": "1",
        }  # fmt: skip
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        return container, stream

    def write(self, frames: np.ndarray) -> None:
        """Append frames (T, H, W, 3) uint8. Raises ValueError for another shape or type, UserError for a full disk."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (*self._size, 3):
            height, width = self._size
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, not uint8 (T, {height}, {width}, 3)")
        pad = [(0, side * self._upscale % 2) for side in self._size]
        try:
            with _told(self.path):
                for frame in frames:
                    frame = frame.repeat(self._upscale, 0).repeat(self._upscale, 1)
                    self._encode(np.pad(frame, [*pad, (0, 0)], mode="edge"))
        except UserError:
            self.discard()
            raise

    def _encode(self, array: np.ndarray) -> None:
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(array, format="rgb24"), format=self._pixels, dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG,
        )  # fmt: skip
        picture.pts, picture.time_base = self.frames, 1 / self._rate
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; without a frame, leave nothing. A second call does nothing."""
        if self._container is None:
            return
        if self.frames == 0:
            return self.discard()
        try:
            with _told(self.path):
                self._container.mux(self._stream.encode(None))
                self._container.close()
                with self.part.open("rb") as file:
                    os.fsync(file.fileno())  # some disks tell only now that they are full
                os.replace(self.part, self.path)
        except UserError:
            self.discard()
            raise
        self._container = None

    def discard(self) -> None:
        """Forget what was written; a finished video of this name stays."""
        if self._container is None:
            return
        container, self._container = self._container, None
        with suppress(OSError, ValueError):  # the same full disk again, or nothing was ever written
            container.close()
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def write_sidecar(path: str | os.PathLike[str], mapping: Mapping[str, Any]) -> Path:
    """Write what made a video beside it, as PATH.json, whole or not at all; gives its path. Paths and numpy values are
    told as text and lists. Raises UserError where the folder cannot be written, TypeError for a value that JSON does
    not have."""
    target = Path(f"{os.fspath(path)}.json")
    text = json.dumps(mapping, indent=2, ensure_ascii=False, default=_plain) + "\n"

    def write(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    write_aside(target, write)
    return target


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON: {value!r}")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """System errors while writing, as one line that names the file and the fix."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"cannot write {path}: the folder {path.parent} does not exist; create it first") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from error

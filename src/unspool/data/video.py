"""One video file in, one video file out: PyAV (FFmpeg) behind two functions, a writer and plain errors.

Pixels are uint8 arrays (T, H, W, 3), RGB. Everything that a user can mend is a `UserError` of one line. A file that is
cut short is refused, never half-read: containers say how long they are. So is damage that the decoder notices; a
flipped bit that is still a valid picture cannot be told from one, because these formats carry no checksums.

Written files are H.264 mp4. They grow aside as `NAME.part.mp4` in fragments of one key-frame interval, each playable
as soon as it is on disk, so that even a killed process leaves a video. Closing turns the same file into an ordinary
mp4 in place (FFmpeg's `hybrid_fragmented`: the fragments become one run of media, the index goes behind it) and
renames it. A second pass that moves the index to the front would write every byte twice, for a gain only over servers
without range requests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self, final

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from unspool.errors import UserError
from unspool.store import write_aside

KEY_FRAME_EVERY = 15  # half a second at 30 fps: cheap to seek in, and the most that a killed process loses
BT709 = 1  # primaries, transfer and matrix alike (ITU-T H.273); untagged video is shown with guessed colours

_WIDEST = 8192  # pixels: x264 takes more, players do not

# Formats that are one self-contained file: a playlist in disguise (HLS, concat) must not open other files or addresses.
_FORMATS = "mov,mp4,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,m4v,ivf,apng,mp3,wav,flac,aac"


class VideoInfo(NamedTuple):
    """frames: pictures in the file, counted; height, width: pixels as shown; fps: 0 where the file does not say."""

    frames: int
    height: int
    width: int
    fps: float
    codec: str


class Frame(NamedTuple):
    """time: seconds on the file's clock (None where it has none); pixels(): (H, W, 3) uint8, converted when asked."""

    time: float | None
    pixels: Callable[[], np.ndarray]


# ---- in


def read_video(
    path: str | os.PathLike[str],
    *,
    frames: int | None = None,
    start: int = 0,
    size: int | tuple[int, int] | None = None,
) -> np.ndarray:
    """Frames `start` to `start + frames` (to the end where None) of a file, as (T, H, W, 3) uint8.

    size: (H, W), or one number for a square: the centre is cut to that shape and resampled with Pillow's antialiased
    bicubic (when it shrinks, its support grows with the factor, so every source pixel counts, as in area averaging,
    without the uneven weights of a box at fractional factors). None keeps the stored pixels. Rotation in the metadata
    is honoured. Frames are counted by decoding from the first, so `start` is exact in every format and costs its own
    length.

    Raises UserError: missing, empty, cut short, damaged or not a video, without pictures, or with too few frames.
    """
    if (frames is not None and frames < 1) or start < 0:
        raise UserError(f"cannot read frames {start} and on of {path}: ask for at least 1 frame, from frame 0 or later")
    taken: list[np.ndarray] = []
    seen = 0
    for frame in read_frames(path, size=size):
        seen += 1
        if seen > start:
            taken.append(frame.pixels())
        if len(taken) == frames:
            break
    if not taken or (frames is not None and len(taken) < frames):
        have, need = f"{seen} frame{'s' * (seen != 1)}", start + (frames or 1)
        raise UserError(f"cannot read {path}: it has {have}, {need} are needed; give a longer video")
    if any(picture.shape != taken[0].shape for picture in taken):
        raise UserError(f"cannot read {path}: its pictures change size on the way; give a size to resample them to")
    return np.stack(taken)


def read_frames(path: str | os.PathLike[str], *, size: int | tuple[int, int] | None = None) -> Iterator[Frame]:
    """Every frame of a file in order of presentation; one in memory at a time. Sizes and errors as in `read_video`."""
    shape = (size, size) if isinstance(size, int) else size
    if shape is not None and min(shape) < 1:
        raise UserError(f"cannot resample {path} to {shape[0]} x {shape[1]} px: give a size of at least 1")
    with _opened(path) as (container, stream):
        squeeze = float(stream.sample_aspect_ratio or 1)  # width of a stored pixel over its height
        for picture in container.decode(stream):
            if picture.is_corrupt:
                raise UserError(f"cannot read {path}: {_DAMAGED}")
            yield Frame(picture.time, lambda picture=picture: _pixels(picture, shape, squeeze))  # type: ignore[misc]


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What a file holds, without decoding it. Frames are counted packet by packet: headers lie after a lossless cut.

    Raises UserError as `read_video` does, except for damage that only the decoder can see.
    """
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise UserError(f"cannot read {path}: {_DAMAGED}")
        height, width = (first.width, first.height) if first.rotation % 180 else (first.height, first.width)
        rate = stream.average_rate or stream.guessed_rate
        codec = stream.codec_context.codec.canonical_name
    with _opened(path) as (container, stream):
        count = sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
    return VideoInfo(count, height, width, float(rate or 0), codec)


_DAMAGED = "it is damaged; copy or download it again"
_NO_VIDEO = "it is not a video that can be decoded; give an mp4, mov, mkv, webm, avi or gif"


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """(container, stream of pictures), with everything that can go wrong said in one line.

    The file is opened here, not by FFmpeg, to which a colon in a name means a protocol.
    """
    problem = _NO_VIDEO
    with _open_file(path) as file:
        try:
            if _is_iso(file.read(8)):
                problem = _DAMAGED
            if _is_cut(file):
                raise UserError(f"cannot read {path}: the file is truncated; copy or download it again")
            file.seek(0)
            with av.open(file, options={"format_whitelist": _FORMATS}) as container:
                problem = _DAMAGED
                # The cover of an audio file is a video stream of one picture.
                streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
                if not streams:
                    raise UserError(f"cannot read {path}: it has sound but no pictures; give one with a video stream")
                yield container, streams[0]
        except av.FFmpegError as error:
            raise UserError(f"cannot read {path}: {problem}") from error


def _open_file(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        if Path(path).is_dir():
            raise UserError(f"cannot read {path}: it is a folder; give one video file")
        if Path(path).exists() and not Path(path).is_file():
            raise UserError(f"cannot read {path}: it is not an ordinary file; give one video file")
        file = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError:
        raise UserError(f"cannot read {path}: no such file; check the path") from None
    except PermissionError:
        raise UserError(f"cannot read {path}: permission denied; make it readable (chmod +r)") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from None
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise UserError(f"cannot read {path}: the file is empty; copy or download it again")
    return file


def _is_cut(file: BinaryIO) -> bool:
    """Whether a file is shorter than it says of itself; False where its format does not say."""
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(64)
    if _is_iso(head):
        return _boxes_end(file, total) > total
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") > total
    if head[:3] == b"GIF":
        file.seek(max(0, total - 64))
        return not file.read().rstrip(b"\0").endswith(b";")
    if head[:4] == b"\x1a\x45\xdf\xa3":  # Matroska: its header, then one segment that holds the rest
        at, length = _matroska_size(head, 4)
        if head[at + length : at + length + 4] == b"\x18\x53\x80\x67":
            at, length = _matroska_size(head, at + length + 4)
            return at + length > total
    return False


def _is_iso(head: bytes) -> bool:
    """mp4, mov, m4v: a row of boxes, each a size and a name (ISO 14496-12, 4.2)."""
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")


def _boxes_end(file: BinaryIO, total: int) -> int:
    at = 0
    while at + 8 <= total:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: to the end of the file; else no box at all, which is for the decoder to judge
            return total
        at += length
    return at


def _matroska_size(head: bytes, at: int) -> tuple[int, int]:
    """(where the content begins, its bytes); 0 bytes where the size is unknown, as in a live recording (RFC 8794,
    4)."""
    width = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return at + width, 0 if value == (1 << 7 * width) - 1 else value


def _pixels(picture: Any, shape: tuple[int, int] | None, squeeze: float) -> np.ndarray:
    """Colour, rotation, centre cut and resampling of one decoded picture: (H, W, 3) uint8."""
    array = picture.to_ndarray(format="rgb24")
    turns = round(picture.rotation / 90) % 4
    array = np.ascontiguousarray(np.rot90(array, turns))
    if shape is None or (array.shape[:2] == shape and squeeze == 1):
        return array
    height, width = array.shape[:2]
    aspect = shape[1] / shape[0] * (squeeze if turns % 2 else 1 / squeeze)  # of the cut, in stored pixels
    cut_h, cut_w = min(height, width / aspect), min(width, height * aspect)
    top, left = (height - cut_h) / 2, (width - cut_w) / 2
    image = Image.fromarray(array)
    box = (left, top, left + cut_w, top + cut_h)
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box))


# ---- out


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
    enlargement, which also keeps the colour of small frames sharp.

    Raises UserError: a folder that is missing or not writable, another ending than .mp4, a full disk, settings out of
    range.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, size: tuple[int, int], fps: float = 30, crf: int = 18, upscale: int = 1
    ) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(f"{self.path.stem}.part.mp4")
        self.frames = 0
        self._size, self._upscale = size, upscale
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
        stream.pix_fmt = "yuv420p"
        # No look-ahead, so that frames reach the disk as they are made; one thread, because the model needs the others.
        stream.options = {
            "crf": str(crf), "g": str(KEY_FRAME_EVERY), "x264-params": "scenecut=0",
            "tune": "zerolatency", "threads": "1",
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
        picture = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709,
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

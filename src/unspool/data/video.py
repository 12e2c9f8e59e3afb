"""One video file in: PyAV (FFmpeg) behind three functions and plain errors. `writer.py` is the way out.

Pixels are uint8 arrays (T, H, W, 3), RGB. Everything that a user can mend is a `UserError` of one line. A file that is
cut short is refused, never half-read: containers say how long they are. So is damage that the decoder notices; a
flipped bit that is still a valid picture cannot be told from one, because these formats carry no checksums.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image

from unspool.data.episodes import Frame, VideoInfo
from unspool.errors import UserError

# Formats that are one self-contained file: a playlist in disguise (HLS, concat) must not open other files or addresses.
_FORMATS = "mov,mp4,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,m4v,ivf,apng,mp3,wav,flac,aac"


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
        codec, rotation = stream.codec_context.codec.canonical_name, round(first.rotation) % 360
    with _opened(path) as (container, stream):
        count = sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
    return VideoInfo(count, height, width, float(rate or 0), codec, rotation)


_DAMAGED = "it is damaged; copy or download it again"
_NO_VIDEO = "it is not a video that can be decoded; give an mp4, mov, mkv, webm, avi or gif"


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """(container, stream of pictures), with everything that can go wrong said in one line.

    The file is opened here, not by FFmpeg, to which a colon in a name means a protocol.
    """
    problem = _NO_VIDEO
    with open_file(path) as file:
        try:
            if _is_iso(file.read(8)):
                problem = _DAMAGED
            if fault := _fault(file):
                raise UserError(f"cannot read {path}: {fault}")
            file.seek(0)
            with av.open(file, options={"format_whitelist": _FORMATS}, metadata_errors="replace") as container:
                problem = _DAMAGED
                # The cover of an audio file is a video stream of one picture.
                streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
                if not streams:
                    raise UserError(f"cannot read {path}: it has sound but no pictures; give one with a video stream")
                if streams[0].codec_context is None:
                    raise UserError(f"cannot read {path}: {_NO_VIDEO}")
                yield container, streams[0]
        except av.FFmpegError as error:
            raise UserError(f"cannot read {path}: {problem}") from error


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A file to be read. Raises UserError for one that is missing, empty, not readable or no ordinary file (which may never
    end)."""
    try:
        if Path(path).is_dir():
            raise UserError(f"cannot read {path}: it is a folder; give one video file")
        if Path(path).exists() and not Path(path).is_file():
            raise UserError(f"cannot read {path}: it is not an ordinary file; give one video file")
        file = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError:
        what = "a link to a file that is gone; mend or delete it" if os.path.islink(path) else "no such file; check the path"
        raise UserError(f"cannot read {path}: {what}") from None
    except PermissionError:
        raise UserError(f"cannot read {path}: permission denied; make it readable (chmod +r)") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from None
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise UserError(f"cannot read {path}: the file is empty; copy or download it again")
    return file


def is_video(head: bytes) -> bool:
    """Whether a file that begins with these 12 bytes is a video, whatever its name ends in."""
    kind = head[8:12]
    if head[4:8] == b"ftyp":
        return kind[:3] in (b"iso", b"mp4", b"avc", b"M4V", b"qt ")  # others are sound or a photograph
    return head[:4] in (b"\x1a\x45\xdf\xa3", b"GIF8") or (head[:4] == b"RIFF" and kind == b"AVI ")


def _fault(file: BinaryIO) -> str | None:
    """What is wrong with a file by what it says of itself; None where its format does not say."""
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(64).ljust(96, b"\0")
    if _is_iso(head) and _boxes(file, total)[1] > 1:
        return "it is several videos behind each other, and only the first would be seen; give each a file of its own"
    return "the file is truncated; copy or download it again" if _is_cut(file, head, total) else None


def _is_cut(file: BinaryIO, head: bytes, total: int) -> bool:
    """Whether a file is shorter than it says."""
    if _is_iso(head):
        return _boxes(file, total)[0] > total
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


def _boxes(file: BinaryIO, total: int) -> tuple[int, int]:
    """(where the last box ends, how many indexes there are: one for each video)."""
    at = indexes = 0
    while at + 8 <= total:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        indexes += head[4:8] == b"moov"
        if length < 8:  # 0: to the end of the file; else no box at all, which is for the decoder to judge
            return total, indexes
        at += length
    return at, indexes


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
    return array if shape is None else cut(array, shape, squeeze if turns % 2 else 1 / squeeze)


def cut(picture: np.ndarray, shape: tuple[int, int], squeeze: float = 1.0) -> np.ndarray:
    """The centre of a picture (H, W, 3) uint8, cut to the proportions of `shape` and resampled to it.

    squeeze: height of a stored pixel over its width.
    """
    if picture.shape[:2] == shape and squeeze == 1:
        return picture
    height, width = picture.shape[:2]
    aspect = shape[1] / shape[0] * squeeze  # of the cut, in stored pixels
    cut_h, cut_w = min(height, width / aspect), min(width, height * aspect)
    top, left = (height - cut_h) / 2, (width - cut_w) / 2
    box = (left, top, left + cut_w, top + cut_h)
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box))

"""Files as people have them: cut, empty, misnamed, turned, huge, without a clock, under any name. All are made here."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image
from safetensors.numpy import save

FRAMES, HEIGHT, WIDTH = 24, 32, 48


class Expected(NamedTuple):
    """reason: part of why it cannot be used; None: it is used. note: part of what an inspection says of it all the same."""

    reason: str | None = None
    note: str | None = None
    frames: int = FRAMES


def draw(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Drifting waves: (frames, height, width, 3) uint8."""
    t, y, x = np.arange(frames)[:, None, None], np.arange(height)[:, None], np.arange(width)
    waves = [np.sin(a * x / width + b * y / height + c * t) for a, b, c in ((6, 2, 0.7), (3, 5, 0.5), (1, 7, 0.6))]
    return (128 + 100 * np.stack(waves, -1)).astype(np.uint8)


def encode(
    path: Path | str,
    video: np.ndarray | None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    rate: Fraction | int = 30,
    times: list[int] | None = None,
    rotation: int = 0,
    aspect: int = 1,
    streams: int = 1,
    sound: bool = False,
    cover: bool = False,
    muxer: dict[str, str] | None = None,
    tags: dict[str, Any] | None = None,
    form: str | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """A file as PyAV alone writes it, and its bytes. times: stamps in units of 1 / rate; tags: set on the encoder."""
    with av.open(str(path), "w", format=form, options=muxer or {}) as out:
        noise: Any = out.add_stream("aac", rate=8000) if sound else None
        count = 0 if video is None else streams
        tracks = [_track(out, codec, video, pixels, rate, tags or {}, options or {}) for _ in range(count)]
        if rotation:
            tracks[0].set_display_rotation(rotation)
        if aspect != 1:
            tracks[0].codec_context.sample_aspect_ratio = aspect
        if cover:
            tracks[0].disposition = av.stream.Disposition.attached_pic
        for i, picture in enumerate(video if video is not None else ()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[i] if times else i, 1 / Fraction(rate)
            for track in tracks:
                out.mux(track.encode(frame))
        for i in range(8 if sound else 0):
            audio = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            audio.rate, audio.pts = 8000, 1024 * i
            out.mux(noise.encode(audio))
        for track in (*tracks, *([noise] if sound else [])):
            out.mux(track.encode(None))
    return Path(path).read_bytes()


def _track(
    out: Any, codec: str, video: Any, pixels: str, rate: Fraction | int, tags: dict[str, Any], options: dict[str, str]
) -> Any:
    track = out.add_stream(codec, rate=rate)
    track.height, track.width = video.shape[1:3]
    track.pix_fmt, track.codec_context.thread_count = pixels, 1
    track.options = ({"preset": "ultrafast"} if codec == "libx264" else {}) | options
    for name, value in tags.items():
        setattr(track.codec_context, name, value)
    return track


def write(root: Path) -> dict[str, Expected]:
    """All of them under `root`: what each is called, and what is to become of it. What is not named is to be left alone."""
    root.mkdir(parents=True)
    expected: dict[str, Expected] = {}
    for kind in (_cut, _fake, _shaped, _timed, _coloured, _damaged, _named, _linked, _accompanied):
        folder = root / kind.__name__[1:]
        folder.mkdir()
        expected |= {f"{folder.name}/{name}": what for name, what in kind(folder).items()}
    return expected | _described(root)


def _cut(folder: Path) -> dict[str, Expected]:
    """Each container at three places."""
    expected = {}
    for name, codec, pixels, muxer in (
        ("a.mp4", "libx264", "yuv420p", {}), ("front.mp4", "libx264", "yuv420p", {"movflags": "faststart"}),
        ("a.mov", "mpeg4", "yuv420p", {}), ("a.mkv", "libx264", "yuv420p", {}), ("a.webm", "libvpx-vp9", "yuv420p", {}),
        ("a.avi", "mjpeg", "yuvj420p", {}), ("a.gif", "gif", "rgb8", {}),
    ):  # fmt: skip
        whole = encode(folder / name, draw(), codec, pixels, muxer=muxer)
        expected[name] = Expected()
        for share in (0.2, 0.6, 0.98):
            cut = f"{Path(name).stem}-{share}{Path(name).suffix}"
            (folder / cut).write_bytes(whole[: int(len(whole) * share)])
            expected[cut] = Expected("truncated")
    whole = (folder / "a.mp4").read_bytes()
    for name, content, why in (
        ("no-index.mp4", whole[: whole.rindex(b"moov") - 4], "damaged"), ("head.mp4", whole[:32], "damaged"),
        ("byte.mp4", b"\0", "not a video"), ("head.mkv", b"\x1a\x45\xdf\xa3", "not a video"),
        ("empty.mp4", b"", "empty"), ("empty.gif", b"", "empty"),
    ):  # fmt: skip
        (folder / name).write_bytes(content)
        expected[name] = Expected(why)
    return expected


def _fake(folder: Path) -> dict[str, Expected]:
    """What a name says and a content does not, both ways."""
    image, archive = io.BytesIO(), io.BytesIO()
    Image.fromarray(draw(1)[0]).save(image, "png")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("clip.mp4", b"no video")
    giant = b"GIF89a" + b"\xff" * 4 + b"\0\0\0," + b"\0" * 4 + b"\xff" * 4 + b"\0\2\2D\1\0;"  # 65535 x 65535, it says
    contents = {
        "text.mp4": b"I am a video, believe me.\n" * 40, "image.mp4": image.getvalue(), "archive.mp4": archive.getvalue(),
        "weights.mp4": save({"frames": draw(2)}), "page.webm": b"<!DOCTYPE html><html><body>404</body></html>",
        "list.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nwhole.mp4\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile whole.mov\n", "zeros.mp4": bytes(4096),
        "noise.mp4": np.random.default_rng(0).bytes(4096), "giant.gif": giant,
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    expected = {name: Expected("not a video" if name != "giant.gif" else "it ") for name in contents}
    encode(folder / "song.mp4", None, sound=True, form="adts")
    encode(folder / "sound.mp4", None, sound=True)
    encode(folder / "cover.mp4", draw(1), "mjpeg", "yuvj420p", sound=True, cover=True)
    encode(folder / "both.mp4", draw(), sound=True)
    whole = encode(folder / "LOUD.MP4", draw())
    for name in ("whole.mov", "clip.txt", "clip", "clip.mp4.bak"):
        (folder / name).write_bytes(whole)
    encode(folder / "matroska.mp4", draw(), form="matroska")
    encode(folder / "gif.mp4", draw(), "gif", "rgb8", form="gif")
    encode(folder / "animated.gif", draw(), "apng", "rgba", form="apng")
    (folder / "notes.txt").write_text("no video, and not meant as one")
    misnamed = dict.fromkeys(("clip.txt", "clip", "clip.mp4.bak"), Expected("by its content"))
    silent = dict.fromkeys(("song.mp4", "sound.mp4", "cover.mp4"), Expected("no pictures"))
    used = dict.fromkeys(("both.mp4", "LOUD.MP4", "whole.mov", "matroska.mp4", "gif.mp4", "animated.gif"), Expected())
    return expected | silent | misnamed | used


def _shaped(folder: Path) -> dict[str, Expected]:
    expected = {}
    for degrees in (90, 180, 270):
        encode(folder / f"turned-{degrees}.mp4", draw(), rotation=degrees)
        expected[f"turned-{degrees}.mp4"] = Expected(note="rotated")
    for height, width, frames in ((1, 1, 24), (2, 2, 24), (500, 1, 4), (1, 500, 4), (31, 33, 24), (64, 7680, 2), (4320, 16, 2)):
        name = f"{width}x{height}.mp4"
        encode(folder / name, draw(frames, height, width), pixels="yuv444p")
        expected[name] = Expected(note="small" if min(height, width) < 64 else "short", frames=frames)
    encode(folder / "anamorphic.mp4", draw(), aspect=2)
    encode(folder / "interlaced.mp4", draw(), options={"x264-params": "interlaced=1"})
    encode(folder / "one.mp4", draw(1))
    encode(folder / "still.mp4", draw(1).repeat(FRAMES, 0))
    encode(folder / "grey.mp4", np.full_like(draw(), 128))
    return expected | {
        "anamorphic.mp4": Expected(), "interlaced.mp4": Expected(), "one.mp4": Expected(note="short", frames=1),
        "still.mp4": Expected(note="repeat"), "grey.mp4": Expected(note="near uniform"),
    }  # fmt: skip


def _timed(folder: Path) -> dict[str, Expected]:
    encode(folder / "fps-1000.mp4", draw(), rate=1000)
    encode(folder / "fps-1.mp4", draw(), rate=1)
    encode(folder / "fps-0.1.mp4", draw(), rate=Fraction(1, 10))
    encode(folder / "variable.mkv", draw(), times=[i * i for i in range(FRAMES)])
    encode(folder / "tied.avi", draw(), "mjpeg", "yuvj420p", rate=Fraction(30000, 1001))
    encode(folder / "flash.flv", draw(), "flv")
    whole = encode(folder / "camera.mts", draw(), form="mpegts")
    (folder / "backwards.mts").write_bytes(whole * 2)
    encode(folder / "raw.mp4", draw(), form="h264")
    encode(folder / "old.mpg", draw(), "mpeg2video", rate=25)
    return {
        "fps-1000.mp4": Expected(note="unusual frame rate: 1000"), "fps-1.mp4": Expected(note="unusual frame rate: 1 "),
        "fps-0.1.mp4": Expected(note="unusual frame rate: 0.1 "), "variable.mkv": Expected(note="variable"),
        "tied.avi": Expected(), "flash.flv": Expected(), "camera.mts": Expected(), "old.mpg": Expected(),
        "backwards.mts": Expected(note="not run forward", frames=2 * FRAMES), "raw.mp4": Expected(note="no time stamps"),
    }  # fmt: skip


def _coloured(folder: Path) -> dict[str, Expected]:
    for name, codec, pixels in (
        ("ten-bit.mp4", "libx264", "yuv420p10le"), ("full.mp4", "libx264", "yuv444p"), ("grey.mp4", "libx264", "gray"),
        ("alpha.webm", "libvpx-vp9", "yuva420p"), ("lossless.mkv", "ffv1", "bgr0"), ("alpha.mkv", "ffv1", "bgra"),
        ("deep.mkv", "ffv1", "gray16le"),
    ):  # fmt: skip
        encode(folder / name, draw(), codec, pixels)
    encode(folder / "hdr.mp4", draw(), pixels="yuv420p10le", tags={"color_primaries": 9, "color_trc": 16, "colorspace": 9})
    return {path.name: Expected() for path in folder.iterdir()}


def _damaged(folder: Path) -> dict[str, Expected]:
    whole = encode(folder / "a.mp4", draw(FRAMES, 96, 128), options={"g": "8"})
    media = slice(whole.index(b"mdat") + 900, whole.rindex(b"moov") - 8)
    rng, flipped, blank = np.random.default_rng(0), bytearray(whole), bytearray(whole)
    for at in rng.integers(media.start, media.stop, 16):
        flipped[at] ^= rng.integers(1, 256)
    middle = (media.start + media.stop) // 2
    blank[middle : middle + 600] = bytes(600)
    (folder / "flipped.mp4").write_bytes(flipped)
    (folder / "blank.mp4").write_bytes(blank)
    (folder / "twice.mp4").write_bytes(whole + whole)
    encode(folder / "streams.mkv", draw(), streams=2)
    with av.open(str(folder / "a.mp4")) as source, av.open(str(folder / "headless.mkv"), "w") as out:
        track = out.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(source.streams.video[0]))[1:]:
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    broken = Expected("damaged")
    return {"a.mp4": Expected(), "flipped.mp4": broken, "blank.mp4": broken, "twice.mp4": Expected("several videos"),
            "headless.mkv": Expected(note="can be decoded", frames=16), "streams.mkv": Expected()}  # fmt: skip


def _named(folder: Path) -> dict[str, Expected]:
    """One video under all the names that the file system takes, and two that say: not yet, not me."""
    whole = encode(folder / "plain.mp4", draw(8))
    names = ["sp\u00e4t.mp4", "spa\u0308t.mp4", "\u4e16\u754c \U0001f3a5.mp4", "two words .mp4", "-rf.mp4", "'a\"b`$(c).mp4",
             "a: b.mp4", "%s{}*?.mp4", "x" * 251 + ".mp4", "line\nbreak.mp4", "bell\a\x1b[31m.mp4", "back\\slash.mp4",
             os.fsdecode(b"latin-\xe4.mp4"), "CON.mp4"]  # fmt: skip
    taken = ["plain.mp4"]
    for name in names:
        try:
            (folder / name).write_bytes(whole)
        except OSError:
            continue  # this file system has no such names
        taken.append(name)
    deep = "/".join(["folder.mp4", *"abcdefghijklmnopqrstuvwxyz"])
    (folder / deep).mkdir(parents=True)
    for name in (f"{deep}/inner.mp4", ".hidden.mp4", "running.part.mp4"):
        (folder / name).write_bytes(whole)
    (folder / os.fsdecode(b"cut-\xff\n.mp4")).write_bytes(whole[:-9])
    bad = {os.fsdecode(b"cut-\xff\n.mp4"): Expected("truncated")}
    return {name: Expected(note="short", frames=8) for name in (*taken, f"{deep}/inner.mp4")} | bad


def _linked(folder: Path) -> dict[str, Expected]:
    store = folder / ".store"
    (store / "clips").mkdir(parents=True)
    encode(store / "clips" / "kept.mp4", draw())
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    for name, target in (
        ("self.mp4", "self.mp4"), ("there.mp4", "back.mp4"), ("back.mp4", "there.mp4"), ("gone.mp4", "nowhere.mp4"),
        ("good.mp4", ".store/clips/kept.mp4"), ("store", ".store"), ("up", ".."), ("one/two", "../two"), ("two/one", "../one"),
        ("zeros.mp4", "/dev/zero"),
    ):  # fmt: skip
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "pipe")
    shut = folder / "shut.mp4"
    encode(shut, draw())
    shut.chmod(0)
    return {
        "self.mp4": Expected("symbolic links"), "there.mp4": Expected("symbolic links"), "back.mp4": Expected("symbolic links"),
        "gone.mp4": Expected("link to a file that is gone"), "good.mp4": Expected(), "store/clips/kept.mp4": Expected(),
        "up": Expected("read already"), "one/two": Expected("read already"), "two/one": Expected("read already"),
        "zeros.mp4": Expected("not an ordinary file"), "pipe.mp4": Expected("not an ordinary file"),
        "shut.mp4": Expected("permission denied" if os.geteuid() else None),
    }  # fmt: skip


def _accompanied(folder: Path) -> dict[str, Expected]:
    """NAME.safetensors that fit and that do not. Poses of most have six numbers."""
    whole = encode(folder / "fits.mp4", draw())
    rest = np.zeros((FRAMES, 6), np.float32)
    beside: dict[str, tuple[dict[str, np.ndarray], str | None]] = {
        "fits": ({"actions": np.arange(FRAMES) % 3, "poses": rest, "map": np.zeros(4)}, None),
        "torn": ({"poses": rest}, "torn.safetensors beside it is not whole"), "lying": ({"poses": rest}, "is not whole"),
        "few": ({"actions": np.zeros(5, np.int64)}, "24 frames and 5 actions"),
        "rewards": ({"rewards": np.zeros(9)}, "9 rewards"), "flat": ({"poses": np.zeros(FRAMES)}, "shape"),
        "below": ({"actions": -np.ones(FRAMES, np.int64)}, "below 0"),
        "beyond": ({"actions": np.full(FRAMES, 1 << 40)}, "above 4095"),
        "nan": ({"actions": np.full((FRAMES, 2), np.nan, np.float32)}, "not finite"),
        "scalar": ({"actions": np.array(3)}, "shape"), "cube": ({"actions": np.zeros((FRAMES, 2, 2))}, "shape"),
        "wide": ({"actions": np.zeros((FRAMES, 9999), np.float32)}, "shape"),
    }  # fmt: skip
    for name, (arrays, _) in beside.items():
        (folder / f"{name}.mp4").write_bytes(whole)
        content = save(arrays)
        if name == "torn":
            content = content[:-50]
        if name == "lying":
            content = (1 << 50).to_bytes(8, "little") + content[8:]
        (folder / f"{name}.safetensors").write_bytes(content)
    return {f"{name}.mp4": Expected(why) for name, (_, why) in beside.items()}


def _described(root: Path) -> dict[str, Expected]:
    """metadata.jsonl with a line of each kind, and recording.json cut short."""
    whole = encode(root / "told.mp4", draw())
    for name in ("few", "mixed", "huge", "words", "slow"):
        (root / f"{name}.mp4").write_bytes(whole)

    def told(name: str, **rest: Any) -> bytes:
        return json.dumps({"file_name": f"{name}.mp4", **rest}, ensure_ascii=False).encode()

    lines: Iterable[tuple[bytes, str | None]] = (
        (b"\xef\xbb\xbf" + told("told", text="two waves\u2028drift", fps=30, split="train"), None), (b"", None),
        (told("told"), "second time"), (told("missing"), "not a video here"), (b'{"text": "whose?"}', "no file_name"),
        (b"{", "it is not {"), (b"[" * 100_000, "it is not {"), (b"null", "it is not {"), (b'{"file_name": 3}', "it is not {"),
        (b'{"file_name": "caf\xe9.mp4"}', "not a video here"), (told("words", fps="fast"), "fps above 0"),
        (told("words", fps=float("nan")), "fps above 0"), (told("words", fps=float("inf")), "fps above 0"),
        (told("words", fps=True), "fps above 0"), (told("words", text=5), "text is a string"),
        (told("words", split="val"), "split"), (told("words", actions="left"), "actions a list"),
        (told("few", actions=[1] * 5), None),
        (told("mixed", actions=[[1, 2], 3]), None), (told("huge", actions=[10**400] * FRAMES), None),
        (told("slow", fps=1e-300), None),
    )  # fmt: skip
    (root / "metadata.jsonl").write_bytes(b"\r\n".join(line for line, _ in lines))
    (root / "recording.json").write_text('{"actions": ["stay", "le')
    odd = {f"metadata.jsonl, line {i}": Expected(why) for i, (_, why) in enumerate(lines, 1) if why}
    videos = {"told.mp4": Expected(), "words.mp4": Expected(), "slow.mp4": Expected(note="unusual frame rate"),
              "few.mp4": Expected("24 frames and 5 actions"), "mixed.mp4": Expected("not numbers"),
              "huge.mp4": Expected("not numbers")}  # fmt: skip
    return odd | videos | {"recording.json": Expected("not JSON with a list")}

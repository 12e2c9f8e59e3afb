"""Reading: whole or refused, in one line. Writing: whole, or playable up to where it stopped, or nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from unspool.data.video import probe, read_video
from unspool.data.writer import KEY_FRAME_EVERY, VideoWriter, write_sidecar
from unspool.errors import UserError


def refusal(call, path: Path) -> str:
    """The one line of a refusal; that it is one, names the file and ends in a fix is checked here for all of them."""
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and str(path) in line and re.search("[;:] .+$", line.replace(str(path), ""))
    return line


def write(path: Path, video: np.ndarray, **settings) -> Path:
    with VideoWriter(path, size=video.shape[1:3], **settings) as out:
        out.write(video)
    return path


# ---- in


@pytest.mark.parametrize(
    "name, codec, pixels, least",
    [
        ("a.mp4", "libx264", "yuv420p", 34),
        ("a.mkv", "libx264", "yuv444p", 35),
        ("a.mov", "mpeg4", "yuv420p", 25),
        ("a.m4v", "mpeg4", "yuv420p", 25),
        ("a.webm", "libvpx-vp9", "yuv420p", 33),
        ("a.avi", "mjpeg", "yuvj420p", 28),
        ("a.gif", "gif", "rgb8", 19),
        ("ten-bit.mp4", "libx264", "yuv420p10le", 34),
    ],
)
def test_formats_are_read_whole_and_refused_when_cut(tmp_path, draw, encode, psnr, name, codec, pixels, least):
    video = draw(40, 64, 96)
    path = encode(tmp_path / name, video, codec, pixels=pixels)
    read = read_video(path)
    assert read.shape == video.shape and read.dtype == np.uint8
    assert psnr(read, video) > least
    assert probe(path)[:3] == (40, 64, 96)
    data = path.read_bytes()
    for share in (0.3, 0.6, 0.97):
        cut = tmp_path / f"cut{path.suffix}"
        cut.write_bytes(data[: int(len(data) * share)])
        assert "truncated" in refusal(lambda: read_video(cut, frames=2), cut)  # noqa: B023
        assert "truncated" in refusal(lambda: probe(cut), cut)  # noqa: B023


def test_an_mp4_cut_anywhere_gives_no_frames(tmp_path, draw, encode):
    """With the index in front the first frames could be decoded; they are not a context, they are a broken file."""
    data = encode(tmp_path / "a.mp4", draw(20, 32, 32), muxer={"movflags": "faststart"}).read_bytes()
    for end in np.linspace(1, len(data) - 1, 60).astype(int):
        (tmp_path / "cut.mp4").write_bytes(data[:end])
        refusal(lambda: read_video(tmp_path / "cut.mp4", frames=1), tmp_path / "cut.mp4")


@pytest.mark.parametrize("muxer", [{"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}, {}])
def test_damage_in_the_middle_is_refused(tmp_path, draw, encode, muxer):
    data = bytearray(encode(tmp_path / "a.mp4", draw(60, 64, 64), muxer=muxer).read_bytes())
    bad = tmp_path / "zeros.mp4"
    middle = data.index(b"mdat") + 2000
    data[middle : middle + 1500] = bytes(1500)
    bad.write_bytes(data)
    assert "damaged" in refusal(lambda: read_video(bad), bad)


def test_scattered_damage_is_refused(tmp_path, draw):
    """Sixteen wrong bytes each. The decoder patches most of that over and says so only beside the picture."""
    data = write(tmp_path / "a.mp4", draw(60, 64, 64)).read_bytes()
    media = np.arange(data.index(b"mdat") + 1500, data.rindex(b"moov") - 8)
    refused = 0
    for seed in range(12):
        rng, damaged = np.random.default_rng(seed), bytearray(data)
        for at in rng.choice(media, 16):
            damaged[at] ^= rng.integers(1, 256)
        (tmp_path / "a.mp4").write_bytes(damaged)
        try:
            read_video(tmp_path / "a.mp4")
        except UserError:
            refused += 1
    assert refused == 12


def test_other_broken_files(tmp_path, draw, encode, unprivileged):
    def message(name: str, **read) -> str:
        return refusal(lambda: read_video(tmp_path / name, **read), tmp_path / name)

    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("I am a video, believe me.\n" * 40)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nwhole.mp4\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile whole.mp4\n")
    encode(tmp_path / "whole.mp4", draw(5, 32, 32))
    encode(tmp_path / "sound.mp4", None, sound=True)
    encode(tmp_path / "one.mp4", draw(1, 32, 32))
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "no such file" in message("missing.mp4")
    assert "folder" in message("folder.mp4")
    assert "empty" in message("empty.mp4")
    for disguise in ("text.mp4", "list.mp4", "concat.mp4"):
        assert "not a video" in message(disguise)
    assert "no pictures" in message("sound.mp4")
    assert "ordinary file" in message("pipe.mp4")
    assert "has 1 frame, 2 are needed" in message("one.mp4", frames=2)
    assert "has 5 frames, 6 are needed" in message("whole.mp4", start=4, frames=2)
    assert "has 5 frames, 6 are needed" in message("whole.mp4", start=5)
    for absurd in ({"frames": 0}, {"frames": -3}, {"start": -1}, {"size": 0}, {"size": (8, -1)}):
        message("whole.mp4", **absurd)
    (tmp_path / "whole.mp4").chmod(0)
    with unprivileged():
        assert "permission denied" in message("whole.mp4")


def test_sound_beside_the_pictures_and_names_of_all_kinds(tmp_path, draw, encode):
    path = encode(tmp_path / "both.mp4", draw(5, 32, 32), sound=True)
    whole = read_video(path)
    for name in ("späť 世界 🎥.mp4", "12:30 file:x.mp4", "%d?*#.mp4", "x" * 251 + ".mp4", "no-suffix"):
        assert np.array_equal(read_video(path.rename(tmp_path / name)), whole)
        path = tmp_path / name


def test_any_part_of_a_file(tmp_path, draw):
    path = write(tmp_path / "a.mp4", draw(50, 32, 48))
    whole = read_video(path)
    assert np.array_equal(read_video(path, start=17, frames=9), whole[17:26])
    assert np.array_equal(read_video(path, start=44), whole[44:])


@pytest.mark.parametrize("degrees, turns", [(90, 1), (180, 2), (-90, 3)])
def test_rotation_in_the_metadata(tmp_path, draw, encode, psnr, degrees, turns):
    video = draw(5, 48, 80)
    path = encode(tmp_path / "phone.mp4", video, rotation=degrees)
    upright = np.rot90(video, turns, axes=(1, 2))
    assert psnr(read_video(path), upright) > 30
    assert probe(path)[1:3] == upright.shape[1:3]
    assert read_video(path, size=(16, 24)).shape == (5, 16, 24, 3)


def test_size_cuts_the_centre_and_averages(tmp_path, encode):
    """A fine chequerboard averages to grey (picking pixels would not), and coloured borders outside the cut vanish."""
    board = np.zeros((2, 96, 160, 3), np.uint8)
    board[:, ::2, ::2] = board[:, 1::2, 1::2] = 255
    board[:, :, :28] = board[:, :, -28:] = (255, 0, 0)
    path = encode(tmp_path / "a.mkv", board, "ffv1", pixels="bgr0")
    assert np.array_equal(read_video(path), board)
    small = read_video(path, size=32)
    assert small.shape == (2, 32, 32, 3) and np.ptp(small) <= 2 and abs(int(small.mean()) - 128) <= 1
    assert read_video(path, size=(96, 160)).shape == board.shape
    assert np.array_equal(read_video(path, size=(96, 160)), board)
    assert (read_video(path, size=(24, 40))[:, :, 0] == (255, 0, 0)).all()


def test_wide_pixels_are_shown_wide(tmp_path, encode):
    """Anamorphic: stored 64 x 64 with pixels twice as wide is shown 128 wide, so a square cuts the middle half."""
    video = np.zeros((2, 64, 64, 3), np.uint8)
    video[:, :, 14:50] = 255
    path = encode(tmp_path / "a.mp4", video, aspect=2)
    assert read_video(path, size=32).min() > 240


def test_pictures_that_change_size_need_a_size(tmp_path, draw, encode):
    parts = [encode(tmp_path / f"{n}.ts", draw(4, n, n)).read_bytes() for n in (32, 48)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    assert "change size" in refusal(lambda: read_video(path), path)
    assert read_video(path, size=16).shape == (8, 16, 16, 3)


# ---- out


def test_round_trip(tmp_path, draw, psnr):
    video = draw(100, 64, 96)
    path = tmp_path / "a.mp4"
    with VideoWriter(path, size=(64, 96), fps=24) as out:
        for start in range(0, 100, 7):
            out.write(video[start : start + 7])
    assert psnr(read_video(path), video) > 36
    assert probe(path) == (100, 64, 96, 24.0, "h264", 0)
    assert os.listdir(tmp_path) == ["a.mp4"]
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.frames == 100 and stream.pix_fmt == "yuv420p"
        assert [i for i, p in enumerate(file.demux(stream)) if p.is_keyframe] == list(range(0, 100, KEY_FRAME_EVERY))


def test_colours_come_back(tmp_path):
    """Saturated colours tell a wrong or missing matrix (red becomes orange) and a wrong range (white becomes grey)."""
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 90, 30)], np.uint8)
    video = np.repeat(np.repeat(colours[None, None], 32, 1), 32, 2)
    assert np.abs(read_video(write(tmp_path / "a.mp4", video)).astype(int) - video).max() <= 4


def test_same_frames_same_bytes(tmp_path, draw):
    video = draw(70, 66, 94)
    files = {write(tmp_path / f"{i}.mp4", video).read_bytes() for i in range(4)}
    assert len(files) == 1


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2, 64), (65, 33), (15, 16)])
def test_odd_and_tiny_sizes_are_padded(tmp_path, draw, psnr, size):
    video = draw(20, *size)
    read = read_video(write(tmp_path / "a.mp4", video, upscale=8))
    height, width = (8 * side for side in size)
    assert read.shape == (20, height + height % 2, width + width % 2, 3)
    assert psnr(read[:, 4:height:8, 4:width:8], video) > 36


def test_an_error_leaves_what_was_written(tmp_path, draw):
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", size=(32, 32)) as out:
            out.write(draw(23, 32, 32))
            raise error
        assert read_video(tmp_path / "a.mp4").shape == (23, 32, 32, 3)
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "b.mp4", size=(32, 32)):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a.mp4"]


ENDLESS = """
import sys, numpy as np
from unspool.data.writer import VideoWriter
noise = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
with VideoWriter(sys.argv[1], size=(32, 32)) as out:
    out.write(noise)
    print("50 frames", flush=True)
    while len(sys.argv) < 3 or sys.stdin.read():
        out.write(noise[:1])
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_in_the_middle_leaves_a_playable_file(tmp_path, end):
    path, part = tmp_path / "a.mp4", tmp_path / "a.part.mp4"
    pause = ["pause"] if end == signal.SIGKILL else []
    command = [sys.executable, "-c", ENDLESS, str(path), *pause]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1) as child:
        assert child.stdout.readline() == b"50 frames\n"
        time.sleep(0.1)
        child.send_signal(end)
        assert child.wait(30) == -end
    if end == signal.SIGINT:
        assert len(read_video(path)) >= 50 and not part.exists()
    else:  # all but the fragment under way: 50 frames are three fragments of 15 and five frames
        assert len(read_video(part)) == 45 and not path.exists()


def full_message(path: Path) -> str:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    return refusal(lambda: write(path, noise), path)


def test_a_full_disk_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"an older video")
    (tmp_path / "a.part.mp4").symlink_to("/dev/full")
    assert "No space left" in full_message(tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"an older video"


@pytest.mark.parametrize("kib", [4, 16, 64])
def test_a_disk_that_fills_on_the_way_leaves_nothing(tmp_path, kib):
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root mounts a small disk; /dev/full stands for it in the test above")
    try:
        assert "No space left" in full_message(tmp_path / "a.mp4")
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_places_and_settings_that_cannot_be_written(tmp_path, unprivileged):
    def message(path: Path, **settings) -> str:
        return refusal(lambda: VideoWriter(path, **{"size": (32, 32), **settings}), path)

    assert "create it first" in message(tmp_path / "no" / "a.mp4")
    assert "end in .mp4" in message(tmp_path / "a.webm")
    (tmp_path / "folder.mp4").mkdir()
    assert "folder" in message(tmp_path / "folder.mp4")
    for key, values in {"fps": (0, -1), "crf": (0, 52), "upscale": (0, 999), "size": ((0, 9), (9, 9999))}.items():
        for value in values:
            message(tmp_path / "a.mp4", **{key: value})
    tmp_path.chmod(0o555)
    with unprivileged():
        assert "ermission denied" in message(tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == ["folder.mp4"]


def test_frames_of_another_shape_are_a_programmers_error(tmp_path, draw):
    for wrong in (draw(2, 32, 33), draw(2, 32, 32) / 255, draw(2, 32, 32)[0]):
        with pytest.raises(ValueError, match="not uint8"), VideoWriter(tmp_path / "a.mp4", size=(32, 32)) as out:
            out.write(wrong)
    assert os.listdir(tmp_path) == []


def test_sidecar(tmp_path):
    path = write_sidecar(tmp_path / "a.mp4", {"seed": np.int64(3), "levels": np.eye(2), "from": tmp_path, "ms": 1.5})
    assert path == tmp_path / "a.mp4.json" and os.listdir(tmp_path) == ["a.mp4.json"]
    assert json.loads(path.read_text()) == {"seed": 3, "levels": [[1, 0], [0, 1]], "from": str(tmp_path), "ms": 1.5}
    with pytest.raises(TypeError, match="object"):
        write_sidecar(tmp_path / "a.mp4", {"what": object()})
    assert json.loads(path.read_text())["seed"] == 3

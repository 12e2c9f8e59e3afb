"""The tutorial's commands run as they stand, on twenty small clips as a phone leaves them; what only saves time is added."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unspool.cli import main
from unspool.data.video import probe, read_video

TEXT = (Path(__file__).parents[1] / "docs" / "your-videos.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()]
QUICK = {
    "train": ["--size", "nano", "--train.steps", "3", "--train.batch", "2", "--frames", "8", "--own", "2"],
    "sample": ["--frames", "40"],
}


def film(path: Path, seed: int) -> None:
    """Upright, turned or lying; 24 to 48 frames a second, not quite even; a second of something that moves."""
    rate, turn = (24, 30, 48)[seed % 3], (0, 90, 270)[seed % 3]
    rng, (height, width) = np.random.default_rng(seed), ((72, 128), (90, 120), (96, 96))[seed % 3]
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=1000)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for i in range(rate):
            wave = np.sin(x / 9 + i / rate * 3 + seed) + np.cos(y / 7 - i / rate * 2)
            picture = (128 + 60 * np.stack([wave, np.roll(wave, i, 1), wave * 0.5], -1)).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(1000 * i / rate + rng.integers(0, 3)), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.filterwarnings("ignore")
def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    for i in range(20):
        film(Path("clips") / f"clip-{i:02}.mp4", i)
    told: Callable[[], str] = lambda: "".join(capsys.readouterr())  # noqa: E731
    for command in COMMANDS:
        program, verb, *rest = shlex.split(command)
        assert program == "unspool" and main([verb, *rest, *QUICK.get(verb, [])]) == 0, (command, told())
        words = told()
        if rest[0] == "inspect":
            assert "usable            20" in words and Path("clips.png").stat().st_size > 10_000
        if verb == "train":
            assert "by heart" in words, "twenty clips are little, and it says so"
    videos = [read_video(path) for path in sorted(Path("futures").glob("*.mp4"))]
    assert [video.shape for video in videos] == [(40, 64, 64, 3)] * 3
    assert {probe(path).fps for path in Path("futures").glob("*.mp4")} == {15}, "as the model knows it"

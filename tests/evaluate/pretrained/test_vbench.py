"""The export, read back as VBench reads it: by the rules of its public code, written down anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from unspool.data.video import read_video
from unspool.data.writer import VideoWriter
from unspool.errors import UserError
from unspool.evaluate.pretrained.vbench import export_vbench, file_names


def video(value: int, frames: int = 4) -> np.ndarray:
    return np.full((frames, 16, 16, 3), value, np.uint8)


def mp4(path: Path, value: int, fps: float = 8) -> Path:
    with VideoWriter(path, size=(16, 16), fps=fps) as out:
        out.write(video(value))
    return path


def grey(path: Path) -> float:
    return float(read_video(path).mean())


def custom_input(videos: Path, prompts: Path) -> dict[str, str]:
    """{path: prompt}: every mp4 of the folder must have its prompt in the file."""
    known = {os.path.join(videos, file): prompt for file, prompt in json.loads(prompts.read_text("ascii")).items()}
    found = [os.path.join(videos, file) for file in os.listdir(videos) if Path(file).suffix in (".mp4", ".gif")]
    assert len(known) >= len(found)
    return {file: known[file] for file in found}


def standard(videos: Path, prompt: str) -> list[Path]:
    ending = Path(os.listdir(videos)[0]).suffix
    return [videos / name for i in range(5) if (name := f"{prompt}-{i}{ending}") in os.listdir(videos)]


def long_name(file: str) -> str:
    """The name that VBench-Long gives back to the video of a clip."""
    folder = file.split(".mp4")[0]
    clip = f"{folder}-Scene-000_003.mp4"
    assert len(clip.encode()) <= 255
    return clip.split("_")[0].split("-Scene")[0]


def test_arrays_and_files_are_found_in_all_modes(tmp_path: Path) -> None:
    prompt = "In a still frame, a stop sign (no. 7's) façade"
    files = [mp4(tmp_path / "a.mp4", 40), str(mp4(tmp_path / "b.mp4", 90))]
    found = export_vbench({prompt: [*files, video(140)], "duel": [video(200)]}, tmp_path / "new" / "out", fps=12)
    assert found.written == 4 and found.renamed == {}
    assert sorted(os.listdir(tmp_path / "new" / "out")) == ["prompts.json", "videos"]
    prompts = custom_input(found.videos, found.prompts)
    values = {Path(file).name: (told, grey(Path(file))) for file, told in prompts.items()}
    for i, value in enumerate((40, 90, 140)):
        assert values[f"{prompt}-{i}.mp4"] == (prompt, pytest.approx(value, abs=3))
    assert values["duel-0.mp4"] == ("duel", pytest.approx(200, abs=3)) and len(values) == 4
    assert [grey(path) for path in standard(found.videos, prompt)] == pytest.approx([40, 90, 140], abs=3)
    assert {long_name(file) for file in values} == {file.removesuffix(".mp4") for file in values}
    assert (found.videos / f"{prompt}-0.mp4").read_bytes() == (tmp_path / "a.mp4").read_bytes()


ODD = {
    "a/b\\c": "a b c",
    "two\nlines\x00": "two lines",
    "snake_case_name": "snake case name",
    "a-Scene of mp4.mp4 files": "a Scene of mp4 mp4 files",
    ".hidden": "hidden",
    "..": ".",
    "   ": "video",
    "": "video 2",
    "half \ud83d of a face": "half ? of a face",
    "Video": "Video",
    "video 2": "video 2 2",
    "plain-3": "plain-3",
}


def test_odd_names_are_made_safe_and_stay_different() -> None:
    names = file_names(ODD)
    assert names == ODD
    assert len(set(names.values())) == len(names)


def test_long_names_are_cut_between_characters() -> None:
    prompts = ["ж" * 300 + "a", "ж" * 300 + "b", "x" * 210, "x" * 400]
    names = list(file_names(dict.fromkeys(prompts)).values())
    assert names[0] == "ж" * 110 and names[1] == "ж" * 109 + " 2" and names[2] == "x" * 210 and len(set(names)) == 4
    assert all(long_name(f"{name}-0.mp4") == f"{name}-0" for name in names)


def test_odd_names_are_written_with_their_whole_prompts(tmp_path: Path) -> None:
    prompts = {prompt: [video(60)] for prompt in [*ODD, "ж" * 300]}
    found = export_vbench(prompts, tmp_path / "out")
    told = custom_input(found.videos, found.prompts)
    expected = {prompt.encode("utf-8", "replace").decode() for prompt in prompts}
    assert set(told.values()) == expected and found.written == len(prompts)
    assert set(found.renamed) == set(prompts) - {"plain-3", "Video"}
    assert not [file for file in os.listdir(found.videos) if re.search(r"[_/]|\.part", file)]


def test_an_export_of_before_is_replaced_with_the_clips_cut_from_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_vbench({"old": [video(10), video(20)]}, out)
    (out / "videos" / "split_clip" / "old-0").mkdir(parents=True)
    again = export_vbench({"new": [out / "videos" / "old-1.mp4"]}, out)
    assert os.listdir(again.videos) == ["new-0.mp4"] and grey(again.videos / "new-0.mp4") == pytest.approx(20, abs=3)
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_a_failed_export_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    export_vbench({"old": [video(10)]}, out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unspool.evaluate.pretrained.vbench.shutil.copyfile", full)
    with pytest.raises(UserError, match="No space left"):
        export_vbench({"new": [video(20), mp4(tmp_path / "a.mp4", 30)]}, out)
    assert os.listdir(out / "videos") == ["old-0.mp4"] and sorted(os.listdir(tmp_path)) == ["a.mp4", "out"]


@pytest.mark.parametrize("files", [["notes.txt"], ["videos/mine.mp4"], ["videos/mine.mp4", "prompts.json"]])
def test_other_folders_are_not_touched(tmp_path: Path, files: list[str]) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")
    with pytest.raises(UserError, match="no export for VBench"):
        export_vbench({"a": [video(0)]}, tmp_path)
    assert all((tmp_path / file).read_text() == "{}" for file in files)


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    slow, cut = mp4(tmp_path / "slow.mp4", 0, fps=0.5), mp4(tmp_path / "cut.mp4", 0)
    cut.write_bytes(cut.read_bytes()[:200])
    (tmp_path / "a.gif").touch()
    for videos, says in (
        ({}, "nothing to export"),
        ({"a": [video(0)], "b": []}, "nothing to export"),
        ({"a": [video(0)[0]]}, "must be uint8"),
        ({"a": [video(0) / 255]}, "must be uint8"),
        ({"a": [tmp_path / "absent.mp4"]}, "no such file"),
        ({"a": [tmp_path / "a.gif"]}, "is not an mp4"),
        ({"a": [slow]}, "less than 1 frame a second"),
        ({"a": [cut]}, "cut.mp4"),
    ):
        with pytest.raises(UserError, match=says):
            export_vbench(videos, out)
    monkeypatch.setattr("unspool.evaluate.pretrained.vbench.file_names", lambda videos: dict.fromkeys(videos, "one"))
    with pytest.raises(UserError, match="does not tell a from A"):
        export_vbench({"a": [video(0)], "A": [video(0)]}, out)
    with pytest.raises(UserError, match="an fps of 1 or more"):
        export_vbench({"a": [video(0)]}, out, fps=0.5)
    with pytest.raises(UserError, match="is a file, not a folder"):
        export_vbench({"a": [video(0)]}, tmp_path / "a.gif")
    assert not out.exists()

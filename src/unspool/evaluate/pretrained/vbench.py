"""Videos in the layout that VBench and VBench-Long read. Neither is run here: they need CUDA, old packages and many weights.

    OUT/videos/NAME-0.mp4, NAME-1.mp4 ...    one folder with nothing else in it
    OUT/prompts.json                         {"NAME-0.mp4": "the whole prompt", ...}

    python evaluate.py --videos_path OUT/videos --prompt_file OUT/prompts.json --mode custom_input --dimension ...
    python vbench2_beta_long/eval_long.py --videos_path OUT/videos --mode long_custom_input --dev_flag --dimension ...

Both take subject_consistency, background_consistency, motion_smoothness, dynamic_degree, aesthetic_quality and imaging_quality
of videos of one's own. The standard prompt lists are `--mode vbench_standard`, with the prompt as the name.

Read in VBench's README, vbench/__init__.py and vbench/utils.py, and in vbench2_beta_long's README, __init__.py and utils.py
(45e79ec). What they do to names decides what is allowed in one:
- standard mode looks for PROMPT-0.mp4 to PROMPT-4.mp4 and takes the ending from whatever is first in the folder;
- VBench-Long cuts clips NAME_000.mp4 and finds their video again by what stands before the first "_", "-Scene" or ".mp4";
- VBench-Long takes clips that lie in the folder for those of today's videos, so an old folder is replaced, never added to;
- VBench-Long cuts by whole frames a second, so there must be at least 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unspool import store
from unspool.data.video import probe
from unspool.data.writer import VideoWriter
from unspool.errors import UserError
from unspool.evaluate.curves import check

_LONGEST = 220  # bytes: names may have 255, and "-0-Scene-000_000.mp4" wants its own; VBench's longest prompt has 210
_VIDEOS, _PROMPTS = "videos", "prompts.json"


class Export(NamedTuple):
    """videos, prompts: for --videos_path and --prompt_file. renamed: {prompt: name} where they differ, which the standard
    mode will not find and VBench-Long takes for the prompt."""

    videos: Path
    prompts: Path
    written: int
    renamed: dict[str, str]


def export_vbench(videos: Mapping[str, Sequence[str | Path | np.ndarray]], out: str | Path, fps: float = 30) -> Export:
    """{prompt or name: its videos} -> the folder `out`, whole or not at all; an export of before is replaced.

    A video is the path of an mp4, which is copied as it is, or uint8 (T, H, W, 3), written with `fps`. Raises UserError for
    no videos, a file that is missing or damaged, less than 1 frame a second, and a folder that holds anything else.
    """
    out = Path(out)
    if not videos or not all(len(own) for own in videos.values()):
        raise UserError("there is nothing to export: give at least one video for every prompt")
    if fps < 1:
        raise UserError(f"VBench cuts by whole frames a second: write with an fps of 1 or more, not {fps}")
    for prompt, own in videos.items():
        for video in own:
            _check_video(prompt, video)
    _check_replaceable(out)
    names = file_names(videos)

    def write(aside: Path) -> None:
        (aside / _VIDEOS).mkdir(parents=True)
        prompts = {}
        for prompt, own in videos.items():
            for index, video in enumerate(own):
                file = f"{names[prompt]}-{index}.mp4"
                if (aside / _VIDEOS / file).exists():  # VBench has "a fantasy landscape" and "A fantasy landscape"
                    raise UserError(f"{out} is on a disk that does not tell a from A, as {prompt!r} asks for; choose another")
                prompts[file] = _legible(prompt)
                _write_video(video, aside / _VIDEOS / file, fps)
        # In ASCII, because VBench opens it in the encoding of its machine.
        (aside / _PROMPTS).write_text(json.dumps(prompts, indent=1) + "\n", encoding="ascii")

    store.write_aside(out, write)
    renamed = {prompt: name for prompt, name in names.items() if name != prompt}
    return Export(out / _VIDEOS, out / _PROMPTS, sum(map(len, videos.values())), renamed)


def file_names(prompts: Mapping[str, object]) -> dict[str, str]:
    """{prompt: name}: the prompt itself where a file system and VBench-Long can bear it, else as near as may be; all differ."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for prompt in prompts:
        name, count = _safe(prompt), 1
        while name in taken:
            count += 1
            name = f"{_cut(_safe(prompt), _LONGEST - len(f' {count}'))} {count}"
        taken.add(name)
        names[prompt] = name
    return names


def _safe(prompt: str) -> str:
    name = re.sub(r"[/\\\x00-\x1f\x7f_]", " ", _legible(prompt))
    name = re.sub(r"(-Scene|\.mp4)", lambda found: f" {found[0][1:]}", name)
    if name.startswith("."):
        name = name.replace(".", " ", 1)  # it would be hidden
    return _cut(name.strip(), _LONGEST) or "video"


def _legible(prompt: str) -> str:
    """Without the halves of characters that broken names of files have and no file can hold."""
    return prompt.encode("utf-8", "replace").decode()


def _cut(name: str, most: int) -> str:
    """The first `most` bytes, in whole characters."""
    return name.encode()[:most].decode(errors="ignore").strip()


def _write_video(video: str | Path | np.ndarray, path: Path, fps: float) -> None:
    if not isinstance(video, np.ndarray):
        shutil.copyfile(video, path)
        return
    with VideoWriter(path, size=(video.shape[1], video.shape[2]), fps=fps) as out:
        out.write(video)


def _check_video(prompt: str, video: str | Path | np.ndarray) -> None:
    if isinstance(video, np.ndarray):
        check(video[None])
        return
    if Path(video).suffix.lower() != ".mp4":
        raise UserError(f"{video}, for {prompt!r}, is not an mp4, which is all that VBench-Long reads; convert it first")
    if probe(video).fps < 1:
        raise UserError(f"{video}, for {prompt!r}, has less than 1 frame a second, by which VBench-Long cuts; write it faster")


def _check_replaceable(out: Path) -> None:
    """Raises UserError unless `out` is missing, empty or an export of before: whatever else is in it would be lost."""
    store.check_writable(out / _PROMPTS)
    if not out.exists() or not (found := set(os.listdir(out))):
        return
    if found == {_VIDEOS, _PROMPTS}:
        known = store.read_json(out / _PROMPTS)
        files = [file.name for file in (out / _VIDEOS).iterdir() if file.is_file()]
        if isinstance(known, dict) and set(files) <= set(known):
            return
    raise UserError(f"{out} holds files that are no export for VBench and would be lost; choose a new folder")

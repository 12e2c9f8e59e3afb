"""UCF-101 (Soomro, Zamir and Shah, 2012): CLASS/v_CLASS_gNN_cNN.avi, and lists that split it.

Source: the published lists (lines of trainlist01.txt are CLASS/FILE and a number, of testlist01.txt CLASS/FILE), torchvision's
ucf101.py, which reads them, and the scripts of wilson1yan/VideoGPT, which move the files to {train,test}/CLASS/FILE. The folder
of classes may be the root or lie in it (UCF-101); the lists lie in ucfTrainTestlist in the root or beside it. The first of the
three published splits is taken. Reconstructed: nothing, but no copy of the set was at hand to try.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unspool.data import files
from unspool.data.episodes import Episode, EpisodeSet
from unspool.data.video import Frame, probe, read_frames
from unspool.errors import UserError

LISTS = "ucfTrainTestlist"
_NAMED = re.compile(r"v_\w+_g\d\d_c\d\d\.avi", re.IGNORECASE)


def is_here(root: Path) -> bool:
    return any(_NAMED.fullmatch(path.name) for depth in ("*", "*/*") for path in root.glob(f"{depth}/v_*_g*_c*.avi"))


def read(root: Path) -> EpisodeSet:
    """Lines of the lists that cannot be used are among what is skipped; their videos are not."""
    splits, odd = _splits(root)
    paths = sorted(path for depth in ("*", "*/*") for path in files.find(root, f"{depth}/*.avi"))
    episodes, skipped = files.each(root, paths, partial(_episode, splits))
    return EpisodeSet(root, "ucf101", episodes, skipped=(*odd, *skipped))


def _episode(splits: dict[str, files.Split], name: str, path: Path) -> list[Episode]:
    if not _NAMED.fullmatch(path.name):
        raise UserError(f"cannot read {path}: it is not named v_CLASS_gNN_cNN.avi; rename it or take it away")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.parent.name).lower()
    split = splits.get(path.name) or files.split_of(name)
    return [Episode(name, files.stamp(path), partial(probe, path), partial(_frames, path), text=text, split=split)]


def _frames(path: Path, size: int | None) -> Iterator[Frame]:
    return read_frames(path, size=size)


def _splits(root: Path) -> tuple[dict[str, files.Split], list[tuple[str, str]]]:
    """Splits by the name of the file, which is unique in the set, and (line, reason) of each line that cannot be used."""
    splits: dict[str, files.Split] = {}
    odd = []
    homes = [home / LISTS for home in (root, root.absolute().parent) if (home / LISTS).is_dir()]
    sides: tuple[tuple[files.Split, str], ...] = (("train", "trainlist01.txt"), ("test", "testlist01.txt"))
    for split, name in sides:
        path = homes[0] / name if homes else root / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not line.strip():
                continue
            film = line.split()[0].rsplit("/", 1)[-1]
            if not _NAMED.fullmatch(film):
                odd.append((f"{name}, line {number}", "it names no v_CLASS_gNN_cNN.avi; mend or delete the line"))
            elif splits.setdefault(film, split) != split:
                odd.append((f"{name}, line {number}", f"it names {film}, which is trained on; keep it in one list"))
    return splits, odd

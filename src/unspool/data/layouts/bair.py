"""BAIR robot pushing (Ebert, Finn, Lee and Levine, arXiv:1710.05268): TFRecords as published, or one of two conversions.

    {train,test}/traj_A_to_B.tfrecords           softmotion30_44k of the published archive; read here without TensorFlow
    {train,test}/traj_A_to_B/K/0.png, 1.png, ...  as SVG (edenton/svg) unpacks them; VideoGPT adds actions.npy
    {train,test}/traj_NNNNN.npz                  as iVideoGPT (thuml) unpacks them: aux1_image and action

They lie in the root or up to two folders below; where there are several forms, the first of these is read. Pictures are those
of the camera image_aux1, on which the field reports. The HDF5 files of VideoGPT and MCVD are not read.
Source: bair_robot_pushing.py of tensorflow/datasets and convert_bair.py of edenton/svg (keys, raw bytes of 64 x 64 RGB, four
actions a frame), preprocess_bair.py of thuml/iVideoGPT and the bair scripts of wilson1yan/VideoGPT. Reconstructed: that an
action follows the frame that it lies beside. No rate is published: fps is 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from unspool.data import files, tfrecord
from unspool.data.episodes import Episode, EpisodeSet, Tracks
from unspool.data.video import Frame, VideoInfo
from unspool.errors import UserError

CAMERA, SIDE, ACTIONS = "image_aux1", 64, 4
_FPS = 0.0


def is_here(root: Path) -> bool:
    return any(next(root.glob(f"{depth}{split}/{pattern}"), None) for pattern, _ in _FORMS for depth, split in _PLACES)


def read(root: Path) -> EpisodeSet:
    for pattern, make in _FORMS:
        if paths := sorted(path for depth, split in _PLACES for path in files.find(root, f"{depth}{split}/{pattern}")):
            episodes, skipped = files.each(root, paths, make)
            return EpisodeSet(root, "bair", episodes, skipped=skipped)
    raise UserError(f"no trajectories of BAIR robot pushing in {root}; give the folder with train and test")


def _records(name: str, path: Path) -> Iterable[Episode]:
    """The trajectories of one file, numbered from 1 as SVG numbers them."""
    stamp = files.stamp(path)
    for number, (offset, length) in enumerate(tfrecord.spans(path), 1):
        record = _Record(path, offset, length)
        where = f"{name.removesuffix('.tfrecords')}/{number}"
        yield Episode(where, stamp, record.info, record.frames, record.tracks, split=files.split_of(name))


class _Record(NamedTuple):
    path: Path
    offset: int
    length: int

    def info(self) -> VideoInfo:
        return VideoInfo(len(self._pictures(self._features())), SIDE, SIDE, _FPS, "tfrecord")

    def frames(self, size: int | None) -> Iterator[Frame]:
        raws = self._pictures(self._features())
        return files.frames((np.frombuffer(raw, np.uint8).reshape(SIDE, SIDE, 3) for raw in raws), _FPS, size)

    def tracks(self) -> Tracks:
        features = self._features()
        rows = [np.asarray(features.get(f"{i}/action", ())) for i in range(len(self._pictures(features)))]
        if any(row.shape != (ACTIONS,) for row in rows):
            raise UserError(f"cannot read {self.path}: a record has not {ACTIONS} actions a frame; copy or download it again")
        return {"actions": files.vectors(self.path, "actions", np.stack(rows), ACTIONS)}

    def _features(self) -> tfrecord.Features:
        return tfrecord.features(self.path, self.offset, self.length)

    def _pictures(self, features: tfrecord.Features) -> list[memoryview]:
        """Raw pictures in order, however many there are."""
        count = sum(name.endswith(f"/{CAMERA}/encoded") for name in features)
        raws = [raw for i in range(count) for raw in features.get(f"{i}/{CAMERA}/encoded", ())]
        if not count or len(raws) != count or any(len(raw) != SIDE * SIDE * 3 for raw in raws):
            what = f"{CAMERA}, raw pictures {SIDE} x {SIDE}"
            raise UserError(f"cannot read {self.path}: a record lacks {what}; copy or download it again")
        return raws


def _folder(name: str, path: Path) -> list[Episode]:
    """A trajectory unpacked to pictures."""
    beside = [path / "actions.npy"] if (path / "actions.npy").is_file() else []
    pictures = _numbered(path)
    info, frames = partial(_folder_info, pictures), partial(_folder_frames, pictures)
    tracks = partial(_folder_tracks, beside[0], len(pictures)) if beside else dict
    return [Episode(name, files.stamp(*pictures, *beside), info, frames, tracks, split=files.split_of(name))]


def _numbered(path: Path) -> list[Path]:
    """0.png, 1.png and so on. Raises UserError where there is a gap."""
    count = sum(entry.name.endswith(".png") and not entry.name.startswith(".") for entry in os.scandir(path))
    pictures = [path / f"{i}.png" for i in range(count)]
    if not pictures or not pictures[-1].is_file():
        raise UserError(f"cannot read {path}: its pictures are not 0.png, 1.png and so on; copy or convert it again")
    return pictures


def _folder_info(pictures: list[Path]) -> VideoInfo:
    with _opened(pictures[0]) as image:
        return VideoInfo(len(pictures), image.height, image.width, _FPS, "png")


def _folder_frames(pictures: list[Path], size: int | None) -> Iterator[Frame]:
    return files.frames((_picture(path) for path in pictures), _FPS, size)


def _folder_tracks(path: Path, frames: int) -> Tracks:
    actions = files.array(path)
    files.per_frame(path, "actions", actions, frames)
    return {"actions": files.vectors(path, "actions", actions, ACTIONS)}


def _picture(path: Path) -> np.ndarray:
    with _opened(path) as image:
        return np.asarray(image.convert("RGB"))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read {path}: it is not a whole PNG; copy or convert it again") from error


def _array_file(name: str, path: Path) -> list[Episode]:
    """A trajectory unpacked to arrays."""
    return [files.film_episode(name, path, "aux1_image", _FPS, _array_tracks)]


def _array_tracks(path: Path) -> Tracks:
    (actions,) = files.arrays(path, "action")
    files.per_frame(path, "actions", actions, files.film_info(path, "aux1_image", _FPS).frames)
    return {"actions": files.vectors(path, "actions", actions, ACTIONS)}


_FORMS = (("traj_*_to_*.tfrecords", _records), ("traj_*_to_*/*/", _folder), ("traj_[0-9]*.npz", _array_file))
_PLACES = tuple((depth, split) for depth in ("", "*/", "*/*/") for split in ("train", "test"))

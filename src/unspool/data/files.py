"""What the layouts share: how files are listed, which split a folder means, and numpy's files with plain errors."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Literal

import numpy as np

from unspool.data.episodes import Episode, Tracks
from unspool.data.video import Frame, VideoInfo, cut
from unspool.errors import UserError

Split = Literal["train", "test"]
SPLITS: dict[str, Split] = {"train": "train", "training": "train", "test": "test", "eval": "test", "validation": "test"}
_AGAIN = "copy or download it again"


def find(root: Path, pattern: str) -> list[Path]:
    """The files that match, sorted by name; hidden ones are left alone."""
    found = (path for path in root.glob(pattern) if not any(p.startswith(".") for p in path.relative_to(root).parts))
    return sorted(found)


def split_of(name: str) -> Split | None:
    """What the folders of a relative name say."""
    return next((SPLITS[part] for part in name.split("/")[:-1] if part in SPLITS), None)


def stamp(*paths: Path) -> str:
    """Changes when one of the files does. Raises UserError for one that is missing or empty."""
    parts = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; {_AGAIN}") from None
        if not stat.st_size:
            raise UserError(f"cannot read {path}: the file is empty; {_AGAIN}")
        parts.append(f"{stat.st_size}|{stat.st_mtime_ns}")
    return "|".join(parts)


def each(
    root: Path, paths: Iterable[Path], make: Callable[[str, Path], Iterable[Episode]]
) -> tuple[tuple[Episode, ...], tuple[tuple[str, str], ...]]:
    """What `make(name, path)` makes of every path, and (name, reason) where it raises UserError."""
    episodes: list[Episode] = []
    skipped: list[tuple[str, str]] = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            episodes.extend(make(name, path))
        except UserError as error:
            skipped.append((name, str(error).removeprefix(f"cannot read {path}: ")))
    return tuple(episodes), tuple(skipped)


def keys(path: Path) -> set[str]:
    """Names of the arrays of a .npz."""
    with _archive(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of a .npz by name. Raises UserError for one that is missing, damaged or made of Python objects."""
    found = []
    with _archive(path) as archive:
        for name in names:
            with _member(archive, path, name) as (file, size):
                found.append(_array(path, name, file, size))
    return found


def array(path: Path) -> np.ndarray:
    """The array of a .npy. Errors as in `arrays`."""
    size = int(stamp(path).split("|")[0])
    with _plain_errors(path), open(path, "rb") as file:
        return _array(path, path.name, file, size)


def film_info(path: Path, name: str, fps: float) -> VideoInfo:
    """What the film (T, H, W, 3) of a .npz is, from its header alone."""
    with _archive(path) as archive, _member(archive, path, name) as (file, size):
        shape, dtype = _header(path, name, file, size)
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1 or dtype.kind not in "iu":
        raise UserError(f"cannot read {path}: {name} is {dtype} of shape {shape}; give uint8 pictures (T, H, W, 3)")
    return VideoInfo(shape[0], shape[1], shape[2], fps, "npz")


def film_episode(name: str, path: Path, pictures: str, fps: float, tracks: Callable[[Path], Tracks]) -> Episode:
    """An episode that is one .npz, its film under the name `pictures`."""
    info, frames = partial(film_info, path, pictures, fps), partial(film, path, pictures, fps)
    return Episode(name, stamp(path), info, frames, partial(tracks, path), split=split_of(name))


def film(path: Path, name: str, fps: float, size: int | None) -> Iterator[Frame]:
    """The pictures of the film of a .npz, whose array is in memory meanwhile."""
    film_info(path, name, fps)
    (pictures,) = arrays(path, name)
    if pictures.dtype != np.uint8:
        if pictures.min() < 0 or pictures.max() > 255:
            raise UserError(f"cannot read {path}: {name} has values beyond 0 to 255; give uint8 pictures")
        pictures = pictures.astype(np.uint8)
    return frames(pictures, fps, size)


def frames(pictures: Iterable[np.ndarray], fps: float, size: int | None) -> Iterator[Frame]:
    """Pictures as frames on a clock of `fps`, without times where that is 0."""
    for i, picture in enumerate(pictures):
        yield Frame(
            i / fps if fps else None,
            lambda picture=picture: picture if size is None else cut(picture, (size, size)),  # type: ignore[misc]
        )


def per_frame(path: Path, what: str, values: np.ndarray, frames: int) -> None:
    """Raises UserError unless there is one value for each frame."""
    if values.shape[:1] != (frames,):
        have = len(values) if values.ndim else "no"
        raise UserError(f"cannot read {path}: it has {have} {what} for {frames} frames; {_AGAIN}")


def choices(path: Path, actions: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Discrete actions as (T,) int64. Raises UserError for what is not a number of one of the names."""
    if actions.ndim != 1 or actions.dtype.kind not in "iu" or not np.isin(actions, range(len(names))).all():
        wanted = f"integers (T,) of 0 to {len(names) - 1}"
        raise UserError(f"cannot read {path}: its actions are not {wanted}; give actions of this set")
    return actions.astype(np.int64)


def vectors(path: Path, what: str, values: np.ndarray, *shape: int) -> np.ndarray:
    """Values (T, *shape) as float32. Raises UserError for another shape and for what is not finite."""
    if values.shape[1:] != shape or values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise UserError(f"cannot read {path}: its {what} are {values.dtype} of shape {values.shape}; give finite numbers")
    return values.astype(np.float32)


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or 'it is damaged'}; {_AGAIN}") from None
    except Exception as error:  # what damage makes zipfile, zlib and numpy raise has no end: tokenize.TokenError is among it
        raise UserError(f"cannot read {path}: it is damaged or not a numpy file; {_AGAIN}") from error


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with _plain_errors(path), zipfile.ZipFile(path) as archive:
        yield archive


@contextmanager
def _member(archive: zipfile.ZipFile, path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """The file of one array, and how many bytes it has."""
    try:
        told = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise UserError(f"cannot read {path}: it has no array {name!r}; give a file of this set") from None
    with archive.open(told) as file:
        yield file, told.file_size


def _header(path: Path, name: str, file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type, as far as the `size` bytes of the file bear them out: nothing is set aside for a shape that lies."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise UserError(f"cannot read {path}: {name} holds Python objects, which are never loaded; save plain arrays")
    count = 1
    for length in shape:
        count *= length
    if count * dtype.itemsize > size:
        raise UserError(f"cannot read {path}: {name} is shorter than its header says; {_AGAIN}")
    return shape, dtype


def _array(path: Path, name: str, file: IO[bytes], size: int) -> np.ndarray:
    _header(path, name, file, size)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)

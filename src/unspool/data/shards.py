"""Memory-mapped shards: episodes as raw frames in a few safetensors files, and the source of clips that reads them.

manifest.json      what was prepared, from what, how; every episode with its place
codec.safetensors  weights of the codec that made latents, if they are such
00000.safetensors  frames (N, H, W, 3) uint8 or (N, C, H, W) float16, actions (N, K) and poses (N, P) float32, episodes in a row

Which clip is which is arithmetic over the list of episodes: no order, worker or rank enters. Reading needs no video library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, final

import numpy as np
import torch

from unspool import store
from unspool.data.clips import Clips, gaps
from unspool.data.episodes import listed
from unspool.data.splits import held_out
from unspool.errors import NothingThere, UserError
from unspool.noise import fold

FORMAT = 1
MANIFEST, CODEC = "manifest.json", "codec.safetensors"
HEADER = 1024  # bytes in front of the frames; the safetensors header in it is filled with spaces, as the format allows
_DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype(np.uint8), "F16": np.dtype(np.float16), "F32": np.dtype(np.float32)}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Member(NamedTuple):
    """An episode in the shards: frames `first` to `first + frames` of the file `shard`."""

    name: str
    stamp: str
    shard: str
    first: int
    frames: int
    text: str | None = None
    split: str | None = None


@dataclass
class Manifest:
    """What a folder of shards says of itself. source: the layout of the set; origin: the name of its folder and a digest of
    what lay there, empty in older manifests; settings: what the frames were made by, the codec's hash among it; fps: of the
    first episode; shape, dtype: of a frame; actions, poses: numbers a frame, 0 for none; names: of discrete actions; skipped:
    (name, stamp, reason)."""

    source: str
    settings: dict[str, Any]
    shape: list[int]
    dtype: str
    fps: float | None = None
    actions: int = 0
    poses: int = 0
    names: list[str] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    episodes: list[Member] = field(default_factory=list)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)

    def write(self, root: Path) -> None:
        told = asdict(self) | {"format": FORMAT, "episodes": [member._asdict() for member in self.episodes]}
        lines = json.dumps(told).replace('{"name":', '\n{"name":')  # an episode a line
        if not (root / MANIFEST).exists() or (root / MANIFEST).read_text(encoding="utf-8") != lines + "\n":
            store.write_text(root / MANIFEST, lines + "\n")

    @staticmethod
    def read(root: Path) -> Manifest:
        """Raises UserError for a manifest that is missing, torn or of another format."""
        told = store.read_json(root / MANIFEST)
        if isinstance(told, dict) and told.pop("format", FORMAT) != FORMAT:
            raise UserError(f"{root} was prepared by another version of unspool; prepare it again into a new folder")
        try:
            episodes = [Member(**member) for member in told.pop("episodes")]
            skipped = [(name, stamp, reason) for name, stamp, reason in told.pop("skipped")]
            manifest = Manifest(**told, episodes=episodes, skipped=skipped)
            numbers = [*manifest.shape, manifest.actions, manifest.poses, *(n for m in episodes for n in (m.first, m.frames))]
            whole = all(type(n) is int and n >= 0 for n in (*numbers, manifest.settings["size"]))
            kinds = _is_codec(manifest.settings["codec"]), isinstance(manifest.fps, float | int | None)
            if not whole or not all(kinds):
                raise TypeError("a value is of another kind")
            return manifest
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{root / MANIFEST} is not a manifest of shards ({error}); prepare the set again") from error


def _is_codec(told: Any) -> bool:
    """Whether a manifest says all of its codec that readers ask for; None: frames are pixels."""
    kinds = {"name": str, "sha256": str, "options": dict | None}
    return told is None or all(isinstance(told[key], kind) for key, kind in kinds.items())


@final
class ShardWriter:
    """Frames into one shard as they come, at constant memory; `path` is written aside by the caller."""

    def __init__(self, path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.file = path.open("wb")
        self.file.seek(HEADER)
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.frames = 0

    def write(self, frames: np.ndarray) -> None:
        """(n, *shape)."""
        assert frames.shape[1:] == self.shape and frames.dtype == self.dtype
        self.file.write(np.ascontiguousarray(frames).data)
        self.frames += len(frames)

    def forget(self, frames: int) -> None:
        """Drop all but the first `frames` frames."""
        self.frames = frames
        self.file.seek(HEADER + self.bytes)
        self.file.truncate()

    @property
    def bytes(self) -> int:
        return self.frames * math.prod(self.shape) * self.dtype.itemsize

    def finish(self, tracks: dict[str, np.ndarray]) -> None:
        """Tracks (N, K) behind the frames, and the header in front."""
        at, header = self.bytes, {"frames": _entry(self.dtype, (self.frames, *self.shape), 0)}
        for name, track in tracks.items():
            self.file.write(np.ascontiguousarray(track).data)
            header[name] = _entry(track.dtype, track.shape, at)
            at += track.nbytes
        text = json.dumps(header).encode()
        self.file.seek(0)
        self.file.write((HEADER - 8).to_bytes(8, "little") + text.ljust(HEADER - 8))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.file.close()


def _entry(dtype: np.dtype[Any], shape: Sequence[int], at: int) -> dict[str, Any]:
    return {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [at, at + math.prod(shape) * dtype.itemsize]}


def open_shard(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a shard, mapped. Raises UserError for a file that is missing or not whole."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < 1 << 20 else {}
        data = 8 + length
        if not header or path.stat().st_size != data + max(entry["data_offsets"][1] for entry in header.values()):
            raise ValueError("its length is not what its header says")
        return {
            name: np.asarray(
                np.memmap(path, _DTYPES[entry["dtype"]], "r", data + entry["data_offsets"][0], tuple(entry["shape"]))
            )
            for name, entry in header.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"cannot read {path}: it is missing or not whole; run the same `unspool data prepare` again") from error


def open_shards(root: Path, size: int, split: str, *, pad: bool = False) -> Shards:
    """Raises UserError where they were prepared at another size, besides what `Shards` raises."""
    shards = Shards(root, split, pad=pad)
    if (at := shards.manifest.settings["size"]) != size:
        fix = f"choose --resolution {at}, or prepare it again with --size {size}"
        raise UserError(f"{root} was prepared at {at} pixels, not at {size}: {fix}")
    return shards


@final
class Shards:
    """Clips from prepared shards; `Shards(...)(indices, frames, seed=0)` is `Clips`.

    Clip i is a pure function of (seed, i): one start among all starts of all episodes of the split, each as likely as another.

    split: train or test, by episode (see `splits.held_out`; what the set says itself holds). holdout: share of test episodes.
    frames_min: shorter episodes are left out. pad: an episode that is shorter than a clip is filled up with its last frame, and
    `valid` says so. named: what users call the set, where it is not `root`. Raises UserError: not shards, not prepared to the
    end, nothing usable.
    """

    def __init__(
        self, root: str | Path, split: str = "train", *, holdout: float = 0.1, frames_min: int = 2, pad: bool = False,
        named: str | Path | None = None,
    ) -> None:  # fmt: skip
        self.root, self.split, self.pad, self.name = Path(root), split, pad, named or root
        if split not in ("train", "test") or not 0 <= holdout < 1:
            raise UserError(f"cannot use {self.name}: split is train or test, 0 <= holdout < 1")
        self.manifest = manifest = Manifest.read(self.root)
        if not manifest.complete:
            raise UserError(f"{root} is not prepared to the end; wait for the `unspool data prepare` at work, or run it again")
        test = held_out((m.name for m in manifest.episodes), holdout, {m.name: m.split for m in manifest.episodes})
        members = sorted(m for m in manifest.episodes if (m.name in test) == (split == "test"))
        self.skipped = [(name, reason) for name, _, reason in manifest.skipped]
        self.skipped += [(m.name, f"has {m.frames} frames, {frames_min} are needed") for m in members if m.frames < frames_min]
        self.episodes = [m for m in members if m.frames >= frames_min]
        if not self.episodes:
            why = f"all were skipped: {listed(self.skipped)}" if self.skipped else f"it holds {len(manifest.episodes)} in all"
            raise NothingThere(f"no usable {split} episode in {self.name} ({why}); add some or mend these")
        self.fps, self.shape = manifest.fps, tuple(manifest.shape)
        self._lengths = np.array([member.frames for member in self.episodes])
        self._mapped = lru_cache(512)(open_shard)
        for member in self.episodes:  # now, not in the middle of training
            self._check(member)

    def _check(self, member: Member) -> None:
        """Raises UserError where the manifest tells of other frames than the shard holds."""
        tensors, manifest = self._mapped(self.root / member.shard), self.manifest
        shapes = {"frames": self.shape, "actions": (manifest.actions,), "poses": (manifest.poses,)}
        fits = str(tensors["frames"].dtype) == manifest.dtype and member.first + member.frames <= len(tensors["frames"])
        if not fits or any(tensors[name].shape[1:] != shape for name, shape in shapes.items() if shape != (0,)):
            raise UserError(f"{self.root / MANIFEST} and {member.shard} are not of one set; prepare it again into a new folder")

    @property
    def frames(self) -> int:
        """Of all episodes of the split."""
        return int(self._lengths.sum())

    @property
    def action_names(self) -> tuple[str, ...]:
        """See `ClipSource`."""
        return tuple(self.manifest.names)

    def __repr__(self) -> str:
        return f"{len(self.episodes)} episodes, {self.frames} frames"

    def __call__(self, indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> Clips:
        """See `ClipSource`; anchors come from as far back as the episode goes."""
        members, starts = self.where(indices, frames, seed=seed)
        rows = self._columns(members, starts, frames, anchor, gaps(indices, seed, reach))
        chosen = [self.episodes[m] for m in members]
        said = np.array([member.text or "" for member in chosen])[:, None]
        valid = rows < self._lengths[members][:, None]
        return Clips(
            self._gather("frames", chosen, rows),
            self._gather("actions", chosen, rows) if self.manifest.actions else None,
            self._gather("poses", chosen, rows) if self.manifest.poses else None,
            said.repeat(rows.shape[1], 1) if said.any() else None,
            None if valid.all() else valid,
        )

    def wording(self) -> set[str]:
        """See `Captioned`."""
        return {member.text for member in self.episodes if member.text}

    def stretch(self, episode: int, first: int, frames: int, track: str = "frames") -> np.ndarray:
        """Up to `frames` frames of an episode from frame `first` on, by its number; or of its `actions` or `poses`."""
        member = self.episodes[episode]
        last = member.first + min(first + frames, member.frames)
        return self._mapped(self.root / member.shard)[track][member.first + first : last].copy()

    def where(self, indices: np.ndarray, frames: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Which clips these are: (B,) positions in `episodes` and (B,) first frames."""
        starts = np.maximum(self._lengths - frames + 1, int(self.pad))
        ends = np.cumsum(starts)
        if frames < 1 or not ends[-1]:
            longest = self._lengths.max()
            raise NothingThere(f"no video of {self.name} has {frames} frames: use clips of 1 to {longest} frames")
        key = fold(torch.tensor(seed), torch.as_tensor(np.asarray(indices), dtype=torch.int64))
        pick = (key.numpy().view(np.uint64) % np.uint64(ends[-1])).astype(np.int64)
        member = np.searchsorted(ends, pick, side="right")
        return member, pick - (ends - starts)[member]

    def _columns(
        self, members: np.ndarray, starts: np.ndarray, frames: int, anchor: int, back: np.ndarray
    ) -> np.ndarray:  # (B, anchor + frames)
        begins = np.maximum(0, starts - back)[:, None] + np.arange(anchor)
        return np.concatenate([begins, starts[:, None] + np.arange(frames)], 1)

    def _gather(self, name: str, chosen: Sequence[Member], rows: np.ndarray) -> np.ndarray:
        """Copies of these frames of these episodes; past the end the last one stands."""
        first = self._mapped(self.root / chosen[0].shard)[name]
        out = np.empty((*rows.shape, *first.shape[1:]), first.dtype)
        for clip, member, at in zip(out, chosen, rows, strict=True):
            whole = self._mapped(self.root / member.shard)[name]
            np.take(whole, member.first + np.minimum(at, member.frames - 1), axis=0, out=clip, mode="clip")
        return out

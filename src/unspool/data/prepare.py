"""Episodes into shards: cut, resampled in time, encoded if asked, written shard by shard, so that it goes on where it stopped.

What is kept of an earlier call is decided by each episode's stamp: a changed, new or vanished episode costs the shards it lies
in, out of which the others are copied.
"""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from unspool import store
from unspool.data.carried import scale
from unspool.data.episodes import MOST_ACTIONS, Episode, EpisodeSet, Tracks, check_tracks, listed, reason
from unspool.data.how import Preparation
from unspool.data.resample import Counted, at_rate, converted, same_rate, tracks_at, width_of
from unspool.data.shards import CODEC, MANIFEST, Manifest, Member, ShardWriter, open_shard
from unspool.data.splits import place
from unspool.errors import UserError

BATCH = 32  # frames that are encoded together
IN_FLIGHT = 64 << 20  # bytes of decoded frames that wait to be made small


class Progress(NamedTuple):
    """Episodes looked at, of how many; frames written by this call."""

    done: int
    total: int
    frames: int


def prepare(
    found: EpisodeSet, out: Path, how: Preparation, report: Callable[[Progress], None] = lambda progress: None, *,
    wait: bool = False,
) -> Manifest:  # fmt: skip
    """Shards and a manifest in `out`. What cannot be used is told in the manifest, and the rest is used. wait: until another
    process that prepares there is done, rather than refuse.

    Raises UserError: nothing can be used, `out` was prepared in another way or holds more than `most_bytes` allow, it cannot be
    written, another process prepares there.
    """
    with store.locked(out, "preparing", wait=wait):
        work = _Work(found, Path(out), how)
        work.begin()
        work.run(report)
        return work.manifest


@final
class _Work:
    """One call of `prepare`. pending: what is not in a whole shard yet; spare: where some of it can be copied from."""

    def __init__(self, found: EpisodeSet, out: Path, how: Preparation) -> None:
        self.found, self.out, self.how, self.sample = found, out, how, how.sample()
        self.frames = 0  # written by this call
        self.at_once: dict[str, int] = {}  # frames of an episode that may be in memory as they are stored
        self.rates = Counter[float]()  # of the files that were looked into

    def begin(self) -> None:
        """Take over what an earlier call left, and list what is to do."""
        before = self._before()
        now = {episode.name: episode for episode in self.found.episodes}
        stamps = {name: episode.stamp for name, episode in now.items()}
        actions, poses = self._widths()
        whole = {shard for shard in {member.shard for member in before.episodes} if _is_whole(self.out / shard)}
        same = [m for m in before.episodes if stamps.get(m.name) == m.stamp and m.shard in whole]
        if (actions, poses) != (before.actions, before.poses):
            same = []
        self.manifest = Manifest(
            self.found.layout, self.how.told(), list(self.sample.shape[1:]), str(self.sample.dtype), before.fps,
            actions, poses, list(self.found.actions), origin(self.found),
            skipped=[(name, "", reason) for name, reason in self.found.skipped]
            + [entry for entry in before.skipped if entry[1] and stamps.get(entry[0]) == entry[1]],
        )  # fmt: skip
        chosen = self._chosen({member.name: member.frames for member in same})
        stale = {m.shard for m in before.episodes if m not in same or m.name not in chosen}
        kept = [member for member in same if member.shard not in stale]
        self.manifest.episodes = [m._replace(text=now[m.name].text, split=now[m.name].split) for m in kept]
        self.spare = {member.name: member for member in same if member.shard in stale}
        there = {member.name for member in self.manifest.episodes}
        self.pending = deque(e for e in self.found.episodes if e.name in chosen and e.name not in there)
        self.done, self.total = len(there), len(chosen)
        dropped = [m.name for m in before.episodes if m.name not in chosen]
        self._refuse_to_shrink(set(dropped) & now.keys() - {name for name, *_ in self.manifest.skipped}, len(before.episodes))
        self._warn_of_rates()
        if dropped and self.how.refuse_bytes is None:
            warnings.warn(f"{len(dropped)} episodes that {self.out} held are dropped: {', '.join(dropped[:5])}", stacklevel=2)
        if not chosen:
            raise UserError(self._nothing())

    def run(self, report: Callable[[Progress], None]) -> None:
        """Shard after shard, the manifest after each."""
        taken = {member.shard for member in (*self.manifest.episodes, *self.spare.values())}
        numbers = (n for n in count() if f"{n:05}.safetensors" not in taken)
        report(Progress(self.done, self.total, 0))
        if self.pending or not (self.out / MANIFEST).exists():
            self.manifest.write(self.out)  # what lies here is from now on not what an earlier manifest says
        if self.how.encoder:
            store.save_tensors(self.out / CODEC, self.how.encoder.weights)
        with ThreadPoolExecutor() as pool:
            while self.pending:
                name = f"{next(numbers):05}.safetensors"
                members: list[Member] = []
                store.write_aside(self.out / name, partial(self._shard, name, members, pool, report))
                self.manifest.episodes += members
                self.manifest.write(self.out)
        self.manifest.episodes.sort()
        self.manifest.skipped.sort()
        self.manifest.complete = bool(self.manifest.episodes)
        self.manifest.write(self.out)
        used = {member.shard for member in self.manifest.episodes}
        for path in self.out.glob("[0-9]*.safetensors"):
            if path.name not in used:
                path.unlink()
        if not self.manifest.complete:
            raise UserError(self._nothing())

    def _shard(
        self, name: str, members: list[Member], pool: ThreadPoolExecutor, report: Callable[[Progress], None], aside: Path
    ) -> None:
        """Fill one shard with what is pending."""
        tracks: list[Tracks] = []
        with ShardWriter(aside, self.sample.shape[1:], self.sample.dtype) as writer:
            while self.pending and writer.bytes < self.how.shard_bytes:
                episode, first = self.pending.popleft(), writer.frames
                try:
                    tracks.append(self._episode(episode, writer, pool))
                    told = (first, writer.frames - first, episode.text, episode.split)
                    members.append(Member(episode.name, episode.stamp, name, *told))
                except UserError as error:
                    writer.forget(first)
                    self._skip(episode, error)
                self.done += 1
                self.frames += writer.frames - first
                report(Progress(self.done, self.total, self.frames))
            writer.finish({key: np.concatenate([t[key] for t in tracks]) for key in (tracks[0] if tracks else ())})

    def _episode(self, episode: Episode, writer: ShardWriter, pool: ThreadPoolExecutor) -> Tracks:
        """Frames of one episode into the shard, copied or decoded; its tracks, row by row with them."""
        if episode.name in self.spare:
            member = self.spare[episode.name]
            tracks, rows = open_shard(self.out / member.shard), slice(member.first, member.first + member.frames)
            writer.write(tracks.pop("frames")[rows])
            return {key: track[rows] for key, track in tracks.items()}
        first, state, chosen = writer.frames, {}, []  # type: int, Any, list[int]
        counted = Counted(episode.frames(self.how.size))
        fix = "leave that away" + (", or give its fps in metadata.jsonl" if self.found.layout == "videos" else "")
        frames = at_rate(counted, self.how.fps, fix) if self.how.fps else counted
        small = converted(frames, pool, self.at_once.get(episode.name, 1))
        while batch := list(islice(small, BATCH)):
            pixels = np.stack([picture for _, picture in batch])
            chosen += [index for index, _ in batch]
            if self.how.encoder:
                pixels, state = self.how.encoder.encode(pixels, state)
            writer.write(pixels)
        written = writer.frames - first
        if not written:
            raise UserError("it has no frames; delete it")
        stride = round((len(chosen) - 1) / (written - 1)) if written > 1 else 1  # of a codec that shortens time
        said = episode.tracks()
        check_tracks(said, counted.count)
        return tracks_at(said, np.array(chosen[::stride][:written]), self.manifest.actions, self.manifest.poses)

    # -- before the first frame -------------------------------------------------------------------------------------------

    def _before(self) -> Manifest:
        """The manifest of an earlier call, or an empty one. Raises UserError where it was prepared in another way."""
        told = self.how.told()
        if not (self.out / MANIFEST).exists():
            others = sorted(path.name for path in self.out.iterdir() if not path.name.startswith("."))
            if others:
                raise UserError(f"{self.out} holds other files ({others[0]}); choose a folder of its own for the shards")
            return Manifest("", told, [], "")
        before = Manifest.read(self.out)
        if not before.episodes:
            return Manifest("", told, [], "")
        for key, value in told.items():
            was = before.settings.get(key)
            if _nameless(was) != _nameless(value):
                raise UserError(f"{self.out} was prepared with {key} {_short(was)}, not {_short(value)}; choose another --out")
        return before

    def _widths(self) -> tuple[int, int]:
        """Numbers a frame of actions, as many as any episode needs, and of poses, as most episodes have them."""
        actions, poses = len(self.found.actions), Counter[int]()
        for episode in self.found.episodes:
            try:
                said = episode.tracks()
            except UserError:
                continue  # told when its turn comes
            if "actions" in said and (width := width_of(said["actions"])) <= MOST_ACTIONS:
                actions = max(actions, width)
            if "poses" in said and said["poses"].ndim == 2:
                poses[said["poses"].shape[1]] += 1
        return actions, max(poses, key=lambda width: (poses[width], width), default=0)

    def _refuse_to_shrink(self, lost: set[str], held: int) -> None:
        if self.how.most_bytes is not None and lost:
            what = f"{len(lost)} of the {held} episodes that {self.out} holds do not fit into {self.how.most_bytes / 1e6:g} MB"
            raise UserError(f"{what}; raise --max-mb, or choose another --out for a smaller set")

    def _warn_of_rates(self) -> None:
        rates = sorted(rate for rate in {*self.rates, self.manifest.fps or 0.0} if rate) or [1.0]
        least, most, fix = rates[0], rates[-1], max(rates, key=self.rates.__getitem__)  # what most of them have
        if self.how.fps is None and not same_rate(least, most):
            what = f"frame rates of {self.found.root} differ, {least:g} to {most:g} fps, and every frame is kept"
            warnings.warn(f"{what}: bring them to one by `unspool data prepare --fps {fix:g}`", stacklevel=2)

    def _skip(self, episode: Episode, error: UserError) -> None:
        self.manifest.skipped.append((episode.name, episode.stamp, reason(error, self.found.root / episode.name)))

    def _nothing(self) -> str:
        """Why there is nothing to keep."""
        root, most = self.found.root, self.how.most_bytes
        all_skipped = len(self.manifest.skipped) == len(self.found.episodes) + len(self.found.skipped)
        if most is not None and not self.total and not all_skipped:
            return f"no episode of {root} fits into {most / 1e6:g} MB; raise --max-mb"
        why = listed((name, reason) for name, _, reason in sorted(self.manifest.skipped))
        return f"nothing in {root} can be used: {why or 'it is empty'}; add videos, or mend these"

    def _chosen(self, there: Mapping[str, int]) -> set[str]:
        """The episodes to prepare, as many as there is room for; what cannot even be opened is told in the manifest."""
        broken = {name for name, stamp, _ in self.manifest.skipped if stamp}
        most, limit = self.how.most_bytes, self.how.refuse_bytes
        weights = self.how.encoder and self.how.encoder.weights
        scales = scale(self.manifest, self.sample[0].nbytes, weights, self.how.shard_bytes)
        chosen, whole = set(), 0.0
        for episode in sorted(self.found.episodes, key=lambda episode: place(f"take {episode.name}")):  # of both splits alike
            if episode.name in broken and most is None:
                continue
            try:  # expected also where it is known, so that as many are chosen at every call
                known = most is None and episode.name in there
                frames = there[episode.name] if known else self._expected(episode)
            except UserError as error:
                if episode.name not in broken:
                    self._skip(episode, error)
                continue
            whole += scales.of(episode, frames)
            if most is not None and scales.whole(whole) > most:
                break
            if episode.name not in broken:
                chosen.add(episode.name)
        if limit is not None and whole > limit:
            raise UserError(
                f"the videos of {self.found.root} would fill {whole / 1e9:.1f} GB decoded at {self.how.size} px, the limit is "
                f"{limit / 1e9:.1f} GB: use fewer videos or a smaller size, or `unspool data prepare` them into a folder"
            )
        return chosen

    def _expected(self, episode: Episode) -> float:
        """Frames that an episode will have."""
        info = episode.info()
        self.at_once[episode.name] = max(1, min(BATCH, IN_FLIGHT // max(1, 3 * info.height * info.width)))
        self.manifest.fps = self.manifest.fps or self.how.fps or info.fps or None
        self.rates[info.fps] += info.fps > 0
        return info.frames * self.how.fps / info.fps + 1 if self.how.fps and info.fps else info.frames


def origin(found: EpisodeSet) -> dict[str, str]:
    """Where a set came from, as its manifest tells it: the folder's name, and a digest of its episodes' names and stamps."""
    told = "".join(f"{episode.name}\0{episode.stamp}\n" for episode in found.episodes)
    return {"folder": Path(found.root).resolve().name, "sha256": sha256(told.encode("utf-8", "surrogateescape")).hexdigest()}


def _is_whole(shard: Path) -> bool:
    """Whether a shard is as it was written; one that was deleted or cut short is made again."""
    try:
        open_shard(shard)
    except UserError:
        return False
    return True


def _nameless(value: Any) -> Any:
    """A codec is the same by whatever path it was found."""
    return {key: part for key, part in value.items() if key != "name"} if isinstance(value, dict) else value


def _short(value: Any) -> Any:
    return f"{value['name']} ({value['sha256'][:8]})" if isinstance(value, dict) else value

"""The verb `data inspect`: what a set holds, what of it cannot be used and why, and a picture of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unspool.data.episodes import Episode, EpisodeSet, VideoInfo, check_tracks, reason, shown
from unspool.data.record.explore import flat
from unspool.data.splits import place
from unspool.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SIZE = 64  # pixels a side at which motion is measured, and shown
SHORT = 16  # frames; most recipes train on clips about as long
STILL = 0.5  # of 255: below it a frame repeats the one before but for the encoder's noise
UNEVEN = 0.25  # of a frame's time: steps of the clock that differ by more are another frame rate
SHOWN, COLUMNS = 12, 8


class Look(NamedTuple):
    """One episode, decoded. motion: mean absolute difference of neighbouring frames, of 255; still, flat: shares of frames;
    notes: what is odd about it but no hindrance; frames: some of them, evenly spread, for the picture."""

    name: str
    info: VideoInfo
    length: int
    motion: float
    still: float
    flat: float
    notes: tuple[str, ...]
    actions: np.ndarray | None
    tracks: tuple[str, ...]
    frames: np.ndarray


def inspect(
    found: EpisodeSet, most: int | None = None, report: Callable[[int, int], None] = lambda done, total: None
) -> tuple[dict[str, Any], list[Look]]:
    """The figures of a set, and a look at each usable episode. most: look at so many, chosen by their names."""
    chosen = sorted(found.episodes, key=lambda episode: place(episode.name))[:most]
    looks: list[Look] = []
    odd = [{"name": name, "reason": reason} for name, reason in found.skipped]
    for done, episode in enumerate(chosen, 1):
        try:
            one = look(episode)
            looks.append(one if len(looks) < SHOWN else one._replace(frames=one.frames[:0].copy()))  # no view of all
        except UserError as error:
            odd.append({"name": episode.name, "reason": reason(error, found.root / episode.name)})
        report(done, len(chosen))
    looks.sort(key=lambda one: one.name)
    odd.sort(key=lambda one: one["name"])
    return {"root": str(found.root), "layout": found.layout, "episodes": len(found.episodes), "looked at": len(chosen),
            "usable": len(looks), **_figures(looks, found), "skipped": odd,
            "notes": [{"name": one.name, "note": note} for one in looks for note in one.notes]}, looks  # fmt: skip


def look(episode: Episode) -> Look:
    """Decode an episode, one frame in memory at a time but for those shown. Raises UserError for what cannot be used."""
    info = episode.info()
    times: list[float | None] = []
    motion, blank, kept = list[float](), 0, list[np.ndarray]()
    before: np.ndarray | None = None
    keep = max(1, info.frames // COLUMNS)
    for frame in episode.frames(SIZE):
        pixels = frame.pixels()
        if len(times) % keep == 0 and len(kept) < COLUMNS:
            kept.append(pixels)
        now = pixels.astype(np.float32)
        blank += bool(flat(pixels))
        if before is not None:
            motion.append(float(np.abs(now - before).mean()))
        before = now
        times.append(frame.time)
    count = len(times)
    if not count:
        raise UserError("it has no frames; delete it")
    said = episode.tracks()
    check_tracks(said, count)
    still = float(np.mean(np.array(motion) < STILL)) if motion else 1.0
    notes = tuple(_notes(info, count, times, still, blank / count))
    tracks, speed = tuple(sorted(said)), float(np.mean(motion or [0]))
    return Look(episode.name, info, count, speed, still, blank / count, notes, said.get("actions"), tracks, np.stack(kept))


def _notes(info: VideoInfo, count: int, times: list[float | None], still: float, flat: float) -> list[str]:
    """What a user may want to know before training."""
    notes = []
    if count < SHORT:
        notes.append(f"short: {count} frame{'s' * (count != 1)}")
    if info.width % 2 or info.height % 2:
        notes.append(f"odd size: {info.width} x {info.height}")
    if min(info.width, info.height) < SIZE:
        notes.append(f"small: {info.width} x {info.height}, enlarged for training above that")
    if info.rotation:
        notes.append(f"rotated by {info.rotation} degrees, shown upright")
    if None in times:
        notes.append("no time stamps: it cannot be brought to another rate")
    elif count > 2:
        steps = np.diff(np.array(times, np.float64))
        if steps.min() <= 0:
            notes.append("time stamps that do not run forward")
        elif np.abs(steps / np.median(steps) - 1).max() > UNEVEN:
            notes.append(f"variable frame rate: {1 / steps.max():.3g} to {1 / steps.min():.3g} fps")
    if not info.fps:
        notes.append("no frame rate told")
    elif info.fps > 120 or info.fps < 5:
        notes.append(f"unusual frame rate: {info.fps:.4g} fps")
    if info.frames != count:
        notes.append(f"{info.frames} frames by its index, {count} that can be decoded")
    if still > 0.5 and count > 1:
        notes.append(f"{still:.0%} of its frames repeat the one before")
    if flat > 0.1:
        notes.append(f"{flat:.0%} of its frames are near uniform")
    return notes


def _figures(looks: list[Look], found: EpisodeSet) -> dict[str, Any]:
    """Counts, durations, sizes, rates, motion and actions of all that can be used."""
    if not looks:
        return {"frames": 0, "hours": 0.0}
    counts = np.array([one.length for one in looks])
    seconds = np.array([one.length / one.info.fps if one.info.fps else np.nan for one in looks])
    weights = counts / counts.sum()
    return {
        "frames": int(counts.sum()), "hours": round(float(np.nansum(seconds)) / 3600, 4),
        "frames an episode": {"least": int(counts.min()), "median": float(np.median(counts)), "most": int(counts.max())},
        "seconds": _spread(seconds[np.isfinite(seconds)]),
        "sizes": dict(Counter(f"{one.info.width} x {one.info.height}" for one in looks).most_common()),
        "fps": dict(Counter(f"{one.info.fps:g}" for one in looks).most_common()),
        "codecs": dict(Counter(one.info.codec for one in looks).most_common()),
        "motion": {"mean": round(float(np.sum(weights * [one.motion for one in looks])), 3),
                   "least": round(min(one.motion for one in looks), 3), "most": round(max(one.motion for one in looks), 3),
                   "still share": round(float(np.sum(weights * [one.still for one in looks])), 4),
                   "near-uniform share": round(float(np.sum(weights * [one.flat for one in looks])), 4)},
        "tracks": dict(Counter(name for one in looks for name in one.tracks)),
        "actions": _actions(looks, found.actions),
    }  # fmt: skip


def _spread(seconds: np.ndarray) -> dict[str, float]:
    """Of those episodes that tell their rate."""
    if not len(seconds):
        return {}
    parts = {"least": seconds.min(), "median": np.median(seconds), "most": seconds.max()}
    return {name: round(float(part), 2) for name, part in parts.items()}


def _actions(looks: list[Look], names: tuple[str, ...]) -> dict[str, Any]:
    """Shares of discrete actions, or means and spreads of continuous ones."""
    known = [one.actions for one in looks if one.actions is not None]
    if not known:
        return {}
    if all(track.ndim == 1 and np.issubdtype(track.dtype, np.integer) for track in known):
        count = np.bincount(np.concatenate(known).clip(0))
        label = [names[i] if i < len(names) else str(i) for i in range(len(count))]
        return {name: round(float(share), 4) for name, share in zip(label, count / count.sum(), strict=True)}
    width = max(track.shape[-1] for track in known)
    rows = np.concatenate([track.reshape(len(track), -1) for track in known if track.shape[-1] == width])
    spread = zip(rows.mean(0), rows.std(0), strict=True)
    return {f"dimension {i}": {"mean": round(float(m), 4), "spread": round(float(s), 4)} for i, (m, s) in enumerate(spread)}


def picture(looks: list[Look]) -> Image.Image:
    """A contact sheet: an episode a row, frames evenly spread over it."""
    from unspool.evaluate.pages.sheet import gallery

    return gallery({shown(one.name): one.frames for one in looks if len(one.frames)})


def write_picture(looks: list[Look], path: Path) -> None:
    """As its ending says, png, webp or jpg. Raises UserError where it cannot be written."""
    from unspool.store import write_aside

    image = picture(looks)
    write_aside(path, lambda aside: image.save(aside, quality=85))

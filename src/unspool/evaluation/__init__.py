"""The verb `eval`: models and held-out videos in; a table, a page and results.json out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import numpy as np

from unspool import __version__, config, hub, sampling, store
from unspool.data.layouts import open_episodes
from unspool.data.reels import Reels, open_reels
from unspool.errors import NothingThere, UserError
from unspool.evaluate.foretold import OneStep, one_step_error
from unspool.evaluate.pages.comparison import write_comparison
from unspool.evaluate.pages.sheet import columns_of, tiles
from unspool.evaluate.pretrained.vbench import export_vbench
from unspool.evaluate.tables import Gathered
from unspool.evaluation import arms
from unspool.evaluation.arms import Arm, Conditions
from unspool.evaluation.measuring import Measured, Report, film_of, measure, slug
from unspool.evaluation.memory import memory_of
from unspool.evaluation.published import Published
from unspool.evaluation.results import results_of
from unspool.model.wrappers import Memoryless
from unspool.system import System
from unspool.train.run import commit, hardware

__all__ = ["Conditions", "Evaluation", "plan", "run"]

FEWEST_REAL = 3
"""Clips of other episodes without which there is no band."""
FLIGHTS = 16
"""That what single steps cost is measured on, of each context."""
SHOWN = 2
"""Contexts whose videos are on the page."""
SIZE = 64
"""Pixels a side, where no model says another."""
VIDEO_FILES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


@final
@dataclass(frozen=True)
class Evaluation:
    """One invocation of `eval`, everything opened and found whole. models: what of the arms are systems, by name; told: for
    results.json; export: whether VBench is to read the videos; notes: what its reader must know."""

    arms: tuple[Arm, ...]
    models: Mapping[str, System]
    reels: Reels
    asked: Conditions
    out: Path
    data: Mapping[str, Any]
    told: Mapping[str, Any]
    published: Published
    export: bool = False
    notes: tuple[str, ...] = ()


def plan(
    models: Sequence[str], data: str, out: Path, asked: Conditions, *, split: str = "seen", twins: bool = True,
    rollout: Mapping[str, Any] | None = None, bf16: bool = False, published: Published | None = None, export: bool = False,
    told: Mapping[str, Any] | None = None, decoded: Callable[[int, int], None] | None = None,
) -> Evaluation:  # fmt: skip
    """models: each by what a user types, or a folder of video files. split: of a world, seen or unseen. twins: whether every
    model is measured without its memory as well. rollout: settings that all models are rolled out by. decoded(done, total):
    called after each video of a folder. export: write the first futures of all contexts as VBench reads them.

    Raises UserError for what the user can mend: models of different sizes, too little video, videos of another rate.
    """
    _check(asked, out)
    systems, folders = _open(models, rollout or {}, bf16)
    size = _size({name: system for name, (system, _, _) in systems.items()})
    reels = open_reels(data, size, asked.whole, "unseen" if split == "unseen" else "seen", decoded)
    asked, notes = _fitted(asked, reels, data)
    made = [arms.model(name, where, recipe, system, reels, asked) for name, (system, where, recipe) in systems.items()]
    forgetful = [arms.without_memory(arm, systems[arm.name][0], reels, asked) for arm in made] if twins else []
    made += [arms.videos(name, open_episodes(path), size, reels.fps, asked) for name, path in folders.items()]
    made += forgetful
    made += [arms.truth(reels, asked), arms.again(reels, asked), arms.copy_last(reels, asked)]
    try:
        made.append(arms.nearest(reels, open_reels(data, size, asked.whole, "train", decoded), asked))
    except NothingThere as error:
        notes.append(f"nearest training clip: {error}")
    facts = {
        "name": data, "is": repr(reels), "sha256": _digest(reels, asked), "split": split, "fps": reels.fps,
        "height": size, "width": size,
    }  # fmt: skip
    precision = "bfloat16" if bf16 else "float32"
    return Evaluation(
        tuple(made), {name: system for name, (system, _, _) in systems.items()}, reels, asked, Path(out), facts,
        {"precision": precision, **(told or {})}, published or Published(), export, tuple(notes),
    )  # fmt: skip


def run(what: Evaluation, report: Report | None = None) -> dict[str, Any]:
    """Measure, then write results.json, report.html and sheet.png; gives the results.

    Raises KeyboardInterrupt after Ctrl-C: the same call goes on. Raises UserError where another process measures into the
    folder, or it cannot be written.
    """
    begun = time.perf_counter()
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with store.locked(what.out, "measuring", ("", "measured")):
        filmed = what.asked.contexts if what.export else SHOWN
        found = measure(what.arms, what.reels, what.asked, what.out, what.data["sha256"], what.published, filmed, report)
        costs = foretell(what)
        made = {
            "command": "", "version": __version__, "commit": commit(), "began": began,
            "seconds": time.perf_counter() - begun, "hardware": hardware(), **what.told,
        }  # fmt: skip
        results = results_of(what.arms, found, what.reels, what.asked, made, what.data, what.notes, costs, what.published)
        height, seed = what.data["height"], what.asked.seed
        memory = memory_of(what.models, what.data["name"], what.asked.context, size=height, seed=seed, report=report)
        results |= {**memory, "notes": [*results["notes"], *memory.get("notes", [])]}
        sheet = _sheet(what, found)
        store.write_json(what.out / "results.json", results)
        store.write_aside(what.out / "sheet.png", lambda aside: sheet.save(aside, format="png"))
        write_comparison(results, _players(what, found), sheet, what.out / "report.html")
        if what.export:
            _export(what)
    return results


def _open(
    models: Sequence[str], rollout: Mapping[str, Any], bf16: bool
) -> tuple[dict[str, tuple[System, str, str]], dict[str, Path]]:
    """Models as (system, where, recipe) and folders of video files, by names that are all different."""
    systems: dict[str, tuple[System, str, str]] = {}
    folders: dict[str, Path] = {}
    for where in models:
        name = Path(where).resolve().name if Path(where).exists() else where
        while name in systems or name in folders:
            name += " again"
        if _is_videos(Path(where)):
            folders[name] = Path(where)
            continue
        checkpoint = hub.find(where)
        system = config.rollout_options(rollout).apply(hub.load(checkpoint))
        if bf16:
            system.model.bfloat16()
        systems[name] = system, where, checkpoint.config["recipe"]
    return systems, folders


def _is_videos(folder: Path) -> bool:
    """Whether a folder holds video files and no model."""
    if not folder.is_dir() or (folder / "config.json").exists() or (folder / "checkpoints").is_dir():
        return False
    return any(path.suffix.lower() in VIDEO_FILES for path in folder.rglob("*"))


def _size(systems: Mapping[str, System]) -> int:
    sizes = {name: sampling.picture_size(system)[0] for name, system in systems.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(f"models make frames of different sizes ({listed} pixels): compare those of one size")
    return next(iter(sizes.values()), SIZE)


def _check(asked: Conditions, out: Path) -> None:
    """Raises UserError for numbers out of range and a folder that is a file."""
    sampling.check_frames(asked.frames)
    if asked.frames < 2 or asked.segment < 2 or asked.context < 1 or asked.contexts < 1 or asked.real < FEWEST_REAL:
        least = f"2 frames, segments of 2, 1 frame of context, 1 context and {FEWEST_REAL} real clips"
        raise UserError(f"an evaluation needs at least {least}, not {asked._asdict()}")
    if not 1 <= asked.futures <= sampling.MOST_SEEDS:
        raise UserError(f"futures is 1 to {sampling.MOST_SEEDS}, not {asked.futures}")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder")


def _fitted(asked: Conditions, reels: Reels, data: str) -> tuple[Conditions, list[str]]:
    """What so many videos allow, and what must be said of it."""
    have, notes = len(reels), []
    if have < 1 + FEWEST_REAL:
        fix = "choose fewer --frames, or give more videos"
        need = f"1 to go on from and {FEWEST_REAL} for the band"
        raise UserError(f"{data} has {have} held-out stretches of {asked.whole} frames, {need} are needed: {fix}")
    if have < asked.contexts + asked.real:
        contexts = min(asked.contexts, max(1, have // 2), have - FEWEST_REAL)
        notes.append(
            f"{data} has {have} held-out stretches of {asked.whole} frames: {contexts} contexts instead of {asked.contexts}, "
            f"a band of {have - contexts} real clips instead of {asked.real}"
        )
        asked = asked._replace(contexts=contexts, real=have - contexts)
    if asked.real < 8:
        notes.append(f"a band of {asked.real} real clips is wide; 8 or more are better")
    if asked.contexts < 8:
        notes.append(f"intervals over {asked.contexts} contexts are wide; 8 or more are better")
    return asked, notes


def _digest(reels: Reels, asked: Conditions) -> str:
    """sha256 of the contexts that all arms go on from, and of what the reels say of themselves."""
    digest = sha256(repr(reels).encode())
    digest.update(np.ascontiguousarray(reels.beginnings(range(asked.contexts), asked.context)).tobytes())
    return digest.hexdigest()


def foretell(what: Evaluation) -> dict[str, OneStep | str]:
    """What single steps cost each model, and its twin where there is one, on the contexts' true videos; or why nobody knows."""
    found: dict[str, OneStep | str] = {}
    reels, asked, names = what.reels, what.asked, {arm.name for arm in what.arms}
    for name, system in what.models.items():
        frames = min(asked.whole, asked.context + FLIGHTS * system.schedule.plan().frames)
        clips = reels.beginnings(range(asked.contexts), frames)
        acted = [reels.actions(k) for k in range(asked.contexts)] if system.model.controls else []
        actions = np.stack([led[:frames] for led in acted if led is not None]) if acted else None
        twin = replace(system, model=Memoryless(system.model, asked.context))
        for arm, of in ((name, system), (arms.twin_of(name), twin)):
            if arm in names:
                try:
                    found[arm] = one_step_error(of, clips, actions, context=asked.context)
                except UserError as error:
                    found[arm] = str(error)
    return found


def _export(what: Evaluation) -> None:
    """A folder for each model and each folder of videos."""
    for arm in what.arms:
        if arm.kind != "control":
            films = {what.reels.name(k): [film_of(what.out, arm.name, k)] for k in range(what.asked.contexts)}
            export_vbench(films, what.out / "vbench" / slug(arm.name), what.reels.fps)


def _sheet(what: Evaluation, found: Measured) -> Any:
    """Real, models and controls, a row each: the first future of the first context."""
    at = columns_of(what.asked.frames)
    there = {arm.name: part for arm in what.arms if isinstance(part := found.arms[arm.name], Gathered)}
    rows = {name: there[name]["frames"][0, 0] for name in ("real", *(name for name in there if name != "real"))}
    return tiles(rows, at, what.reels.beginnings([0], what.asked.context)[0], what.reels.fps)


def _players(what: Evaluation, found: Measured) -> dict[str, bytes]:
    players = {}
    names = [arm.name for arm in what.arms if isinstance(found.arms[arm.name], Gathered)]
    for k in range(min(SHOWN, what.asked.contexts)):
        for name in ("real", *(name for name in names if name != "real")):
            film = film_of(what.out, name, k)
            if film.is_file():
                players[name if k == 0 else f"{name}, context {k + 1}"] = film.read_bytes()
    return players

"""The verb `eval`: models and held-out videos in; a table, a page and results.json out."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch

from unspool import __version__, config, hub, sampling, store
from unspool.data.layouts import open_episodes
from unspool.data.reels import Parted, open_reels, part
from unspool.data.resample import same_rate
from unspool.errors import NothingThere, UserError
from unspool.evaluate.foretold import OneStep, one_step_error
from unspool.evaluate.pages.comparison import write_comparison
from unspool.evaluate.pages.sheet import columns_of, stacked, tiles
from unspool.evaluate.pretrained.vbench import export_vbench
from unspool.evaluate.tables import FEWEST as INTERVAL
from unspool.evaluate.tables import Gathered
from unspool.evaluation import arms
from unspool.evaluation.arms import Arm, Conditions
from unspool.evaluation.measuring import Measured, Report, film_of, measure, slug, version
from unspool.evaluation.memory import CONTROLS as ROWS
from unspool.evaluation.memory import WINDOWS, check_windows, memory_of
from unspool.evaluation.naming import named
from unspool.evaluation.published import Published
from unspool.evaluation.results import Costs, results_of, with_memory
from unspool.explain import check_rollout
from unspool.model.memoryless import Memoryless
from unspool.system import System
from unspool.train.run import commit, hardware, versions

__all__ = ["Conditions", "Evaluation", "plan", "run"]

MOST = 100_000
"""Contexts, and real clips: more is a slip of the finger."""
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
    results.json; windows: of context that memory is measured behind; export: whether VBench is to read the videos; notes: what
    its reader must know."""

    arms: tuple[Arm, ...]
    models: Mapping[str, System]
    reels: Parted
    asked: Conditions
    out: Path
    data: Mapping[str, Any]
    told: Mapping[str, Any]
    published: Published
    windows: tuple[int, ...] = WINDOWS
    export: bool = False
    notes: tuple[str, ...] = ()


def plan(
    models: Sequence[str], data: str, out: Path, asked: Conditions, *, split: str = "seen", twins: bool = True,
    rollout: Mapping[str, Any] | None = None, bf16: bool = False, published: Published | None = None, export: bool = False,
    told: Mapping[str, Any] | None = None, decoded: Callable[[int, int], None] | None = None,
    windows: Sequence[int] = WINDOWS, device: torch.device | None = None,
) -> Evaluation:  # fmt: skip
    """models: each by what a user types (see `named`), or a folder of video files. split: of a world, seen or unseen. twins:
    whether every model is measured without its memory as well. rollout: settings that all models are rolled out by.
    decoded(done, total): called after each video of a folder. export: write the first futures of all contexts as VBench reads
    them. windows: of context that memory is measured behind, in the world `rooms`. device: of the models; None: the CPU.

    Raises UserError for what the user can mend: models of different sizes, too little video, videos of another rate.
    """
    _check(asked, out)
    check_windows(windows)
    contenders, folders = _open(models, rollout or {}, bf16, device)
    size = _size({name: found.system for name, found in contenders.items()})
    with warnings.catch_warnings(record=True) as heard:  # what is wrong with a folder belongs on the page too
        warnings.simplefilter("always")
        reels = open_reels(data, size, asked.whole, "unseen" if split == "unseen" else "seen", decoded)
    for name, found in contenders.items():
        _check_rate(name, found.fps, data, reels.fps)
    parted = part(reels, asked.contexts, asked.real, FEWEST_REAL)
    asked, notes = _fitted(asked, parted, data)
    strange = [f"{name}: {line}" for name, found in contenders.items() for line in check_rollout(found.system)]
    notes = [*(str(warning.message) for warning in heard), *notes, *strange]
    own = parted.contexts
    made, forgetful = [], []
    for name, c in contenders.items():
        seeded = asked._replace(seed=asked.seed + c.copy * asked.contexts * asked.futures)
        arm = arms.model(name, c.where, c.settings, c.system, own, seeded)
        made.append(arm)
        forgetful += [arms.without_memory(arm, c.system, own, seeded)] if twins else []
    made += [arms.videos(name, open_episodes(path), size, reels.fps, asked) for name, path in folders.items()]
    notes += [note for path in folders.values() if (note := _enlarged(path, size))]
    made += [*forgetful, arms.truth(own, asked), arms.again(own, asked), arms.copy_last(own, asked)]
    try:
        made.append(arms.nearest(own, open_reels(data, size, asked.whole, "train", decoded), asked))
    except NothingThere as error:
        notes.append(f"nearest training clip: {error}")
    facts = {
        "name": data, "is": repr(reels), "split": split, "fps": reels.fps, "height": size, "width": size,
        "resize": reels.resize,
    }  # fmt: skip
    return Evaluation(
        tuple(made), {name: found.system for name, found in contenders.items()}, parted, asked, Path(out), facts,
        {"precision": "bfloat16" if bf16 else "float32", **(told or {})}, published or Published(),
        tuple(sorted({*windows})), export, tuple(notes),
    )  # fmt: skip


def run(what: Evaluation, report: Report | None = None) -> dict[str, Any]:
    """Measure, then write results.json, report.html, sheet.png and, where memory is measured, memory.png; gives the results.

    Raises KeyboardInterrupt after Ctrl-C: the same call goes on. Raises UserError where another process measures into the
    folder, or it cannot be written.
    """
    begun = time.perf_counter()
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with store.locked(what.out, "measuring", ("", "measured")):
        filmed = what.asked.contexts if what.export else SHOWN
        found = measure(what.arms, what.reels, what.asked, what.out, what.published, filmed, report)
        data = {**what.data, "sha256": _digest(found)}
        made = {
            "command": "", "version": __version__, "commit": commit(), "began": began, "seconds": 0.0,
            "hardware": hardware(next((m.device for m in what.models.values()), None)), "versions": versions(), **what.told,
        }  # fmt: skip
        results = results_of(what.arms, found, what.asked, made, data, what.notes, foretell(what), what.published)
        memory, walks = _memory(what, report)
        results = with_memory(results, memory)
        results["made"]["seconds"] = time.perf_counter() - begun
        sheet, players = _sheet(what, found), _players(what, found)
        write_comparison(results, players, sheet, what.out / "report.html", walks)  # first, for it checks them
        store.write_json(what.out / "results.json", results)
        store.write_aside(what.out / "sheet.png", lambda aside: sheet.save(aside, format="png"))
        if walks is not None:
            _write_png(walks, what.out / "memory.png")
        if what.export:
            _export(what)
    return results


class Contender(NamedTuple):
    """A model that a user named: from `where`, built with `settings`, recipe among them. fps: of the video that it was trained
    on, if known. copy: how often it was named before; a copy makes other futures, so that a model can be told apart from
    itself, or not."""

    system: System
    where: str
    settings: dict[str, Any]
    fps: float | None
    copy: int


def _open(
    models: Sequence[str], rollout: Mapping[str, Any], bf16: bool, device: torch.device | None = None
) -> tuple[dict[str, Contender], dict[str, Path]]:
    """Models and folders of video files, by names that are nobody else's."""
    systems: dict[str, Contender] = {}
    folders: dict[str, Path] = {}
    for typed in models:
        model = named(typed)
        where, name = model.where, model.name
        while name in {*systems, *folders, *arms.CONTROLS, *ROWS}:
            name += " again" if name in {*systems, *folders} else " given"
        if _is_videos(Path(where)):
            folders[name] = Path(where)
            continue
        checkpoint = hub.find(where)
        loaded = hub.load(checkpoint, recipe=model.recipe, device=device)
        system = config.rollout_options(rollout, model.rollout).apply(loaded)
        if bf16:
            system.model.bfloat16()
        settings = {key: checkpoint.config.get(key) for key in ("recipe", "arguments", "codec")}
        settings["recipe"] = model.recipe or settings["recipe"]
        rate, copies = checkpoint.config.get("fps"), sum(known.where == typed for known in systems.values())
        systems[name] = Contender(system, typed, settings, rate, copies)
    return systems, folders


def _check_rate(name: str, fps: float | None, data: str, real: float) -> None:
    """Raises UserError where a model was trained on another rate than it is measured on: its motion would be another."""
    if fps and real and not same_rate(fps, real):
        fix = f"name data of {fps:g} a second, such as `unspool data prepare {data} --fps {fps:g}` leaves"
        raise UserError(f"{name} was trained on {fps:g} frames a second, and {data} has {real:g}: {fix}")


def _enlarged(folder: Path, size: int) -> str | None:
    """What must be said of files whose pictures are smaller than the others'."""
    sides = [min(info.height, info.width) for info in (episode.info() for episode in open_episodes(folder).episodes)]
    if not (small := [side for side in sides if side < size]):
        return None
    return f"{len(small)} files of {folder} are enlarged, from {min(small)} to {size} pixels, and as sharp as that makes them"


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
    if missing := [name for name in ("scipy", "cv2") if importlib.util.find_spec(name) is None]:
        raise UserError(f"measuring needs {' and '.join(missing)}: pip install 'unspool[eval]'")
    if max(asked.contexts, asked.real) > MOST:
        raise UserError(f"contexts and real clips are at most {MOST}, not {max(asked.contexts, asked.real)}")
    if asked.frames < 2 or asked.segment < 2 or asked.context < 1 or asked.contexts < 1 or asked.real < FEWEST_REAL:
        least = f"2 frames, segments of 2, 1 frame of context, 1 context and {FEWEST_REAL} real clips"
        raise UserError(f"an evaluation needs at least {least}, not {asked._asdict()}")
    if not 1 <= asked.futures <= sampling.MOST_SEEDS:
        raise UserError(f"futures is 1 to {sampling.MOST_SEEDS}, not {asked.futures}")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder")


def _fitted(asked: Conditions, reels: Parted, data: str) -> tuple[Conditions, list[str]]:
    """What so many videos allow, and what must be said of it."""
    notes = []
    have = asked._replace(contexts=len(reels.contexts), real=len(reels.others))
    if have != asked:
        notes.append(
            f"{data} is little for this length: {have.contexts} contexts instead of {asked.contexts}, "
            f"a band of {have.real} real clips instead of {asked.real}"
        )
    for side, clips in (("contexts", reels.contexts), ("real clips", reels.others)):
        videos = len({clips.episode(k) for k in range(len(clips))})
        if videos < len(clips):
            notes.append(f"{len(clips)} {side} come from {videos} videos; intervals take them for independent and are narrow")
    if have.real < 8:
        notes.append(f"a band of {have.real} real clips is wide; 8 or more are better")
    if have.contexts < INTERVAL:
        notes.append(f"{have.contexts} contexts give no intervals, and nothing is told apart: give {INTERVAL}, better 8")
    elif have.contexts < 8:
        notes.append(f"intervals over {have.contexts} contexts are wide; 8 or more are better")
    return have, notes


def _digest(found: Measured) -> str:
    """sha256 of all true frames: of the contexts, what followed on them, and the other episodes."""
    real = found.arms[arms.CONTROLS[0]]
    assert isinstance(real, Gathered)
    return sha256(real["sha256"].tobytes() + found.real["sha256"].tobytes()).hexdigest()


def _memory(what: Evaluation, report: Report | None) -> tuple[dict[str, Any], bytes | None]:
    """What the models remember, and a picture of it where there is one; kept as contexts' figures are."""
    recipes = {arm.name: arm.recipe for arm in what.arms if arm.name in what.models}
    identities = [arm.identity for arm in what.arms if arm.name in what.models]
    height, seed = what.data["height"], what.asked.seed
    whatever = (version(), identities, recipes, what.data["name"], what.windows, height, seed)
    key, place = sha256(repr(whatever).encode()).hexdigest(), what.out / "measured" / "memory.json"
    drawn = place.with_suffix(".png")
    with suppress(UserError, OSError):  # damaged, or none: measured again
        if (kept := store.read_json(place)).get("key") == key:
            return dict(kept["found"]), drawn.read_bytes() if kept["drawn"] else None
    found, walks = memory_of(
        what.models, what.data["name"], size=height, windows=what.windows, recipes=recipes, seed=seed, report=report
    )
    fps = what.reels.contexts.fps
    pictures = {f"{walk.kind}: one walk": tiles(walk.rows, walk.at, walk.context, fps) for walk in walks}
    if pictures:
        store.write_aside(drawn, lambda aside: stacked(pictures).save(aside, format="png"))
    store.write_json(place, {"key": key, "found": found, "drawn": bool(pictures)})
    return found, drawn.read_bytes() if pictures else None


def foretell(what: Evaluation) -> Costs:
    """What single steps cost each model, and its twin where there is one, on the contexts' true videos."""
    latents = {name: store.digest(dict(system.codec.named_parameters())) for name, system in what.models.items()}
    alike = {arm.weights: arm.name for arm in what.arms if arm.name in what.models}  # the same model twice is one
    same = [name for name in alike.values() if latents[name] == latents[next(iter(what.models))]] if what.models else []
    found: dict[str, OneStep | str] = {}
    reels, asked, names = what.reels.contexts, what.asked, {arm.name for arm in what.arms}
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
    return Costs(found, same)


def _write_png(content: bytes, path: Path) -> None:
    def write(aside: Path) -> None:
        aside.write_bytes(content)

    store.write_aside(path, write)


def _export(what: Evaluation) -> None:
    """A folder for each model and each folder of videos."""
    for arm in what.arms:
        if arm.kind != "control":
            films = {what.reels.contexts.name(k): [film_of(what.out, arm.name, k)] for k in range(what.asked.contexts)}
            export_vbench(films, what.out / "vbench" / slug(arm.name), what.reels.contexts.fps)


def _sheet(what: Evaluation, found: Measured) -> Any:
    """Real, models and controls, a row each: the first future of the first context."""
    at = columns_of(what.asked.frames)
    there = {arm.name: part for arm in what.arms if isinstance(part := found.arms[arm.name], Gathered)}
    rows = {name: there[name]["frames"][0, 0] for name in ("real", *(name for name in there if name != "real"))}
    return tiles(rows, at, what.reels.contexts.beginnings([0], what.asked.context)[0], what.reels.contexts.fps)


def _players(what: Evaluation, found: Measured) -> dict[str, bytes]:
    players = {}
    names = [arm.name for arm in what.arms if isinstance(found.arms[arm.name], Gathered)]
    for k in range(min(SHOWN, what.asked.contexts)):
        for name in ("real", *(name for name in names if name != "real")):
            film = film_of(what.out, name, k)
            if film.is_file():
                players[name if k == 0 else f"{name}, context {k + 1}"] = film.read_bytes()
    return players

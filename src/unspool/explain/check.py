"""What cannot work, and what is unwise, before anything is trained."""

from __future__ import annotations

from unspool.context import Cached
from unspool.errors import UserError
from unspool.explain.reached import Past, unreached
from unspool.explain.trained import unseen
from unspool.memory import Full, Gist, Memory, Window
from unspool.model import VideoModel, VideoTransformer
from unspool.model.wrapper import innermost, seen_at_once
from unspool.system import System
from unspool.train.objectives import DiffusionForcing, OwnErrors, TeacherForcing
from unspool.train.stages import Stages
from unspool.train.windows import Windows

MOST_REACH = 10_000
"""Frames; a world has to simulate them for each clip."""
MOST_FRAMES = 4096
"""Of a training clip; masks grow with its square."""


def check(system: System) -> list[str]:
    """What a user should think twice about, a line each. Raises UserError for a system that cannot work."""
    if system.frames > MOST_FRAMES:
        raise UserError(f"training clips have at most {MOST_FRAMES} frames, not {system.frames}; set frames lower")
    return [*_check_clips(system), *check_rollout(system)]


def check_rollout(system: System, *, bare: bool = False) -> list[str]:
    """The part of `check` that concerns a model which is trained already. bare: its rollout begins with nothing before it."""
    model, plan = innermost(system.model), system.schedule.plan()
    warnings, trained = list[str](), _trained_flight(system)
    if isinstance(model, VideoTransformer):
        _, height, width = model.shape
        if height % model.patch or width % model.patch:
            raise UserError(f"patches of {model.patch} do not tile {height} x {width}; choose a patch that divides both")
        for memory in windows(model):
            features, dim = memory.qkv.in_features, memory.norm_q.normalized_shape[0]
            if dim * memory.heads != features or dim % 2:
                raise UserError(f"width {features} does not split into {memory.heads} heads of even size; choose other heads")
        flight = seen_at_once(system.model, plan.redo + plan.frames)
        if flight > model.chunk and plan.chunk < model.chunk:
            most = max(1, (min(trained or model.chunk, model.chunk) - plan.redo) // plan.chunk)
            raise UserError(
                f"{plan.redo + plan.frames} frames would be under way at once, and this model sees {model.chunk} together: "
                f"take --rollout.chunks {most} or fewer, or make the schedule's chunk a multiple of {model.chunk}"
            )
        if flight > model.chunk and (plan.chunk % model.chunk or plan.redo % model.chunk):
            raise UserError(
                f"the model lets {model.chunk} frames see each other, but the schedule moves them on by {plan.chunk}: "
                f"who sees whom would change under way; make the schedule's chunk a multiple of {model.chunk}, "
                f"or the model's {plan.chunk}"
            )
        blind = _only_windows(model) and not any(memory.frames for memory in windows(model))
        moves = plan.hop < plan.frames  # what stays in flight carries the past
        if blind and isinstance(model.context, Cached) and model.local is None and not plan.redo and not moves:
            warnings.append("nothing carries the past: window is 0 and no context frames ride along; every flight begins anew")
        if trained is not None and flight > trained:
            warnings.append(f"{flight} noisy frames are under way at once, in training {trained}: the model never saw that")
        ahead = model.context.frames if model.context.joined else 0  # these are seen as the flight's own are
        grown = isinstance(system.objective, Windows)  # smaller windows are learned too: `unseen` knows which
        if not grown and trained is not None and flight + ahead < min(trained, model.chunk):
            warnings.append(f"{flight} frames are denoised together, in training {trained}: some that they saw are missing")
    if (strange := unseen(system, bare=bare)) is not None:
        warnings.append(strange)
    return warnings


def _trained_flight(system: System) -> int | None:
    """Noisy frames that a training pass has in flight, None where the objective is a stranger."""
    task = system.objective
    if isinstance(task, DiffusionForcing | Windows):
        return system.frames - task.first
    if isinstance(task, Stages):
        return task.flight
    return task.chunk if isinstance(task, TeacherForcing | OwnErrors) else None


def _check_clips(system: System) -> list[str]:
    """Whether training clips are long enough for what is asked of them."""
    task, flight = system.objective, _trained_flight(system)
    if isinstance(task, Stages):
        task.check(system.blend, system.frames)
        longest = (task.stages - 1) * task.chunk
        return _check_past(system, 0, longest, Past(system.frames, longest, system.frames - 1, MOST_FRAMES))
    if flight is None or not isinstance(task, DiffusionForcing | TeacherForcing | OwnErrors | Windows):
        return []
    least = (task.stages + 1) * task.chunk if isinstance(task, OwnErrors) else max(flight, 1)
    if system.frames < task.first + least:
        raise UserError(
            f"training clips of {system.frames} frames are too short for {task.first} context frames and {least} to learn; "
            f"set frames to at least {task.first + least}"
        )
    groups = (system.frames - task.first) // flight
    whole = isinstance(task, DiffusionForcing | Windows)  # one flight holds all but the first frames: these are remembered
    longest = system.frames - 1 if whole else task.first + (groups - 1) * flight
    past = Past(system.frames, task.first if whole else longest, longest if whole else longest + flight - 1, MOST_FRAMES)
    return _check_past(system, task.first, longest, past)


def _check_past(system: System, first: int, longest: int, past: Past) -> list[str]:
    """What is to be seen of the past, against what training shows of it: `first` frames at least, `longest` at most."""
    model = innermost(system.model)
    warnings = unreached(memories(model), past)
    window, chunk = max((memory.frames for memory in windows(model)), default=0), system.schedule.chunk
    if 0 < window < chunk:
        fix = f"set window to {chunk} or more, or chunk to {window} or fewer"
        raise UserError(f"a window of {window} frames forgets part of a chunk of {chunk} before the next is made: {fix}")
    if longest < window:
        warnings.append(f"training shows at most {longest} frames of the past, the window has {window}: train on longer clips")
    span = max((one.span for m in model.modules() if isinstance(m, Gist) and m.gate is not None for one in m.maps), default=0)
    if longest < span:
        warnings.append(f"training shows at most {longest} frames of the past, the gist spans {span:g}: train on longer clips")
    if system.reach and not system.anchor:
        raise UserError("reach says how old an anchor may be, and there is none; set anchor to 1, or reach to 0")
    if system.anchor > system.frames:
        raise UserError(f"an anchor of {system.anchor} is longer than the clips of {system.frames} frames; set it lower")
    if system.reach > MOST_REACH:
        raise UserError(f"reach is at most {MOST_REACH} frames, not {system.reach}: a world simulates them all for each clip")
    if isinstance(model, VideoTransformer):
        newest, anchor = model.context.newest, model.context.beside - model.context.newest
        if longest < newest:
            warnings.append(f"training shows {longest} frames of the past, {newest} are channels: train on longer clips")
        if anchor > first and not system.reach:
            raise UserError(f"an anchor of {anchor} is longer than the {first} frames a clip begins with; set it to {first}")
        told = model.keeping or (model.local is not None and model.local.told)
        if not told and getattr(system.objective, "context_noise", False):
            raise UserError("context noise is told through what a memory keeps, and nothing is kept; set context_noise to 0")
    return warnings


def windows(model: VideoModel) -> list[Window]:
    """Every memory `window` of a model; that inside a `full` is none, it never moves on."""
    still = {id(module.window) for module in model.modules() if isinstance(module, Full)}
    return [module for module in model.modules() if isinstance(module, Window) and id(module) not in still]


def memories(model: VideoModel) -> list[Memory]:
    """Every memory of a model's blocks, in order."""
    model = innermost(model)
    return [memory for block in model.blocks for memory in block.memories] if isinstance(model, VideoTransformer) else []


def _only_windows(model: VideoTransformer) -> bool:
    return all(isinstance(memory, Window) or not memory.keeps for memory in memories(model))

"""Who is measured: models, and the controls that stand in every table. All go on from the same contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple, final

import numpy as np

from unspool import sampling, store
from unspool.data.clips import FILM
from unspool.data.episodes import EpisodeSet
from unspool.data.reels import Reels
from unspool.errors import NothingThere, UserError
from unspool.evaluate.repetition import thumbnails
from unspool.model.memoryless import Memoryless
from unspool.model.wrapper import Wrapper
from unspool.system import System

Blocks = Iterator[np.ndarray]
LIBRARY = 512
"""Training clips among which the nearest one is looked for."""


class Conditions(NamedTuple):
    """What every arm is asked for. frames: to make; context: true frames before them; contexts, futures: of each arm; real:
    clips of other episodes that the band is made of; segment: frames; seed: of the first future."""

    frames: int = 893
    context: int = 2
    contexts: int = 8
    futures: int = 8
    real: int = 16
    segment: int = 100
    seed: int = 0

    @property
    def whole(self) -> int:
        """Frames of a reel: context and what follows."""
        return self.context + self.frames


@final
@dataclass(frozen=True)
class Arm:
    """name: in tables. what: it is, in words. play(k): the futures of context number k, uint8 (futures, n, H, W, 3) at a time,
    `conditions.frames` in all; raises NothingThere where there can be none. identity: all that they depend on besides data and
    conditions. paired: they go on from the context, so that what really followed is theirs to be compared with. real: they are
    what really followed. of: the model whose control it is."""

    name: str
    what: str
    play: Callable[[int], Blocks]
    futures: int = 1
    kind: Literal["model", "control", "videos"] = "control"
    identity: str = ""
    weights: str | None = None
    recipe: str | None = None
    paired: bool = True
    real: bool = False
    of: str | None = None


def model(name: str, where: str, settings: Mapping[str, Any], system: System, reels: Reels, asked: Conditions) -> Arm:
    """A trained system. settings: recipe, arguments and whatever else it was built with."""

    def play(context: int) -> Blocks:
        begun = reels.beginnings([context], asked.context)[0]
        actions = reels.actions(context) if system.model.controls else None
        rollout = sampling.start(system, begun, asked.futures, asked.seed + context * asked.futures, actions)
        return (made for made, _ in sampling.futures(system, rollout, asked.frames, actions))

    weights, plan = store.digest(dict(system.named_parameters())), system.schedule.plan()
    levels: tuple[Any, ...] = (plan.warmup.tolist(), plan.loop.tolist(), plan.chunk, plan.hop, plan.redo)
    if plan.exist:
        levels += (plan.exist,)
    if isinstance(system.model, Wrapper):  # the same weights, asked otherwise
        levels += (type(system.model).__name__, system.model.extra_repr())
    ends = ("drained",) if system.drain else ()
    identity = repr((weights, sorted(settings.items()), levels, getattr(system.solver, "__name__", ""), asked.seed, *ends))
    return Arm(name, where, play, asked.futures, "model", identity, weights, settings["recipe"])


def without_memory(arm: Arm, system: System, reels: Reels, asked: Conditions) -> Arm:
    """A model's twin: the same weights, which see only so many newest frames as they were given to begin with."""
    twin = replace(system, model=Memoryless(system.model, asked.context))
    made = model(twin_of(arm.name), arm.what, {"recipe": arm.recipe, "of": arm.identity}, twin, reels, asked)
    what = f"the weights of {arm.name}, which see {asked.context} frames back and no more"
    return replace(made, what=what, kind="control", weights=arm.weights, of=arm.name)


CONTROLS = ("real", "other episodes", "world run again", "copy last", "nearest training clip")


def twin_of(name: str) -> str:
    """What tables call the twin of a model."""
    return f"{name}, no memory"


def truth(reels: Reels, asked: Conditions, name: str = CONTROLS[0]) -> Arm:
    """Real against real."""

    def play(context: int) -> Blocks:
        return (block[None] for block in after(reels.blocks(context), asked.context))

    return Arm(name, "what really followed", play, paired=False, real=True)


def copy_last(reels: Reels, asked: Conditions) -> Arm:
    """A frozen video, which no measure may praise."""

    def play(context: int) -> Blocks:
        last = reels.beginnings([context], asked.context)[0, -1]
        for start in range(0, asked.frames, FILM):
            yield np.broadcast_to(last, (1, min(FILM, asked.frames - start), *last.shape))

    return Arm("copy last", "the context's last frame, for ever", play)


def nearest(reels: Reels, training: Reels, asked: Conditions) -> Arm:
    """What a model would do that had learnt its data by heart."""
    among = min(LIBRARY, len(training))

    @cache
    def library() -> np.ndarray:
        return np.stack([thumbnails(begun).ravel() for begun in training.beginnings(range(among), asked.context)])

    def play(context: int) -> Blocks:
        seen = thumbnails(reels.beginnings([context], asked.context)[0]).ravel()
        near = int(np.square(library() - seen).sum(1).argmin())
        return (block[None] for block in after(training.blocks(near), asked.context))

    what = f"what followed on the nearest of {among} training clips"
    return Arm("nearest training clip", what, play, identity=training.identity)


def again(reels: Reels, asked: Conditions) -> Arm:
    """As good as any model can be."""

    def play(context: int) -> Blocks:
        blocks = reels.again(context, asked.context, asked.futures)
        if blocks is None:
            raise NothingThere("only a world can be run again, and this is recorded video")
        return blocks

    return Arm("world run again", "the world itself from the same states, by other seeds", play, asked.futures)


def videos(name: str, found: EpisodeSet, size: int, fps: float, asked: Conditions) -> Arm:
    """Video files that something else made, in no relation to the contexts. Raises UserError for too few or too short ones, and
    where their rate is not that of the data."""
    chosen = found.episodes[: asked.contexts]
    if len(chosen) < asked.contexts:
        have = len(chosen)
        raise UserError(f"{name} holds {have} readable videos, {asked.contexts} are asked for: choose --contexts {have}")
    for episode in chosen:
        info = episode.info()
        if info.fps and abs(info.fps / fps - 1) > 0.01:
            fix = f"bring them to {fps:g} a second"
            raise UserError(f"{name}/{episode.name} has {info.fps:g} frames a second, the data {fps:g}: {fix}")
        if info.frames and info.frames < asked.frames:
            raise UserError(f"{name}/{episode.name} has {info.frames} frames: choose --frames {info.frames} or fewer")

    def play(context: int) -> Blocks:
        episode, held, left = chosen[context], [], asked.frames
        for frame in episode.frames(size):
            held.append(frame.pixels())
            left -= 1
            if len(held) == FILM or not left:
                yield np.stack(held)[None]
                held = []
            if not left:
                return
        have = asked.frames - left
        raise UserError(f"{name}/{episode.name} has {have} frames: choose --frames {have} or fewer")

    identity = sha256("".join(f"{e.name} {e.stamp} " for e in chosen).encode()).hexdigest()
    return Arm(name, f"video files of {found.root}", play, kind="videos", identity=f"{identity} {size}", paired=False)


def after(blocks: Blocks, frames: int) -> Blocks:
    """Blocks (n, H, W, 3) without the first `frames` frames."""
    for block in blocks:
        if len(rest := block[frames:]):
            yield rest
        frames = max(0, frames - len(block))

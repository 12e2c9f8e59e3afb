"""The training loop: clips in, checkpoints out, exact resume.

The clips, levels and noise of step s are a pure function of (seed, global sample index), so a run that was killed and
resumed from its last checkpoint walks the same losses as one that was not.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from unspool import noise as rng
from unspool import store
from unspool.data import Clips, ClipSource
from unspool.errors import UserError
from unspool.interrupt import Interrupt
from unspool.model.video import VideoModel
from unspool.system import Stateful, System
from unspool.text import Text
from unspool.train.run import clips_for, locked
from unspool.types import Clip, Count, Natural, Positive, Share

BLOCK = 4
"""Steps whose clips are fetched together: worlds are vectorised, and a clip is the same however many are asked for."""

SILENT = 0.1
"""Share of the training clips whose captions are left out; 0.1 to 0.2 did best in 2207.12598."""


@dataclass(frozen=True)
class TrainOptions:
    """steps: of training. batch: clips a step. lr: learning rate at its height. warmup: steps of its rise. decay: last share of
    the steps, in which it falls linearly to 0. weight_decay: of AdamW, on matrices. clip: largest norm of the gradient. ema:
    share of the moving average that a step keeps. bf16: compute in bfloat16. compile: compile the model first. save_every:
    steps between checkpoints. log_every: steps between lines of progress. validate_every: steps between held-out losses.
    pad: fill up episodes that are shorter than a clip, rather than leave them out; what is filled carries no loss. seed: of
    weights, clips, levels and noise.
    """

    steps: Count = 10_000
    batch: Count = 16
    lr: Positive = 1e-3
    warmup: Natural = 200
    decay: Share = 0.3
    weight_decay: Annotated[float, Ge(0)] = 0.01
    clip: Positive = 1.0
    ema: Share = 0.999
    bf16: bool = True
    compile: bool = False
    save_every: Count = 500
    log_every: Count = 20
    validate_every: Count = 500
    pad: bool = False
    seed: Natural = 0


class Trainer:
    """One run: weights, their moving average, the optimiser, and the step it stands at."""

    def __init__(self, system: System, options: TrainOptions, device: torch.device | str = "cpu") -> None:
        self.system, self.options, self.device = system, options, torch.device(device)
        self.model = system.model.to(self.device)
        system.codec.to(self.device)
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.optimizers = _optimizers(self.model, options)
        self.step = 0
        self.forward: VideoModel = torch.compile(self.model) if options.compile else self.model  # type: ignore[assignment]

    def train_step(self, clips: Clips) -> dict[str, float]:
        """One pass of the objective over a batch of clips. Raises UserError when the loss is not finite."""
        options = self.options
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = options.lr * _schedule(self.step, options)
        key = rng.fold(torch.tensor(options.seed, device=self.device), self._indices())
        logs: dict[str, Tensor] = {}
        self.model.train()
        for loss in self._losses(clips, key, SILENT):
            self.model.zero_grad(set_to_none=True)
            loss.value.backward()
            logs |= loss.logs
            logs["grad"] = nn.utils.clip_grad_norm_(self.model.parameters(), options.clip)
            for optimizer in self.optimizers:
                optimizer.step()
        self.step += 1
        decay = min(options.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], 1 - decay)
        values = {name: float(value) for name, value in logs.items()}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise UserError(f"step {self.step}: {', '.join(bad)} is not finite; lower --train.lr or resume from a checkpoint")
        return values

    @torch.no_grad()
    def validate(self, clips: Clips) -> dict[str, float]:
        """Held-out losses of the averaged weights, always on the same levels and noise."""
        rows = torch.arange(len(clips.frames), device=self.device)
        key = rng.fold(torch.tensor(-1 - self.options.seed, device=self.device), rows)
        self.model.eval()
        with self.averaged():
            losses = list(self._losses(clips, key))
        return {name: float(value) for loss in losses for name, value in loss.logs.items()}

    def _losses(self, clips: Clips, key: Tensor, silent: float = 0.0) -> Iterator[Any]:
        """silent: share of the clips of which nothing is said, whatever their captions."""
        clip = hushed(to_clip(self.system, clips, self.device), self.system.text, key, silent)
        losses = iter(self.system.objective(self.forward, self.system.blend, clip, key))
        while True:  # autocast keeps copies of the weights: it is left at each loss, before they take a step
            with torch.autocast(self.device.type, torch.bfloat16) if self.options.bf16 else nullcontext():
                loss = next(losses, None)
            if loss is None:
                return
            yield loss

    def _indices(self) -> Tensor:
        first = self.step * self.options.batch
        return torch.arange(first, first + self.options.batch, device=self.device)

    def averaged(self) -> Any:
        """Context manager: inside it the model carries the averaged weights."""
        return _Swapped(self.model, self.average)

    # -- checkpoints ----------------------------------------------------------------------------------------------------

    def save(self, run: Path, config: dict[str, Any]) -> Path:
        """checkpoints/<step>/{model.safetensors, config.json, training_state/}, then checkpoints/last points at it."""
        path = run / "checkpoints" / f"{self.step:07d}"

        def write(aside: Path) -> None:
            state = aside / "training_state"
            state.mkdir(parents=True)
            averaged = dict(zip(dict(self.model.named_parameters()), self.average, strict=True))
            store.save_tensors(aside / "model.safetensors", {**dict(self.system.named_parameters()), **averaged})
            store.save_tensors(state / "weights.safetensors", dict(self.model.named_parameters()))
            store.save_tensors(state / "optimizer.safetensors", _flat(self.optimizers))
            if isinstance(self.system.objective, Stateful):
                store.save_tensors(state / "objective.safetensors", self.system.objective.state_dict())
            store.write_json(state / "progress.json", {"step": self.step, "options": asdict(self.options)})
            store.write_json(aside / "config.json", config)

        store.write_aside(path, write)
        last = run / "checkpoints" / "last"
        pointer = last.with_name(".last")
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(path.name)
        os.replace(pointer, last)
        for old in sorted(p for p in path.parent.iterdir() if p.name.isdigit() and p != path)[:-1]:
            store.remove(old)
        return path

    def load(self, checkpoint: Path) -> None:
        """Go on exactly where this checkpoint was written. Raises UserError when it is not whole or of another model."""
        state = checkpoint / "training_state"
        load_weights(self.system, store.load_tensors(checkpoint / "model.safetensors", self.device)[0], checkpoint)
        self.average = [p.detach().clone() for p in self.model.parameters()]
        load_weights(self.model, store.load_tensors(state / "weights.safetensors", self.device)[0], checkpoint)
        _unflat(self.optimizers, store.load_tensors(state / "optimizer.safetensors", self.device)[0])
        if isinstance(self.system.objective, Stateful):
            self.system.objective.load_state_dict(store.load_tensors(state / "objective.safetensors", self.device)[0])
        self.step = int(store.read_json(state / "progress.json")["step"])


class _Swapped:
    def __init__(self, model: nn.Module, weights: list[Tensor]) -> None:
        self.parameters, self.weights = list(model.parameters()), weights

    @torch.no_grad()
    def _swap(self) -> None:
        for p, w in zip(self.parameters, self.weights, strict=True):
            held = p.detach().clone()
            p.copy_(w)
            w.copy_(held)

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


def to_video(clips: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (..., T, H, W, 3) -> float (..., T, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(clips).to(device).movedim(-1, -3).float() / 127.5 - 1


def to_clip(system: System, clips: Clips, device: torch.device | str = "cpu") -> Clip:
    """What an objective sees: pixels through the codec, latents as they are; actions and captions where a model takes them."""
    before = system.anchor if system.reach else 0

    def latents(frames: np.ndarray) -> Tensor:
        if frames.dtype != np.uint8:
            return torch.from_numpy(frames).to(device).float()
        return system.codec.encode(to_video(frames, device), {})[0]

    def rest(leaf: np.ndarray | None) -> Tensor | None:
        return None if leaf is None else torch.from_numpy(leaf[:, before:]).to(device)

    first = latents(clips.frames[:, :before]) if before else None
    frames = latents(clips.frames[:, before:])
    told = [rest(clips.actions)] if system.model.controls else []
    if (text := system.text) is not None:
        said = np.full(clips.frames.shape[:2], "") if clips.text is None else clips.text
        told.append(rest(text.encode(said.ravel().tolist()).reshape(*said.shape, -1)))
    control = torch.cat([leaf for leaf in told if leaf is not None], -1) if told and told[0] is not None else None
    return Clip(frames, control, first, rest(clips.valid))


def hushed(clip: Clip, text: Text | None, key: Tensor, share: float) -> Clip:
    """The clips with nothing said in about this share of them, a function of their keys: what a model makes without a prompt is
    learned beside the rest, for guidance (2207.12598). text: whose numbers are the last of the control."""
    if clip.control is None or text is None or not share:
        return clip
    spoken = rng.uniform(rng.fold(key, 30), 1)[:, :, None] >= share
    acted, said = clip.control.split([clip.control.shape[-1] - text.numbers, text.numbers], -1)
    return clip._replace(control=torch.cat([acted, said.where(spoken, 0.0)], -1))


def load_weights(into: System | nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Weights by name. Raises UserError when names, shapes or values do not fit."""
    wanted = dict(into.named_parameters())
    odd = sorted(wanted.keys() ^ tensors.keys()) or [n for n, p in wanted.items() if p.shape != tensors[n].shape]
    if odd:
        raise UserError(f"{where} is a checkpoint of another model: {odd[0]} does not fit ({len(odd)} tensors differ)")
    bad = [name for name, t in tensors.items() if not torch.isfinite(t).all()]
    if bad:
        raise UserError(f"{where} holds values that are not finite ({bad[0]}); use an earlier checkpoint")
    with torch.no_grad():
        for name, p in wanted.items():
            p.copy_(tensors[name])


def train(
    system: System,
    source: ClipSource,
    held_out: ClipSource | None,
    run: Path,
    options: TrainOptions,
    config: dict[str, Any],
    *,
    resume: Path | None = None,
    device: torch.device | str = "cpu",
    report: Callable[[Trainer, dict[str, float]], None] | None = None,
) -> Trainer:
    """Train to `options.steps`, logging to metrics.jsonl and saving every `save_every` steps, at the end and on Ctrl-C.

    Ctrl-C and SIGTERM let the step that is under way finish, save, and raise KeyboardInterrupt. Raises UserError when another
    process trains in this folder.
    """
    trainer = Trainer(system, options, device)
    if resume is not None:
        trainer.load(resume)

    def fetch(block: int) -> Clips:
        count = BLOCK * options.batch
        return clips_for(system, source, np.arange(block * count, (block + 1) * count, dtype=np.int64), options.seed)

    validation = None if held_out is None else clips_for(system, held_out, np.arange(16, dtype=np.int64), options.seed)
    with locked(run), Interrupt() as stop, ThreadPoolExecutor(1) as pool:
        _trim(run / "metrics.jsonl", trainer.step)
        with (run / "metrics.jsonl").open("a", buffering=1) as metrics:
            block, ahead = None, pool.submit(fetch, trainer.step // BLOCK)
            while trainer.step < options.steps:
                if block is None or trainer.step % BLOCK == 0:
                    block, ahead = ahead.result(), pool.submit(fetch, trainer.step // BLOCK + 1)
                begin = trainer.step % BLOCK * options.batch
                clips = block.rows(slice(begin, begin + options.batch))
                begun = time.perf_counter()
                logs = {"step": trainer.step + 1, **trainer.train_step(clips), "seconds": time.perf_counter() - begun}
                due = trainer.step == options.steps
                validated = validation is not None and (trainer.step % options.validate_every == 0 or due)
                if validation is not None and validated:
                    logs |= {f"held_out_{k}": v for k, v in trainer.validate(validation).items()}
                if trainer.step % options.log_every == 0 or validated or due:
                    metrics.write(json.dumps(logs) + "\n")
                if trainer.step % options.save_every == 0 or due or stop:
                    trainer.save(run, config)
                if report is not None:
                    report(trainer, logs)
                if stop and not due:
                    raise KeyboardInterrupt
    return trainer


def _trim(path: Path, step: int) -> None:
    """Drop the lines of steps that will be walked again, and one that a killed process left torn."""
    if path.exists():
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        lines = [line for line in whole if json.loads(line)["step"] <= step]
        store.write_text(path, "".join(lines))


def _schedule(step: int, options: TrainOptions) -> float:
    warm = min(1.0, (step + 1) / max(1, options.warmup))
    left = (options.steps - step) / max(1.0, options.decay * options.steps)
    return warm * min(1.0, left)


def _optimizers(model: VideoModel, options: TrainOptions) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for all else; weight decay on matrices only."""
    hidden = model.hidden_matrices()
    inside = {id(p) for p in hidden}
    others = [p for p in model.parameters() if id(p) not in inside]
    groups = [
        {"params": [p for p in others if p.dim() == 2], "weight_decay": options.weight_decay},
        {"params": [p for p in others if p.dim() != 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.95), fused=True)]
    if hidden:  # its steps are scaled to the size of AdamW's, so that one learning rate serves both
        decay = options.weight_decay
        optimizers.append(torch.optim.Muon(hidden, lr=options.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def _flat(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"{n}.{i}.{name}": value
        for n, optimizer in enumerate(optimizers)
        for i, slot in optimizer.state_dict()["state"].items()
        for name, value in slot.items()
    }


def _unflat(optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    for n, optimizer in enumerate(optimizers):
        slots: dict[int, dict[str, Tensor]] = {}
        for path, value in tensors.items():
            which, index, name = path.split(".")
            if int(which) == n:
                slots.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})

"""One step of training after the other: weights, their moving average, the optimisers, and the step they stand at.

The clips, levels and noise of step s are a pure function of (seed, global sample index), so a run that was killed and
resumed from its last checkpoint walks the same losses as one that was not, and several processes those of one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from unspool import noise as rng
from unspool import store
from unspool.data import Clips
from unspool.errors import UserError
from unspool.model.dit import Block
from unspool.model.video import VideoModel
from unspool.system import Loss, Stateful, System
from unspool.train import checkpoints
from unspool.train.checkpoints import Keeper, Parts, load_weights
from unspool.train.clips import SILENT, hushed, to_clip
from unspool.train.optimizers import optimizers_of, rate
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks, Spread, whole

USUAL = 0.98
"""Of a gradient's usual norm, what stays in each step; about fifty steps are its memory."""
SETTLED = 50
"""Updates before a norm is usual."""


class Usual(NamedTuple):
    """The norm of gradients so far, a moving average over `updates` of them."""

    norm: float = 0.0
    updates: int = 0

    def after(self, norm: float) -> Usual:
        keep = min(USUAL, self.updates / (self.updates + 1))
        return Usual(keep * self.norm + (1 - keep) * norm, self.updates + 1)


@final
class Trainer:
    """One run. ranks: who trains beside this process; each takes its own clips of every step."""

    def __init__(
        self, system: System, options: TrainOptions, device: torch.device | str = "cpu", ranks: Ranks | None = None
    ) -> None:
        self.system, self.options, self.device = system, options, torch.device(device)
        self.ranks = ranks or Ranks()
        self.model = system.model.to(self.device)
        system.codec.to(self.device)
        for part in self.model.modules():
            if isinstance(part, Block):
                part.recompute = options.recompute
        self.spread = Spread(self.model, self.ranks, options.shard)
        self.average = [p.detach().clone() for p in self.spread.parameters]
        self.optimizers = optimizers_of(self.model, options)
        self.step, self.usual = 0, Usual()
        self.forward: VideoModel = torch.compile(self.model) if options.compile else self.model  # type: ignore[assignment]

    @property
    def rows(self) -> int:
        """Clips of one step in this process."""
        return self.options.batch * self.options.accumulate

    def indices(self, step: int, steps: int = 1) -> np.ndarray:
        """Global numbers of this process's clips in so many steps, those of one step together."""
        first = np.arange(step, step + steps)[:, None] * self.ranks.size * self.rows + self.ranks.rank * self.rows
        return (first + np.arange(self.rows)).ravel().astype(np.int64)

    def train_step(self, clips: Clips) -> dict[str, float]:
        """One pass of the objective over this process's clips of a step; gives its logs, means over all clips of the step.

        Raises UserError, before any weight is touched, when a loss or gradient is not finite or a spike, unless such updates
        are skipped.
        """
        options = self.options
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = options.lr * rate(self.step, options)
        numbers = torch.from_numpy(self.indices(self.step)).to(self.device)
        key = rng.fold(torch.tensor(options.seed, device=self.device), numbers)
        self.model.train()
        batches = [slice(k, k + options.batch) for k in range(0, self.rows, options.batch)]
        walks = [self._losses(clips.rows(batch), key[batch], SILENT) for batch in batches]
        values: dict[str, float] = {}
        while (found := self._update(walks)) is not None:
            values |= found
        self.step += 1
        decay = min(options.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.spread.parameters], 1 - decay)
        return values

    @torch.no_grad()
    def validate(self, clips: Clips) -> dict[str, float]:
        """Held-out losses of the averaged weights, always on the same levels and noise, in every process the same."""
        rows = torch.arange(len(clips.frames), device=self.device)
        key = rng.fold(torch.tensor(-1 - self.options.seed, device=self.device), rows)
        self.model.eval()
        with self.averaged():
            losses = self._losses(clips, key)
            found = list(iter(lambda: self._next(losses), None))
        return {name: float(value) for loss in found for name, value in loss.logs.items()}

    def _update(self, walks: list[Iterator[Loss]]) -> dict[str, float] | None:
        """The next loss of all batches, and one update; None when the objective has no more."""
        logs: dict[str, float] = {}
        weighed, alone = 0.0, len(walks) == self.ranks.size == 1
        for k, walk in enumerate(walks):
            with nullcontext() if k == len(walks) - 1 else self.spread.apart():
                loss = self._next(walk)
                if loss is None:
                    return None
                if k == 0:
                    for optimizer in self.optimizers:
                        optimizer.zero_grad()
                weight = float(loss.weight)
                (loss.value if alone else loss.value * weight).backward()
            weighed += weight
            for name, value in loss.logs.items():
                logs[name] = logs.get(name, 0.0) + weight * float(value)
        weighed, *sums = self.ranks.total(weighed, *logs.values())
        if not weighed:
            return {}
        logs = {name: value / weighed for name, value in zip(logs, sums, strict=True)}
        if not alone:  # gradients are means over processes of sums over clips
            grads = [p.grad for p in self.spread.parameters if p.grad is not None]
            torch._foreach_mul_(grads, self.ranks.size / weighed)
        logs["grad"] = float(whole(nn.utils.clip_grad_norm_(self.spread.parameters, self.options.clip)))
        if self._is_sound(logs):
            for optimizer in self.optimizers:
                optimizer.step()
        else:
            logs["skipped"] = 1.0
        return logs

    def _is_sound(self, logs: Mapping[str, float]) -> bool:
        """Whether an update should be made. Raises UserError where it should not, unless such updates are skipped."""
        options, usual = self.options, self.usual
        bad = [f"{name} is not finite" for name, value in logs.items() if not math.isfinite(value)]
        if not bad and options.spike and usual.updates >= SETTLED and logs["grad"] > options.spike * usual.norm:
            bad = [f"the gradient's norm of {logs['grad']:.3g} is {logs['grad'] / usual.norm:.0f} times what is usual"]
        if not bad:
            self.usual = usual.after(logs["grad"])
            return True
        told = f"step {self.step + 1}: {', '.join(bad)}"
        if options.on_spike == "stop":
            raise UserError(f"{told}; lower --train.lr, resume from a checkpoint, or skip such updates: --train.on-spike skip")
        if self.ranks.rank == 0:
            warnings.warn(f"{told}; this update is skipped", stacklevel=2)
        return False

    def _losses(self, clips: Clips, key: Tensor, silent: float = 0.0) -> Iterator[Loss]:
        """silent: share of the clips of which nothing is said, whatever their captions."""
        clip = hushed(to_clip(self.system, clips, self.device), self.system.text, key, silent)
        for loss in self.system.objective(self.forward, self.system.blend, clip, key):
            yield loss if loss.weight is not None else loss._replace(weight=float(len(key)))

    def _next(self, losses: Iterator[Loss]) -> Any:
        """Autocast keeps copies of the weights: it is left at each loss, before they take a step."""
        with torch.autocast(self.device.type, torch.bfloat16) if self.options.bf16 else nullcontext():
            return self.spread.next_loss(losses)

    def averaged(self) -> Any:
        """Context manager: inside it the model carries the averaged weights. All processes enter it together."""
        return _Swapped(self.spread, self.average)

    # -- checkpoints ----------------------------------------------------------------------------------------------------

    def save(self, keeper: Keeper, config: Mapping[str, Any]) -> None:
        """Hand all that the run is to the keeper; all processes do so at the same step."""
        objective = self.system.objective
        carried = objective.state_dict() if isinstance(objective, Stateful) else None
        held = None if carried is None else {name: leaf.to("cpu", copy=True) for name, leaf in carried.items()}
        objectives = [] if held is None else self.ranks.gathered(held)
        progress = {
            "step": self.step, "usual": self.usual, "ranks": self.ranks.size, "clips": self.rows * self.ranks.size,
            "options": asdict(self.options),
        }  # fmt: skip
        codec = {f"codec.{name}": p.detach() for name, p in self.system.codec.named_parameters()}
        keeper.keep(
            self.step, self._parts(), objectives, {"config": dict(config), "progress": progress}, codec,
            bool(self.spread.parts),
        )  # fmt: skip

    def load(self, checkpoint: Path) -> None:
        """Go on exactly where this checkpoint was written. Raises UserError when it is not whole or of another model."""
        load_weights(self.system, store.load_tensors(checkpoint / "model.safetensors")[0], checkpoint)
        self.average = [p.detach().clone() for p in self.spread.parameters]
        shapes = checkpoints.shapes_of(checkpoint)
        weights = {f"weights.{name}": p.detach() for name, p in self._named()}
        slots = {name: shape for name, shape in shapes.items() if name.startswith("optimizer.")}
        have = {name: shape for name, shape in shapes.items() if name not in slots}
        checkpoints.check({name: p.shape for name, p in weights.items()}, have, checkpoint)
        state = {name: self._slot(name, shape) for name, shape in slots.items()}
        checkpoints.fill(weights | state, checkpoint)
        self._take(state)
        if isinstance(self.system.objective, Stateful):
            carried = checkpoints.objective_of(checkpoint, self.ranks.rank)
            self.system.objective.load_state_dict({name: leaf.to(self.device) for name, leaf in carried.items()})
        progress = store.read_json(checkpoint / "training_state" / "progress.json")
        self.step, self.usual = int(progress["step"]), Usual(*progress.get("usual", ()))

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        return zip(self.spread.names, self.spread.parameters, strict=True)

    def _parts(self) -> Parts:
        parts = {f"weights.{name}": p.detach() for name, p in self._named()}
        parts |= {f"average.{name}": a for name, a in zip(self.spread.names, self.average, strict=True)}
        for n, optimizer in enumerate(self.optimizers):
            for i, slot in optimizer.state_dict()["state"].items():
                parts |= {f"optimizer.{n}.{i}.{name}": value for name, value in slot.items()}
        return parts

    def _slot(self, name: str, shape: torch.Size) -> Tensor:
        """An empty tensor of an optimiser's state, spread as the weight is that it belongs to."""
        _, n, i, _ = name.split(".")
        p = [p for group in self.optimizers[int(n)].param_groups for p in group["params"]][int(i)]
        return torch.zeros_like(p) if p.shape == shape else torch.zeros(shape, device=self.device)

    def _take(self, slots: Parts) -> None:
        """Hand each optimiser its state."""
        for n, optimizer in enumerate(self.optimizers):
            state: dict[int, Parts] = {}
            for path, value in slots.items():
                _, which, index, name = path.split(".")
                if int(which) == n:
                    state.setdefault(int(index), {})[name] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


@final
class _Swapped:
    def __init__(self, spread: Spread, weights: list[Tensor]) -> None:
        self.spread, self.weights = spread, weights

    @torch.no_grad()
    def _swap(self) -> None:
        for p, w in zip(self.spread.parameters, self.weights, strict=True):
            held = p.detach().clone()
            p.copy_(w)
            w.copy_(held)
        self.spread.refresh()

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

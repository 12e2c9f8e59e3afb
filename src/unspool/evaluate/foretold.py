"""Drift foretold: degradation of a long rollout predicted from the errors of single steps, without any rollout.

Theirs: "Error Analyses of Auto-Regressive Video Diffusion Models" (Meta-ARVDM, 2503.10704). Read: its abstract and the
decomposition on its project page. The KL divergence between true and generated video is at most, up to constants, the noise
initialisation, score estimation and discretisation errors of the beginning, plus for EACH autoregressive step again these
three and a memory bottleneck: what the true past says of the next frames beyond what the model is given of it. So temporal
degradation is a sum over steps, and the abstract compares schedulers by it without a rollout. Proofs and experiments: not read.

Reconstructed, ours: how the sum is estimated. For an ancestral step from level t to s the divergence is
(SNR(s) - SNR(t)) / 2 * |clean - estimate|^2, with SNR = (a / b)^2 of the path (after Variational Diffusion Models, 2107.00630).
With the true past in the state and true frames noised to the levels of a plan, these sum to what the model pays for the true
video: the three errors, the memory bottleneck, and what nobody could have known. The last is of the data, the same for all
models, so figures rank models and none of them stands alone. They compare models in the same latents only; a deterministic
solver is treated as if it were the ancestral one.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unspool.blend import Blend
from unspool.errors import UserError
from unspool.evaluate.curves import check
from unspool.evaluate.memory.playing import control_of, encode, remembered
from unspool.noise import FrameNoise
from unspool.schedule import Plan
from unspool.system import System
from unspool.types import Known, Levels, State, Video

FEWEST = 4  # arms: with fewer, no order of theirs has a chance below 5 %
_EXACT = 7  # arms up to which all orders are counted: 5040
_ORDERS = 9999
_AT_ONCE = 16  # clips


class OneStep(NamedTuple):
    """error: (N,) of each clip, nats per number of the latents, summed over the steps of one descent and averaged over the
    frames of a hop. hop: frames that leave together at its end."""

    error: np.ndarray
    hop: int


class Agreement(NamedTuple):
    """rho: Spearman's rank correlation over arms. p: chance of one as high in any order of the arms, one-sided, for the theory
    says that they rise together; NaN where it is undecided: under 4 arms, or where one side is the same for all (then rho is
    NaN as well). arms: how many."""

    rho: float
    p: float
    arms: int

    @property
    def undecided(self) -> bool:
        return bool(np.isnan(self.p))


@torch.no_grad()
def one_step_error(
    system: System, clips: np.ndarray, actions: np.ndarray | None = None, *, context: int = 2, seed: int = 0
) -> OneStep:
    """Real clips uint8 (N, T, H, W, 3), and actions (N, T, K) of a model that takes them -> what one hop of them costs.

    Flights of the plan's endless part are laid along each clip, the first behind `context` frames, each behind the true frames
    before it, one hop apart; at every row of levels the flight is noised anew and estimated once. Frames that a plan makes
    again are noised too, and not counted. A clip's figure is a function of it and the seed: models compare on equal noise.

    Raises UserError for clips that are too short for one flight, do not fit the model, or give figures that are not finite.
    """
    plan = system.schedule.plan()
    check(clips)
    control = control_of(system, actions, *clips.shape[:2])
    least = max(1, plan.redo)
    if not least <= context <= clips.shape[1] - plan.frames:
        need = max(context, least) + plan.frames
        raise UserError(
            f"a flight of {plan.frames} frames behind {context} needs clips of {need} frames, and {least} or more of context"
        )
    parts = [slice(i, i + _AT_ONCE) for i in range(0, len(clips), _AT_ONCE)]
    error = torch.cat([
        _of_clips(system, plan, encode(system, clips[part]), None if control is None else control[part], context, seed)
        for part in parts
    ]).cpu().numpy()  # fmt: skip
    if not np.isfinite(error).all():
        raise UserError("the model's estimates are not finite: use an earlier checkpoint")
    return OneStep(error, plan.hop)


def predict(found: OneStep, frames: int) -> np.ndarray:
    """(frames,): degradation at frame n, counted from 1, is n / hop times the error of a hop, mean over the clips."""
    if frames < 1:
        raise UserError(f"a prediction is for 1 frame or more, not {frames}")
    return np.arange(1, frames + 1) / found.hop * found.error.mean()


def agreement(predicted: np.ndarray, measured: np.ndarray, seed: int = 0) -> Agreement:
    """Whether models that are foretold to degrade more do so: predicted (A,) against measured (A,), larger being worse.

    Up to 7 arms all orders are counted, beyond that 9999 random ones and the one that was found. Raises UserError unless both
    hold one finite figure for each of two arms or more.
    """
    a, b = (np.asarray(side, np.float64) for side in (predicted, measured))
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2 or not np.isfinite([a, b]).all():
        raise UserError(f"agreement needs a finite figure of each of two arms or more on both sides, not {a.shape}, {b.shape}")
    x, y = _ranked(a), _ranked(b)
    if not (x.any() and y.any()):
        return Agreement(float("nan"), float("nan"), len(a))
    rho = float(x @ y)
    if len(a) < FEWEST:
        return Agreement(rho, float("nan"), len(a))
    if len(a) <= _EXACT:
        orders = np.array(list(permutations(range(len(a)))))
        return Agreement(rho, float((y[orders] @ x >= rho - 1e-9).mean()), len(a))
    rng = np.random.default_rng(seed)
    drawn = np.array([rng.permutation(y) @ x for _ in range(_ORDERS)])
    return Agreement(rho, float((1 + (drawn >= rho - 1e-9).sum()) / (1 + _ORDERS)), len(a))


def _of_clips(system: System, plan: Plan, latents: Video, control: Tensor | None, context: int, seed: int) -> Tensor:
    """(B,) float64: the mean over the flights that these clips (B, T, C, h, w) hold."""
    first, last = context - plan.redo, latents.shape[1] - plan.frames - plan.redo
    state = remembered(system, latents[:, :first], control, seed)
    errors = []
    for at in range(first, last + 1, plan.hop):
        flight = slice(at, at + plan.redo + plan.frames)
        told = None if control is None else control[:, flight]
        errors.append(_of_flight(system, plan, latents[:, flight], state, told))
        new = slice(at, at + plan.hop)
        state = system.model.remember(latents[:, new], state, control=None if control is None else control[:, new])
    return torch.stack(errors).mean(0)


def _of_flight(system: System, plan: Plan, clean: Video, state: State, told: Tensor | None) -> Tensor:
    """(B,) float64: the cost of all rows of the endless part. Over one walk of it, the columns together descend one hop."""
    column = torch.arange(plan.redo, device=clean.device).expand(len(clean), -1)
    known = (Known(clean[:, : plan.redo], column),) if plan.redo else ()
    read, noise = system.model.reader(state, *known), FrameNoise(system.model.shape)
    total = torch.zeros(len(clean), device=clean.device, dtype=torch.float64)
    rows = plan.loop.to(clean)
    for row in range(len(rows) - 1):
        level, to = (rows[r].expand(len(clean), -1) for r in (row, row + 1))
        x = system.blend.blend(clean, noise(state["seed"], state["at"], clean.shape[1], row).to(clean), level)
        estimate = system.blend.clean(x, read(x, level, control=told), level)
        squared = (estimate - clean).double().square().mean((-1, -2, -3))
        worth = (snr(system.blend, to) - snr(system.blend, level)) / 2
        total += (worth * squared)[:, plan.redo :].sum(1)
    return total / plan.hop


def snr(blend: Blend, level: Levels) -> Tensor:
    """(a / b)^2 at these levels (B, F), float64. Levels below `blend.floor` count as that: at 0 it would be infinite, and the
    library describes frames no finer."""
    a, b = blend.weights(level.double().clamp(min=blend.floor))
    return (a / b).square()[..., 0, 0, 0]


def _ranked(values: np.ndarray) -> np.ndarray:
    """Ranks, equal values sharing theirs, about their mean and of length 1 (zeros where all are equal)."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count + 1) / 2)[place]
    centred = rank - rank.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-12)

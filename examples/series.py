"""A series whose every answer is known, through the same loop as video.

A frame here is a point in the plane: a damped oscillator kicked by noise, x[t+1] = A x[t] + e, e ~ N(0, Q). For such a series
the best velocity that any network could learn, E[noise - clean | noisy flight, past], is a few small matrices. So nothing
is trained and nothing can be blamed on training: what `unspool.stream` makes of that velocity is held against the true law
of the series, and against the exact law of the very steps that the solver took. Run it (half a minute):

    python examples/series.py

Its table says three things.
- Means are right always. Spread is not: a solver of few steps makes futures too narrow, by an amount known beforehand
  (one Euler step is the mean of all futures, and a video model's mean future is blur).
- Many steps give the truth when each chunk waits for the one before it (lag 1), or when the frames of a flight see each other
  both ways, at whatever levels they are.
- Several frames under way that see only OLDER frames of the flight fall short however many steps are taken, although every
  velocity is the exact mean given what its frame sees. A flow carries the law of a whole flight only if each frame moves by
  its mean given ALL noisy frames. A causal frame ignores what its successor already shows of it and ends elsewhere; the
  successor was steered by a draft that did not come true. So they agree less than real frames do, and the next velocity,
  which averages over both as if they agreed, comes out too small. That is the price of frame-causal attention at lag < 1,
  whatever the network.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from unspool.blend import AlphaBlend, Blend
from unspool.model import VideoModel
from unspool.rollout import begin, stream
from unspool.schedule import Plan, Staircase
from unspool.solver import Solver, euler, midpoint
from unspool.types import Levels, State, Video

F64 = torch.float64


class Series(NamedTuple):
    """x[t+1] = A x[t] + e, e ~ N(0, Q). A (C, C) with eigenvalues inside the unit circle, Q (C, C) positive definite."""

    a: Tensor
    q: Tensor

    def stationary(self) -> Tensor:
        """(C, C): P = A P A' + Q, the covariance after infinitely many frames."""
        c = len(self.a)
        flat = torch.linalg.solve(torch.eye(c * c, dtype=F64) - torch.kron(self.a, self.a), self.q.flatten())
        return flat.reshape(c, c)

    def ahead(self, frames: int, cov: Tensor) -> tuple[Tensor, Tensor]:
        """Law of the next frames from a past known up to covariance cov (..., C, C).

        lift (F * C, C): their mean is lift @ (mean of the past); covariance (..., F * C, F * C)."""
        c = len(self.a)
        powers = [torch.eye(c, dtype=F64)]
        for _ in range(frames):
            powers.append(self.a @ powers[-1])
        lift = torch.cat(powers[1:])
        kicks = torch.cat([torch.cat([torch.zeros(j * c, c, dtype=F64), *powers[: frames - j]]) for j in range(frames)], 1)
        return lift, lift @ cov @ lift.T + kicks @ torch.block_diag(*[self.q] * frames) @ kicks.T


def oscillator(damping: float = 0.9, period: float = 12.0) -> Series:
    """A point that turns once in `period` frames, shrinks by `damping` a frame and is kicked, harder one way than the other."""
    turn = 2 * math.pi / period
    cos, sin = math.cos(turn), math.sin(turn)
    a = damping * torch.tensor([[cos, -sin], [sin, cos]], dtype=F64)
    return Series(a, torch.tensor([[0.30, 0.08], [0.08, 0.12]], dtype=F64))


@final
class LinearGaussian(VideoModel):
    """The perfect model of a series. State: what is known of the last frame, mean (B, C) and covariance (B, C, C).

    chunk: frames of a flight that see each other both ways, as in VideoTransformer; 1 is frame-causal.
    """

    def __init__(self, series: Series, *, chunk: int = 1, blend: Blend | None = None) -> None:
        super().__init__()
        self.series, self.chunk, self.blend = series, chunk, blend or AlphaBlend()
        self.shape = (len(series.a), 1, 1)

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        """Nothing remembered: the last frame is somewhere in the stationary law."""
        cov = self.series.stationary().expand(batch, -1, -1).to(device)
        at = torch.zeros(batch, dtype=torch.int64, device=device)
        return {"at": at, "seed": seed.to(device), "mean": torch.zeros_like(cov[..., 0]), "cov": cov.clone()}

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        """A Kalman filter: a clean frame replaces the belief, a noisy one (its level is told) narrows it."""
        a, q = self.series
        level = clean.new_zeros(clean.shape[:2]) if level is None else level
        blur = torch.eye(len(a), dtype=F64)
        mean, cov = state["mean"], state["cov"]
        for j, frame in enumerate(clean.flatten(2).to(F64).unbind(1)):
            scale, noise = (w.reshape(-1, 1, 1) for w in self.blend.weights(level[:, j].to(F64)))
            mean, cov = mean @ a.T, a @ cov @ a.T + q
            gain = scale * cov @ torch.linalg.inv(scale**2 * cov + noise**2 * blur)
            mean = mean + (gain @ (frame - scale[..., 0] * mean)[..., None])[..., 0]
            cov = cov - scale * gain @ cov
        return {**state, "at": state["at"] + clean.shape[1], "mean": mean, "cov": cov}

    def denoise(
        self, x: Video, level: Levels, state: State, *, present: Tensor | None = None, control: Tensor | None = None
    ) -> Video:
        """E[velocity | past, the frames that each frame sees]: one Gaussian conditioned on another."""
        if present is not None:  # a frame that does not exist tells nothing, and pure noise tells nothing
            level = torch.where(present, level, 1.0)
        known = level.to(F64), state["cov"]
        if all((t == t[:1]).all() for t in known):  # one matrix serves the whole batch: in a rollout, always
            known = known[0][:1], known[1][:1]
        scale, slope, lift, gain = self.gain(*known)
        mean = state["mean"] @ lift.T
        deviation = x.flatten(1).to(F64) - scale * mean
        return (slope * mean + (gain @ deviation[..., None])[..., 0]).reshape(x.shape).to(x)

    def gain(self, level: Levels, cov: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """velocity = slope * m + gain @ (x - scale * m), where m = lift @ mean is the mean of the clean flight.

        With x = a c + b n and velocity u = a' c + b' n: gain = cov(u, x) cov(x)^-1, restricted to the frames that are seen.
        """
        c, frames = len(self.series.a), level.shape[1]
        a, b = (w.flatten(1).repeat_interleave(c, 1) for w in self.blend.weights(level))
        da, db = (w.flatten(1).repeat_interleave(c, 1) for w in self.blend.slopes(level))
        lift, clean = self.series.ahead(frames, cov)
        of_x = a[:, :, None] * clean * a[:, None] + torch.diag_embed(b * b)
        of_ux = da[:, :, None] * clean * a[:, None] + torch.diag_embed(db * b)
        gain = torch.zeros_like(of_ux)
        for first in range(0, frames * c, self.chunk * c):
            rows, seen = slice(first, first + self.chunk * c), slice(0, first + self.chunk * c)
            gain[:, rows, seen] = torch.linalg.solve(of_x[:, seen, seen], of_ux[:, rows, seen].mT).mT
        return a, da, lift, gain


class Law(NamedTuple):
    """Of frames 0 .. T - 1 that follow a known frame s: mean = lift @ s, (T * C, C); covariance (T * C, T * C)."""

    lift: Tensor
    cov: Tensor

    def lag(self, frame: int, by: int, channels: int = 2) -> Tensor:
        """(C, C): covariance of `frame` with the one `by` frames before it."""
        i, j = frame * channels, (frame - by) * channels
        return self.cov[i : i + channels, j : j + channels]


def truth(series: Series, frames: int) -> Law:
    """The law of the series itself."""
    return Law(*series.ahead(frames, torch.zeros_like(series.q)))


def predicted(model: LinearGaussian, plan: Plan, frames: int, solver: Literal["euler", "midpoint"] = "euler") -> Law:
    """The exact law of what a solver's finite steps leave, without a random number (alpha blend).

    Every step is linear, so a generated frame is a fixed matrix times (s, the noise of all frames). Its columns are found
    by walking the levels with one unit vector each; this walk shares with `unspool.stream` only the model.
    """
    c, width = model.shape[0], plan.loop.shape[1]
    total = frames + plan.hop + width
    units = torch.eye((1 + total) * c, dtype=F64).unflatten(1, (1 + total, c, 1, 1))
    last, noise = units[:, 0], units[:, 1:]
    flight, out = noise[:, :0], noise[:, :0]

    def velocity(x: Video, level: Tensor) -> Video:
        return model.denoise(x, level[None], {"mean": last.flatten(1), "cov": last.new_zeros(1, c, c)})

    def descend(x: Video, rows: Tensor) -> Video:
        for level, to in pairwise(rows.to(F64)):
            fall = (to - level)[:, None, None, None]
            slope = velocity(x, level)
            if solver == "midpoint":
                slope = velocity(x + fall / 2 * slope, (level + to) / 2)
            x = x + fall * slope
        return x

    if len(plan.warmup) > 1:
        flight = descend(noise[:, :width], plan.warmup)
    while out.shape[1] < frames:
        entering = noise[:, out.shape[1] + flight.shape[1] : out.shape[1] + width]
        flight = descend(torch.cat([flight, entering], 1), plan.loop)
        out, last, flight = torch.cat([out, flight[:, : plan.hop]], 1), flight[:, plan.hop - 1], flight[:, plan.hop :]
    made = out[:, :frames].flatten(1).T
    return Law(made[:, :c].contiguous(), made[:, c:] @ made[:, c:].T)


def sampled(
    model: LinearGaussian, schedule: Staircase, begun: Tensor, frames: int, *, runs: int, seed: int = 0, solver: Solver = euler
) -> Tensor:
    """Run the library's loop: `runs` futures of `frames` frames behind one clean frame `begun` (C,), as (runs, frames, C)."""
    context = begun[None, None, :, None, None].expand(runs, 1, -1, 1, 1)
    rollout = begin(model, context, seed=seed)
    chunks = stream(model, model.blend, schedule.plan(), rollout, frames=frames, solver=solver)
    return torch.cat([chunk.frames for chunk in chunks], 1).flatten(2)


class Row(NamedTuple):
    """One line of the table."""

    name: str
    schedule: Staircase
    sees: int = 1
    solver: Literal["euler", "midpoint"] = "euler"


QUARTER = Fraction(1, 4)
ROWS = (
    *(Row("frame by frame", Staircase(steps=s)) for s in (1, 4, 16, 64)),
    *(Row("frame by frame", Staircase(steps=s), solver="midpoint") for s in (4, 16)),
    Row("chunks of 4, both ways", Staircase(steps=16, chunk=4), 4),
    Row("full sequence of 4, both ways", Staircase(steps=16, lag=0, chunks=4), 4),
    Row("progressive, lag 1/4, both ways", Staircase(steps=16, lag=QUARTER), 4),
    Row("progressive, lag 1/4, both ways", Staircase(steps=16, lag=QUARTER), 4, "midpoint"),
    Row("progressive, lag 1/2, causal", Staircase(steps=16, lag=Fraction(1, 2))),
    Row("progressive, lag 1/4, causal", Staircase(steps=16, lag=QUARTER)),
    Row("progressive, lag 1/4, causal", Staircase(steps=16, lag=QUARTER), solver="midpoint"),
    Row("progressive, lag 1/8, causal", Staircase(steps=16, lag=Fraction(1, 8))),
    Row("full sequence of 4, causal", Staircase(steps=16, lag=0, chunks=4)),
)


class Estimate(NamedTuple):
    """A measured value and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:6.3f} ±{self.error:.3f}"


def spread(frames: Tensor) -> tuple[Estimate, Estimate]:
    """(variance per channel, lag-1 autocorrelation) of runs (B, T, C); the errors hold because runs are independent."""
    frames = frames - frames.mean(0)
    power = frames[:, :-1].square().sum(-1).mean(1)
    product = (frames[:, 1:] * frames[:, :-1]).sum(-1).mean(1)
    root, each = math.sqrt(len(frames)), power / frames.shape[2]
    ratio = product.mean() / power.mean().clamp(min=1e-12)
    wobble = (product - ratio * power).std() / power.mean().clamp(min=1e-12)
    return Estimate(each.mean().item(), each.std().item() / root), Estimate(ratio.item(), wobble.item() / root)


def exact_spread(law: Law, first: int, frames: int) -> tuple[float, float]:
    """The same two numbers from a law, over the same frames."""
    power = sum(law.lag(f, 0).trace().item() for f in range(first, frames - 1))
    product = sum(law.lag(f, 1).trace().item() for f in range(first + 1, frames))
    return power / (frames - 1 - first) / 2, product / power if power else math.nan


def deviations(frames: Tensor, law: Law, begun: Tensor) -> tuple[float, float]:
    """Largest distance from a law, in standard errors, of any mean and of any covariance between any two of all frames."""
    flat = frames.flatten(1)
    variance = law.cov.diagonal()
    mean = (flat.mean(0) - law.lift @ begun) / (variance / len(flat)).sqrt()
    cov = (flat.T.cov() - law.cov) / ((variance[:, None] * variance + law.cov.square()) / (len(flat) - 1)).sqrt()
    return mean.abs().max().item(), cov.abs().max().item()


def main(runs: int = 4000, frames: int = 48, late: int = 24) -> None:
    """Print the table. `late`: the frame from which the series has forgotten where it began."""
    series, begun = oscillator(), torch.tensor([3.0, -2.0], dtype=F64)
    real = exact_spread(truth(series, frames), late, frames)
    pairs = frames * (2 * frames + 1)
    print(f"{runs} futures of {frames} frames behind x = {begun.tolist()}: variance per channel and lag-1 autocorrelation")
    print(
        f"of frames {late} .. {frames - 1}. exact: of these steps, predicted; limit: of many (midpoint, 64). mean, cov: largest"
    )
    print(f"deviation from the prediction of all {2 * frames} means and {pairs} covariances, in standard errors.\n")
    line = "{:32} {:8} {:>5}  {:>13} {:>6}  {:>13} {:>6}  {:>6}  {:>4} {:>4}".format
    print(line("schedule, who sees whom", "solver", "steps", "variance", "exact", "autocorr.", "exact", "limit", "mean", "cov"))
    print(line("the series itself", "", "", "", f"{real[0]:.3f}", "", f"{real[1]:.3f}", f"{real[0]:.3f}", "", ""))
    for row in ROWS:
        model, plan = LinearGaussian(series, chunk=row.sees), row.schedule.plan()
        solver = midpoint if row.solver == "midpoint" else euler
        sample = sampled(model, row.schedule, begun, frames, runs=runs, solver=solver)
        law = predicted(model, plan, frames, row.solver)
        many = predicted(model, replace(row.schedule, steps=64).plan(), frames, "midpoint")
        measured, exact = spread(sample[:, late:]), exact_spread(law, late, frames)
        errors = ["" if math.isnan(z) else f"{z:.1f}" for z in deviations(sample, law, begun)]
        limit = exact_spread(many, late, frames)[0]
        cells = f"{measured[0]}", f"{exact[0]:.3f}", f"{measured[1]}", f"{exact[1]:.3f}".replace("nan", "-"), f"{limit:.3f}"
        print(line(row.name, row.solver, row.schedule.steps, *cells, *errors))


if __name__ == "__main__":
    main()

"""Train the state reader of `duel`, measure it on real frames, write weights and card. Nothing on the card is typed by hand.

    python bench/train_reader.py [--out src/unspool/shipped/reader-duel-64] [--work DIR] [--pose-steps N] [--threads 1]

Training clips are drawn from the split `train` as they are needed, none twice. Pose and move networks are trained one
after the other, and kept in --work: what is there already is not trained again. An interrupted pose training goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from reader_card import card, measure
from torch import Tensor

from unspool import store
from unspool.data.worlds.duel import Duel, Trajectory
from unspool.errors import UserError
from unspool.evaluate.duel.reader import CELLS, Action, Pose, Reader, save_reader, to_input

CLIPS, STRIDE, PICKED = 96, 8, 16  # a pool: 96 fights, 16 pictures of each, 8 frames apart
BATCH = 128
NEAR = 2 / 64  # pelvises nearer than that (picture units): which fighter is the left one is a matter of taste


def pool(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (n, 64, 64, 3) and joints (n, F, J, 2) of new fights; clutter differs from pool to pool."""
    world = Duel(split="train", clutter=(0.5, 0.0, 0.5, 1.0)[number % 4])
    fights = world.simulate(world.seeds(np.arange(CLIPS) + number * CLIPS, seed=seed), STRIDE * PICKED)
    fights = Trajectory._make(leaf[:, ::STRIDE] for leaf in fights)
    order = np.random.default_rng((seed, number)).permutation(CLIPS * PICKED)
    joints = fights.joints.reshape(-1, *fights.joints.shape[2:])
    return world.render(fights).reshape(-1, 64, 64, 3)[order], joints[order]


def spoil(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """What a generated picture may suffer: softness, grain, other light and tint. (B, 3, H, W) in [-1, 1]."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(len(pictures), *shape, generator=generator)

    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pictures = torch.lerp(pictures, soft, (draw(1, 1, 1) * 1.6 - 0.8).clamp(min=0))
    grey = pictures.mean(1, keepdim=True)
    pictures = grey + (pictures - grey) * (0.7 + 0.6 * draw(1, 1, 1))
    pictures = pictures * (0.8 + 0.4 * draw(1, 1, 1)) + (draw(3, 1, 1) - 0.5) * 0.3
    grain = torch.randn(pictures.shape, generator=generator)
    return (pictures + grain * (draw(1, 1, 1) * 0.16 - 0.06).clamp(min=0)).clamp(-1, 1)


def pose_loss(logits: Tensor, joints: Tensor) -> Tensor:
    """Cross-entropy against the four cells around a joint, weighted so that their mean is its place exactly.

    logits (B, F, J, 16, 16), joints (B, F, J, 2) in the order of the world. The left fighter (by pelvis) belongs to slot 0;
    where both stand in one place, the order that fits better is taken.
    """
    left = joints[:, 0, 0, 0] <= joints[:, 1, 0, 0]
    joints = torch.where(left[:, None, None, None], joints, joints.flip(1))
    chance = logits.float().flatten(-2).log_softmax(-1)
    straight, crossed = _against(chance, joints), _against(chance, joints.flip(1))
    close = (joints[:, 0, 0, 0] - joints[:, 1, 0, 0]).abs() < NEAR
    return torch.where(close, torch.minimum(straight, crossed), straight).mean()


def _against(chance: Tensor, joints: Tensor) -> Tensor:
    """log-probabilities (B, F, J, 256), joints (B, F, J, 2) -> (B,)."""
    at = (joints * CELLS - 0.5).clamp(0, CELLS - 1 - 1e-4)
    low = at.floor()
    part, low = at - low, low.long()
    loss = torch.zeros(len(joints))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (part[..., 0] if dx else 1 - part[..., 0]) * (part[..., 1] if dy else 1 - part[..., 1])
            cell = (low[..., 1] + dy) * CELLS + low[..., 0] + dx
            loss = loss - (weight * chance.gather(-1, cell[..., None])[..., 0]).mean((1, 2))
    return loss


def train_pose(model: Pose, options: argparse.Namespace) -> float:
    """Returns seconds of processor time, over all interruptions."""
    model.train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.02, betas=(0.9, 0.98))
    aside, first, spent = options.work / "pose-training.safetensors", 0, -time.process_time()
    if aside.is_file():
        first, before = resume(aside, model, optimizer)
        spent += before
    each = CLIPS * PICKED // BATCH
    for step in range(first, options.pose_steps):
        if step % each == 0 or step == first:
            pictures, joints = pool(step // each, options.seed)
        rows = slice(step % each * BATCH, (step % each + 1) * BATCH)
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        optimizer.param_groups[0]["lr"] = options.lr * falling(step, options.pose_steps)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(spoil(to_input(pictures[rows]), generator))
        loss = pose_loss(logits, torch.from_numpy(joints[rows]))
        descend(loss, optimizer)
        if step % 50 == 0:
            print(f"pose {step} / {options.pose_steps}  loss {loss.item():.3f}", flush=True)
        if step % each == each - 1:
            keep(aside, model, optimizer, step + 1, spent + time.process_time())
    return spent + time.process_time()


def falling(step: int, steps: int) -> float:
    """Factor on the rate: a short warm-up, a plateau, and down to nothing over the last half."""
    return min(1.0, (step + 1) / 100, 2 * (1 - step / steps))


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()


def keep(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Weights and moments, so that training goes on where it was."""
    moments = {f"{i}/{k}": v for i, s in optimizer.state_dict()["state"].items() for k, v in s.items()}
    weights = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors = weights | {f"moments/{k}": v for k, v in moments.items()}
    store.save_tensors(path, tensors, {"step": str(step), "seconds": str(seconds)})


def resume(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """(steps done, seconds they took)."""
    tensors, said = store.load_tensors(path)
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("moments/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return int(said["step"]), float(said["seconds"])


def misread(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What `Pose` may do to true joints (B, T, F, J, 2): errors of some tenths of a pixel up to pixels, some gross ones."""
    much = rng.choice([0.4, 0.8, 1.6], (len(joints), 1, 1, 1, 1)) / 64
    noise = rng.standard_normal(joints.shape) * much
    gross = rng.random(joints.shape[:-1]) < 0.02
    noise += gross[..., None] * rng.standard_normal(joints.shape) * 5 / 64
    noise[:, 1:] = 0.7 * noise[:, 1:] + 0.7 * noise[:, :-1]  # the same mistake often lasts
    return (joints + noise).astype(np.float32)


def train_action(model: Action, options: argparse.Namespace) -> float:
    """On true joints, misread at random: simulating costs a tenth of rendering. Returns seconds of processor time.

    A pool is 32 fights of 256 frames, cut into 128 pieces; each is seen twice, misread in two ways.
    """
    begun = time.process_time()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.02)
    world = Duel(split="train")
    for step in range(options.action_steps):
        rng = np.random.default_rng((options.seed, step, 7))
        number, part = divmod(step, 8)
        if part == 0:
            fights = world.simulate(world.seeds(np.arange(32) + number * 32, seed=options.seed + 1), 256)
            pieces = [np.concatenate(np.split(leaf, 4, 1)) for leaf in (fights.joints, fights.move)]
        if part % 4 == 0:
            order = rng.permutation(128)
        joints, moves = (piece[order[part % 4 :: 4]] for piece in pieces)
        optimizer.param_groups[0]["lr"] = options.lr * falling(step, options.action_steps)
        logits = model(torch.from_numpy(misread(joints, rng)))
        loss = F.cross_entropy(logits.flatten(0, 2), torch.from_numpy(moves.astype(np.int64)).flatten())
        descend(loss, optimizer)
        if step % 100 == 0:
            print(f"action {step} / {options.action_steps}  loss {loss.item():.3f}", flush=True)
    return time.process_time() - begun


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/reader-duel-64/shipped"))
    parser.add_argument("--work", type=Path, default=Path("runs/reader-duel-64"))
    parser.add_argument("--pose-steps", type=int, default=624)
    parser.add_argument("--action-steps", type=int, default=800)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=36, help="fights of 120 frames a split that it is measured on")
    parser.add_argument("--note", default="", help="for the card: what happened that the command does not say")
    return parser.parse_args()


def once(path: Path, part: torch.nn.Module, train: Callable[[], float]) -> float:
    """Train a network unless that has been done before; returns the seconds that it took."""
    weights, said = path.with_suffix(".safetensors"), path.with_suffix(".json")
    if not said.is_file():
        seconds = train()
        store.save_tensors(weights, part.state_dict())
        store.write_json(said, {"cpu_seconds": seconds})
    part.load_state_dict(store.load_tensors(weights)[0])
    return float(store.read_json(said)["cpu_seconds"])


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    reader = Reader()
    spent = {
        "pose": once(options.work / "pose", reader.pose, lambda: train_pose(reader.pose, options)),
        "action": once(options.work / "action", reader.action, lambda: train_action(reader.action, options)),
    }
    save_reader(reader.eval(), options.out / "model.safetensors")
    figures = measure(options.out / "model.safetensors", options.clips)
    said = {k: v for k, v in vars(options).items() if k not in ("out", "work", "note")}
    facts: dict[str, Any] = {"options": said, "cpu_seconds": spent, "torch": torch.__version__, "note": options.note}
    store.write_json(options.work / "figures.json", facts | {"figures": figures})
    text = card(options.out / "model.safetensors", facts, figures)
    store.write_text(options.out / "README.md", text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

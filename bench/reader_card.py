"""What the state reader of `duel` reads on real frames it never saw, beside controls that know nothing; and its card.

    python bench/reader_card.py [WEIGHTS] [--clips 48] [--picture FILE.png]

`measure` is called by bench/train_reader.py after training; by itself this prints the figures of the reader that ships,
and draws true and read joints over frames of the split `unseen`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from unspool.data.worlds.duel import JOINTS, MOVES, Duel, Split
from unspool.evaluate.duel.identity import begins_right
from unspool.evaluate.duel.plausible import doubt, joint_travel, limb_error, move_histogram_distance
from unspool.evaluate.duel.reader import SHIPPED, SIZE, Reader, Reading, load_reader

FRAMES = 120
KINDS = {
    "waits": ("idle", "taunt"),
    "goes": ("step forward", "step back", "dash"),
    "strikes by hand": ("jab", "cross", "hook", "uppercut", "push"),
    "kicks": ("low kick", "front kick", "high kick", "roundhouse", "jump kick", "sweep"),
    "evades": ("jump", "duck", "block high", "block low", "dodge back"),
    "staggers": ("stagger high", "stagger low"),
    "is down": ("fall", "lie", "get up"),
}
KIND = np.array([next(i for i, moves in enumerate(KINDS.values()) if move in moves) for move in MOVES])
Truth = tuple[np.ndarray, np.ndarray]  # joints (N, T, F, J, 2), moves (N, T, F); in the order of `begins_right`
Figures = dict[str, float]


def real(split: Split, clips: int, *, seed: int = 99) -> tuple[np.ndarray, Truth]:
    """Videos uint8 (N, T, 64, 64, 3) and what is true of them."""
    world = Duel(split=split)
    fights = world.simulate(world.seeds(np.arange(clips), seed=seed), FRAMES)
    turned = begins_right(fights.joints)[:, None, None]
    joints = np.where(turned[..., None, None], fights.joints[:, :, ::-1], fights.joints)
    return world.render(fights), (joints, np.where(turned, fights.move[:, :, ::-1], fights.move))


def measure(weights: Path, clips: int) -> dict[str, Any]:
    """Figures by split, of joints, moves, controls and spoiled videos."""
    reader, found = load_reader(weights), dict[str, Any]()
    known = real("train", clips)[1]
    splits: tuple[Split, ...] = ("seen", "unseen")
    for split in splits:
        videos, truth = real(split, clips)
        reading = reader(videos)
        found[split] = {
            "joints": joints_of(reading, truth),
            "joints_controls": joint_controls(truth, known),
            "moves": moves_of(reading.chances, truth),
            "moves_controls": move_controls(reader, reading, truth, known),
        }
        if split == "seen":
            found[split]["spoiled"] = spoiled(reader, videos, truth, reading)
    return found


def joints_of(reading: Reading, truth: Truth) -> Figures:
    """Errors in pixels of a 64-pixel picture. `identity_kept`: frames in which the followed order is the fitting one."""
    away = pixels(reading.joints, truth[0])
    other = pixels(reading.joints[:, :, ::-1], truth[0])
    straight = away.mean((2, 3)) <= other.mean((2, 3))
    best = np.where(straight[..., None, None], away, other)
    groups = {"trunk": ("pelvis", "waist", "chest", "neck", "head"), "hands": ("hand", "hand_far"), "toes": ("toe", "toe_far")}
    by_group = {name: float(best[..., [JOINTS.index(j) for j in names]].mean()) for name, names in groups.items()}
    return {
        "mean": float(away.mean()), "mean_in_frame": float(best.mean()), "median": float(np.median(best)),
        "p95": float(np.quantile(best, 0.95)),
        "pck_1px": float((best < 1).mean()), "pck_2px": float((best < 2).mean()), "pck_4px": float((best < 4).mean()),
        "identity_kept": float(straight.mean()),
        "clips_kept": float((straight.mean(1) > 0.9).mean()), **by_group,
    }  # fmt: skip


def pixels(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return SIZE * np.linalg.norm(a - b, axis=-1)


def joint_controls(truth: Truth, known: Truth) -> Figures:
    """Mean error, pixels, of who has not looked: a mean pose, the same hung on the true pelvis, joints of other frames."""
    joints, mean = truth[0], known[0].mean((0, 1))
    hung = mean - mean[:, :1] + joints[..., :1, :]
    shuffled = joints.reshape(-1, *joints.shape[2:])[np.random.default_rng(0).permutation(joints.shape[0] * joints.shape[1])]
    return {
        "mean pose": float(pixels(mean, joints).mean()),
        "mean pose on the true pelvis": float(pixels(hung, joints).mean()),
        "joints of other frames": float(pixels(shuffled.reshape(joints.shape), joints).mean()),
    }


def moves_of(chances: np.ndarray, truth: Truth) -> Figures:
    """Shares of frames and fighters. `settled`: frames 4 or more into a move, and 4 or more from its end."""
    likely, moves = np.argsort(-chances, -1), truth[1]
    right = likely[..., 0] == moves
    settled = np.ones_like(right)
    for shift in range(1, 5):
        settled[:, shift:] &= moves[:, shift:] == moves[:, :-shift]
        settled[:, :-shift] &= moves[:, :-shift] == moves[:, shift:]
    by_move = [right[moves == m].mean() for m in range(len(MOVES)) if (moves == m).any()]
    return {
        "right": float(right.mean()), "right_settled": float(right[settled].mean()),
        "right_mean_of_moves": float(np.mean(by_move)),
        "among_3": float((likely[..., :3] == moves[..., None]).any(-1).mean()),
        "kind_right": float((KIND[likely[..., 0]] == KIND[moves]).mean()),
    }  # fmt: skip


@torch.inference_mode()
def move_controls(reader: Reader, reading: Reading, truth: Truth, known: Truth) -> dict[str, Figures]:
    """The commonest move for all; the same joints in shuffled time; and the ceiling: the true joints."""
    order = np.random.default_rng(0).permutation(FRAMES)
    back = np.argsort(order)

    def of(joints: np.ndarray) -> np.ndarray:
        return reader.action(torch.from_numpy(np.ascontiguousarray(joints))).softmax(-1).numpy()

    commonest = np.zeros((*truth[1].shape, len(MOVES)))
    commonest[...] = np.bincount(known[1].ravel(), minlength=len(MOVES))
    return {
        "commonest move": moves_of(commonest, truth),
        "time shuffled": moves_of(of(reading.joints[:, order])[:, back], truth),
        "a single frame, held": moves_of(held(of, reading.joints), truth),
        "true joints": moves_of(of(truth[0]), truth),
    }


def held(of: Callable[[np.ndarray], np.ndarray], joints: np.ndarray) -> np.ndarray:
    """What is read of every frame when nothing moves: the pose alone."""
    still = np.repeat(joints.reshape(-1, 1, *joints.shape[2:]), 3, 1)
    return of(still)[:, 1].reshape(*joints.shape[:3], -1)


def spoil(videos: np.ndarray) -> dict[str, np.ndarray]:
    """Real videos spoiled in ways that generated ones are. Blur is a running mean of n x n pixels."""

    def blur(n: int) -> np.ndarray:
        x = torch.from_numpy(videos).flatten(0, 1).permute(0, 3, 1, 2).float()
        x = F.avg_pool2d(F.pad(x, (n // 2,) * 4, mode="replicate"), n, 1)
        return x.round().to(torch.uint8).permute(0, 2, 3, 1).numpy().reshape(videos.shape)

    rng = np.random.default_rng(0)
    noise = np.clip(videos + rng.normal(0, 25, videos.shape), 0, 255).astype(np.uint8)
    frozen = np.repeat(videos[:, :1], videos.shape[1], 1)
    empty = np.repeat(np.median(videos, 1, keepdims=True).astype(np.uint8), videos.shape[1], 1)
    warped = videos.copy()
    for row in range(0, SIZE, 4):  # bodies cut into slices that slip
        warped[:, :, row : row + 4] = np.roll(warped[:, :, row : row + 4], int(rng.integers(-3, 4)), 3)
    return {
        "blur 3": blur(3), "blur 5": blur(5), "blur 9": blur(9), "noise 25": noise,
        "slices that slip": warped, "frozen": frozen, "fighters gone": empty,
    }  # fmt: skip


def spoiled(reader: Reader, videos: np.ndarray, truth: Truth, reading: Reading) -> dict[str, Figures]:
    """What the reader says of spoiled videos; `joints_px` is its error, which nobody knows of a generated one."""
    few = len(videos) // 3
    lines = {"real": reading} | {name: reader(video) for name, video in spoil(videos[:few]).items()}
    found = {}
    for name, one in lines.items():
        moves = move_histogram_distance(one, reading)
        found[name] = {
            "joints_px": float(pixels(one.joints, truth[0][: len(one.joints)]).mean()),
            "limbs": float(limb_error(one).mean()), "doubt": float(doubt(one).mean()),
            "travel": float(np.nanmean(joint_travel(one))),
            "moves": float((moves.null if name == "real" else moves.distance).mean()),
            "moves_odd": float(((moves.null if name == "real" else moves.distance) > moves.limit).mean()),
        }  # fmt: skip
    return found


def draw(reader: Reader, path: Path, *, scale: int = 5, columns: int = 8, rows: int = 4) -> None:
    """Frames of `unseen` with the true skeletons (white) and the read ones (coloured by fighter)."""
    from PIL import Image, ImageDraw

    from unspool.evaluate.duel.plausible import BONES

    videos, (joints, _) = real("unseen", columns, seed=5)
    read = reader(videos).joints
    side, chosen = SIZE * scale, np.linspace(5, FRAMES - 5, rows).astype(int)
    sheet = Image.new("RGB", (columns * side, rows * side))
    bones = (*BONES, ("neck", "head"), ("ankle", "toe"), ("ankle_far", "toe_far"))
    ends = [(JOINTS.index(a), JOINTS.index(b)) for a, b in bones]
    for i in range(columns):
        for k, t in enumerate(chosen):
            picture = Image.fromarray(videos[i, t]).resize((side, side), Image.Resampling.NEAREST)
            pen = ImageDraw.Draw(picture)
            for fighter, colour in ((0, (255, 0, 160)), (1, (0, 255, 120))):
                for skeleton, ink, wide in ((joints, (255, 255, 255), 4), (read, colour, 2)):
                    for a, b in ends:
                        pen.line([*map(tuple, skeleton[i, t, fighter, [a, b]] * side)], fill=ink, width=wide)
            sheet.paste(picture, (i * side, k * side))
    sheet.save(path)


CARD = """---
license: apache-2.0
library_name: unspool
---
# reader-duel-64

Reads the world `duel` back from its pictures (two fighters, 64 x 64): the 21 joints of each fighter in every frame, and
which of 26 moves is under way. {parameters:,} parameters in half precision, {bytes:,} bytes. It judges videos of that world;
of any other picture it says nothing.

```python
from unspool.evaluate.duel.reader import load_reader
reading = load_reader()(videos)  # uint8 (N, T, 64, 64, 3) -> joints (N, T, 2, 21, 2), chances (N, T, 2, 26), confidence
```

Fighter 0 is the one who is on the left when the two first stand apart (10 pixels between the pelvises); from there each is
followed by travel and by the colour of the cloth, which is found in the video itself and not told. Joints are read
from ONE picture each, moves from the joints of 21 frames.

## How it came about

    {command}

Seed {seed}, torch {torch}, {minutes:.1f} minutes of one core ({pose:.1f} for joints, {action:.1f} for moves),
{pictures:,} pictures of the split `train`, none twice, with blur, grain, light and tint varied. Moves are learned from true
joints, misread at random.
{note}

## What it reads, on {clips} fights of {frames} frames a split that were never trained on

`seen`: new fights of trained backgrounds, colour pairs and replies; `unseen`: held-out ones. Errors in pixels of the 64.

{tables}

`identity kept`: share of frames in which following did not confuse the two; `clips kept`: share of clips in which it did so in
less than a tenth of the frames; `mean` counts what it did, all else is per frame.
`settled`: 4 or more frames from the begin and the end of a move. A move begins in the pose of the last one, so its first frames
cannot be told by anyone: see `true joints`.

## Where there is no truth

The same figures of real videos that were spoiled (`seen`). `limbs`: mean departure of the ten long bones from their
true length; `doubt`: 1 - confidence; `travel`: way of the joints, pixels a frame; `moves`: distance of each video's moves from
those of real ones, and the share of videos that are odd (5 of 100 real ones are, by construction).

{spoiled}

What falls short: limb length alone is no proof of sense, a frozen video keeps it (look at travel and moves beside it). Little
blur is read through, by training: sharpness is measured elsewhere. Joints behind the other body are guessed from the habits of
this world. Cloth that changes its colour in a generated video is followed by travel alone. Other sizes and other numbers of
fighters are not read.
"""


def card(weights: Path, facts: dict[str, Any], figures: dict[str, Any]) -> str:
    """The text of README.md beside the weights."""
    options, spent = facts["options"], facts["cpu_seconds"]
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return CARD.format(
        parameters=sum(p.numel() for p in load_reader(weights).parameters()), bytes=weights.stat().st_size,
        command=f"python bench/train_reader.py --out {weights.parent.name} {flags}", seed=options["seed"], torch=facts["torch"],
        note=facts["note"],
        minutes=sum(spent.values()) / 60, pose=spent["pose"] / 60, action=spent["action"] / 60,
        pictures=128 * options["pose_steps"], clips=options["clips"], frames=FRAMES,
        tables=tables(figures), spoiled=spoiled_table(figures["seen"]["spoiled"]),
    )  # fmt: skip


def tables(figures: dict[str, Any]) -> str:
    rows = ["| joints | seen | unseen |", "|---|---|---|"]
    for name in figures["seen"]["joints"]:
        cells = " | ".join(f"{one['joints'][name]:.3f}" for one in figures.values())
        rows.append(f"| {name.replace('_', ' ')} | {cells} |")
    for name in figures["seen"]["joints_controls"]:
        cells = " | ".join(f"{one['joints_controls'][name]:.2f}" for one in figures.values())
        rows.append(f"| control: {name} | {cells} |")
    heads = list(figures["seen"]["moves"])
    rows += ["", f"| moves | {' | '.join(name.replace('_', ' ') for name in heads)} |", "|---|" + "---|" * len(heads)]
    for split, one in figures.items():
        lines = {f"**{split}**": one["moves"]} | {f"{split}, {name}": line for name, line in one["moves_controls"].items()}
        rows += [f"| {name} | {' | '.join(f'{line[h]:.3f}' for h in heads)} |" for name, line in lines.items()]
    return "\n".join(rows)


def spoiled_table(lines: dict[str, Figures]) -> str:
    heads = list(next(iter(lines.values())))
    rows = [f"| | {' | '.join(name.replace('_', ' ') for name in heads)} |", "|---|" + "---|" * len(heads)]
    return "\n".join(rows + [f"| {name} | {' | '.join(f'{line[h]:.3f}' for h in heads)} |" for name, line in lines.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.picture:
        draw(load_reader(options.weights), options.picture)
    print(json.dumps(measure(options.weights, options.clips), indent=1))


if __name__ == "__main__":
    main()

"""Turn a finished run into a model or codec that ships: bfloat16 weights, config and a card whose figures are read from files.

    python bench/ship.py RUN src/unspool/shipped/NAME REPORT.json ...
    python bench/ship.py RUN src/unspool/shipped/codec-NAME

Each REPORT.json is what `unspool demo --model RUN ...` left, on seen or unseen combinations. No figure is typed by hand.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from unspool import hub, store
from unspool.codec import load_codec
from unspool.codec.trained import find_codec, is_codec
from unspool.evaluate import closing_table

CARD = """---
license: apache-2.0
library_name: unspool
---
# {name}

{parameters:,} parameters, {bytes:,} bytes, recipe `{recipe}`
with {arguments}.
It goes on from two frames of the procedural world `{data}`, 30 frames a second. Trained on nothing but that
world, and good for nothing else.

## How it came about

| from step | to step | command | hours | PFLOP |
|---|---|---|---|---|
{jobs}

Altogether {hours:.2f} hours and {pflop:.3f} PFLOP on {hardware}, seed {seed}, torch {torch}.
Commands are as they were typed: what became of a setting that is no more is told in `docs/log.md`, and a run that
begins with the weights of another follows it here. Training clips were drawn from the split `train`: whole backgrounds,
colour pairs and move pairs never occur in it.
Last held-out loss {loss:.4f} (split `seen`).

## What it does

{reports}

The band is that of other real episodes of the same length; see `docs/results.md` for more figures and their commands.
"""


CODEC = """---
license: apache-2.0
library_name: unspool
---
# {name}

A codec of {parameters:,} parameters, {bytes:,} bytes: {channels} channels at an eighth of the resolution, frame by frame.
Trained on nothing but the procedural world `{data}` at {resolution} pixels. `--codec {name}` puts it before a recipe.

`{command}`:
{hours:.2f} hours and {pflop:.3f} PFLOP on {hardware}, torch {torch}. After {step} steps, on held-out clips:
{psnr:.2f} dB, sharpness {sharpness:.2f} of real.
"""


REPORT = """`{demo}`, {frames} frames:

{verdict}

| | motion / real | still pairs | sharpness / real | colour shift | repeats | like real video for |
|---|---|---|---|---|---|---|
{metrics}"""


def main(run: Path, out: Path, *reports: Path) -> None:
    if is_codec(run):
        return ship_codec(run, out)
    checkpoint = hub.find(run)
    system = hub.load(checkpoint)
    hub.save_pretrained(system, out, checkpoint.config, torch.bfloat16)
    store.write_text(out / "README.md", card(system, run, [store.read_json(path) for path in reports], out))
    weight = (out / "model.safetensors").stat().st_size
    print(f"{out}: {weight:,} bytes")


def ship_codec(run: Path, out: Path) -> None:
    codec, config = load_codec(run), store.read_json(find_codec(run) / "config.json")
    told, last = store.read_json(run / "run.json"), json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    store.save_tensors(out / "model.safetensors", {name: p.to(torch.bfloat16) for name, p in codec.named_parameters()})
    store.write_json(out / "config.json", config)
    job = told["jobs"][-1]
    store.write_text(out / "README.md", CODEC.format(
        name=out.name, parameters=sum(p.numel() for p in codec.parameters()), channels=codec.options.channels,
        bytes=(out / "model.safetensors").stat().st_size, data=config["data"], resolution=config["resolution"],
        command=shlex.join(told["jobs"][0]["argv"]).replace(str(run.parent), "runs"), hours=told["totals"]["hours"],
        pflop=told["totals"]["flops"] / 1e15, hardware=f"{job['hardware']['cores']} cores of {job['hardware']['processor']}",
        torch=job["versions"]["torch"], step=last["step"], psnr=last["held_out_psnr"], sharpness=last["held_out_sharpness"],
    ))  # fmt: skip


def jobs_of(run: Path) -> list[dict[str, Any]]:
    """All jobs that made a run's weights, oldest first: those of the run it began from, then its own."""
    own = [job for job in store.read_json(run / "run.json")["jobs"] if job["to_step"] > job["from_step"]]
    first = own[0].get("init")
    return [*(jobs_of(Path(first)) if first else []), *own]


def card(system: Any, run: Path, reports: list[dict[str, Any]], out: Path) -> str:
    """The text of the card; folders are named relative to where the runs lie."""
    jobs = jobs_of(run)
    last = jobs[-1]
    metrics = (run / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line) for line in metrics]
    settings = last["settings"]
    arguments = {k: v for k, v in settings.items() if k not in ("recipe", "data", "train", "rollout")}
    return CARD.format(
        name=out.name,
        parameters=sum(p.numel() for _, p in system.named_parameters()),
        bytes=(out / "model.safetensors").stat().st_size,
        recipe=settings["recipe"],
        data=settings["data"],
        arguments=", ".join(f"`{k} {v}`" for k, v in arguments.items()),
        jobs="\n".join(
            f"| {job['from_step']} | {job['to_step']} | `{shlex.join(job['argv']).replace(str(run.parent), 'runs')}` "
            f"| {job['hours']:.2f} | {job['flops'] / 1e15:.3f} |"
            for job in jobs
        ),
        hours=sum(job["hours"] for job in jobs),
        pflop=sum(job["flops"] for job in jobs) / 1e15,
        hardware=f"{last['hardware']['cores']} cores of {last['hardware']['processor']}",
        seed=last["seed"],
        torch=last["versions"]["torch"],
        loss=[line["held_out_loss"] for line in losses if "held_out_loss" in line][-1],
        reports="\n\n".join(map(told, reports)),
    )


def told(report: dict[str, Any]) -> str:
    """What one demo found, with its closing table."""
    return REPORT.format(
        demo=report["facts"]["command"],
        frames=report["video"]["frames"],
        verdict=report["verdict"]["words"],
        metrics="\n".join(f"| {' | '.join(row)} |" for row in closing_table(report)[1:]),
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

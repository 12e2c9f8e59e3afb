"""Two processes over gloo train as one does: DDP and FSDP2, with accumulation, and from each other's checkpoints.

Run by torchrun, this file is the two processes; everything of a launch happens in one, for it takes seconds to begin.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from unspool import store
from unspool.blend import AlphaBlend
from unspool.codec import Pixels
from unspool.context import Channels
from unspool.data import Clips
from unspool.errors import UserError
from unspool.grid import Shifted
from unspool.laws import Independent
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import System
from unspool.train.buffer import Buffer
from unspool.train.job import world_changes
from unspool.train.loop import train
from unspool.train.objectives import OwnErrors, TeacherForcing
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks, found, joined
from unspool.train.stages import Stages
from unspool.train.trainer import Trainer

ONE = TrainOptions(steps=6, batch=8, warmup=2, save_every=3, log_every=1, validate_every=3, bf16=False, ema=0.9)
TWO = replace(ONE, batch=2, accumulate=2)
CONFIG = {"recipe": "of this test"}


def source(indices: np.ndarray, frames: int, *, seed: int = 0, anchor: int = 0, reach: int = 0) -> Clips:
    """Clips of unequal length, so that parts of a batch weigh unequally."""
    shape = (anchor + frames, 4, 4, 3)
    drawn = [np.random.default_rng((seed, int(i), reach)).integers(0, 256, shape, dtype=np.uint8) for i in indices]
    valid = np.arange(anchor + frames)[None] < (anchor + frames - indices % 3)[:, None]
    return Clips(np.stack(drawn), valid=valid)


def teacher(width: int = 12) -> System:
    torch.manual_seed(0)
    model = VideoTransformer((3, 4, 4), patch=2, width=width, chunk=2, memories=[[Window(width, 1, 2)], [Window(width, 1, 2)]])
    objective = TeacherForcing(2, 2, 0.2, Independent(2, Shifted(3.0)))
    return System(model, Pixels(), AlphaBlend(), Staircase(2, 2), euler, objective, 6)


def own_errors() -> System:
    """A rollout in each step, from places that differ from clip to clip: processes do not ask for the weights equally often."""
    torch.manual_seed(0)
    context = Channels(2, anchor=1)
    model = VideoTransformer((3, 4, 4), patch=2, width=12, memories=[[Window(12, 1, 0)]], context=context)
    return System(model, Pixels(), AlphaBlend(), Staircase(2), euler, OwnErrors(stages=2, steps=2), 6, anchor=1, reach=9)


def staged() -> System:
    """Two losses a step, and no third as long as no rollout of its own tracks its clip."""
    torch.manual_seed(0)
    model = VideoTransformer((3, 4, 4), patch=2, width=12, chunk=4, memories=[[Window(12, 1, 4)]], context=Channels(2))
    buffer = Buffer(8, depth=1, steps=2, share=0.5)
    return System(model, Pixels(), AlphaBlend(), Staircase(2, 2, redo=2), euler, Stages(2, 2, 2, buffer=buffer), 6)


SYSTEMS: dict[str, Callable[[], System]] = {"teacher": teacher, "own_errors": own_errors, "muon": lambda: teacher(16)}
WAYS = {"ddp": TWO, "fsdp": replace(TWO, shard=True)}


def worker(out: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as ranks:
        assert ranks == (int(os.environ["RANK"]), 2, int(os.environ["LOCAL_RANK"]))
        for name, make in SYSTEMS.items():
            for way, options in WAYS.items():
                train(make(), source, source, out / f"{name}-{way}", options, CONFIG, ranks=ranks)
        for way, options in WAYS.items():
            begun = out / "teacher-one" / "checkpoints" / "0000003"
            train(teacher(), source, source, out / f"from-one-{way}", options, CONFIG, ranks=ranks, resume=begun)
            begun = out / f"teacher-{way}" / "checkpoints" / "0000003"
            train(teacher(), source, source, out / f"again-{way}", options, CONFIG, ranks=ranks, resume=begun)
            train(staged(), source, None, out / f"staged-{way}", options, CONFIG, ranks=ranks)
        begun = out / "teacher-ddp" / "checkpoints" / "0000003"
        train(teacher(), source, source, out / "from-ddp-fsdp", WAYS["fsdp"], CONFIG, ranks=ranks, resume=begun)
        apart = two_side_by_side(ranks)
        if ranks.rank == 0:
            store.write_json(out / "side.json", apart)
        stops(ranks, out)


def two_side_by_side(ranks: Ranks) -> dict[str, float]:
    """Two models sharded in one process each learn what they learn alone."""
    options = replace(TWO, shard=True)
    clips = [source(Trainer(teacher(), TWO, ranks=ranks).indices(step), 6) for step in range(3)]
    alone = Trainer(teacher(), options, ranks=ranks)
    expected = [alone.train_step(clip)["loss"] for clip in clips]
    first, second = Trainer(teacher(), options, ranks=ranks), Trainer(teacher(), replace(options, lr=0.1), ranks=ranks)
    losses, others = zip(*[(first.train_step(clip)["loss"], second.train_step(clip)["loss"]) for clip in clips], strict=True)
    assert others[0] == losses[0] and others[2] != losses[2]
    return {f"{i}": abs(a - b) for i, (a, b) in enumerate(zip(losses, expected, strict=True))}


def stops(ranks: Ranks, out: Path) -> None:
    """One process alone is asked to stop: both save at the same step and leave."""

    def ask(trainer: Trainer, logs: dict[str, float]) -> None:
        if ranks.rank == 1 and trainer.step == 2:
            os.kill(os.getpid(), 10)  # SIGUSR1

    try:
        train(teacher(), source, None, out / "stopped", TWO, CONFIG, ranks=ranks, report=ask)
    except KeyboardInterrupt:
        assert ranks.rank or (out / "stopped" / "checkpoints" / "last").resolve().name == "0000003"
    else:
        raise AssertionError("nobody stopped")


def curve(run: Path, start: int = 0) -> np.ndarray:
    """Losses in training and held out by step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(start + 1, 7))
    return np.array([[line["loss"], line["grad"], line.get("held_out_loss", 0.0)] for line in lines])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process's runs, then two processes'."""
    out = tmp_path_factory.mktemp("ranks")
    for name, make in SYSTEMS.items():
        train(make(), source, source, out / f"{name}-one", ONE, CONFIG)
    launch(out)
    return out


def launch(out: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "[rank" in line)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_two_processes_walk_the_losses_of_one(runs: Path, name: str, way: str) -> None:
    """At the same effective batch. Muon orthogonalises in bfloat16, where sums over shards are rounded otherwise."""
    one, two = curve(runs / f"{name}-one"), curve(runs / f"{name}-{way}")
    assert np.abs(one[0] - one[-1]).max() > 1e-2, "nothing was learned"
    tolerance = 3e-3 if (name, way) == ("muon", "fsdp") else 1e-5
    assert np.abs(two - one).max() <= tolerance * np.abs(one).max()


@pytest.mark.parametrize("way", WAYS)
def test_a_run_goes_on_in_as_many_processes_as_there_are(runs: Path, tmp_path: Path, way: str) -> None:
    """1 -> 2, 2 -> 1, and 2 -> 2 as if nothing had been."""
    whole = curve(runs / "teacher-one")
    scale = 1e-5 * np.abs(whole).max()
    assert np.abs(curve(runs / f"from-one-{way}", 3) - whole[3:]).max() <= scale
    begun = runs / f"teacher-{way}" / "checkpoints" / "0000003"
    train(teacher(), source, source, tmp_path / "back", ONE, CONFIG, resume=begun)
    assert np.abs(curve(tmp_path / "back", 3) - whole[3:]).max() <= scale
    assert (curve(runs / f"again-{way}", 3) == curve(runs / f"teacher-{way}")[3:]).all()
    assert np.abs(curve(runs / "from-ddp-fsdp", 3) - whole[3:]).max() <= scale


def test_sharded_checkpoints_are_models(runs: Path) -> None:
    """model.safetensors is whole, of averaged weights, and the shards of the two processes are there, nothing else."""
    last = runs / "teacher-fsdp" / "checkpoints" / "last"
    assert sorted(os.listdir(runs / "teacher-fsdp" / "checkpoints")) == ["0000003", "0000006", "last"]
    assert sorted(os.listdir(last / "training_state")) == ["progress.json", "shards"]
    assert len(list((last / "training_state" / "shards").glob("*.safetensors"))) == 2
    one = store.load_tensors(runs / "teacher-one" / "checkpoints" / "last" / "model.safetensors")[0]
    two = store.load_tensors(last / "model.safetensors")[0]
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_several_models_are_sharded_side_by_side(runs: Path) -> None:
    assert set(store.read_json(runs / "side.json").values()) == {0.0}


@pytest.mark.parametrize("way", WAYS)
def test_each_process_keeps_the_rollouts_of_its_clips(runs: Path, way: str) -> None:
    state = runs / f"staged-{way}" / "checkpoints" / "last" / "training_state"
    mine, other = (store.load_tensors(state / name)[0] for name in ("objective.safetensors", "objective-1.safetensors"))
    assert mine.keys() == other.keys() and not torch.equal(mine["true"], other["true"])
    Trainer(staged(), ONE).load(state.parent)


def test_another_shard_or_half_of_one_is_refused(runs: Path, tmp_path: Path) -> None:
    begun = runs / "teacher-fsdp" / "checkpoints" / "0000003"
    with pytest.raises(UserError, match="is a checkpoint of another model"):
        Trainer(teacher(16), ONE).load(begun)
    shutil.copytree(begun, tmp_path / "half")
    shard = next((tmp_path / "half" / "training_state" / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        Trainer(teacher(), ONE).load(tmp_path / "half")


def test_another_number_of_processes_is_told(runs: Path) -> None:
    checkpoint = runs / "teacher-ddp" / "checkpoints" / "last"
    assert not world_changes(checkpoint, TWO, Ranks(0, 2))
    (rounded,) = world_changes(checkpoint, ONE, Ranks())
    assert "saved by 2 processes, goes on in 1" in rounded
    assert "the effective batch was 8 and is 4" in (told := world_changes(checkpoint, TWO, Ranks())[1])
    assert "--train.batch 4 keeps 8" in told
    assert "8 does not divide by 3 ranks" in world_changes(checkpoint, TWO, Ranks(0, 3))[1]


def test_who_this_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found() == Ranks()
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert found() == Ranks(1, 4, 1)
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(UserError, match="RANK 4 of WORLD_SIZE 4"):
        found()
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(UserError, match="must be numbers"):
        found()


def test_accumulated_batches_are_one_batch() -> None:
    """In one process: the same losses, whatever parts of the batch weigh."""
    whole, parts = Trainer(teacher(), ONE), Trainer(teacher(), replace(ONE, batch=2, accumulate=4))
    for step in range(4):
        clips = source(whole.indices(step), 6)
        one, many = whole.train_step(clips), parts.train_step(clips)
        assert one == pytest.approx(many, rel=1e-5)


def main() -> None:
    worker(Path(sys.argv[1]))
    assert not dist.is_initialized()


if __name__ == "__main__":
    main()

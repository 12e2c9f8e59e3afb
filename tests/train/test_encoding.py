"""A model that works on the latents of a codec trained before it, on data that is made or read as pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unspool import hub, sampling, training
from unspool.codec import load_codec
from unspool.data.worlds.duel import Duel
from unspool.errors import UserError
from unspool.train.codec import prepare_codec, train_codec

NANO = {"data": "duel", "resolution": 32, "train.steps": 2, "train.batch": 2}
MODEL = NANO | {"size": "nano", "components": 4, "own": 0, "frames": 6, "reach": 3}


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("codec") / "frames", "frames")


def trained(out: Path, kind: str) -> Path:
    chosen = {"codec.kind": kind, "codec.width": 8, "codec.channels": 4, "codec.depth": 1}
    return train_codec(prepare_codec(training.plan_codec(out, overrides=NANO | chosen)))


def run(out: Path, resume: str | None = None, init: str | None = None, **settings: object) -> Path:
    given = {name.replace("__", "."): value for name, value in settings.items()}
    recipe = None if resume else "frame-by-frame"
    job = training.plan(recipe, out, overrides=given if resume else MODEL | given, resume=resume, init=init)
    return training.run(training.prepare(job))


def same(system: object, codec: Path) -> bool:
    kept = load_codec(codec).state_dict()
    return all(torch.equal(p, kept[name]) for name, p in system.codec.named_parameters())  # type: ignore[attr-defined]


def test_the_codec_goes_with_the_model(codec: Path, tmp_path: Path) -> None:
    """Into its checkpoints, through a resume without the codec's folder, into a model that begins with its weights."""
    moved = tmp_path / "codec"
    moved.symlink_to(codec)
    model = run(tmp_path / "model", codec=str(moved))
    moved.unlink()
    run(model, resume="latest", train__steps=3)
    other = run(tmp_path / "other", init=str(model))
    for made in (model, other):
        system = hub.from_pretrained(made)
        assert same(system, codec)
        context = Duel(size=32, split="seen")([0], frames=2).frames[0]
        futures = sampling.futures(system, sampling.start(system, context, 1, 0), 4)
        assert np.concatenate([frames for frames, _ in futures], 1).shape == (1, 4, 32, 32, 3)


def test_the_shipped_one_is_known_by_its_name(tmp_path: Path) -> None:
    shape = {"resolution": 64, "components": 16, "frames": 4}
    model = run(tmp_path / "model", codec="codec-duel-64", **shape)
    assert same(hub.from_pretrained(model), Path("codec-duel-64"))
    assert "codec-duel-64" not in hub.shipped()


def test_it_is_refused_where_it_does_not_fit(codec: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose --components 4, --resolution 32"):
        run(tmp_path / "a", codec=str(codec), components=5)
    with pytest.raises(UserError, match="joins frames"):
        run(tmp_path / "b", codec=str(trained(tmp_path / "causal", "causal")))
    with pytest.raises(UserError, match="no trained codec"):
        run(tmp_path / "c", codec=str(tmp_path))
    model = run(tmp_path / "model", codec=str(codec))
    with pytest.raises(UserError, match="brings its own codec"):
        run(tmp_path / "d", codec=str(codec), init=str(model))
    assert not any((tmp_path / name).exists() for name in "abcd")

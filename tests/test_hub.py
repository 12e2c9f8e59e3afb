"""Models by name, and rollouts as files."""

from __future__ import annotations

import json

import pytest
import torch

import unspool
from unspool import config, hub, snapshot, store
from unspool.errors import UserError
from unspool.rollout import begin, stream

ARGUMENTS = {"size": "nano", "resolution": 32, "chunk": 2}


@pytest.fixture(scope="module")
def system():
    made = config.build("chunk-by-chunk", ARGUMENTS)
    with torch.no_grad():
        for p in made.model.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.05)
    return made


@pytest.fixture
def folder(system, tmp_path):
    return hub.save_pretrained(system, tmp_path / "model", {"recipe": "chunk-by-chunk", "arguments": ARGUMENTS})


def futures(system, frames=6):
    context = torch.zeros(2, 2, *system.model.shape)
    chunks = stream(system.model, system.blend, system.schedule.plan(), begin(system.model, context, seed=1), frames=frames)
    return list(chunks)


def test_saved_and_loaded_is_the_same_system(system, folder):
    loaded = unspool.from_pretrained(folder)
    assert loaded.schedule == system.schedule and not loaded.model.training
    assert all(torch.equal(*pair) for pair in zip(system.model.parameters(), loaded.model.parameters(), strict=True))
    assert torch.equal(futures(system)[-1].frames, futures(loaded)[-1].frames)
    assert json.loads((folder / "config.json").read_text())["format"] == hub.FORMAT


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_disk_is_half_the_size_and_computes_in_float32(system, folder, tmp_path, dtype):
    half = hub.save_pretrained(system, tmp_path / "half", {"recipe": "chunk-by-chunk", "arguments": ARGUMENTS}, dtype)
    sizes = [(path / "model.safetensors").stat().st_size for path in (half, folder)]
    assert sizes[0] < 0.51 * sizes[1]
    loaded = hub.from_pretrained(half)
    for kept, read in zip(system.model.parameters(), loaded.model.parameters(), strict=True):
        assert read.dtype == torch.float32 and torch.equal(read, kept.to(dtype).float())


def test_a_checkpoint_holds_defaults_of_its_rollout(system, tmp_path):
    told = {"recipe": "chunk-by-chunk", "arguments": ARGUMENTS, "rollout": {"lag": "1/2", "steps": 6, "solver": "midpoint"}}
    loaded = hub.from_pretrained(hub.save_pretrained(system, tmp_path / "m", told))
    assert (loaded.schedule.stride, loaded.schedule.steps, loaded.solver.__name__) == (3, 6, "midpoint")


def test_the_same_weights_under_another_recipe(folder):
    loaded = hub.from_pretrained(folder, recipe="frame-by-frame", steps=3, channels=1, anchor=0, window=8)
    assert (loaded.schedule.chunk, loaded.schedule.steps) == (1, 3)
    kept = dict(hub.from_pretrained(folder).model.named_parameters())
    assert all(torch.equal(kept[name], weight) for name, weight in loaded.model.named_parameters())


def test_a_setting_that_is_no_more_is_told(folder):
    told = json.loads((folder / "config.json").read_text())
    told["arguments"]["substitute"] = 0.5
    (folder / "config.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"another version.*'substitute'"):
        hub.from_pretrained(folder)


def test_names_are_looked_for_here_then_among_the_shipped(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "SHIPPED", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert hub.shipped() == ["model"]
    assert hub.find("model").folder == tmp_path / "model"
    with pytest.raises(UserError, match="did you mean 'model'"):
        hub.find("modell")


@pytest.mark.parametrize("name", hub.shipped())
def test_what_ships_loads_and_streams(name):
    system = hub.from_pretrained(name)
    context = torch.zeros(1, 2, *system.model.shape)
    chunks = stream(system.model, system.blend, system.schedule.plan(), begin(system.model, context, seed=1), frames=3)
    assert all(torch.isfinite(chunk.frames).all() for chunk in chunks)
    assert (hub.SHIPPED / name / "model.safetensors").stat().st_size <= 5_000_000
    assert (hub.SHIPPED / name / "README.md").is_file()


def test_something_ships():
    assert "duel-64" in hub.shipped()


def test_a_hub_id_is_asked_for_only_when_nothing_is_here(folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "_download", lambda name: asked.append(name) or folder)
    monkeypatch.chdir(tmp_path)
    assert hub.find("org/name").remote and asked == ["org/name"]
    for name in ("model", "model/nothing", "./org/name", "a/b/c", "org/weights.safetensors", "nothing"):
        try:
            hub.find(name)
        except UserError:
            continue
    assert asked == ["org/name"]


def test_code_that_comes_with_a_checkpoint_does_not_run(folder, tmp_path, monkeypatch):
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    for recipe, remote in ((f"{folder}/evil.py:recipe", False), ("anything.py:recipe", True)):
        (folder / "config.json").write_text(json.dumps({"recipe": recipe, "arguments": {}}))
        with pytest.raises(UserError, match="brings its own recipe"):
            hub.load(hub.find(folder)._replace(remote=remote))


def test_push_leaves_training_state_at_home(folder, monkeypatch):
    import huggingface_hub

    calls = {}

    class Api:
        def create_repo(self, repo_id, **options):
            calls["made"] = repo_id

        def upload_folder(self, **options):
            calls["sent"] = options
            return type("Done", (), {"repo_url": "address"})

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert hub.push_to_hub(folder, "me/mine") == "address"
    assert calls["made"] == "me/mine" and calls["sent"]["folder_path"] == folder.resolve()
    assert calls["sent"]["ignore_patterns"] == ["training_state/*"]


def test_a_rollout_survives_a_file(system, tmp_path):
    first, second, third = futures(system)
    snapshot.save_rollout(tmp_path / "r.safetensors", second.rollout, system.model, {"note": "here"})
    saved = snapshot.load_rollout(tmp_path / "r.safetensors", system.model)
    assert saved.notes == {"note": "here"}
    one, other = (store.flatten(r._asdict()) for r in (saved.rollout, second.rollout))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    (again,) = stream(system.model, system.blend, system.schedule.plan(), saved.rollout, frames=2)
    assert torch.equal(again.frames, third.frames)
    assert not torch.equal(first.frames, third.frames)


def test_a_fingerprint_sees_every_weight_and_its_type(system):
    import copy

    model = copy.deepcopy(system.model)
    before = snapshot.fingerprint(model)
    with torch.no_grad():
        list(model.parameters())[-1][-1] += 1e-6
    assert snapshot.fingerprint(model) != before
    assert snapshot.fingerprint(copy.deepcopy(system.model)) == before != snapshot.fingerprint(model.bfloat16())

"""The codec that works frame by frame, and trained codecs by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unspool import noise as rng
from unspool import store
from unspool.codec import CodecOptions, Frames, Patches, load_codec
from unspool.errors import UserError

OPTIONS = CodecOptions(channels=4, width=8, depth=1)


def lively(options: CodecOptions = OPTIONS) -> torch.nn.Module:
    """Weights large enough that every layer matters: blocks begin as nothing."""
    torch.manual_seed(0)
    codec = options.build()
    with torch.no_grad():
        for i, p in enumerate(codec.parameters()):
            p.copy_(rng.normal(torch.tensor(i), *p.shape) * (1.5 / p.shape[-1] ** 0.5 if p.dim() == 2 else 0.3))
    return codec


@pytest.fixture
def video() -> torch.Tensor:
    return rng.normal(torch.arange(2), 5, 3, 16, 24).clamp(-1, 1)


def write(folder: Path, net: torch.nn.Module, **told: object) -> Path:
    options = {"kind": "frames", "channels": 4, "width": 8, "depth": 1, "time": 2}
    store.save_tensors(folder / "model.safetensors", dict(net.named_parameters()))
    store.write_json(folder / "config.json", {"format": 1, "codec": options, **told})
    return folder


def test_shapes(video: torch.Tensor) -> None:
    codec = lively()
    latents, state = codec.encode(video, {})
    assert latents.shape == (2, 5, 4, 2, 3) and state == {}
    assert codec.decode(latents, {})[0].shape == video.shape


@pytest.mark.parametrize("kind", ["frames", "causal"])
def test_it_begins_as_principal_components(video: torch.Tensor, kind: str) -> None:
    codec = replace(OPTIONS, kind=kind).build().double()
    codec.begin(video.double())
    codec.requires_grad_(False)
    latents, _ = codec.encode(video.double(), {})
    plain, _ = codec.linear.encode(codec.groups(video.double()), {})
    torch.testing.assert_close(latents, plain, atol=1e-10, rtol=0)
    assert float(latents.movedim(2, 0).flatten(1).var(1).mean()) == pytest.approx(1, abs=1e-6)
    if kind == "frames":
        patches = Patches(4).double()
        patches.fit(video.double())
        torch.testing.assert_close(codec.decode(latents, {})[0], patches.decode(latents, {})[0], atol=1e-10, rtol=0)


def test_each_frame_stands_for_itself(video: torch.Tensor) -> None:
    codec = lively().double()
    whole, _ = codec.encode(video.double(), {})
    parts = [codec.encode(video[:, t : t + 1].double(), {})[0] for t in range(5)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-10, rtol=0)
    shown = [codec.decode(whole[:, t : t + 1], {})[0] for t in range(5)]
    torch.testing.assert_close(torch.cat(shown, 1), codec.decode(whole, {})[0], atol=1e-10, rtol=0)
    assert (whole[:, 0] - whole[:, 1]).abs().max() > 0.1, "the frames differ, so do their latents"


def test_every_weight_counts(video: torch.Tensor) -> None:
    codec = lively()
    codec.decode(codec.encode(video, {})[0], {})[0].square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in codec.parameters() if p.requires_grad)


def test_matrices_of_the_blocks_are_told_apart(video: torch.Tensor) -> None:
    codec = lively()
    inside = {id(p) for p in codec.hidden_matrices()}
    names = {name for name, p in codec.named_parameters() if id(p) in inside}
    assert all(name.endswith((".enter.weight", ".leave.weight")) for name in names)
    assert names == {name for name, _ in codec.named_parameters() if ".enter.w" in name or ".leave.w" in name}


def test_frames_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match="20 x 16 do not divide by 8"):
        lively().encode(torch.zeros(1, 1, 3, 20, 16), {})


def test_a_codec_is_found_by_its_run_and_named_by_its_weights(tmp_path: Path, video: torch.Tensor) -> None:
    codec = lively()
    folder = write(tmp_path / "run" / "checkpoints" / "0000002", codec)
    (folder.parent / "last").symlink_to(folder.name)
    for where in (tmp_path / "run", folder, str(folder)):
        loaded = load_codec(where)
        assert isinstance(loaded, Frames) and not any(p.requires_grad for p in loaded.parameters())
        assert torch.equal(loaded.encode(video, {})[0], codec.encode(video, {})[0])
    before = {name: p.clone() for name, p in loaded.named_parameters()}
    loaded.fit(video)
    assert all(torch.equal(p, before[name]) for name, p in loaded.named_parameters())


def test_what_is_no_codec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained codec"):
        load_codec(tmp_path)
    folder = write(tmp_path / "codec", lively())
    (folder / "config.json").write_text(json.dumps({"format": 1, "recipe": "frame-by-frame"}))
    with pytest.raises(UserError, match="holds a model, not a codec"):
        load_codec(folder)
    write(folder, lively(), format=2)
    with pytest.raises(UserError, match="format 2, this version reads 1"):
        load_codec(folder)
    write(folder, lively(), codec={"kind": "frames"})
    with pytest.raises(UserError, match="another version"):
        load_codec(folder)
    write(folder, lively(CodecOptions(channels=5, width=8, depth=1)))
    with pytest.raises(UserError, match="weights of another codec"):
        load_codec(folder)
    write(folder, lively())
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_codec(folder)

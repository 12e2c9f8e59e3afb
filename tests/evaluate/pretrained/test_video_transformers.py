"""VideoMAE and V-JEPA as functions of a state dict, against torch's own layers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unspool.errors import UserError
from unspool.evaluate.pretrained.extractors import VIDEOMAE, VJEPA, open_extractor
from unspool.evaluate.pretrained.video_transformers import sinusoids, videomae, vjepa
from unspool.evaluate.pretrained.weights import read_tensors

HEADS = 2


def state(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def body(width: int, depth: int, patch: int) -> dict[str, tuple[int, ...]]:
    shapes = layer("patch_embed.proj", width, 3, 2, patch, patch)
    for at in (f"blocks.{i}." for i in range(depth)):
        shapes |= layer(f"{at}norm1", width) | layer(f"{at}norm2", width) | layer(f"{at}attn.proj", width, width)
        shapes |= layer(f"{at}mlp.fc1", 3 * width, width) | layer(f"{at}mlp.fc2", width, 3 * width)
        shapes |= layer(f"{at}attn.qkv", 3 * width, width)
    return shapes


def videomae_state(width: int, depth: int, patch: int = 14) -> dict[str, Tensor]:
    shapes = body(width, depth, patch) | layer("fc_norm", width) | layer("head", 5, width)
    for i in range(depth):
        shapes[f"blocks.{i}.attn.q_bias"] = shapes[f"blocks.{i}.attn.v_bias"] = (width,)
        del shapes[f"blocks.{i}.attn.qkv.bias"]
    return state(shapes, 1)


def encoded(clips: Tensor, weights: dict[str, Tensor], places: Tensor, depth: int, eps: float = 1e-6) -> Tensor:
    """By torch.nn.TransformerEncoderLayer, with every bias of queries, keys and values told."""
    kernel = weights["patch_embed.proj.weight"]
    width, _, tube, patch, _ = kernel.shape
    count, _, frames, high, wide = clips.shape
    cut = clips.reshape(count, 3, frames // tube, tube, high // patch, patch, wide // patch, patch)
    tokens = cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3) @ kernel.flatten(1).T
    tokens = tokens + weights["patch_embed.proj.bias"] + places
    for i in range(depth):
        own = {name.removeprefix(f"blocks.{i}."): w for name, w in weights.items() if name.startswith(f"blocks.{i}.")}
        bias = own.get("attn.qkv.bias")
        if bias is None:
            bias = torch.cat([own["attn.q_bias"], torch.zeros(width), own["attn.v_bias"]])
        block = nn.TransformerEncoderLayer(
            width, HEADS, 3 * width, 0, "gelu", layer_norm_eps=eps, batch_first=True, norm_first=True
        ).eval()
        names = {"linear1": "mlp.fc1", "linear2": "mlp.fc2", "norm1": "norm1", "norm2": "norm2"}
        names["self_attn.out_proj"] = "attn.proj"
        loaded = {f"{a}.{part}": own[f"{b}.{part}"] for a, b in names.items() for part in ("weight", "bias")}
        block.load_state_dict(
            loaded | {"self_attn.in_proj_weight": own["attn.qkv.weight"], "self_attn.in_proj_bias": bias}
        )  # fmt: skip
        tokens = block(tokens)
    return tokens


def normed(x: Tensor, weights: dict[str, Tensor], name: str, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    unit = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def test_sinusoids() -> None:
    table = sinusoids(40, 6)
    for place in (0, 1, 39):
        for column in range(6):
            angle = place / 10000 ** (2 * (column // 2) / 6)
            assert table[place, column].item() == pytest.approx(math.cos(angle) if column % 2 else math.sin(angle), abs=1e-6)


@torch.no_grad()
def test_videomae_is_torchs_transformer_and_the_normed_mean_token() -> None:
    weights = videomae_state(width=12, depth=2)
    clips = torch.randn(2, 3, 16, 28, 42, generator=torch.Generator().manual_seed(2))
    expected = normed(encoded(clips, weights, sinusoids(8 * 2 * 3, 12), 2).mean(1), weights, "fc_norm", 1e-6)
    for checkpoint in (weights, {"model": weights}, {"module": {f"module.{name}": w for name, w in weights.items()}}):
        assert (videomae(checkpoint, HEADS)(clips) - expected).abs().max() < 1e-4


@torch.no_grad()
def test_videomae_of_longer_clips_stretches_the_places() -> None:
    weights = videomae_state(width=12, depth=1)
    clips = torch.randn(1, 3, 32, 14, 28, generator=torch.Generator().manual_seed(3))
    table = sinusoids(8 * 2, 12).reshape(8, 2, 12)
    places = torch.empty(16, 2, 12)
    for tube in range(16):
        at = min(max((tube + 0.5) * 8 / 16.1 - 0.5, 0), 7)
        low, high = int(at), min(int(at) + 1, 7)
        places[tube] = table[low] * (1 - (at - low)) + table[high] * (at - low)
    expected = normed(encoded(clips, weights, places.flatten(0, 1), 1).mean(1), weights, "fc_norm", 1e-6)
    assert (videomae(weights, HEADS)(clips) - expected).abs().max() < 1e-4


def vjepa_states(width: int, depth: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    encoder = state(body(width, depth, 16) | layer("norm", width) | {"pos_embed": (1, 8 * 2, width)}, 4)
    at = "pooler.cross_attention_block."
    shapes = {"pooler.query_tokens": (1, 1, width)} | layer(f"{at}norm1", width) | layer(f"{at}norm2", width)
    shapes |= layer(f"{at}xattn.q", width, width) | layer(f"{at}xattn.kv", 2 * width, width) | layer("linear", 5, width)
    shapes |= layer(f"{at}xattn.proj", width, width) | layer(f"{at}mlp.fc1", 2 * width, width)
    return encoder, state(shapes | layer(f"{at}mlp.fc2", width, 2 * width), 5)


@pytest.mark.parametrize("scale", [1, 3e-3])  # of what is normed: where it is small, what keeps a division from 0 shows
@torch.no_grad()
def test_vjepa_is_torchs_transformer_under_torchs_attention(scale: float) -> None:
    encoder, probe = vjepa_states(width=12, depth=2)
    encoder |= {name: scale * w for name, w in encoder.items() if name.startswith("norm.")}
    probe |= {name: scale * w for name, w in probe.items() if "query" in name or "xattn.proj" in name}
    clips = torch.randn(2, 3, 16, 16, 32, generator=torch.Generator().manual_seed(6))
    tokens = normed(encoded(clips, encoder, encoder["pos_embed"], 2), encoder, "norm", 1e-6)
    own = {name.removeprefix("pooler.cross_attention_block."): w for name, w in probe.items()}
    attention = nn.MultiheadAttention(12, HEADS, batch_first=True)
    loaded = {
        "in_proj_weight": torch.cat([own["xattn.q.weight"], own["xattn.kv.weight"]]),
        "in_proj_bias": torch.cat([own["xattn.q.bias"], own["xattn.kv.bias"]]),
        "out_proj.weight": own["xattn.proj.weight"],
        "out_proj.bias": own["xattn.proj.bias"],
    }
    attention.load_state_dict(loaded)
    keys = normed(tokens, own, "norm1", 1e-5)
    query = probe["pooler.query_tokens"].expand(2, -1, -1)
    query = query + attention(query, keys, keys)[0]
    inner = nn.functional.gelu(normed(query, own, "norm2", 1e-5) @ own["mlp.fc1.weight"].T + own["mlp.fc1.bias"])
    expected = (query + inner @ own["mlp.fc2.weight"].T + own["mlp.fc2.bias"])[:, 0]
    published = {"target_encoder": {f"module.backbone.{name}": w for name, w in encoder.items()}, "epoch": 1}
    wrapped = {"classifier": {f"module.{name}": w for name, w in probe.items()}, "epoch": 1}
    assert (vjepa(published, wrapped, HEADS)(clips) - expected).abs().max() < 1e-4


def test_checkpoints_of_other_networks_are_refused() -> None:
    encoder, probe = vjepa_states(width=12, depth=1)
    mae = videomae_state(width=12, depth=1)
    with pytest.raises(UserError, match=r"VideoMAE: it has no blocks\.0\.attn\.q_bias"):
        videomae(encoder, HEADS)
    with pytest.raises(UserError, match=r"V-JEPA: it has no blocks\.0\.attn\.qkv\.bias"):
        vjepa(mae, probe, HEADS)
    with pytest.raises(UserError, match="V-JEPA's probe: it has no query_tokens"):
        vjepa(encoder, mae, HEADS)
    for odd in ({}, {"model": [1]}, {"blocks.x": torch.ones(1)}):
        with pytest.raises(UserError, match="has no patch_embed"):
            videomae(odd, HEADS)


def test_a_checkpoint_is_an_extractor(tmp_path: Path) -> None:
    torch.save({"module": {name: w.half() for name, w in videomae_state(width=12, depth=1).items()}}, tmp_path / "a.pth")
    small = replace(VIDEOMAE, load=lambda files, device: videomae(read_tensors(files[0]), HEADS, device))
    extractor = open_extractor(small, tmp_path / "a.pth")
    windows = np.random.default_rng(0).integers(0, 256, (2, 17, 16, 16, 3), dtype=np.uint8)
    assert extractor.features(windows[:, :16]).shape == (2, 12) and extractor.verified == "not verified"
    with pytest.raises(UserError, match="16 to 4096, in steps of 2, frames, not 17"):
        extractor.features(windows)
    wrong = replace(small, load=lambda files, device: videomae(read_tensors(files[0]), 5, device))
    with pytest.raises(UserError, match="do not take"):
        open_extractor(wrong, tmp_path / "a.pth").features(windows[:, :16])


def test_two_checkpoints_lie_in_a_folder(tmp_path: Path) -> None:
    encoder, probe = vjepa_states(width=12, depth=1)
    encoder["pos_embed"] = torch.zeros(1, 8 * 14 * 14, 12)
    torch.save({"target_encoder": encoder}, tmp_path / VJEPA.files[0])
    torch.save({"classifier": probe}, tmp_path / VJEPA.files[1])
    small = replace(VJEPA, load=lambda files, device: vjepa(read_tensors(files[0]), read_tensors(files[1]), HEADS, device))
    extractor = open_extractor(small, tmp_path)
    assert len(extractor.sha256) == 2 and extractor.features(np.zeros((1, 16, 8, 8, 3), np.uint8)).shape == (1, 12)
    (tmp_path / VJEPA.files[1]).unlink()
    with pytest.raises(UserError, match=r"ssv2-probe\.pth\.tar: no such file"):
        open_extractor(small, tmp_path)

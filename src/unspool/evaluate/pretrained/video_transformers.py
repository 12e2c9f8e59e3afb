"""VideoMAE and V-JEPA from the checkpoints that their authors publish: clips in, one row of features a clip out.

Both are plain vision transformers on tubelets (2 frames x 14 or 16 pixels a side), written as functions of a state dict under
the names of the files; depth and widths are read off the shapes. B clips, T frames, N tokens, D features.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unspool.errors import UserError

Weights = Mapping[str, Tensor]
Forward = Callable[[Tensor], Tensor]  # clips (B, 3, T, H, W) -> (B, D)

_LAYERS = ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2")
_PROBE = ("norm1", "norm2", "mlp.fc1", "mlp.fc2", "xattn.q", "xattn.kv", "xattn.proj")
_TUBES = 8  # positions along time that both were trained with: 16 frames


def videomae(checkpoint: Mapping[str, Any], heads: int, device: torch.device | str = "cpu") -> Forward:
    """VideoMAE v2 after fine-tuning (Wang et al. 2303.16727): the mean token, normed, before the classifier.

    Read in the public code of content-debiased FVD (Ge et al. 2404.12391), whose features these are: ViT-g, 16 heads,
    `vit_g_hybrid_pt_1200e_ssv2_ft.pth`. Of more than 16 frames the positions are stretched as there. Raises UserError for
    a checkpoint of another network.
    """
    weights = _tensors(checkpoint.get("module", checkpoint.get("model", checkpoint)), device)
    depth = _depth(weights)
    biases = [f"blocks.{i}.attn.{name}" for i in range(depth) for name in ("q_bias", "v_bias")]
    _need(weights, "VideoMAE", *_body(depth), *biases, *_names("fc_norm"))
    for i in range(depth):
        queries, values = weights[f"blocks.{i}.attn.q_bias"], weights[f"blocks.{i}.attn.v_bias"]
        weights[f"blocks.{i}.attn.qkv.bias"] = torch.cat([queries, torch.zeros_like(queries), values])

    def forward(clips: Tensor) -> Tensor:
        kernel = weights["patch_embed.proj.weight"].shape[2:]
        tubes, high, wide = (side // step for side, step in zip(clips.shape[2:], kernel, strict=True))
        places = sinusoids(_TUBES * high * wide, len(weights["patch_embed.proj.weight"])).to(clips)
        if tubes != _TUBES:
            grid = places.T.reshape(1, -1, _TUBES, high, wide)
            # The tenth is theirs, against rounding down; it also moves the places a little, so it is kept.
            grid = F.interpolate(grid, scale_factor=((tubes + 0.1) / _TUBES, 1.0, 1.0), mode="trilinear")
            places = grid.flatten(2)[0].T
        return _norm(_encode(clips, places, weights, depth, heads).mean(1), weights, "fc_norm")

    return forward


def vjepa(
    checkpoint: Mapping[str, Any], probe: Mapping[str, Any], heads: int, device: torch.device | str = "cpu"
) -> Forward:  # fmt: skip
    """V-JEPA (Bardes et al. 2404.08471) of 16 frames under the attentive pooler of a probe: the features of JEDi.

    JEDi (Luo et al. 2410.05203) takes ViT-H, 16 heads (`vith16.pth.tar`), with the pooler of `ssv2-probe.pth.tar`. The
    networks were read in the packages that it imports, videojedi 1.1.0 and vjepa 0.1.2: there the pooler projects its
    attention, which the code of V-JEPA itself leaves out. Raises UserError for checkpoints of other networks.
    """
    weights = _tensors(checkpoint.get("target_encoder", checkpoint.get("encoder", checkpoint)), device)
    pool = _tensors(probe.get("classifier", probe), device, "pooler.", "cross_attention_block.")
    depth = _depth(weights)
    biases = [f"blocks.{i}.attn.qkv.bias" for i in range(depth)]
    _need(weights, "V-JEPA", *_body(depth), *biases, "pos_embed", *_names("norm"))
    _need(pool, "V-JEPA's probe", "query_tokens", *_names(*_PROBE))

    def forward(clips: Tensor) -> Tensor:
        tokens = _norm(_encode(clips, weights["pos_embed"], weights, depth, heads), weights, "norm")
        keys, values = _linear(_norm(tokens, pool, "norm1", 1e-5), pool, "xattn.kv").chunk(2, -1)
        query = pool["query_tokens"].expand(len(clips), -1, -1)
        query = query + _linear(_attend(_linear(query, pool, "xattn.q"), keys, values, heads), pool, "xattn.proj")
        return (query + _mlp(_norm(query, pool, "norm2", 1e-5), pool, "mlp."))[:, 0]

    return forward


def sinusoids(count: int, width: int) -> Tensor:
    """(count, width): sines in the even columns, cosines in the odd ones (Vaswani et al. 1706.03762, 3.5)."""
    angles = np.arange(count)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
    return torch.from_numpy(np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles))).float()


def _encode(clips: Tensor, places: Tensor, weights: Weights, depth: int, heads: int) -> Tensor:
    """(B, 3, T, H, W) and (N, D) or (1, N, D) -> (B, N, D)."""
    kernel = weights["patch_embed.proj.weight"]
    tokens = F.conv3d(clips, kernel, weights["patch_embed.proj.bias"], stride=kernel.shape[2:]).flatten(2).transpose(1, 2)
    tokens = tokens + places
    for i in range(depth):
        at = f"blocks.{i}."
        queries, keys, values = _linear(_norm(tokens, weights, f"{at}norm1"), weights, f"{at}attn.qkv").chunk(3, -1)
        tokens = tokens + _linear(_attend(queries, keys, values, heads), weights, f"{at}attn.proj")
        tokens = tokens + _mlp(_norm(tokens, weights, f"{at}norm2"), weights, f"{at}mlp.")
    return tokens


def _attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """(B, M, D), (B, N, D), (B, N, D) -> (B, M, D)."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _mlp(x: Tensor, weights: Weights, at: str) -> Tensor:
    return _linear(F.gelu(_linear(x, weights, f"{at}fc1")), weights, f"{at}fc2")


def _linear(x: Tensor, weights: Weights, at: str) -> Tensor:
    return F.linear(x, weights[f"{at}.weight"], weights[f"{at}.bias"])


def _norm(x: Tensor, weights: Weights, at: str, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f"{at}.weight"], weights[f"{at}.bias"], eps)


def _tensors(state: Any, device: torch.device | str, *inside: str) -> dict[str, Tensor]:
    """float32 tensors by name, without what wrappers put before the names. inside: parts of names that are left out too."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items() if isinstance(state, Mapping) else ():
        for wrapper in ("module.", "backbone.", *inside):
            name = name.replace(wrapper, "")
        if isinstance(tensor, Tensor):
            found[name] = tensor.to(device, torch.float32)
    return found


def _depth(weights: Weights) -> int:
    """How many blocks there are; at least 1, for the first that is missing to be named."""
    return 1 + max((int(name.split(".")[1]) for name in weights if re.match(r"blocks\.\d+\.", name)), default=0)


def _need(weights: Weights, what: str, *names: str) -> None:
    """Raises UserError unless all names are there."""
    if missing := [name for name in names if name not in weights]:
        raise UserError(f"this is no checkpoint of {what}: it has no {missing[0]}; give the file that its authors publish")


def _names(*layers: str) -> list[str]:
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def _body(depth: int) -> list[str]:
    """What both transformers have."""
    layers = _names("patch_embed.proj", *(f"blocks.{i}.{layer}" for i in range(depth) for layer in _LAYERS))
    return [*layers, *(f"blocks.{i}.attn.qkv.weight" for i in range(depth))]

"""Scaled weights, keyed numbers, and equality at the tolerance of the order of sums: 1e-10 in float64, 1e-5 in float32, as
largest error over the rms of what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unspool import noise as rng

Net = TypeVar("Net", bound=nn.Module)
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)


def scale_weights(net: Net, std: float = 0.3, seed: int = 0) -> Net:
    """Every parameter normal with this standard deviation, around one for the gains of norms and around zero elsewhere.

    A pure function of seed, order and shapes: two memories with parameters of the same shapes get the same weights.
    """
    gains = {id(m.weight) for m in net.modules() if isinstance(m, NORMS) and m.weight is not None}
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(std * draw(seed, i, shape=tuple(p.shape)) + float(id(p) in gains))
    return net


def draw(*key: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, a pure function of key."""
    return rng.normal(rng.fold(torch.tensor(0), *key), *shape).to(dtype)


def error(got: Any, want: Any) -> float:
    """Largest absolute error over the rms of `want`; of nested dicts of tensors, of the worst leaf."""
    if isinstance(want, dict):
        assert got.keys() == want.keys(), f"{sorted(got)} instead of {sorted(want)}"
        return max((error(got[name], want[name]) for name in want), default=0.0)
    assert got.shape == want.shape, f"shape {tuple(got.shape)} instead of {tuple(want.shape)}"
    if want.numel() == 0:
        return 0.0
    got, want = got.detach().double(), want.detach().double()
    worst, rms = (got - want).abs().max().item(), want.square().mean().sqrt().item()
    return 0.0 if worst == 0 else worst / max(rms, 1e-300)


def assert_close(got: Any, want: Any, what: str = "") -> None:
    """Equal but for the order of sums: see the tolerance above. Tensors, or nested dicts of them."""
    single = any(t.dtype == torch.float32 for t in leaves(want))
    worst, most = error(got, want), 1e-5 if single else 1e-10
    assert worst <= most, f"{what or 'result'}: off by {worst:.2e} x rms, more than {most:g}"


def assert_equal(got: Any, want: Any, what: str = "") -> None:
    """Bit for bit."""
    assert error(got, want) == 0, f"{what or 'result'}: not bit for bit, off by {error(got, want):.2e} x rms"


def map_state(function: Callable[..., Tensor], *states: Any) -> Any:
    """A state made leaf by leaf: map_state(torch.detach, s), map_state(lambda *t: torch.cat(t), a, b)."""
    if isinstance(states[0], dict):
        return {name: map_state(function, *(s[name] for s in states)) for name in states[0]}
    return function(*states)


def leaves(tree: Any) -> list[Tensor]:
    """All tensors of a nested dict."""
    return [leaf for value in tree.values() for leaf in leaves(value)] if isinstance(tree, dict) else [tree]

"""Video without end: autoregressive video diffusion from two frames on, at constant memory.

The public names, sorted. Importing this package does no work: a name loads its module at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AlphaBlend": "unspool.blend",
    "Chunk": "unspool.rollout",
    "Cosine": "unspool.blend",
    "Independent": "unspool.laws",
    "Memory": "unspool.memory",
    "Plan": "unspool.schedule",
    "Rollout": "unspool.rollout",
    "Staircase": "unspool.schedule",
    "System": "unspool.system",
    "UserError": "unspool.errors",
    "VideoModel": "unspool.model",
    "VideoTransformer": "unspool.model",
    "Window": "unspool.memory",
    "begin": "unspool.rollout",
    "fork": "unspool.rollout",
    "from_pretrained": "unspool.hub",
    "stream": "unspool.rollout",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

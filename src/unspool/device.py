"""Where tensors lie: `--device` of the command line."""

from __future__ import annotations

import torch

from unspool.errors import UserError


def choose(name: str | None = None, here: int = 0) -> torch.device:
    """The device of this name; without one a GPU, where there is one, else the CPU. here: which of a machine's processes asks.

    Raises UserError for one that is not there.
    """
    count = torch.cuda.device_count()
    if name is None or name == "cuda":
        if name and not count:
            raise UserError(f"there is no GPU that torch {torch.__version__} can use; leave --device away, or say --device cpu")
        return torch.device("cuda", here % count) if count else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name!r}; there are: {', '.join(_there(count))}") from None
    if str(device) not in _there(count):
        raise UserError(f"there is no device {name!r} here; there are: {', '.join(_there(count))}")
    return device


def _there(count: int) -> list[str]:
    return ["cpu", *(f"cuda:{i}" for i in range(count))]

"""Files of other people's weights, given by path: their hash, and what is in them, without running a pickle.

Nothing is downloaded, and nothing stands in for what is missing: such a row says `Skipped`.
"""

from __future__ import annotations

import pickle
import zipfile
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unspool import store
from unspool.data.video import open_file
from unspool.errors import UserError


class Skipped(NamedTuple):
    """In place of a figure: why there is none."""

    why: str = "no weights"

    def __str__(self) -> str:
        return f"skipped: {self.why}"


def sha256_of(path: Path) -> str:
    """Hexadecimal. Raises UserError for a file that is missing, empty, a folder or not readable."""
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder; give the path of the file of weights in it")
    with open_file(path) as file:
        return file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # BinaryIO has a readinto


def read_tensors(path: Path) -> dict[str, Any]:
    """A state dict, or nested ones, on the CPU: safetensors where the name ends so, else what `torch.save` wrote.

    The latter is a pickle. It is read by torch's restricted unpickler (`weights_only`), which makes tensors, numbers, texts and
    containers and calls nothing else: the trust asked for is that in torch's reader, not that in the file's author. Raises
    UserError for a file that is missing, damaged, or holds anything else.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return dict(store.load_tensors(path)[0])
    open_file(path).close()
    try:
        # Checkpoints with an optimizer inside are 10 GB: only what is used is read from the disk.
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read as tensors alone: it is damaged or holds a program; copy it again or make it safetensors"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, not a state dict; give the file that its authors publish")
    return found


def read_torchscript(path: Path, device: torch.device | str = "cpu") -> torch.jit.ScriptModule:
    """A network that `torch.jit.save` wrote.

    Such a file IS a program, in torch's own language: reading it runs no Python and no pickle, but calling it does what
    its author wrote, within torch's operators. The trust asked for is that in its author: compare its SHA-256 with a
    published one first. Raises UserError for a file that is missing or something else.
    """
    open_file(path).close()
    try:
        return torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path} is not a TorchScript file; give the one that its authors publish, copied whole") from error

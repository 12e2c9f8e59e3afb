"""States, rollouts and weights as safetensors; whatever is written is written aside and then renamed."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.types import State


def flatten(state: State, prefix: str = "") -> dict[str, Tensor]:
    """A nested state as one level of dotted names."""
    flat: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            flat[prefix + name] = value
        else:
            flat |= flatten(value, f"{prefix}{name}.")
    return flat


def unflatten(flat: Mapping[str, Tensor]) -> State:
    """The inverse of `flatten`; empty branches are gone."""
    state: State = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        branch = state
        for step in path:
            branch = branch.setdefault(step, {})
        branch[leaf] = value
    return state


def size(state: State) -> int:
    """Bytes of all leaves."""
    return sum(t.numel() * t.element_size() for t in flatten(state).values())


def check_writable(path: Path) -> None:
    """Raises UserError where a file could not be written, before hours are spent on what it is to hold."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not place.is_dir():
        raise UserError(f"{place} is a file, not a folder; choose another place for {path.name}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{place} cannot be written; choose another place for {path.name}")


def write_aside(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file or folder aside, in the same folder, and rename it: it is there whole or not at all.

    Raises UserError when it cannot be written (no permission, full disk).
    """
    path = Path(path)
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        write(aside / path.name)
        if path.is_dir() and not path.is_symlink():
            os.replace(path, aside / "old")
        os.replace(aside / path.name, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; free space or choose another folder") from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def remove(folder: Path) -> None:
    """Delete a folder: renamed first, so that half of it is never taken for the whole."""
    aside = folder.with_name(f".{folder.name}.old")
    os.replace(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


_held: set[Path] = set()


@contextmanager
def locked(folder: Path, doing: str, sweep: Iterable[str] = ("",), *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process, made if need be; what a killed process left half-written in it, or in those of its
    folders that `sweep` names, is swept away.

    The system drops the lock when a process dies, however it dies. Inside this process a second `with` passes. doing: for the
    UserError that is raised when another process holds the folder, unless one will `wait` for it. Raises it as well when the
    folder cannot be written.
    """
    folder = Path(folder).absolute()
    if folder in _held:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise UserError(f"cannot write the folder {folder}: {error.strerror}; choose another --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise UserError(f"another process is {doing} in {folder}; wait for it, or choose another --out") from None
        for place in (folder / name for name in sweep):
            for left in place.glob(".*.*") if place.is_dir() else ():
                shutil.rmtree(left, ignore_errors=True)
        _held.add(folder)
        try:
            yield
        finally:
            _held.discard(folder)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names, types, shapes and values, whatever file they lie in."""
    whole = sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return whole.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Atomic; tensors are made contiguous and unshared."""
    from safetensors.torch import save

    owned = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    told = dict(metadata) if metadata else None  # an empty dict beside no tensors makes a header that cannot be read
    content = save(owned, told)  # bytes, not save_file: that one leaves files only their owner can read

    def write(aside: Path) -> None:
        aside.write_bytes(content)

    write_aside(path, write)


def load_tensors(path: Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata). Raises UserError when the file is missing, truncated, or not safetensors."""
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the path of a safetensors file")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            # Copies begin at aligned addresses, on which the order of sums may depend; a file's tensors lie anywhere.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except Exception as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); pickles are never read, a truncated file must be copied again"
        ) from error


def check_tensors(path: Path) -> None:
    """Raises UserError where `load_tensors` would, from the head of the file and its length alone."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt"):
            return
    except Exception as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); it must be copied again") from error


def write_text(path: Path, text: str) -> None:
    """Atomic."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Atomic."""

    def write(aside: Path) -> None:
        aside.write_bytes(content)

    write_aside(path, write)


def plain(value: Any, digits: int | None = None) -> Any:
    """What JSON and YAML can hold: named tuples and dataclasses become objects, arrays lists, fractions and paths text, numbers
    that are not finite null. digits: that fractional numbers are rounded to, all of them unless given."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict(), digits)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value), digits)
    if isinstance(value, Mapping):
        return {str(key): plain(part, digits) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist(), digits)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part, digits) for part in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else float(f"{value:.{digits}g}")
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def write_json(path: Path, value: Any) -> None:
    """Atomic."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises UserError when the file is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error

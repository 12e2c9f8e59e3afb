"""States and weights on disk: exact, whole or not at all, and refused in one clear line when they are broken."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unspool import store
from unspool.errors import UserError
from unspool.testing import assert_equal, draw

NAMES = st.text("abc01_", min_size=1, max_size=4)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8)


@given(
    st.recursive(st.sampled_from(range(20)), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=8)
)
def test_flatten_and_back(tree) -> None:
    """Any nested state without empty branches; size counts each leaf once."""
    state = {"root": _tensors(tree)}
    flat = store.flatten(state)
    assert all(isinstance(t, torch.Tensor) for t in flat.values())
    assert _names(store.unflatten(flat)) == _names(state)
    assert store.size(state) == sum(t.nbytes for t in flat.values())


def _tensors(tree):
    return {n: _tensors(t) for n, t in tree.items()} if isinstance(tree, dict) else torch.arange(tree, dtype=torch.int32)


def _names(tree):
    return {n: _names(t) for n, t in tree.items()} if isinstance(tree, dict) else tuple(tree.tolist())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_come_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    whole = (draw(1, shape=(4, 6)) * 3).to(dtype)
    given = {"a.b": whole, "view": whole[1:3], "turned": whole.T, "same": whole, "none": whole[:0], "one": whole[0, 0]}
    store.save_tensors(tmp_path / "x.safetensors", given, {"key": "värde"})
    got, told = store.load_tensors(tmp_path / "x.safetensors")
    assert told == {"key": "värde"} and got.keys() == given.keys()
    for name, t in given.items():
        assert got[name].dtype == dtype and got[name].shape == t.shape
        assert torch.equal(got[name], t)


def test_values_that_are_not_finite_come_back(tmp_path: Path) -> None:
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    store.save_tensors(tmp_path / "x.safetensors", {"odd": odd})
    got = store.load_tensors(tmp_path / "x.safetensors")[0]["odd"]
    assert torch.equal(got.view(torch.int32), odd.view(torch.int32))


def test_gradient_is_not_written_and_the_caller_keeps_it(tmp_path: Path) -> None:
    t = draw(1, shape=(3,)).requires_grad_()
    store.save_tensors(tmp_path / "x.safetensors", {"t": t})
    assert t.requires_grad and not store.load_tensors(tmp_path / "x.safetensors")[0]["t"].requires_grad


def test_no_tensors_come_back_as_none(tmp_path: Path) -> None:
    """What an objective without a buffer has to keep; a run of it could not be resumed."""
    for metadata in (None, {}, {"a": "b"}):
        store.save_tensors(tmp_path / "empty.safetensors", {}, metadata)
        assert store.load_tensors(tmp_path / "empty.safetensors") == ({}, metadata or {})


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """Half a file is never seen under its name, nor anything beside it."""
    path = tmp_path / "x.json"
    store.write_json(path, {"old": 1})

    def fails(aside: Path) -> None:
        aside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*x\.json: No space left on device; free space"):
        store.write_aside(path, fails)
    assert store.read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["x.json"]
    with pytest.raises(RuntimeError):
        store.write_aside(path, lambda aside: (_ for _ in ()).throw(RuntimeError("not ours")))
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    def write(names: list[str]):
        def inner(aside: Path) -> None:
            aside.mkdir()
            for name in names:
                (aside / name).write_text(name)

        return inner

    store.write_aside(tmp_path / "deep" / "run", write(["a", "b"]))
    store.write_aside(tmp_path / "deep" / "run", write(["b", "c"]))
    assert sorted(os.listdir(tmp_path / "deep" / "run")) == ["b", "c"]
    assert os.listdir(tmp_path / "deep") == ["run"]
    store.remove(tmp_path / "deep" / "run")
    assert os.listdir(tmp_path / "deep") == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        store.save_tensors(tmp_path / "file" / "x.safetensors", {"t": torch.zeros(1)})
    with pytest.raises(UserError, match="cannot write"):
        store.write_json(tmp_path / "file" / "x.json", {})


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="does not exist"):
        store.load_tensors(path)
    store.save_tensors(path, {"t": torch.zeros(1000)})
    data = path.read_bytes()
    broken = {
        "truncated": data[: len(data) // 2], "header cut": data[:20], "empty": b"", "text": b"hello " * 99,
        "pickle": pickle.dumps({"t": [0] * 1000}), "a byte short": data[:-1],
    }  # fmt: skip
    for name, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not a whole safetensors file.*pickles are never read") as error:
            store.load_tensors(path)
        assert "\n" not in str(error.value), name
    torch.save({"t": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="pickles are never read"):
        store.load_tensors(path)
    with pytest.raises(UserError, match="does not exist"):
        store.load_tensors(tmp_path)


def test_json(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "ü": {"b": "c\n"}}
    store.write_json(tmp_path / "x.json", value)
    assert store.read_json(tmp_path / "x.json") == value
    with pytest.raises(UserError, match="does not exist"):
        store.read_json(tmp_path / "y.json")
    (tmp_path / "x.json").write_text('{"half": ')
    with pytest.raises(UserError, match="cannot be read as JSON"):
        store.read_json(tmp_path / "x.json")


def test_a_saved_state_is_the_state(tmp_path: Path) -> None:
    state = {"at": torch.tensor([3, 4]), "blocks": {"0": {"k": draw(1, shape=(2, 3)), "none": torch.zeros(2, 0, 4)}}}
    store.save_tensors(tmp_path / "s.safetensors", store.flatten(state))
    assert_equal(store.unflatten(store.load_tensors(tmp_path / "s.safetensors")[0]), state)

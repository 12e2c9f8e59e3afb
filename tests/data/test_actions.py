"""What one may do: names or ranges, read from data, from checkpoints and from files; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unspool.data import open_world
from unspool.data.actions import Actions, actions_of, read_actions, seen_in
from unspool.data.clips import Clips
from unspool.errors import UserError

NAMED = Actions(("stay", "ahead", "left"))
RANGED = Actions(low=(-1.0, 0.0), high=(1.0, 0.5))


def test_a_world_names_its_actions_and_others_are_looked_at() -> None:
    assert actions_of(open_world("rooms", 32)) == Actions(("stay", "ahead", "left", "right", "ahead left", "ahead right"))
    assert actions_of(open_world("duel", 32)) is None
    one_of = np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]
    assert seen_in(one_of) == Actions(("action 0", "action 1", "action 2")) and seen_in(one_of, NAMED.names) == NAMED
    with pytest.raises(UserError, match="not finite"):
        seen_in(np.where(one_of == 1, np.nan, one_of))
    assert seen_in(one_of * 0.5) == Actions(low=(0.0,) * 3, high=(0.5,) * 3), "means of several are numbers"

    class Unnamed:
        fps, action_names = 15.0, ()

        def __call__(self, indices: np.ndarray, frames: int, **_: int) -> Clips:
            rows = np.linspace(-1, 2, len(indices) * frames, dtype=np.float32).reshape(len(indices), frames, 1)
            return Clips(np.zeros((len(indices), frames, 8, 8, 3), np.uint8), rows)

    assert actions_of(Unnamed()) == Actions(low=(-1.0,), high=(2.0,))


def test_rows_are_what_a_model_is_told() -> None:
    assert NAMED.rows(["left", 0, np.int64(1), np.array(2)]).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert RANGED.row((1, 0.25)).tolist() == [1, 0.25] and RANGED.row(np.float32([-1, 0.5])).tolist() == [-1, 0.5]
    assert NAMED.rest == 0 and Actions(("go", "noop")).rest == 1
    assert np.array_equal(Actions(low=(1.0, -1.0), high=(2.0, 1.0)).rest, [1, 0])


@pytest.mark.parametrize(
    ("known", "action", "why"),
    [
        (RANGED, (0.5,), "of 1 numbers, .* give 2 numbers, between"),
        (RANGED, (0.5, 0.6), "is out of range: give 2 numbers"),
        (RANGED, (float("nan"), 0.0), "is none here"),
        (RANGED, "left", "'left' is no action here"),
        (NAMED, [1, 0, 0], "is no action here: give a number of 0 to 2"),
    ],
)
def test_what_is_no_action_is_refused(known: Actions, action: object, why: str) -> None:
    with pytest.raises(UserError, match=why):
        known.row(action)


def test_a_checkpoint_keeps_them() -> None:
    for known in (NAMED, RANGED):
        assert Actions.read(known.told()) == known
    both, uneven, words = {"names": ["a"], "low": [1]}, {"low": [0], "high": []}, {"low": [0], "high": ["1"]}
    for damaged in ({}, [], None, {"names": [3]}, both, uneven, words):
        with pytest.raises(UserError, match=r"copy its config\.json again"):
            Actions.read(damaged)


def test_files_of_actions(tmp_path: Path) -> None:
    def written(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    want = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert read_actions(written("names.txt", "ahead\n2\n\n stay \n"), NAMED).tolist() == want
    np.save(tmp_path / "a.npy", np.array([1, 2, 0]))
    assert read_actions(tmp_path / "a.npy", NAMED).tolist() == want
    assert read_actions(written("two.csv", "0.5, 0.5\n-1 0\n"), RANGED).tolist() == [[0.5, 0.5], [-1, 0]]
    for name, text, why in (
        ("b.txt", "ahead\nahaed\n", "b.txt: action 1, from 0: there is no action 'ahaed'; did you mean 'ahead'"),
        ("c.txt", "\n", "holds no action"),
        ("d.npy", "no array", "cannot read the actions in"),
    ):
        with pytest.raises(UserError, match=why):
            read_actions(written(name, text), NAMED)
    with pytest.raises(UserError, match="cannot read the actions in"):
        read_actions(tmp_path / "none.txt", NAMED)

"""`unspool sample` of a model that takes actions: the context's own, those of a file, and those of a saved rollout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from unspool.data.video import read_video
from unspool.hub import find
from unspool.store import load_tensors
from unspool.testing import assert_equal, error


@pytest.fixture(scope="module")
def walker(unspool: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]) -> Path:
    run = tmp_path_factory.mktemp("runs") / "walker"
    done = unspool(
        "train", "chunk-by-chunk", "--data", "rooms", "--out", run, *tiny, "--controls", 6, "--train.steps", 12,
        "--train.lr", 0.02, "--train.save-every", 6,
    )  # fmt: skip
    assert done.code == 0, done.err
    return run


def test_actions_are_the_contexts_own_or_those_of_a_file(walker: Path, unspool: Callable[..., Any], tmp_path: Path) -> None:
    assert (walker / "samples").exists() and list((walker / "samples").glob("*.png")), "samples are told the clip's actions"
    known = find(walker).actions
    assert known is not None and known.names[:2] == ("stay", "ahead")
    begin = ("--context", "rooms", "--clip", 3)

    def sample(name: str, frames: int, *words: object) -> dict[str, Tensor]:
        """Where the rollout stands behind so many frames more."""
        saved = tmp_path / f"{name}.safetensors"
        done = unspool("sample", walker, "--frames", frames, "--out", tmp_path / name, "--rollout-out", saved, *words)
        assert done.code == 0, done.err
        assert read_video(tmp_path / name / "future-1.mp4").shape == (frames, 32, 32, 3)
        return load_tensors(saved)[0]

    (tmp_path / "turn.txt").write_text("ahead\nleft\nleft\n")
    turn = ("--actions", tmp_path / "turn.txt")
    own, turned = sample("own", 9, *begin), sample("turned", 9, *begin, *turn)
    assert error(own, turned) > 1e-3
    sample("half", 4, *begin)
    assert_equal(sample("rest", 5, "--rollout-in", tmp_path / "half.safetensors"), own, "its own actions, which were saved")
    sample("half", 4, *begin, *turn)
    saved = ("--rollout-in", tmp_path / "half.safetensors")
    assert_equal(sample("rest", 5, *saved), turned, "those of the file")
    sample("half", 6, *begin, *turn)
    (tmp_path / "whole.txt").write_text("ahead\n" + 5 * "left\n" + "ahead\nleft\nleft\n")
    want = sample("whole", 9, *begin, "--actions", tmp_path / "whole.txt")
    assert_equal(sample("rest", 3, *saved, *turn), want, "a file of further actions begins where the rollout stands")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--context", "duel"), "this model takes actions of 6 numbers and is given none"),
        (("--context", "rooms", "--actions", "jump.txt"), "jump.txt: action 0, from 0: 'jump' is no action here"),
        (("--context", "rooms", "--actions", "nowhere.txt"), "cannot read the actions in nowhere.txt"),
    ],
)
def test_what_has_no_actions_is_refused(
    walker: Path, unspool: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    (tmp_path / "jump.txt").write_text("jump\n")
    done = unspool("sample", walker, *words, "--frames", 4, "--out", "made", cwd=tmp_path)
    assert done.code == 2 and why in done.err and done.err.count("\n") == 1 and not (tmp_path / "made").exists()


def test_a_model_without_actions_wants_none(trained: Path, unspool: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n")
    done = unspool(
        "sample", trained, "--context", "duel", "--frames", 4, "--out", tmp_path / "made", "--actions", tmp_path / "a.txt"
    )  # fmt: skip
    assert done.code == 2 and "takes no actions" in done.err

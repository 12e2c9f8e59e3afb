"""Measuring is gone on with where it stopped, never done twice, and stops where an arm cannot play."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unspool.data.reels import Parted, open_reels, part
from unspool.errors import NothingThere, UserError
from unspool.evaluate.tables import Gathered
from unspool.evaluation import arms
from unspool.evaluation.arms import Arm, Conditions
from unspool.evaluation.measuring import Measured, measure, slug
from unspool.evaluation.published import Published

ASKED = Conditions(frames=20, context=2, contexts=2, futures=2, real=3, segment=20)


@pytest.fixture(scope="module")
def reels() -> Parted:
    return part(open_reels("rooms", 32, ASKED.whole), 2, 3, 3)


class Counted:
    """An arm that notes which contexts it has played, and can be told to press Ctrl-C in one."""

    def __init__(self, reels: Parted, stop_in: int | None = None) -> None:
        self.reels, self.stop_in, self.played = reels, stop_in, list[int]()
        self.arm = Arm("counted", "noise", self.play, futures=2, identity="one")

    def play(self, context: int) -> Iterator[np.ndarray]:
        self.played.append(context)
        if context == self.stop_in:
            os.kill(os.getpid(), signal.SIGINT)
        yield np.random.default_rng(context).integers(0, 255, (2, 20, 32, 32, 3), np.uint8)


def run(arm: Arm, reels: Parted, out: Path, **other: object) -> Measured:
    return measure([arm, arms.truth(reels.contexts, ASKED)], reels, ASKED._replace(**other), out, Published())


def same(a: Gathered | str, b: Gathered | str) -> bool:
    assert isinstance(a, Gathered) and isinstance(b, Gathered)
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in a.figures)


def test_what_is_measured_stays_and_is_not_measured_again(
    reels: Parted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(reels)
    first = run(counted.arm, reels, tmp_path)
    again = run(counted.arm, reels, tmp_path)
    assert counted.played == [0, 1] and same(first.arms["counted"], again.arms["counted"]) and same(first.real, again.real)
    assert set(first.rates) == {"counted", "real", "other episodes"} and again.rates.keys() == first.rates.keys()
    assert again.rates["counted"] == pytest.approx(first.rates["counted"], rel=0.01), "those of the call that measured"
    (place := tmp_path / "measured" / "counted" / "000.safetensors").write_bytes(b"torn" + place.read_bytes()[:40])
    assert same(first.arms["counted"], run(counted.arm, reels, tmp_path).arms["counted"]) and counted.played == [0, 1, 0]
    counted.played.pop()
    run(replace(counted.arm, identity="another"), reels, tmp_path)
    run(replace(counted.arm, identity="another"), part(open_reels("rooms", 32, ASKED.whole, "unseen"), 2, 3, 3), tmp_path)
    run(replace(counted.arm, identity="another"), reels, tmp_path, segment=16)
    monkeypatch.setattr("unspool.evaluation.measuring.version", lambda: "another")
    run(replace(counted.arm, identity="another"), reels, tmp_path, segment=16)
    assert counted.played == [0, 1] * 5


def test_ctrl_c_keeps_what_is_whole_and_the_same_call_goes_on(reels: Parted, tmp_path: Path) -> None:
    stopped = Counted(reels, stop_in=1)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        run(stopped.arm, reels, tmp_path)
    assert [p.name for p in sorted((tmp_path / "measured" / "counted").iterdir())] == ["000.safetensors"]
    assert [p.name for p in sorted((tmp_path / "videos" / "counted").iterdir())] == ["1.mp4"]
    rest = Counted(reels)
    found = run(rest.arm, reels, tmp_path)
    assert rest.played == [1]
    assert same(found.arms["counted"], run(Counted(reels).arm, reels, tmp_path / "new").arms["counted"])


def test_an_arm_without_futures_says_why_and_the_others_are_measured(reels: Parted, tmp_path: Path) -> None:
    def none(context: int) -> Iterator[np.ndarray]:
        raise NothingThere("there is no world")

    found = run(Arm("none", "", none), reels, tmp_path)
    assert found.arms["none"] == "there is no world" and isinstance(found.arms["real"], Gathered)


def test_a_model_that_breaks_says_so_where_another_is_left(reels: Parted, tmp_path: Path) -> None:
    def broken(context: int) -> Iterator[np.ndarray]:
        raise UserError("the model broke at frame 7")

    bad = Arm("bad", "", broken, kind="model", weights="w")
    good = replace(Counted(reels).arm, kind="model", weights="v")
    found = measure([bad, good, arms.truth(reels.contexts, ASKED)], reels, ASKED, tmp_path, Published())
    assert found.arms["bad"] == "the model broke at frame 7" and isinstance(found.arms["counted"], Gathered)
    with pytest.raises(UserError, match="broke at frame 7"):
        run(bad, reels, tmp_path)


def test_frames_of_another_size_are_told(reels: Parted, tmp_path: Path) -> None:
    def small(context: int) -> Iterator[np.ndarray]:
        yield np.zeros((1, 20, 16, 16, 3), np.uint8)

    with pytest.raises(UserError, match="small makes frames of 16 x 16 and the data has 32 x 32"):
        run(Arm("small", "", small), reels, tmp_path)
    assert not list((tmp_path / "videos").rglob("*.mp4"))


def test_folders_have_names_that_any_system_takes() -> None:
    assert slug("duel-64") == "duel-64"
    names = ["a b", "a/b", "../x", "ä", "x" * 300, "x" * 301]
    assert len({slug(name) for name in names}) == len(names)
    assert all(set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._ä") and len(slug(name)) < 80 for name in names)

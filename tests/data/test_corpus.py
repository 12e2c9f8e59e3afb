"""Files as people have them (see corpus.py): every bad one is named with its reason, the rest is used, nothing is lost."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from unspool import inspection
from unspool.cli import main
from unspool.data.how import Preparation
from unspool.data.layouts import open_episodes
from unspool.data.prepare import prepare
from unspool.data.shards import Manifest, Shards
from unspool.data.video import read_video
from unspool.errors import UserError

SMALL = ("--size", 16, "--shard-mb", 0.1)

Found = tuple[Path, dict[str, Any]]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def corpus() -> ModuleType:
    """corpus.py beside this file: test folders are no packages."""
    spec = importlib.util.spec_from_file_location("corpus", Path(__file__).with_name("corpus.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(corpus: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("corpus") / "files: all"
    return root, corpus.write(root)


@pytest.fixture
def unspool(capsys: pytest.CaptureFixture[str]) -> Run:
    """unspool("data", "inspect", ...) -> (exit code, output, errors); streams as strict as those of a terminal."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


@contextlib.contextmanager
def small_files(most: int) -> Iterator[None]:
    """A disk that is full, as far as one file can tell."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def check(expected: dict[str, Any], used: set[str], skipped: list[dict[str, str]]) -> None:
    """That everything is either used or named once, with the reason it deserves, in one line and without a path."""
    reasons = {entry["name"]: entry["reason"] for entry in skipped}
    assert len(reasons) == len(skipped), "named twice"
    assert used == {name for name, what in expected.items() if what.reason is None}
    assert set(reasons) == {name for name, what in expected.items() if what.reason is not None}
    for name, why in reasons.items():
        assert expected[name].reason in why and "/" not in why.replace("[...]", "") and "\n" not in why, (name, why)


def test_there_are_many(found: Found) -> None:
    _, expected = found
    assert sum(what.reason is not None for what in expected.values()) >= 40
    assert sum(what.reason is None for what in expected.values()) >= 40


def test_inspection(found: Found) -> None:
    root, expected = found
    figures, looks = inspection.inspect(open_episodes(root))
    check(expected, {look.name for look in looks}, figures["skipped"])
    for look in looks:
        said = expected[look.name]
        assert look.length == said.frames, look.name
        assert said.note is None or any(said.note in note for note in look.notes), (look.name, look.notes)
        odd = [note for note in look.notes if not note.startswith(("small", "short", "odd size", "variable frame rate: 25"))]
        assert bool(odd) <= bool(said.note) or look.name.startswith("shaped/"), (look.name, odd)


def test_inspection_tells_durations_and_judges_as_the_recorder_does(tmp_path: Path) -> None:
    from unspool.data.record.explore import flat
    from unspool.data.writer import VideoWriter

    for i, frames in enumerate((10, 20, 40, *[5] * inspection.SHOWN)):
        with VideoWriter(tmp_path / f"{i:02}.mp4", size=(64, 64), fps=10) as out:
            noise = np.random.default_rng(i).integers(20, 30 + 40 * (i % 6), (frames, 64, 64, 3), dtype=np.uint8)
            out.write(noise)
    figures, looks = inspection.inspect(open_episodes(tmp_path))
    assert figures["seconds"] == {"least": 0.5, "median": 0.5, "most": 4.0}
    for one in looks:
        assert one.flat == flat(read_video(tmp_path / one.name)).mean()
        assert len(one.frames) or one.frames.base is None, "frames that nobody is shown are let go"
    assert {one.flat for one in looks} >= {0.0, 1.0} and sum(len(one.frames) > 0 for one in looks) == inspection.SHOWN


def test_inspection_by_the_command_line(found: Found, unspool: Run, tmp_path: Path) -> None:
    root, expected = found
    code, out, _ = unspool("data", "inspect", root, "--json")
    told = json.loads(out)
    assert code == 0 and told["usable"] == sum(what.reason is None for what in expected.values())
    check(expected, {name for name, what in expected.items() if what.reason is None}, told["skipped"])
    code, out, _ = unspool("data", "inspect", root, "--picture", tmp_path / "sheet.png")
    assert code == 0 and (tmp_path / "sheet.png").stat().st_size > 10_000
    assert all(line.isprintable() for line in out.split("\n"))
    assert f"cannot be used: {len(told['skipped'])}\n" in out


def test_preparation_by_the_command_line_twice(found: Found, unspool: Run, tmp_path: Path) -> None:
    root, expected = found
    told, contents = [], []
    for _ in range(2):
        code, out, _ = unspool("data", "prepare", root, "--out", tmp_path / "shards", *SMALL, "--json")
        assert code == 0
        told.append(json.loads(out))
        contents.append(files_of(tmp_path / "shards"))
    assert told[0] == told[1] and contents[0] == contents[1]
    members = {member.name: member.frames for member in Manifest.read(tmp_path / "shards").episodes}
    check(expected, set(members), told[0]["skipped"])
    assert members == {name: what.frames for name, what in expected.items() if what.reason is None}
    code, out, _ = unspool("data", "prepare", root, "--out", tmp_path / "shards", *SMALL)
    assert code == 0 and out.count("skipped ") == len(told[0]["skipped"]) and all(map(str.isprintable, out.split("\n")))


def test_what_is_prepared_is_what_the_files_show(found: Found, tmp_path: Path) -> None:
    root, _ = found
    prepare(open_episodes(root), tmp_path / "shards", Preparation(16, shard_bytes=100_000))
    shards = Shards(tmp_path / "shards", holdout=0.0)
    clips, members = shards(np.arange(300), 2).frames, shards.where(np.arange(300), 2)
    for clip, at, start in zip(clips, *members, strict=True):
        path = root / shards.episodes[at].name
        assert np.array_equal(clip, read_video(path, start=int(start), frames=2, size=16)), path
    assert {"told.mp4": "two waves\u2028drift"}.items() <= {m.name: m.text for m in shards.episodes}.items()


def test_another_rate_needs_a_clock(found: Found, tmp_path: Path) -> None:
    root, expected = found
    manifest = prepare(open_episodes(root), tmp_path / "shards", Preparation(16, fps=15))
    lost = {name: why for name, _, why in manifest.skipped if expected[name].reason is None}
    assert set(lost) == {"timed/raw.mp4", "timed/backwards.mts", "slow.mp4"}
    assert "no time stamps" in lost["timed/raw.mp4"] and all("metadata.jsonl" in why for why in lost.values())
    frames = {member.name: member.frames for member in manifest.episodes}
    assert frames["timed/fps-1000.mp4"] == 1 and frames["timed/fps-0.1.mp4"] == 23 * 150 + 1
    assert manifest.episodes and len(frames) == sum(what.reason is None for what in expected.values()) - 3


def test_nothing_usable_is_one_line(found: Found, unspool: Run, tmp_path: Path) -> None:
    root, expected = found
    bad = tmp_path / "bad"
    for name, what in expected.items():
        if what.reason and name.startswith(("cut/", "fake/", "damaged/")) and what.reason != "by its content":
            (bad / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, bad / name)
    code, out, err = unspool("data", "prepare", bad, "--out", tmp_path / "out")
    (line,) = err.strip().splitlines()
    assert code == 2 and not out and "nothing in" in line and "cut/a-0.2.avi (the file is truncated)" in line
    assert "and" in line and "more" in line and not list((tmp_path / "out").glob("*.safetensors"))
    code, out, err = unspool("data", "inspect", bad)
    assert code == 2 and "cut/a-0.2.avi: the file is truncated" in out
    assert err.splitlines()[-1] == f"unspool: nothing in {bad} can be used; add videos, or mend those named above"
    (tmp_path / "none").mkdir()
    code, _, err = unspool("data", "inspect", tmp_path / "none")
    assert code == 2 and "add videos" in err and len(err.splitlines()) == 1
    code, _, err = unspool("data", "prepare", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 2 and "holds no video" in err


@pytest.mark.parametrize("most", [200, 60_000])
def test_a_full_disk(found: Found, unspool: Run, tmp_path: Path, most: int) -> None:
    """Neither the manifest nor a shard stays half-written, and the same call goes on to the same bytes."""
    root, _ = found
    words = ("data", "prepare", root, *SMALL, "--json", "--out")
    assert unspool(*words, tmp_path / "whole")[0] == 0
    with small_files(most):
        code, out, err = unspool(*words, tmp_path / "torn")
    warned, line = err.strip().splitlines()
    assert code == 2 and not out and "frame rates" in warned and "cannot write" in line
    left = {path.name for path in (tmp_path / "torn").iterdir()}
    assert left <= {".lock", "manifest.json"}, left
    assert unspool(*words, tmp_path / "torn")[0] == 0
    assert files_of(tmp_path / "torn") == files_of(tmp_path / "whole")


def test_training_takes_it(found: Found, unspool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = found
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny = ("--size", "nano", "--resolution", 32, "--patch", 16, "--chunk", 3, "--frames", 8, "--steps", 4, "--train.batch", 2)
    code, out, err = unspool("train", "chunk-by-chunk", "--data", root, "--out", tmp_path / "run", *tiny, "--train.steps", 2)
    assert code == 0, err
    assert "accompanied/below.mp4 (it has actions below 0 or above 4095)" in err and "step 2" in out


@pytest.fixture
def commons() -> Iterator[Path]:
    """A folder that everybody may look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_one_may_not_read_is_named_and_used_once_one_may(corpus, commons, tmp_path, unprivileged) -> None:
    for name in ("open.mp4", "shut.mp4", "listed/a.mp4", "closed/a.mp4"):
        (commons / name).parent.mkdir(exist_ok=True)
        corpus.encode(commons / name, corpus.draw())
    (commons / "shut.mp4").chmod(0)
    (commons / "closed").chmod(0)
    (commons / "listed").chmod(0o444)
    with unprivileged():
        found = open_episodes(commons)
    assert [episode.name for episode in found.episodes] == ["open.mp4"]
    assert [name for name, _ in found.skipped] == ["closed", "listed/a.mp4", "shut.mp4"]
    assert all("permission denied" in why.lower() and "chmod" in why for _, why in found.skipped)
    prepare(found, tmp_path / "shards", Preparation(16))
    for name in ("shut.mp4", "closed", "listed"):
        (commons / name).chmod(0o755)
    manifest = prepare(open_episodes(commons), tmp_path / "shards", Preparation(16))
    assert len(manifest.episodes) == 4 and not manifest.skipped
    (commons / "open.mp4").chmod(0)
    commons.chmod(0o111)
    with unprivileged(), pytest.raises(UserError, match="make it readable"):
        open_episodes(commons)


def test_a_target_that_is_read_only(corpus, commons, unprivileged) -> None:
    corpus.encode(commons / "a.mp4", corpus.draw())
    (commons / "out").mkdir()
    (commons / "out").chmod(0o555)
    with unprivileged(), pytest.raises(UserError, match=r"cannot write .*ermission denied; choose another") as caught:
        prepare(open_episodes(commons), commons / "out", Preparation(16))
    assert "\n" not in str(caught.value) and not list((commons / "out").iterdir())

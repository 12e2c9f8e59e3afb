"""Recording: walks worth filming, the same bytes however they come about, and nothing half-done on disk."""

from __future__ import annotations

import fcntl
import importlib
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from unspool.data.record import film as filming
from unspool.data.record import recorder
from unspool.data.record.explore import explore, flat
from unspool.data.record.film import Settings, split_of
from unspool.data.record.rooms import RoomsCamera
from unspool.data.video import probe, read_video
from unspool.data.worlds import Rooms
from unspool.errors import UserError

SMALL = Settings("grid", size=32, frames=40, holdout=0.25)


@pytest.fixture
def world(monkeypatch) -> ModuleType:
    """gridworld.py beside this file, under a name that a new process can import."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("gridworld")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def walked(simulator: Any, frames: int, seed: int = 0) -> tuple[list[Any], list[str]]:
    """(views, names of actions) of an explorer's walk."""
    view = simulator.reset(seed, seed)
    steps = explore(simulator, np.random.default_rng(seed), view)
    views, actions = [view], [next(steps)]
    while len(views) < frames:
        views.append(simulator.step(actions[-1]))
        actions.append(steps.send(views[-1]))
    return views, [simulator.actions[action] for action in actions]


class Watched:
    """A simulator that tells less than it knows, and keeps the rest for the test."""

    def __init__(self, simulator: Any, knows: str) -> None:
        self.simulator, self.knows, self.actions = simulator, knows, simulator.actions
        self.seen: list[Any] = []

    def reset(self, seed: int, layout: int) -> Any:
        return self._hide(self.simulator.reset(seed, layout))

    def step(self, action: int) -> Any:
        return self._hide(self.simulator.step(action))

    def _hide(self, view: Any) -> Any:
        self.seen.append(view)
        return view._replace(**{key: None for key in ("pose", "free") if key not in self.knows})


# ---- walks


@pytest.mark.parametrize(
    ("knows", "places", "most"), [("pose free", 28, 0.05), ("free", 25, 0.05), ("pose", 20, 0.2), ("", 12, 0.2)]
)
def test_walks_get_about_and_do_not_stare_at_walls(world, knows, places, most) -> None:
    """Watched with all that the world knows, explored with what the explorer is told. Held random actions see 18 places, and
    a wall before their nose in 0.22 of all views."""
    cells = near = blocked = 0
    for seed in range(6):
        simulator = Watched(world.Grid(), knows)
        _, actions = walked(simulator, 300, seed)
        poses = np.array([view.pose for view in simulator.seen])
        moved = np.hypot(*np.diff(poses[:, :2], axis=0).T)
        cells += len(set(map(tuple, np.floor(poses[:, :2]).astype(int))))
        near += sum(view.free[1] < 2 for view in simulator.seen)
        blocked += sum("ahead" in name and way == 0 for name, way in zip(actions, moved, strict=False))
    assert cells > 6 * places
    assert near < 6 * 300 * most
    assert blocked < 6 * 300 * 0.1


def test_actions_are_held(world) -> None:
    _, actions = walked(world.Grid(), 600)
    changes = sum(a != b for a, b in pairwise(actions))
    assert changes < 600 / 3
    jitter = sum({a, b} == {"left", "right"} for a, b in pairwise(actions))
    assert jitter < 10


def test_places_are_seen_again_and_ways_walked_back(world) -> None:
    """Cells entered again after 40 frames elsewhere, and whole stretches of the path in reverse."""
    again, back = 0, 0
    for seed in range(6):
        views, _ = walked(world.Grid(), 500, seed)
        track = np.floor(np.array([view.pose[:2] for view in views])).astype(int)
        cells = [tuple(track[0])]
        cells += [tuple(b) for a, b in pairwise(track) if (a != b).any()]
        last: dict[Any, int] = {}
        for i, cell in enumerate(map(tuple, track)):
            again += i - last.get(cell, i) > 40
            last[cell] = i
        stretches = {tuple(cells[i : i + 5]) for i in range(len(cells) - 4)}
        back += sum(tuple(reversed(stretch)) in stretches for stretch in stretches)
    assert again > 6 * 5
    assert back > 6


def test_where_actions_have_no_meaning_they_are_drawn_and_held(world, tmp_path) -> None:
    recorder.record(tmp_path, Settings("dial", size=16, frames=60, holdout=0), 1, opens=world.dials)
    actions = load_file(tmp_path / "000000.safetensors")["actions"]
    assert actions.dtype == np.float32 and actions.shape == (60, 2)
    changes = (actions[1:] != actions[:-1]).any(1).sum()
    assert 4 <= changes <= 30


def test_flat_views_are_told_from_rooms(world) -> None:
    views, _ = walked(world.Grid(), 50)
    frames = np.stack([view.frame for view in views])
    blank = np.full_like(frames, 90) + np.random.default_rng(0).integers(0, 12, frames.shape, np.uint8)
    assert flat(blank).all() and flat(frames).mean() < 0.1
    assert flat(frames[3]) == flat(frames)[3]


# ---- what is on disk


def test_tracks_lead_from_picture_to_picture(world, tmp_path, psnr) -> None:
    """Played again, the actions give the recorded poses, rewards and pictures."""
    recorder.record(tmp_path, SMALL, 3, opens=world.grids())
    for line in lines_of(tmp_path):
        tracks = load_file((tmp_path / line["file_name"]).with_suffix(".safetensors"))
        simulator = world.Grid()
        view = simulator.reset(line["seed"], line["layout"])
        assert np.array_equal(tracks["map"], simulator.map)
        frames = []
        for t in range(line["frames"]):
            frames.append(filming.cut(view.frame, (32, 32)))
            assert np.array_equal(tracks["poses"][t], view.pose.astype(np.float32))
            view = simulator.step(tracks["actions"][t])
            assert tracks["rewards"][t] == view.reward
        video = read_video(tmp_path / line["file_name"])
        assert video.shape == (40, 32, 32, 3) and probe(tmp_path / line["file_name"]).fps == line["fps"] == 10
        assert psnr(video @ [0.2126, 0.7152, 0.0722], np.stack(frames) @ [0.2126, 0.7152, 0.0722]) > 36
    told = json.loads((tmp_path / "recording.json").read_text())
    assert told["actions"] == list(world.Grid.actions) and told["world"] == "grid" and told["frames"] == 40


def test_the_number_of_workers_changes_no_byte(world, tmp_path) -> None:
    for workers in (1, 2):
        recorder.record(tmp_path / f"{workers}", SMALL, 7, workers, opens=world.grids(layouts=4))
    one, two = bytes_of(tmp_path / "1"), bytes_of(tmp_path / "2")
    assert len(one) == 2 * 7 + 3 and one == two
    assert len({one[f"{n:06d}.mp4"] for n in range(7)}) == 7


def test_more_episodes_leave_the_first_as_they_are(world, tmp_path) -> None:
    recorder.record(tmp_path / "few", SMALL, 3, opens=world.grids())
    few = bytes_of(tmp_path / "few")
    done = recorder.record(tmp_path / "few", SMALL, 8, opens=world.grids())
    recorder.record(tmp_path / "many", SMALL, 8, opens=world.grids())
    many = bytes_of(tmp_path / "many")
    assert done.filmed == 5 and done.episodes == 8
    assert bytes_of(tmp_path / "few") == many
    assert all(many[name] == content for name, content in few.items() if name != "metadata.jsonl")
    assert recorder.record(tmp_path / "many", SMALL, 2, opens=world.grids()).episodes == 8
    assert bytes_of(tmp_path / "many") == many


def test_what_a_killed_recorder_left_is_swept_and_filmed_again(world, tmp_path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder in (whole, torn):
        recorder.record(folder, SMALL, 4, opens=world.grids())
    (torn / "000001.safetensors").unlink()  # pictures without tracks
    (torn / "000002.mp4").unlink()
    (torn / "000003.safetensors").write_bytes((torn / "000003.safetensors").read_bytes()[:40])
    (torn / ".000001.0.mp4").write_bytes(b"half")
    (torn / ".000001.1.part.mp4").write_bytes(b"half")
    (torn / ".000001.safetensors.x1").mkdir()
    (torn / ".000001.safetensors.x1" / "half").write_bytes(b"half")
    (torn / "metadata.jsonl").write_text('{"file_name": "0000')
    (torn / "notes.txt").write_text("not ours")
    assert recorder.record(torn, SMALL, 4, opens=world.grids()).filmed == 3
    left = bytes_of(torn)
    assert left.pop("notes.txt") == b"not ours" and left == bytes_of(whole)


def test_a_film_that_was_damaged_later_is_told_and_filmed_again(world, tmp_path) -> None:
    recorder.record(tmp_path, SMALL, 4, opens=world.grids())
    whole = bytes_of(tmp_path)
    (tmp_path / "000002.mp4").write_bytes(whole["000002.mp4"][:-100])
    with pytest.warns(UserWarning, match=r"1 films of .* are damaged and are filmed again: 000002.mp4 \(\d+ bytes, \d+ were"):
        assert recorder.record(tmp_path, SMALL, 4, opens=world.grids()).filmed == 1
    assert bytes_of(tmp_path) == whole


def test_a_recording_from_before_sizes_were_kept_gets_them(world, tmp_path) -> None:
    recorder.record(tmp_path, SMALL, 3, opens=world.grids())
    whole = bytes_of(tmp_path)
    lines = [{key: value for key, value in line.items() if key != "bytes"} for line in lines_of(tmp_path)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert recorder.record(tmp_path, SMALL, 3, opens=world.grids()).filmed == 0
    assert bytes_of(tmp_path) == whole


def test_what_cannot_be_read_for_now_is_not_deleted(world, tmp_path, monkeypatch) -> None:
    recorder.record(tmp_path, SMALL, 2, opens=world.grids())
    whole = bytes_of(tmp_path)

    def unreadable(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(recorder, "safe_open", unreadable)
    with pytest.raises(UserError, match=r"cannot read .*000000\.safetensors.*make it readable"):
        recorder.record(tmp_path, SMALL, 3, opens=world.grids())
    assert bytes_of(tmp_path) == whole


def test_speed_is_told_of_the_workers_that_film(world) -> None:
    camera = world.opens(SMALL)
    assert [recorder._groups(camera, list(range(n)), 4) for n in (0, 1, 3)] == [[], [[0]], [[0], [1], [2]]]
    takes = [filming.Take({"tries": 1}, 100, 1.0, 1.0)] * 2
    assert recorder._report(camera, {}, takes, 1.0, 2).efficiency == 2.0


def test_maps_that_both_sides_show_are_counted(world, tmp_path) -> None:
    assert recorder.record(tmp_path / "dial", Settings("dial", size=16, frames=20), 3, opens=world.dials).shared == 1
    assert recorder.record(tmp_path / "grid", SMALL, 3, opens=world.grids(layouts=4)).shared == 0
    plans = recorder.record(tmp_path / "rooms", Settings("rooms:plans=1", size=32, frames=20), 3, opens=RoomsCamera)
    assert plans.shared == 0 and plans.layouts == 1


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"seed": 1}, "seed 0, now it is 1"),
        ({"frames": 41}, "frames 40"),
        ({"size": 30}, "size 32"),
        ({"holdout": 0.3}, "holdout 0.25"),
        ({"world": "grid:other"}, "world grid, now"),
    ],
)
def test_other_settings_are_refused(world, tmp_path, other, word) -> None:
    recorder.record(tmp_path, SMALL, 1, opens=world.grids())
    before = bytes_of(tmp_path)
    with pytest.raises(UserError, match=word):
        recorder.record(tmp_path, SMALL._replace(**other), 2, opens=world.grids())
    assert bytes_of(tmp_path) == before


def test_other_versions_are_refused(world, tmp_path) -> None:
    recorder.record(tmp_path, SMALL, 1, opens=world.grids())
    path = tmp_path / "recording.json"
    path.write_text(path.read_text().replace(np.__version__, "1.0"))
    with pytest.raises(UserError, match=f"numpy 1.0, now it is {np.__version__}"):
        recorder.record(tmp_path, SMALL, 2, opens=world.grids())


def test_a_folder_of_other_things_is_refused(world, tmp_path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"film")
    with pytest.raises(UserError, match="no recording"):
        recorder.record(tmp_path, SMALL, 1, opens=world.grids())
    assert (tmp_path / "holiday.mp4").read_bytes() == b"film"


def test_two_recorders_in_one_folder_are_refused(world, tmp_path) -> None:
    recorder.record(tmp_path, SMALL, 1, opens=world.grids())
    with (tmp_path / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(UserError, match="another process is recording"):
            recorder.record(tmp_path, SMALL, 2, opens=world.grids())
    assert recorder.record(tmp_path, SMALL, 2, opens=world.grids()).episodes == 2


# ---- what goes wrong


@pytest.mark.parametrize(("workers", "breaks"), [(1, "fail"), (2, "fail"), (2, "die")])
def test_a_world_that_breaks_down_is_named_and_what_was_recorded_stays(world, tmp_path, workers, breaks) -> None:
    opens = world.grids(breaks=getattr(world, breaks))
    with pytest.raises(UserError, match="grid crashed in episode") as error:
        recorder.record(tmp_path, SMALL, 12, workers, opens=opens)
    what = "its process died" if breaks == "die" else "ZeroDivisionError: the floor gave way"
    assert what in str(error.value) and "\n" not in str(error.value)
    words = str(error.value).replace("(", "").replace(",", "").split()
    episode, seed = int(words[words.index("episode") + 1]), int(words[words.index("seed") + 1])
    place = opens(SMALL).place(episode, 0)
    assert seed == place.seed and seed % 3 == 0
    left = {name for name in bytes_of(tmp_path) if name[0].isdigit()}
    assert left == {f"{line['file_name'][:6]}.{end}" for line in lines_of(tmp_path) for end in ("mp4", "safetensors")}
    if workers == 1:
        assert len(left) == 2 * episode


def test_a_full_disk_leaves_whole_episodes(world, tmp_path, monkeypatch) -> None:
    save, seen = filming.save_tensors, []

    def full(path, *rest):
        seen.append(path)
        if len(seen) == 3:
            raise UserError(f"cannot write {path}: no space left on device; free space")
        save(path, *rest)

    monkeypatch.setattr(filming, "save_tensors", full)
    with pytest.raises(UserError, match="no space"):
        recorder.record(tmp_path, SMALL, 5, opens=world.grids())
    names = {"000000.mp4", "000000.safetensors", "000001.mp4", "000001.safetensors"}
    assert set(bytes_of(tmp_path)) == names | {".lock", "metadata.jsonl", "recording.json"}
    assert recorder.record(tmp_path, SMALL, 5, opens=world.grids()).filmed == 3


def test_blind_walks_are_filmed_again_and_the_best_is_kept(world, tmp_path) -> None:
    done = recorder.record(tmp_path, SMALL, 12, opens=world.grids(fog=0.5))
    lines = lines_of(tmp_path)
    assert done.again == sum(line["tries"] - 1 for line in lines) > 3
    for line in lines:
        blind = flat(read_video(tmp_path / line["file_name"])).mean() > 0.5
        assert not blind or line["tries"] == filming.TRIES * filming.MAPS
    assert max(line["tries"] for line in lines) > filming.TRIES


def test_a_map_on_which_all_is_blind_gives_way_to_another_of_its_side(world, tmp_path) -> None:
    """And every film without fog is what it is in a world that knows none."""
    options = {"layouts": 12, "foggy": (0, 1, 2, 3, 4, 5)}
    for name, given in (("foggy", options), ("clear", {"layouts": 12})):
        recorder.record(tmp_path / name, SMALL, 12, opens=world.grids(**given))
    foggy, clear = bytes_of(tmp_path / "foggy"), bytes_of(tmp_path / "clear")
    moved = 0
    for line, before in zip(lines_of(tmp_path / "foggy"), lines_of(tmp_path / "clear"), strict=True):
        assert line["split"] == before["split"]
        if before["layout"] > 5:
            assert line == before and foggy[line["file_name"]] == clear[line["file_name"]]
        elif line["layout"] > 5:
            moved += 1
            assert filming.TRIES < line["tries"] <= filming.TRIES * filming.MAPS
    assert moved > 2


def test_closed_maps_are_never_shown_and_change_no_other_draw(world) -> None:
    for holdout in (0.001, 0.3):
        few = SMALL._replace(holdout=holdout)
        every, some = world.opens(few, layouts=9), world.opens(few, layouts=9, closed=(2, 5))
        for episode in range(80):
            was, now = every.place(episode, 0), some.place(episode, 0)
            assert now.layout not in (2, 5)
            assert was.layout in (2, 5) or holdout < 0.3 or now == was


def test_short_episodes_are_kept_shorter_ones_after_some_tries_and_single_frames_refused(world, tmp_path) -> None:
    recorder.record(tmp_path / "short", SMALL, 2, opens=world.grids(ends=20))
    assert [line["frames"] for line in lines_of(tmp_path / "short")] == [20, 20]
    assert recorder.record(tmp_path / "short", SMALL, 1, opens=world.grids(ends=20)).short == 0
    assert len(load_file(tmp_path / "short" / "000001.safetensors")["actions"]) == 20
    assert recorder.record(tmp_path / "brief", SMALL, 2, opens=world.grids(ends=9)).short == 2
    assert [(line["frames"], line["tries"]) for line in lines_of(tmp_path / "brief")] == [(9, filming.TRIES * filming.MAPS)] * 2
    with pytest.raises(UserError, match="ends within 1 frames"):
        recorder.record(tmp_path / "tiny", SMALL, 2, opens=world.grids(ends=1))
    assert set(bytes_of(tmp_path / "tiny")) == {".lock", "recording.json"}


# ---- splits


def test_any_number_of_episodes_has_its_share_of_test() -> None:
    for holdout in (0.01, 0.1, 0.5, 0.9):
        tests = np.cumsum([split_of(n, holdout) == "test" for n in range(400)])
        assert all(1 <= tests[n - 1] < n for n in range(2, 400))
        assert abs(tests[-1] - 400 * holdout) <= 1
    assert all(split_of(n, 0) == "train" for n in range(50))


@pytest.mark.parametrize("layouts", [2, 5, 68, None])
@pytest.mark.parametrize("holdout", [0.05, 0.5, 0.9])
def test_a_map_is_for_training_or_for_testing(world, layouts, holdout) -> None:
    camera = world.opens(SMALL._replace(holdout=holdout), layouts=layouts)
    sides: dict[str, set[int]] = {"train": set(), "test": set()}
    for episode in range(300):
        place = camera.place(episode, 0)
        assert place == camera.place(episode, 0) and place.layout < (layouts or 2**31)
        assert camera.place(episode, 1).layout == place.layout and camera.place(episode, 1).seed != place.seed
        other = camera.place(episode, filming.TRIES)
        assert other.split == place.split and (other.layout != place.layout or layouts in (2, 5))
        sides[place.split].add(other.layout)
        sides[place.split].add(place.layout)
    assert sides["train"] and sides["test"] and not sides["train"] & sides["test"]
    assert len(sides["train"] | sides["test"]) == layouts or not layouts or layouts > 5
    if layouts is None:
        assert len(sides["train"] | sides["test"]) == 600


def test_other_seeds_keep_the_sides_of_maps(world) -> None:
    """What is held out of one recording is held out of all."""
    sides: dict[int, set[str]] = {}
    for seed in range(4):
        camera = world.opens(SMALL._replace(seed=seed), layouts=12)
        for episode in range(100):
            place = camera.place(episode, 0)
            sides.setdefault(place.layout, set()).add(place.split)
    assert all(len(side) == 1 for side in sides.values()) and Counter(map(len, sides.values()))[1] == 12


# ---- our own world


def test_rooms_are_filmed_as_they_are_drawn(tmp_path, psnr) -> None:
    settings = Settings("rooms:plans=8", size=32, frames=70, holdout=0.2)
    done = recorder.record(tmp_path, settings, 10, opens=RoomsCamera)
    assert done.episodes == 10 and done.test == 2 and done.layouts == 8
    layouts: dict[str, set[int]] = {"train": set(), "test": set()}
    for line in lines_of(tmp_path):
        split = "unseen" if line["split"] == "test" else "train"
        world = Rooms(size=32, plans=8, split=split)
        episode = world.episodes(np.array([line["seed"]]), 70)
        tracks = load_file((tmp_path / line["file_name"]).with_suffix(".safetensors"))
        assert np.array_equal(tracks["poses"], episode.walk.poses[0])
        assert np.array_equal(tracks["actions"], episode.walk.actions[0])
        assert np.array_equal(tracks["map"], episode.layout.solid[0])
        assert psnr(read_video(tmp_path / line["file_name"]), world.render(episode)[0]) > 24
        layouts[line["split"]].add(line["layout"])
    assert len(layouts["train"]) > 3 and not layouts["train"] & layouts["test"]


def test_rooms_are_the_same_whatever_is_filmed_beside_them(tmp_path) -> None:
    """Walks come in batches of neighbours; one that is missing is filmed alone."""
    settings = Settings("rooms", size=32, frames=20)
    recorder.record(tmp_path, settings, 6, opens=RoomsCamera)
    whole = bytes_of(tmp_path)
    (tmp_path / "000003.safetensors").unlink()
    assert recorder.record(tmp_path, settings, 6, opens=RoomsCamera).filmed == 1
    assert bytes_of(tmp_path) == whole
    camera = RoomsCamera(settings)
    for attempt in (0, 1):
        place = camera.place(3, attempt)
        poses = camera.shoot(place, 20, lambda frames: None)["poses"]
        assert np.array_equal(poses, Rooms(size=32).episodes(np.array([place.seed]), 20).walk.poses[0])

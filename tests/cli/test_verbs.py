"""What the verbs leave behind, and what they print."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import unspool as library
from unspool import hub, recipes
from unspool.cli import VERBS
from unspool.data.video import read_video


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(unspool, verb):
    done = unspool(verb, "--help")
    assert done.code == 0
    assert "examples:" in done.out and f"  unspool {verb}" in done.out


def test_no_verb_prints_what_there_is(unspool):
    done = unspool()
    assert done.code == 0
    assert all(verb in done.out for verb in VERBS)
    assert unspool("--version").out.strip() == f"unspool {library.__version__}"


def test_a_run_folder_tells_what_was_run(trained):
    told = json.loads((trained / "run.json").read_text())
    (job,) = told["jobs"]
    assert job["argv"][:3] == ["unspool", "train", "chunk-by-chunk"]
    assert (job["from_step"], job["to_step"], job["seed"], job["clips"]) == (0, 8, 0, 16)
    assert job["versions"]["torch"] == torch.__version__ and job["hardware"]["cores"] >= 1
    assert len(job["data"]["sha256"]) == 64 and "Duel(size=32" in job["data"]["is"]
    assert told["totals"]["flops"] > 1e9 and told["totals"]["hours"] > 0
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    assert (settings["recipe"], settings["size"], settings["chunk"]) == ("chunk-by-chunk", "nano", 3)
    assert settings["train"]["steps"] == 8
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9)) and "held_out_loss" in lines[-1]
    for picture in ("samples/0000008.png", "samples/0000008-training.png", "losses.png"):
        assert (trained / picture).stat().st_size > 10_000
    assert (trained / "checkpoints" / "last").resolve().name == "0000008"


def test_resume_goes_on_with_the_settings_of_the_run_and_announces_changes(unspool, trained, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    done = unspool("train", "--out", run, "--resume", "latest", "--train.steps", 10, "--window", 6, "--json")
    assert done.code == 0, done.err
    assert "train.steps: 8 -> 10" in done.err and "window: 8 -> 6" in done.err
    assert json.loads(done.out)["step"] == 10
    first, second = json.loads((run / "run.json").read_text())["jobs"]
    assert (first["to_step"], second["from_step"], second["to_step"]) == (8, 8, 10)
    assert sorted(second["changes"]) == ["train.steps: 8 -> 10", "window: 8 -> 6"]
    assert hub.find(run).config["arguments"]["window"] == 6


def test_a_run_that_is_done_says_so(unspool, trained, tmp_path):
    import shutil

    shutil.copytree(trained, tmp_path / "run", symlinks=True)
    done = unspool("train", "--out", tmp_path / "run", "--resume", "latest")
    assert done.code == 0 and "at step 8 already" in done.out and "nan" not in done.out


def test_a_folder_whose_held_out_video_is_short_is_trained_on(unspool, tmp_path, tiny):
    """Files are held out by a hash of their names: the short video among these takes every side in turn."""
    from unspool.data.writer import VideoWriter

    told = 0
    for short in range(4):
        folder = tmp_path / str(short)
        folder.mkdir()
        for k in range(4):
            with VideoWriter(folder / f"{k}.mp4", size=(32, 32)) as out:
                out.write(np.random.default_rng(k).integers(0, 255, (4 if k == short else 20, 32, 32, 3), np.uint8))
        run = ("--data", folder, "--out", folder / "run", *tiny, "--train.steps", 1)
        done = unspool("train", "chunk-by-chunk", *run)
        assert done.code == 0, done.err
        told += "nothing is held out" in done.err
        assert ("held out" in done.out) != ("nothing is held out" in done.err)
    assert told == 1


def test_init_begins_with_the_weights_of_a_model(unspool, trained, tmp_path, tiny):
    words = [w for w in tiny if w not in ("--chunk", "3")]
    done = unspool("train", "frame-by-frame", "--data", "duel", "--out", tmp_path / "run", *words, "--init", trained,
                   "--channels", 1, "--anchor", 0, "--window", 8, "--reach", 0, "--own", 2,
                   "--train.steps", 1, "--train.lr", "1e-9")  # fmt: skip
    assert done.code == 0, done.err
    old, new = (dict(library.from_pretrained(run).model.named_parameters()) for run in (trained, tmp_path / "run"))
    assert max((old[name] - new[name]).abs().max().item() for name in old) < 1e-5


def test_a_recipe_of_ones_own(unspool, tmp_path, tiny):
    (tmp_path / "mine.py").write_text(
        "from unspool import recipes\n\n\ndef mine(*, width_of_chunk: int = 2):\n"
        "    return recipes.chunk_by_chunk(size='nano', resolution=32, frames=6, chunk=width_of_chunk)\n"
    )
    run = ("train", "mine.py:mine", "--data", "duel", "--out", "run", "--train.steps", 1, "--train.batch", 2)
    done = unspool(*run, "--width-of-chunk", 4, cwd=tmp_path)
    assert done.code == 0, done.err
    assert hub.find(tmp_path / "run").config["arguments"] == {"width_of_chunk": 4}
    done = unspool("sample", "run", "--context", "duel", "--frames", 4, "--out", "out", cwd=tmp_path)
    assert done.code == 0, done.err


def test_settings_come_from_a_file_and_options_win(unspool, tmp_path):
    told = {"recipe": "full-sequence", "data": "duel", "size": "nano", "resolution": 32, "flight": 3, "frames": 8,
            "train": {"steps": 9, "batch": 2}}  # fmt: skip
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(told))
    done = unspool("train", "--config", tmp_path / "settings.yaml", "--out", tmp_path / "run", "--train.steps", 2)
    assert done.code == 0, done.err
    config = hub.find(tmp_path / "run").config
    assert (config["recipe"], config["arguments"]["flight"], config["train"]["steps"]) == ("full-sequence", 3, 2)


def test_one_trained_model_rolls_out_as_it_is_told(unspool, trained, tmp_path):
    """Any lag, number of steps, solver and shift over the same weights: as many frames as asked, and it says what was done."""
    changes = {
        "as it comes": (), "lag": ("--rollout.lag", "1/2"), "steps": ("--rollout.steps", 2),
        "solver": ("--rollout.solver", "midpoint"), "shift": ("--rollout.shift", 3),
        "all": ("--rollout.lag", "1/3", "--rollout.steps", 6, "--rollout.solver", "midpoint", "--rollout.shift", 2),
        "together": ("--rollout.lag", 0, "--rollout.chunks", 2),
    }  # fmt: skip
    for name, words in changes.items():
        done = unspool("sample", trained, "--context", "duel", "--frames", 7, "--out", tmp_path / name, "--json", *words)
        assert done.code == 0, done.err
        assert read_video(json.loads(done.out)["videos"][0]).shape == (7, 32, 32, 3)
        beside = json.loads((tmp_path / name / "future-1.mp4.json").read_text())
        assert {k: str(v) for k, v in beside["rollout"].items()} == {
            str(k).removeprefix("--rollout."): str(v) for k, v in zip(words[::2], words[1::2], strict=True)
        }


def test_history_guidance_is_chosen_in_use_and_goes_on_from_disk(unspool, tiny, tmp_path):
    words = [*tiny[: tiny.index("--chunk")], *tiny[tiny.index("--chunk") + 2 :], "--train.steps", 2]
    done = unspool("train", "diffusion-forcing", "--data", "duel", "--out", tmp_path / "run", *words)
    assert done.code == 0, done.err
    begun = ("--context", "duel", "--rollout.guidance", 2, "--rollout-out", tmp_path / "half.safetensors")
    whole = unspool("sample", tmp_path / "run", *begun[:-2], "--frames", 8, "--out", tmp_path / "whole", "--json")
    half = unspool("sample", tmp_path / "run", *begun, "--frames", 5, "--out", tmp_path / "half", "--json")
    rest = ("--rollout-in", tmp_path / "half.safetensors", "--frames", 3, "--out", tmp_path / "rest", "--json")
    parts = [half, unspool("sample", tmp_path / "run", *rest)]
    assert all(done.code == 0 for done in (whole, *parts)), [done.err for done in (whole, *parts)]
    first, *others = (read_video(json.loads(done.out)["videos"][0]).astype(int) for done in (whole, *parts))
    joined = np.concatenate(others)
    assert joined.shape == first.shape and abs(joined - first).mean() < 4, "two films are compressed apart"


def test_a_window_behind_clean_frames_says_how_many_it_needs(unspool, tmp_path):
    words = ("--size", "nano", "--resolution", 32, "--patch", 16, "--chunk", 3, "--chunks", 2, "--steps", 4)
    train = ("--train.batch", 2, "--train.steps", 2, "--bare", 0)
    done = unspool("train", "progressive", "--data", "duel", "--out", tmp_path / "run", *words, *train)
    assert done.code == 0, done.err
    out = ("--frames", 4, "--out", tmp_path / "no")
    for context, frames in (("--context", "duel"), 2), ((), 0):
        done = unspool("sample", tmp_path / "run", *context, "--context-frames", frames, *out)
        assert done.code == 2 and "3 clean frames" in done.err and "give 3 frames of context" in done.err
    done = unspool("sample", tmp_path / "run", "--context", "duel", "--context-frames", 3, "--frames", 5, "--out", tmp_path)
    assert done.code == 0 and read_video(tmp_path / "future-1.mp4").shape == (5, 32, 32, 3)


def test_a_drained_video_has_any_length_to_the_frame(unspool, tmp_path):
    """Chunks of 3: one frame, a frame less than a chunk, a chunk, a frame more, and half a minute's; behind a context and from
    nothing, without a word of warning, for all of that is trained."""
    words = ("--size", "nano", "--resolution", 32, "--patch", 16, "--chunk", 3, "--chunks", 2, "--steps", 4, "--train.batch", 2)
    done = unspool("train", "progressive", "--data", "duel", "--out", tmp_path / "run", *words, "--train.steps", 2)
    assert done.code == 0, done.err
    for context in (("--context", "duel", "--context-frames", 3), ("--context-frames", 0)):
        for frames in (1, 2, 3, 4, 893):
            out = ("--frames", frames, "--out", tmp_path / "out", "--rollout.drain", "--json")
            done = unspool("sample", tmp_path / "run", *context, *out)
            assert done.code == 0 and "training" not in done.err, done.err
            told = json.loads(done.out)
            assert told["frames"] == frames and read_video(told["videos"][0]).shape == (frames, 32, 32, 3)
    saved = ("--rollout.drain", "true", "--rollout-out", tmp_path / "saved.safetensors")
    done = unspool("sample", tmp_path / "run", "--context-frames", 0, "--frames", 4, "--out", tmp_path / "no", *saved)
    assert done.code == 2 and "leave one of them away" in done.err and not (tmp_path / "no").exists()


def test_sample_writes_as_many_frames_as_asked_and_a_sidecar(unspool, trained, tmp_path):
    words = ("--context", "duel", "--frames", 10, "--seeds", 2, "--seed", 5, "--out", tmp_path, "--json")
    done = unspool("sample", trained, *words)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["seeds"] == [5, 6] and told["frames"] == 10 and told["state_bytes"] > 1000
    first, second = (read_video(path) for path in told["videos"])
    assert first.shape == second.shape == (10, 32, 32, 3)
    assert (first != second).any()
    beside = json.loads((tmp_path / "future-2.mp4.json").read_text())
    assert (beside["seed"], beside["frames"], beside["checkpoint"], beside["first_frame"]) == (6, 10, "0000008", 2)
    assert len(beside["config_hash"]) == 16 and beside["timings"]["frames_per_second"] > 0
    assert "frames/s" in done.err


def test_any_video_of_any_size_is_context(unspool, trained, tmp_path):
    from unspool.data.writer import VideoWriter

    noise = np.random.default_rng(0).integers(0, 255, (5, 50, 74, 3), np.uint8)
    (tmp_path / "videos").mkdir()
    with VideoWriter(tmp_path / "videos" / "odd.mp4", size=(50, 74), fps=12) as out:
        out.write(noise)
    for context in (tmp_path / "videos" / "odd.mp4", tmp_path / "videos"):
        words = ("--context", context, "--context-frames", 4, "--frames", 3, "--out", tmp_path / "o", "--json")
        done = unspool("sample", trained, *words)
        assert done.code == 0, done.err
        assert json.loads(done.out)["fps"] == 30, "the rate of what the model was trained on"


def test_the_same_weights_under_another_recipe(unspool, trained, tmp_path):
    for recipe in ("chunk-by-chunk", "diffusion-forcing", "frame-by-frame", "full-sequence"):
        done = unspool("sample", trained, "--context", "duel", "--frames", 5, "--out", tmp_path / recipe, "--recipe", recipe)
        assert done.code == 0, done.err


def test_a_video_may_begin_from_nothing(unspool, trained, tmp_path):
    done = unspool("sample", trained, "--context-frames", 0, "--frames", 5, "--out", tmp_path / "out")
    assert done.code == 0 and "never learned to begin from nothing" in done.err
    told = json.loads((tmp_path / "out" / "future-1.mp4.json").read_text())
    assert (told["context"], told["first_frame"], told["frames"]) == ("nothing", 0, 5)
    both = unspool("sample", trained, "--context", "duel", "--context-frames", 0, "--frames", 5, "--out", tmp_path / "out")
    assert both.code == 2 and "one of them" in both.err


def test_recipes_are_listed(unspool):
    rows = json.loads(unspool("recipes", "--json").out)
    assert [row["recipe"] for row in rows] == list(recipes.RECIPES)
    assert all(row["source"] not in ("", "none given") for row in rows)
    by_name = {row["recipe"]: row for row in rows}
    assert (by_name["full-sequence"]["lag"], by_name["chunk-by-chunk"]["chunk"]) == ("0", 4)
    assert by_name["chunk-by-chunk"]["memory"] == "window 8"
    assert "chunk-by-chunk" in unspool("recipes").out


def test_info_of_a_model_and_of_the_installation(unspool, trained):
    facts = json.loads(unspool("info", trained, "--json").out)
    system = library.from_pretrained(trained)
    assert facts["parameters"] == sum(p.numel() for p in system.model.parameters())
    assert facts["weights bytes"] == (trained / "checkpoints/last/model.safetensors").stat().st_size
    assert facts["trained"]["clips"] == 16
    assert library.__version__ in unspool("info").out


def test_explain_takes_settings(unspool):
    done = unspool("explain", "chunk-by-chunk", "--size", "nano", "--rollout.steps", 4, "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["levels"]["loop"]) == 5


def test_explain_draws_the_levels(unspool, tmp_path):
    done = unspool("explain", "diffusion-forcing", "--size", "nano", "--picture", "levels.png", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "levels.png").read_bytes().startswith(b"\x89PNG")


def test_the_main_job_is_thirty_seconds():
    from unspool.cli import demo

    asked = demo.parser([]).parse(["--out", "demo"])
    assert (asked.frames, asked.seeds, demo.CONTEXT) == (893, 3, 2)


def test_demo_leaves_videos_pictures_and_a_report(unspool, trained, tmp_path: Path):
    done = unspool("demo", "--model", trained, "--frames", 70, "--seeds", 2, "--out", tmp_path)
    assert done.code == 0, done.err
    names = {"future-1.mp4", "future-2.mp4", "futures.mp4", "sheet.png", "curves.png", "report.html", "report.json"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob("*.part.mp4"))
    assert read_video(tmp_path / "future-2.mp4").shape == (70, 128, 128, 3)
    assert read_video(tmp_path / "futures.mp4").shape[:2] == (70, 128)
    assert "copy last" in done.out and "report.html" in done.out


def test_demo_trains_from_nothing(unspool, tmp_path: Path):
    done = unspool("demo", "--size", "nano", "--minutes", "0.05", "--frames", 30, "--seeds", 1, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["facts"]["recipe"] == "frame-by-frame"
    assert (tmp_path / "run" / "checkpoints" / "last" / "model.safetensors").is_file()


def test_a_refused_sample_leaves_earlier_videos_alone(unspool, trained, tmp_path):
    words = ("sample", trained, "--context", "duel", "--frames", 5, "--out", tmp_path)
    assert unspool(*words).code == 0
    before = (tmp_path / "future-1.mp4").read_bytes()
    assert unspool(*words, "--upscale", 0).code == 2
    assert (tmp_path / "future-1.mp4").read_bytes() == before
    assert not list(tmp_path.glob("*.part*"))

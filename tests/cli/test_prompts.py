"""`train --text captions` and `sample --prompt` as one types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unspool.data.worlds.duel import vocabulary

SMALL = (
    "--size", "nano", "--resolution", "32", "--patch", "16", "--chunk", "2", "--steps", "2", "--train.batch", "2",
    "--train.log-every", "1", "--train.steps", "4", "--data", "duel",
)  # fmt: skip


@pytest.fixture(scope="module")
def told(unspool, tmp_path_factory) -> Path:
    """A run of four steps that hears, and begins from nothing."""
    run = tmp_path_factory.mktemp("runs") / "told"
    done = unspool("train", "progressive", "--chunks", 2, "--text", "captions", "--out", run, *SMALL)
    assert done.code == 0, done.err
    return run


@pytest.fixture(scope="module")
def cached(unspool, tmp_path_factory) -> Path:
    """The same with a key/value cache, in which words are kept."""
    run = tmp_path_factory.mktemp("runs") / "cached"
    words = ("--window", 4, "--frames", 8, "--text", "captions", "--out", run, *SMALL)
    assert unspool("train", "chunk-by-chunk", *words).code == 0
    return run


def test_a_run_keeps_its_vocabulary_and_goes_on_with_it(unspool, told: Path) -> None:
    for place in (told / "checkpoints" / "last" / "config.json", told / "config.yaml"):
        text = place.read_text()
        assert "uppercut" in text and "longest" in text
    saved = json.loads((told / "checkpoints" / "last" / "config.json").read_text())["arguments"]["text"]
    assert saved == {"words": vocabulary(), "longest": 8}
    assert (told / "samples" / "0000004.png").is_file()
    done = unspool("train", "--out", told, "--resume", "latest", "--train.steps", 5)
    assert done.code == 0 and "changed: text" not in done.err, done.err


def test_a_prompt_begins_from_noise_and_the_json_tells_of_it(unspool, told: Path, tmp_path: Path) -> None:
    words = ("--prompt", "red kicks, blue falls", "--prompt", "0.2s: red falls, blue waits")
    done = unspool("sample", told, *words, "--frames", 11, "--seeds", 2, "--out", "out", cwd=tmp_path)
    assert done.code == 0, done.err
    beside = json.loads((tmp_path / "out" / "future-2.mp4.json").read_text())
    assert beside["context"] == "nothing" and beside["frames"] == 11 and beside["on_prompt"] == "keep"
    assert beside["prompts"] == [
        {"seconds": 0.0, "prompt": "red kicks, blue falls"}, {"seconds": 0.2, "prompt": "red falls, blue waits"}
    ]  # fmt: skip
    assert unspool("sample", told, "--context", "duel", "--frames", 4, "--out", "unsaid", cwd=tmp_path).code == 0
    beside = json.loads((tmp_path / "unsaid" / "future-1.mp4.json").read_text())
    assert "prompts" not in beside


def test_a_saved_rollout_goes_on_under_its_prompt(unspool, cached: Path, tmp_path: Path) -> None:
    """Bit for bit as one that was not cut; a new prompt is another video."""
    prompt, out = ("--prompt", "red kicks, blue falls"), ("--rollout-out", "half.safetensors")
    begin = ("sample", cached, "--context", "duel")
    assert unspool(*begin, *prompt, "--frames", 12, "--out", "whole", "--rollout-out", "whole.st", cwd=tmp_path).code == 0
    assert unspool(*begin, *prompt, "--frames", 5, "--out", "first", *out, cwd=tmp_path).code == 0
    go_on = ("sample", cached, "--rollout-in", "half.safetensors", "--frames", 7)
    assert unspool(*go_on, "--out", "rest", "--rollout-out", "rest.st", cwd=tmp_path).code == 0
    whole, rest = (load_file(tmp_path / f"{name}.st") for name in ("whole", "rest"))
    assert whole.keys() == rest.keys() and all(torch.equal(whole[name], rest[name]) for name in whole)
    beside = json.loads((tmp_path / "rest" / "future-1.mp4.json").read_text())
    assert beside["prompts"] == [{"seconds": 0.0, "prompt": "red kicks, blue falls"}]
    other = unspool(*go_on, "--prompt", "red waits, blue waits", "--out", "other", "--rollout-out", "other.st", cwd=tmp_path)
    differs = load_file(tmp_path / "other.st")
    assert other.code == 0 and not all(torch.equal(differs[name], rest[name]) for name in rest)


def test_recache_and_guidance(unspool, cached: Path, tmp_path: Path) -> None:
    words = ("--context", "duel", "--frames", 12, "--prompt", "red kicks", "--prompt", "0.2s: red falls")
    made = []
    for name, more in {
        "keep": (), "recache": ("--on-prompt", "recache"), "guided": ("--rollout.prompt-guidance", "3"),
    }.items():  # fmt: skip
        done = unspool("sample", cached, *words, *more, "--out", name, "--rollout-out", f"{name}.st", cwd=tmp_path)
        assert done.code == 0, done.err
        made.append(load_file(tmp_path / f"{name}.st"))
    keep, recache, guided = made
    assert keep.keys() == recache.keys() and not all(torch.equal(keep[name], recache[name]) for name in keep)
    assert {name.replace("prompted.", "") for name in guided if "empty." not in name} == set(keep)


# ---- what is refused: exit code 2, one line, nothing written


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--prompt", ""), "says nothing: say what is to be seen, or leave --prompt away"),
        (("--prompt", " ,. "), "says nothing"),
        (("--prompt", "red kiks"), "does not know the word 'kiks': did you mean 'kicks'"),
        (("--prompt", "red " * 5000), "at most 8 words, not 5000: 'red red red red red red red red' would be one"),
        (("--prompt", "red", "--prompt", "5s: blue", "--prompt", "4s: red"), "give a time above 5 s"),
        (("--prompt", "red", "--prompt", "infs: blue"), "give a number from 0 on"),
        (("--prompt", "red", "--prompt", "90s: blue"), "give 0.2333 s at most, or --frames 2701"),
        (("--prompt", "5s: red"), "give a first prompt without a time"),
        (("--prompt", "red", "--context", "duel", "--context-frames", "0"), "one of them"),
        (("--context", "duel", "--on-prompt", "recache"), "give --prompt as well"),
        (("--prompt", "red", "--on-prompt", "recahe"), "recache"),
        (("--prompt", "red", "--rollout.prompt-guidance", "0"), "prompt_guidance"),
    ],
)  # fmt: skip
def test_bad_prompts(refused, told: Path, words, says) -> None:
    assert says in refused("sample", told, *words, "--frames", 8, "--out", "out")


def test_recache_of_a_saved_rollout_at_once(unspool, cached: Path, tmp_path: Path) -> None:
    begin = ("sample", cached, "--context", "duel", "--frames", 8, "--prompt", "red kicks", "--rollout-out", "half.st")
    assert unspool(*begin, "--out", "first", cwd=tmp_path).code == 0
    go_on = ("sample", cached, "--rollout-in", "half.st", "--frames", 8, "--prompt", "red falls", "--on-prompt", "recache")
    done = unspool(*go_on, "--out", "rest", cwd=tmp_path)
    assert done.code == 2 and "choose --on-prompt keep" in done.err and not (tmp_path / "rest").exists()


def test_a_model_that_hears_nothing(refused, trained: Path) -> None:
    for more in (("--prompt", "red"), ("--rollout.prompt-guidance", "2")):
        words = ("--context", "duel") if "--prompt" not in more else ("--context-frames", 0)
        assert "--text captions" in refused("sample", trained, *words, *more, "--frames", 4, "--out", "out")


@pytest.mark.parametrize(
    ("text", "data", "says"),
    [
        ("captions", "rooms", "the data has no captions"),
        ("nowhere/encoder", "duel", "there is no text encoder 'nowhere/encoder'"),
        ("captoins", "duel", "there is no text encoder 'captoins': give a folder, or `captions`"),
    ],
)
def test_training_on_nothing_that_is_said(refused, text: str, data: str, says: str) -> None:
    words = [*SMALL[:-1], data]
    assert says in refused("train", "progressive", "--chunks", 2, "--text", text, "--out", "run", *words)

"""What is said when: as typed, as a control, and what a new prompt does to the past of a rollout."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from unspool.errors import UserError
from unspool.memory import Window
from unspool.prompts import Prompt, Script, Telling, behind, frame_by_frame, read_prompts, script_of, span, stretches
from unspool.recipes import RECIPES
from unspool.sampling import first_shown, futures, latents_of, start
from unspool.system import System
from unspool.testing import assert_equal, draw, scale_weights
from unspool.text import Vocabulary, Words

WORDS = Words(Vocabulary(("down", "left", "right", "up"), 3), 16, 2)


def system_of(name: str = "chunk-by-chunk", **more: Any) -> System:
    """A small one of random weights, that the words move."""
    small = {"size": "nano", "resolution": 16, "patch": 8, "components": 0, "steps": 2, "text": WORDS.vocabulary}
    system = RECIPES[name](**small, **more)
    scale_weights(system.model, 0.1).eval().requires_grad_(False)
    return system


# ---- as typed


def test_prompts_with_and_without_a_time() -> None:
    got = read_prompts(["red kicks, blue falls", "10s: blue kicks", " 12.5 s :red: falls"])
    assert got == (Prompt(0, "red kicks, blue falls"), Prompt(10, "blue kicks"), Prompt(12.5, "red: falls"))
    assert read_prompts(["0s: left", "1s: left"])[0] == Prompt(0, "left")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([""], "says nothing"), (["  "], "says nothing"), (["!, ?"], "says nothing"), (["left", "3s: "], "says nothing"),
        (["left", "inf s: up"], "cannot begin at 'inf' seconds"), (["left", "nans: up"], "give a number from 0 on"),
        (["left", "-3s: up"], "cannot begin at '-3' seconds"), (["left", "1.2.3s: up"], "cannot begin"),
        (["left", "5s: up", "5s: down"], "must rise.*give a time above 5 s"), (["left", "5s: up", "2s: down"], "must rise"),
        (["left", "up"], "must rise"), (["3s: left"], "nothing is said before 3 s"), (["up"] * 10_001, "at most 10000"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(lines: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_prompts(lines)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([Prompt(0, "left"), Prompt(4, "up")], "behind the end of the video, 4 s: give 3.9 s at most, or --frames 41"),
        ([Prompt(0, "left"), Prompt(1e12, "up")], "behind the end"), ([Prompt(0, "left or")], "'or'"),
        ([Prompt(0, "left"), Prompt(1, "up"), Prompt(1.01, "down")], "two prompts begin at frame 10"),
        ([Prompt(0, "up " * 4)], "at most 3 words, not 4: 'up up up'"),
    ],
)  # fmt: skip
def test_what_cannot_be_said(prompts: list[Prompt], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        script_of(WORDS, prompts, 10, 2, 40)
    with pytest.raises(UserError, match="hears no prompts"):
        script_of(None, prompts, 10, 2, 40)


# ---- as a control


def test_a_script_says_each_prompt_from_its_frame_on() -> None:
    """Ten frames a second; the video's first frame is absolute frame 2, and what lies before hears the first prompt."""
    script = script_of(WORDS, [Prompt(0, "left"), Prompt(0.3, "up"), Prompt(0.7, "down left")], 10, 2, 20)
    want = ["left"] * 5 + ["up"] * 4 + ["down left"] * 4
    assert [WORDS.decode(c) for c in script(torch.tensor([0]), 13)[0].numpy()] == want
    apart = script(torch.tensor([3, 8]), 4)
    assert [[WORDS.decode(c) for c in row.numpy()] for row in apart] == [want[3:7], want[8:12]]
    before = behind(script, WORDS, "right")
    assert [WORDS.decode(c) for c in before(torch.tensor([0]), 4)[0].numpy()] == ["right", "right", "left", "left"]
    each = frame_by_frame(WORDS, ["left", "", "up"])
    assert [WORDS.decode(c) for c in each(torch.tensor([0]), 5)[0].numpy()] == ["left", "", "up", "up", "up"]


@pytest.mark.parametrize(
    ("begins", "on", "want"),
    [([5, 9], "keep", [20]), ([5, 9], "recache", [4, 16]), ([5, 9, 12, 99], "recache", [4, 3, 13]),
     ([0, 5], "recache", [0, 20]), ([5], "recache", [20])],
)  # fmt: skip
def test_a_rollout_stops_where_the_past_is_written_anew(begins: list[int], on: Any, want: list[int]) -> None:
    script = Script(torch.tensor(begins), torch.zeros(len(begins), 3))
    assert stretches(Telling(script, on), 5, 20) == want
    assert stretches(None, 5, 20) == [20]


# ---- in a rollout


def video(system: System, telling: Telling, context: np.ndarray, frames: int) -> np.ndarray:
    rollout = start(system, context, 2, 7, script=telling.script)
    return np.concatenate([part for part, _ in futures(system, rollout, frames, telling=telling)], 1)


CONTEXT = (draw(3, shape=(6, 16, 16, 3)).clamp(-1, 1).numpy() * 127.5 + 127.5).astype(np.uint8)
CASES = {
    "chunk-by-chunk": {"chunk": 2, "window": 4, "frames": 8},
    "diffusion-forcing": {"flight": 2, "window": 4, "frames": 8},
    "progressive": {"chunk": 2, "chunks": 2},
    "frame-by-frame": {"window": 3, "frames": 8, "reach": 0, "own": 0},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("changes", [8, 9], ids=lambda n: f"at frame {n}")
def test_a_new_prompt_leaves_the_frames_before_it_bit_for_bit(name: str, changes: int) -> None:
    """keep; and it is heard: frames from it on differ from those under the old prompt. Frames denoised together with it may
    see it: those of its own chunk, and all in a window that looks both ways."""
    system = system_of(name, **CASES[name])
    said = Script(torch.tensor([6]), torch.from_numpy(WORDS.encode(["left"])))
    more = Script(torch.tensor([6, 6 + changes]), torch.from_numpy(WORDS.encode(["left", "up"])))
    one, other = (video(system, Telling(script), CONTEXT, 20) for script in (said, more))
    flight = 0 if name == "frame-by-frame" else system.schedule.plan().frames - 1
    sees = changes - changes % 2 if name == "chunk-by-chunk" else changes - flight
    assert np.array_equal(one[:, :sees], other[:, :sees])
    assert not np.array_equal(one[:, changes:], other[:, changes:])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("changes", [8, 9], ids=lambda n: f"at frame {n}")
def test_recache_is_beginning_anew_from_the_newest_frames(name: str, changes: int) -> None:
    """By hand: the rollout cut where the new prompt begins, its memories begun from empty with what the state took in last, at
    the same absolute frame, as if the new prompt had been said of it all along."""
    system = system_of(name, **CASES[name])
    model, plan, keep = system.model, system.schedule.plan(), span(system)
    begins, said = torch.tensor([6, 6 + changes]), torch.from_numpy(WORDS.encode(["left", "up"]))
    script = Script(begins, said)
    newest = latents_of(system, CONTEXT, 2)[:, : 6 - plan.redo]
    got = video(system, Telling(script, "recache", newest), CONTEXT, 20)

    from unspool.rollout import stream

    rollout = start(system, CONTEXT, 2, 7, script=script)
    taken, shown = [newest], []
    for chunk in stream(model, system.blend, plan, rollout, frames=changes, controls=script):
        taken += [] if chunk.remembered is None else [chunk.remembered]
        shown, rollout = [*shown, chunk.frames], chunk.rollout
    past = torch.cat(taken, 1)[:, -keep:] if keep else torch.cat(taken, 1)[:, :0]
    empty = model.start(2, seed=torch.tensor([7, 8]), device="cpu", dtype=torch.float32)
    begun = {**empty, "at": rollout.state["at"] - past.shape[1]}
    fresh = model.remember(past, begun, control=said[1].expand(*past.shape[:2], -1))
    rollout = rollout._replace(state={**fresh, "context": rollout.state["context"]})
    for chunk in stream(model, system.blend, plan, rollout, frames=20 - changes, controls=script):
        shown.append(chunk.frames)
    pixels = ((torch.cat(shown, 1).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1)
    assert_equal(torch.from_numpy(got).float(), pixels.float())
    kept = video(system, Telling(script, "keep"), CONTEXT, 20)
    remembers = any(isinstance(part, Window) and part.keeps for part in model.modules())
    assert np.array_equal(got, kept) != remembers, "where no word was ever written, there is nothing to write anew"


def test_recache_needs_the_frames_that_are_remembered() -> None:
    """A rollout that was loaded tells of them only as it goes on."""
    system = system_of("chunk-by-chunk", **CASES["chunk-by-chunk"])
    rollout = start(system, CONTEXT, 1, 0)
    first = first_shown(system, rollout)
    for changes, enough in ((0, False), (2, False), (4, True)):
        script = Script(torch.tensor([0, first + changes]), torch.from_numpy(WORDS.encode(["left", "up"])))
        made = futures(system, rollout, 8, telling=Telling(script, "recache"))
        if enough:
            assert sum(part.shape[1] for part, _ in made) == 8
            continue
        with pytest.raises(UserError, match="begin 4 frames later, or choose --on-prompt keep"):
            list(made)


def test_nothing_said_is_the_empty_prompt() -> None:
    system = system_of("progressive", **CASES["progressive"])
    silent = Telling(Script(torch.tensor([0]), torch.zeros(1, 3)))
    rollout = start(system, CONTEXT[:0], 1, 0)
    one, other = ([part for part, _ in futures(system, rollout, 6, telling=t)] for t in (silent, None))
    assert np.array_equal(np.concatenate(one, 1), np.concatenate(other, 1))

"""What is said when: prompts of a rollout, as typed and as the control of its frames, and what a new one does to the past."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from unspool.errors import UserError
from unspool.memory import Memory, Window
from unspool.rollout import Rollout, recache
from unspool.system import System
from unspool.text import Text
from unspool.types import Controls, Video

OnPrompt = Literal["keep", "recache"]
"""keep: what is remembered stays as it was written. recache: it is written anew, of the newest frames under the new prompt."""

MOST_PROMPTS = 10_000
_TIMED = re.compile(r"\s*([-+]?[\d.]+|[-+]?inf|nan)\s*s\s*:(.*)", re.IGNORECASE | re.DOTALL)


class Prompt(NamedTuple):
    """What is said from so many seconds of the video on."""

    seconds: float
    words: str


@final
@dataclass(frozen=True)
class Script:
    """begins: (n,) int64, absolute frames from which on each prompt is said, rising; the first is said of all before as well.
    said: (n, K), what these prompts are as a control."""

    begins: Tensor
    said: Tensor

    def __call__(self, at: Tensor, frames: int) -> Tensor:
        frame = at[:, None] + torch.arange(frames, device=at.device)
        number = torch.searchsorted(self.begins.to(at.device), frame, right=True) - 1
        return self.said.to(at.device)[number.clamp(min=0)]


@final
@dataclass(frozen=True)
class Telling:
    """script: what is said when. on: what a new prompt does to what is remembered. newest: (B, n, C, H, W), the last frames
    that the rollout's state took in before, as far as they are known."""

    script: Script
    on: OnPrompt = "keep"
    newest: Video | None = None


def read_prompts(lines: Sequence[str]) -> tuple[Prompt, ...]:
    """`red kicks` is said from the beginning, `10s: blue falls` from then on.

    Raises UserError for a prompt without words, and for times that are not finite, below 0, or do not rise.
    """
    if len(lines) > MOST_PROMPTS:
        raise UserError(f"a rollout has at most {MOST_PROMPTS} prompts, not {len(lines)}; go on from a saved one for more")
    prompts: list[Prompt] = []
    for line in lines:
        timed = _TIMED.fullmatch(line)
        words = (timed[2] if timed else line).strip()
        seconds = _seconds(timed[1]) if timed else 0.0
        if not re.search(r"\w", words):
            raise UserError(f"the prompt {line!r} says nothing: say what is to be seen, or leave --prompt away for no prompt")
        if prompts and seconds <= prompts[-1].seconds:
            last = f"{prompts[-1].seconds:g} s"
            raise UserError(f"the times of prompts must rise, and {seconds:g} s comes behind {last}: give a time above {last}")
        prompts.append(Prompt(seconds, words))
    if prompts and prompts[0].seconds > 0:
        raise UserError(f"nothing is said before {prompts[0].seconds:g} s: give a first prompt without a time")
    return tuple(prompts)


def _seconds(time: str) -> float:
    try:
        seconds = float(time)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise UserError(f"a prompt cannot begin at {time!r} seconds: give a number from 0 on, as in '10s: blue falls'")
    return seconds


def script_of(text: Text | None, prompts: Sequence[Prompt], fps: float, first: int, frames: int) -> Script:
    """The prompts of a video of so many frames whose first is absolute frame `first`.

    Raises UserError for a model that hears none, for words that it does not know or too many, for two prompts of one frame, and
    for one that begins behind the end.
    """
    if text is None:
        raise UserError("this model hears no prompts: leave --prompt away, or train one with --text captions")
    at = [round(prompt.seconds * fps) for prompt in prompts]
    for earlier, later in pairwise(at):
        if earlier == later:
            raise UserError(f"two prompts begin at frame {later}: let them begin at least {1 / fps:.3g} s apart")
    if at[-1] >= frames:
        late, last = f"the prompt at {prompts[-1].seconds:g} s begins behind the end of the video", (frames - 1) / fps
        raise UserError(f"{late}, {frames / fps:g} s: give {last:.4g} s at most, or --frames {at[-1] + 1}")
    return Script(first + torch.tensor(at), torch.from_numpy(text.encode([prompt.words for prompt in prompts])))


def behind(script: Script, text: Text, before: str) -> Script:
    """The script with what was said before its first frame, which therefore is a new prompt."""
    begins = torch.cat([script.begins[:1] - 1, script.begins])
    return Script(begins, torch.cat([torch.from_numpy(text.encode([before])), script.said]))


def frame_by_frame(text: Text, captions: Sequence[str]) -> Script:
    """A caption for each absolute frame from 0 on, the last for all behind."""
    return Script(torch.arange(len(captions)), torch.from_numpy(text.encode(captions)))


def stretches(telling: Telling | None, first: int, frames: int) -> list[int]:
    """The frames first .. first + frames - 1 in parts, between which the past is written anew; an empty one where that must be
    done before any is made."""
    if telling is None or telling.on == "keep":
        return [frames]
    changes = [begin - first for begin in telling.script.begins[1:].tolist() if 0 <= begin - first < frames]
    return [later - earlier for earlier, later in zip([0, *changes], [*changes, frames], strict=True)]


def span(system: System) -> int:
    """Frames of which `recache` writes the past anew: what windows hold; where other memories keep something, at least as many
    as training ever showed them."""
    kept = [memory for memory in system.model.modules() if isinstance(memory, Memory) and memory.keeps]
    windows = [memory.frames + memory.sink for memory in kept if isinstance(memory, Window)]
    return max([*windows, 0 if all(isinstance(memory, Window) for memory in kept) else system.frames], default=0)


def said_anew(system: System, rollout: Rollout, newest: Video, controls: Controls, script: Script, frame: int) -> Rollout:
    """The rollout with its memories written anew of these frames, as if what is said at absolute `frame` had been said of them.

    Raises UserError where more frames are remembered than are known.
    """
    keep, at = span(system), int(rollout.state["at"].max())
    if newest.shape[1] < min(keep, at):
        need = f"writes the past anew of its newest {keep} frames, and a saved rollout does not hold them"
        raise UserError(f"--on-prompt recache {need}: let the prompt begin {keep} frames later, or choose --on-prompt keep")
    told = controls(rollout.state["at"] - newest.shape[1], newest.shape[1])
    now = script(torch.full_like(rollout.state["at"], frame), 1).expand(-1, newest.shape[1], -1)
    told = torch.cat([told[..., : told.shape[-1] - now.shape[-1]], now.to(told)], -1)
    return recache(system.model, rollout, newest, told)


def newest_of(held: Video, more: Video | None, keep: int) -> Video:
    """The last `keep` frames of those held and those that came."""
    held = held if more is None else torch.cat([held, more.to(held)], 1)
    return held[:, max(0, held.shape[1] - keep) :]


def sentences(prompts: Sequence[Prompt]) -> list[dict[str, object]]:
    """As a JSON beside a video tells of them."""
    return [{"seconds": prompt.seconds, "prompt": prompt.words} for prompt in prompts]


"""What is played: a player, what the page asks of it, and the clock by which it is shown. It knows of no socket.

    session = Session(player, contexts, fps=15)
    session.hear({"hold": 1})         # what the page says
    session.step()                    # one chunk, as the page is told of it
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np

from unspool import store
from unspool.errors import NothingThere, UserError
from unspool.live import Player
from unspool.openings import Opening
from unspool.play.keys import keys_of

RECENT = 20
"""Chunks over which the rate shown is taken."""
MOST_SEED = 1 << 53
"""Seeds that a page can say: whole numbers of JavaScript."""


@final
class Session:
    """player: at the context number `clip` of `contexts`, which raises NothingThere behind the last; fps: of the video, as it
    was trained on.

    Every answer is a dict for the page: `frames`, PNGs in base64 to be shown one after the other, and where the player stands.
    """

    def __init__(self, player: Player, contexts: Callable[[int], Opening], fps: float, *, clip: int = 0, seed: int = 0) -> None:
        self.player, self.contexts, self.fps, self.clip, self.seed = player, contexts, fps, clip, seed
        self.name = contexts(clip).name
        self.playing, self.forks = True, 0
        self.action: Any = None if player.actions is None else player.actions.rest
        """What is held."""
        self.cost = 0.0
        """Seconds that the latest chunk took."""
        self._ends: deque[float] = deque(maxlen=RECENT)

    def about(self) -> dict[str, Any]:
        """What the page is told once: the picture, the actions with their keys, and what a frame costs."""
        known, plan = self.player.actions, self.player.system.schedule.plan()
        height, width = self.player.now.picture.shape[:2]
        ranges = None
        if known is not None and not known.names:
            ranges = {"low": known.low, "high": known.high, "rest": np.asarray(known.rest).tolist()}
        return {
            "about": {
                "width": width, "height": height, "fps": self.fps, "frames_per_step": self.player.frames_per_step,
                "names": [] if known is None else list(known.names), "keys": keys_of(known), "ranges": ranges,
                "rest": known.rest if known is not None and known.names else None,
                "evaluations": plan.evaluations, "state_bytes": store.size(self.player.now.rollout.state),
            },
            **self.stand(),
        }  # fmt: skip

    def step(self) -> dict[str, Any]:
        """One chunk, under the action that is held. Where the model breaks, a word of it, and a pause."""
        begun = time.monotonic()
        try:
            frames = self.player.step(self.action)
        except UserError as error:
            self.playing = False
            return {"error": str(error), **self.stand()}
        ended = time.monotonic()
        self.cost = ended - begun
        self._ends.append(ended)
        return self.stand(frames)

    def stand(self, frames: np.ndarray | None = None) -> dict[str, Any]:
        """Where the player stands, and the frame that was shown there, or the frames (n, H, W, 3) that led here."""
        player = self.player
        shown = player.now.picture[None] if frames is None else frames
        return {
            "frames": [png(frame) for frame in shown], "at": player.now.at, "behind": player.behind, "ahead": player.ahead,
            "playing": self.playing, "rate": self.rate, "forks": self.forks, "seed": self.seed, "clip": self.name,
        }  # fmt: skip

    @property
    def rate(self) -> float | None:
        """Frames a second that were made of late, None where nothing was, and in a pause."""
        if len(self._ends) < 2 or not self.playing:
            return None
        return self.player.frames_per_step * (len(self._ends) - 1) / max(1e-9, self._ends[-1] - self._ends[0])

    def hear(self, said: Any) -> dict[str, Any] | None:
        """Do what the page says; the answer, None where nothing changed that is seen.

        {"hold": action} for the steps to come, {"play": bool}, {"step": true} one chunk in a pause, {"rewind": steps} back, or
        forward by a negative number, {"fork": true}, {"restart": true} from the next context. What is not understood is an
        error, told to the page.
        """
        try:
            match said:
                case {"hold": action, **rest} if not rest:
                    self._hold(action)
                    return None
                case {"play": bool(playing), **rest} if not rest:
                    self.playing = playing
                    self._ends.clear()
                    return self.stand()
                case {"step": True, **rest} if not rest:
                    self.playing = False
                    return self.step()
                case {"rewind": int(steps), **rest} if not rest and not isinstance(steps, bool):
                    self.playing = False
                    self.player.rewind(max(-self.player.ahead, min(self.player.behind, steps)))
                    return self.stand()
                case {"fork": True, **rest} if not rest:
                    self.forks, self.seed = self.forks + 1, (self.seed + 1) % MOST_SEED
                    self.player.fork(self.seed)
                    return self.stand()
                case {"restart": True, **rest} if not rest:
                    self._restart()
                    return self.stand()
            return {"error": "this page said what the server does not understand: load it again"}
        except UserError as error:
            return {"error": str(error)}

    def _hold(self, action: Any) -> None:
        if self.player.actions is not None:
            self.player.actions.row(action)  # refused here, not when the next chunk begins
            self.action = action

    def _restart(self) -> None:
        """From the next context, after the last from the first; Raises UserError where it cannot be read."""
        try:
            opening, self.clip = self.contexts(self.clip + 1), self.clip + 1
        except NothingThere:
            opening, self.clip = self.contexts(0), 0
        self.player.restart(opening, self.seed)
        self.name, self.forks = opening.name, 0
        self._ends.clear()


def png(frame: np.ndarray) -> str:
    """(H, W, 3) uint8 as a PNG in base64: exactly what the model made."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="png", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def told(said: Mapping[str, Any]) -> str:
    """An answer as the page reads it."""
    return json.dumps(said, allow_nan=False, separators=(",", ":"))

"""A trained model as an environment of gymnasium: an agent acts, and the model makes what it sees.

    env = WorldModel(system, open_world("rooms", 64, "unseen"), frames=600)
    picture, _ = env.reset(seed=1, options={"clip": 3})
    picture, reward, terminated, truncated, info = env.step(1)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unspool import sampling
from unspool.data.actions import Actions, actions_of, seen_in
from unspool.data.clips import Clips, ClipSource
from unspool.errors import UserError
from unspool.live import Moment, Player
from unspool.openings import Opening
from unspool.system import System

try:
    import gymnasium
except ImportError:
    raise UserError("environments need gymnasium: pip install 'unspool[gym]'") from None

MANY = 1 << 20
"""Clips of a source that a reset chooses among, where none is named."""


class WorldModel(gymnasium.Env[np.ndarray, Any]):
    """What `step` shows is what the model makes of the action, behind a true context; rewards are 0, it has learned none.

    source: where contexts come from, a `ClipSource` or a batch of `Clips` with actions; frames: so many are made until an
    episode is truncated; context: true frames in front of them, by default as many as the model needs; actions: what one may
    do, by default as the source says.

    An observation is a frame, (H, W, 3) uint8; the action space is Discrete where actions are one of several, else a Box of the
    ranges in the data. A model that makes chunks of several frames answers a chunk at a time: an action is read when the chunk
    begins and held for all its `frames_per_step` frames, the observation is the last of them and info["frames"] has them all.
    One that refines several chunks at once (a lag below 1) has begun the next frames before it hears of an action that leads to
    them: it answers late. reset(options={"clip": n}) chooses the context; `save` and `load` are where one stands, as a value,
    to go back to or to search from.

    Raises UserError for a model that takes no actions, and for contexts or actions that do not fit it.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (gymnasium's own attribute)

    def __init__(
        self, system: System, source: ClipSource | Clips, *, frames: int = 1000, context: int | None = None,
        actions: Actions | None = None, render_mode: str | None = "rgb_array",
    ) -> None:  # fmt: skip
        if not system.model.controls:
            raise UserError("this model takes no actions, there is nothing to do in it: train one with --controls K")
        if frames < 1:
            raise UserError(f"an episode has at least one frame, not {frames}")
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"render_mode is rgb_array or None, not {render_mode!r}")
        self.source, self.frames, self.render_mode = source, frames, render_mode
        self.context = sampling.context_frames(system) if context is None else context
        fps = None if isinstance(source, Clips) else source.fps
        self.metadata = {**type(self).metadata, "render_fps": fps or 30.0}
        self.player = Player(system, self._opening(0), actions or _known(source))
        self.frames_per_step = self.player.frames_per_step
        known = self.player.actions
        assert known is not None
        if known.names:
            self.action_space = gymnasium.spaces.Discrete(known.width)
        else:
            self.action_space = gymnasium.spaces.Box(np.array(known.low, np.float32), np.array(known.high, np.float32))
        shape = (*sampling.picture_size(system), 3)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self._begun = self.player.now.at

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """The last frame of a context: of clip options["clip"], else of one at random. seed: of both, see gymnasium."""
        super().reset(seed=seed)
        clip, future = (int(n) for n in self.np_random.integers(MANY, size=2))
        clip = clip if options is None else options.get("clip", clip)
        if not isinstance(clip, int | np.integer) or not 0 <= clip < 1 << 62:
            raise UserError(f"options['clip'] is the number of a clip, from 0 on, not {clip!r}")
        clip = int(clip)
        self.player.restart(self._opening(clip), future)
        self._begun = self.player.now.at
        return self.player.now.picture.copy(), {"clip": clip, "at": self._begun}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One chunk: its last frame, 0, False, whether the budget of frames is spent, and all of its frames."""
        shown = self.player.step(action)
        made = self.player.now.at - self._begun
        return shown[-1].copy(), 0.0, False, made >= self.frames, {"frames": shown.copy(), "at": self.player.now.at}

    def render(self) -> np.ndarray | None:
        """The newest frame, (H, W, 3) uint8."""
        return None if self.render_mode is None else self.player.now.picture.copy()

    def save(self) -> Moment:
        """Where the episode stands, as a value: its `rollout` is one of `stream`."""
        return self.player.now

    def load(self, moment: Moment) -> None:
        """Go on from there; the budget of frames counts from the episode's own beginning. Raises UserError as `Player.load`."""
        self.player.load(moment)

    def _opening(self, clip: int) -> Opening:
        if isinstance(self.source, Clips):
            clips, row = self.source, clip % len(self.source.frames)
            clips = clips.rows(slice(row, row + 1))
        else:
            clips = self.source(np.array([clip], np.int64), self.context)
        if clips.frames.dtype != np.uint8:
            raise UserError("contexts are pictures, and these clips are latents: name the videos that they were made of")
        actions = None if clips.actions is None else clips.actions[0]
        return Opening(clips.frames[0, : self.context], self.metadata["render_fps"], f"clip {clip}", actions)


def _known(source: ClipSource | Clips) -> Actions | None:
    if not isinstance(source, Clips):
        return actions_of(source)
    return None if source.actions is None else seen_in(source.actions.reshape(-1, source.actions.shape[-1]))

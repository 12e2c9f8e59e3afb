"""ViZDoom: walks through the levels of Freedoom, without monsters. Textured rooms, stairs, doors and outdoors in 3D."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import vizdoom
from vizdoom import Button, GameVariable, ScreenResolution

from unspool.data.record.simulator import View
from unspool.errors import UserError

LEVELS = tuple(
    [("freedoom2.wad", f"MAP{n:02}") for n in range(1, 33)]
    + [("freedoom1.wad", f"E{e}M{n}") for e in range(1, 5) for n in range(1, 10)]
)
CLOSED = ("MAP30",)  # from none of its eight starting places does one get anywhere: 80 to 100 % of all views are one red wall
# Starting places, by their number in the level, from which three walks of 700 frames with open eyes and a hand on each door
# saw less than 16 squares of 64 map units, or next to nothing in four views of five. Every other level has more of them.
SHUT = {
    "MAP05": (0, 1, 2, 4, 8, 11), "MAP09": (12,), "MAP10": (10,), "MAP13": (10,), "MAP15": (7,), "MAP16": (0, 1, 6, 7),
    "MAP17": (8,), "MAP22": (0, 1, 3), "MAP24": (0, 1, 2, 3), "MAP26": (2,), "MAP27": (6, 8, 12), "MAP31": (0,), "E2M1": (4,),
    "E2M2": (0,), "E2M4": (4,), "E2M5": (5,), "E2M6": (9, 10, 11), "E3M2": (5,), "E3M7": (0, 1, 2, 3, 4, 6, 7, 9, 10),
}  # fmt: skip
TURN, PACE = 3.75, 8.33  # a tic: degrees, and map units once the player is up to speed
_EYE, _STEP, _TALL, _WIDE = 41, 24, 56, 18  # map units: of the player's eyes; what can be climbed; height and half width
_DEPTH = 7.3  # map units in one level of the depth buffer, measured against the walls of the map
_NATIVE = {120: "160X120", 150: "200X150", 240: "320X240", 300: "400X300", 480: "640X480", 600: "800X600"}
_PLAYERS = (1, 2, 3, 4, 11)  # kinds of things: where players start, alone, together or against each other


class ViZDoom:
    """See `Simulator`. A layout is a level, a seed one of the places where players start there, and where they look.

    tics: 35ths of a second that an action is held. map: (N, 4) float32, the walls from (x, y) to (x, y). Positions are in
    steps of `ahead`. done: the player has found the exit. Raises UserError for a size or tics out of range.
    """

    actions = ("stay", "ahead", "left", "right", "ahead left", "ahead right", "back", "use")
    layouts = len(LEVELS)
    closed = tuple(n for n, (_, level) in enumerate(LEVELS) if level in CLOSED)

    def __init__(self, size: int, tics: int = 2) -> None:
        if not 1 <= tics <= 10:
            raise UserError(f"vizdoom: tics is {tics}; use 1 to 10")
        if size > max(_NATIVE):
            raise UserError(f"vizdoom: frames of {size} pixels are too large; use at most {max(_NATIVE)}")
        self.fps, self.tics = 35 / tics, tics
        self.map: np.ndarray | None = None
        self._native = "RES_" + next(name for height, name in _NATIVE.items() if height >= size)
        self._wad, self._game = "", vizdoom.DoomGame()
        self._scratch = tempfile.TemporaryDirectory()  # the game litters where it starts, and again when it ends

    def reset(self, seed: int, layout: int) -> View:
        wad, level = LEVELS[layout]
        if wad != self._wad:
            self._start(wad, level)
        path = Path(vizdoom.__file__).with_name(wad)
        walls, starts = _read(path, level)
        rng = np.random.default_rng(seed)
        x, y = starts[rng.integers(len(starts))]
        self.map = walls / np.float32(PACE * self.tics)
        self._game.set_doom_map(level)
        self._game.set_seed(seed % 2**31)
        self._game.new_episode()
        for command in ("god", "give keys", f"warp {x} {y}"):
            self._game.send_game_command(command)
        self._game.make_action([0, 0, rng.uniform(-180, 180), 0], 1)
        self._game.make_action([0, 0, 0, 0], 10)  # to come to rest
        return self._view()

    def step(self, action: int | np.ndarray) -> View:
        name = self.actions[int(action)]
        turn = TURN * (("right" in name) - ("left" in name))
        self._game.make_action([float("ahead" in name), float(name == "back"), turn, float(name == "use")], self.tics)
        return self._view()

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.actions)))

    def close(self) -> None:
        self._game.close()
        self._scratch.cleanup()

    def _view(self) -> View:
        state = self._game.get_state()
        if state is None:  # the level is over, and with it the picture
            return self._last._replace(done=True)
        assert state.game_variables is not None and state.depth_buffer is not None
        x, y, degrees = state.game_variables
        pose = np.array([x / PACE / self.tics, y / PACE / self.tics, np.radians(degrees)])
        self._last = View(state.screen_buffer, pose, free=_free(state.depth_buffer) / (PACE * self.tics))
        return self._last

    def _start(self, wad: str, level: str) -> None:
        """Run the game on other levels: a process of its own, told before it begins what it must show."""
        self._game.close()
        self._game = game = vizdoom.DoomGame()
        game.set_doom_game_path(str(Path(vizdoom.__file__).with_name(wad)))
        game.set_doom_map(level)
        game.set_screen_resolution(getattr(ScreenResolution, self._native))
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_depth_buffer_enabled(True)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        for hide in (game.set_render_hud, game.set_render_weapon, game.set_render_crosshair, game.set_render_messages,
                     game.set_render_screen_flashes):  # fmt: skip
            hide(False)
        game.set_available_buttons([Button.MOVE_FORWARD, Button.MOVE_BACKWARD, Button.TURN_LEFT_RIGHT_DELTA, Button.USE])
        game.set_available_game_variables([GameVariable.POSITION_X, GameVariable.POSITION_Y, GameVariable.ANGLE])
        game.add_game_args("-nomonsters +sv_cheats 1 +movebob 0 +con_midtime 0 +cl_showsecretmessage 0")
        game.set_episode_start_time(10)
        game.set_episode_timeout(0)
        with contextlib.chdir(self._scratch.name):
            game.init()
        self._wad = wad


def _free(depth: np.ndarray) -> np.ndarray:
    """(3,) map units to what stops the player on the left, ahead and on the right, from the depth (H, W) of the picture."""
    height, width = depth.shape
    rows, columns = np.mgrid[-height // 8 : height // 8, -width // 2 : width // 2] + 0.5
    far = depth[height // 2 - height // 8 : height // 2 + height // 8] * _DEPTH
    up = _EYE - rows * far * (2 / width)
    solid = (up > _STEP) & (up < _TALL)
    aside = columns * far * (2 / width)
    lanes = [(columns < -0.3 * width), (np.abs(aside) < _WIDE), (columns > 0.3 * width)]
    return np.array([np.min(far, where=solid & lane, initial=64 * _DEPTH) for lane in lanes])


def _read(wad: Path, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Walls (N, 4) float32 and starting places (M, 2) int16 of a level, in map units, from the game's own file."""
    data = np.memmap(wad, np.uint8, "r")
    count, at = data[4:12].view("<i4")
    lumps = np.frombuffer(data, [("at", "<i4"), ("size", "<i4"), ("name", "S8")], count, at)
    first = int(np.flatnonzero(lumps["name"] == level.encode())[0])

    def table(lump: int, fields: int) -> np.ndarray:
        begin, size = (int(lumps[first + lump][key]) for key in ("at", "size"))
        return data[begin : begin + size].view("<i2").reshape(-1, fields)

    things, lines, points = table(1, 5), table(2, 7), table(4, 2)
    walls = points[lines[lines[:, 2] & 1 > 0][:, :2]].reshape(-1, 4)
    starts = things[np.isin(things[:, 3], _PLAYERS)][:, :2]
    return walls.astype(np.float32), np.delete(starts, SHUT.get(level, ()), 0)

"""A small set of videos that nobody here drew: short walks in ViZDoom (MIT, with Freedoom's art), recorded to mp4.

    record(folder, clips=8)        # about two seconds; the same files for the same numbers

Sizes (odd ones too), lengths and places differ from clip to clip, 35 frames a second as in the game, written by plain
PyAV with the encoder's own habits (B-frames, key frames far apart): files as strangers send them.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import av
import numpy as np

FPS = 35  # the game's tics per second
PLACES = ("my_way_home.cfg", "health_gathering_supreme.cfg", "defend_the_line.cfg", "health_gathering.cfg")
SHAPES = ((120, 160), (97, 131), (90, 160), (120, 120), (75, 99), (64, 64), (119, 85), (110, 150))  # (H, W), cut out


def record(root: Path, clips: int = 8) -> list[Path]:
    """Write `clips` mp4s into `root` (made if missing); clip i has SHAPES[i % 8] and 48 + 13 (i % 8) frames."""
    root = Path(root).resolve()
    root.mkdir(parents=True, exist_ok=True)
    paths = [root / f"walk-{i}.mp4" for i in range(clips)]
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # the game litters where it runs
        for i, path in enumerate(paths):
            _write(path, walk(seed=i, frames=48 + 13 * (i % 8), place=PLACES[i % len(PLACES)], shape=SHAPES[i % 8]))
    return paths


def walk(seed: int, frames: int, place: str, shape: tuple[int, int]) -> np.ndarray:
    """One player who presses random buttons for a third of a second at a time: (frames, *shape, 3) uint8."""
    import vizdoom

    game = vizdoom.DoomGame()
    game.load_config(str(Path(vizdoom.scenarios_path) / place))
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_render_hud(False)
    game.set_episode_timeout(10 * frames)
    game.set_seed(seed)
    game.init()
    rng = np.random.default_rng(seed)
    pictures = []
    buttons = [0] * game.get_available_buttons_size()
    top, left = (120 - shape[0]) // 2, (160 - shape[1]) // 2
    for tic in range(frames):
        if tic % 12 == 0:
            buttons = rng.integers(0, 2, len(buttons)).tolist()
        if game.is_episode_finished():
            game.new_episode()
        pictures.append(game.get_state().screen_buffer[top : top + shape[0], left : left + shape[1]].copy())
        game.make_action(buttons)
    game.close()
    return np.stack(pictures)


def _write(path: Path, video: np.ndarray) -> None:
    odd = video.shape[1] % 2 or video.shape[2] % 2
    with av.open(str(path), "w") as container:
        # Macroblock trees give other bytes each time, even on one thread.
        stream = container.add_stream("libx264", rate=FPS, options={"threads": "1", "x264-params": "no-mbtree=1"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv444p" if odd else "yuv420p"  # only full colour knows odd sides
        for picture in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))

"""Films of worlds that nobody here drew: simulators behind one face, walked through and written as videos."""

from __future__ import annotations

import difflib
from typing import Any

from unspool.data import read_options
from unspool.data.record.simulator import Simulator, View
from unspool.errors import UserError

__all__ = ["SIMULATORS", "Simulator", "View", "open_simulator"]

SIMULATORS = ("vizdoom", "memory-maze", "crafter", "miniworld", "atari", "gym")
_LIBRARIES = "it draws with EGL: `apt-get install libegl1 libgl1-mesa-dri`, and leave MUJOCO_GL unset"


def open_simulator(world: str, size: int) -> Simulator:
    """A simulator by what a user types: `vizdoom`, `memory-maze:cells=15`, `atari:Pong`, `gym:MountainCar-v0`.

    size: side of the frames to come; native ones are as large or larger where the world lets one choose. Raises UserError for
    an unknown world or option, and where a package or a library of the system is missing.
    """
    name, _, rest = world.partition(":")
    if name not in SIMULATORS:
        near = difflib.get_close_matches(name, SIMULATORS, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(SIMULATORS)}"
        raise UserError(f"there is no simulator {name!r}; {meant}")
    try:
        made = _class(name)
        if name in ("atari", "gym"):
            if name == "gym" and not rest:
                raise UserError("gym: name an environment, as in gym:MountainCar-v0")
            return made(rest, size)
        return made(size, **read_options(world, rest, made))
    except ModuleNotFoundError as error:
        raise UserError(f"{name} needs a package that is missing ({error}); `pip install 'unspool[{name}]'`") from None
    except ImportError as error:  # as MuJoCo and pyglet say it
        raise UserError(f"{name} cannot start ({' '.join(str(error).split())}); {_LIBRARIES}") from None


def _class(name: str) -> Any:
    match name:
        case "vizdoom":
            from unspool.data.record.vizdoom import ViZDoom

            return ViZDoom
        case "memory-maze":
            from unspool.data.record.memory_maze import MemoryMaze

            return MemoryMaze
        case "crafter":
            from unspool.data.record.crafter import Crafter

            return Crafter
        case "miniworld":
            from unspool.data.record.miniworld import MiniWorld

            return MiniWorld
        case "atari":
            from unspool.data.record.atari import Atari

            return Atari
    from unspool.data.record.gym import Gym

    return Gym

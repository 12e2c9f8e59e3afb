"""Which keys stand for which actions, by what the actions are called."""

from __future__ import annotations

import re

from unspool.data.actions import Actions

WORDS = {
    "ahead": "up", "forward": "up", "up": "up", "north": "up", "back": "down", "backward": "down", "down": "down",
    "south": "down", "left": "left", "west": "left", "right": "right", "east": "right", "fire": "fire", "attack": "fire",
    "use": "use",
}  # fmt: skip
FILLERS = ("move", "turn", "go", "walk", "look", "strafe")
"""Words of a name that say nothing of where to."""
_NAME = re.compile(rf"(?:{'|'.join(sorted((*WORDS, *FILLERS), key=len, reverse=True))}|[\s_+-])+")
_WORD = re.compile("|".join(sorted((*WORDS, *FILLERS), key=len, reverse=True)))
SPARE = "1234567890zxcvbtgyhujmiklop"
"""Keys for actions that no word tells: not those that steer (arrows, WASD, E, Q) nor those of the page (space, R, F, N)."""


def keys_of(actions: Actions | None) -> list[tuple[str, ...]]:
    """For each action the keys that are held together for it: up, down, left, right, fire, use, or one of SPARE; () for doing
    nothing, which needs no key, and where there are more actions than keys. None are the same."""
    if actions is None or not actions.names:
        return []
    taken: set[tuple[str, ...]] = {()}
    keys: list[tuple[str, ...]] = []
    spare = iter(SPARE)
    for number, name in enumerate(actions.names):
        chord = () if number == actions.rest else _chord(name.lower())
        if chord in taken and number != actions.rest:
            chord = tuple(key for key in (next(spare, None),) if key is not None)
        taken.add(chord)
        keys.append(chord)
    return keys


def _chord(name: str) -> tuple[str, ...]:
    """The keys of a name that says nothing else: "ahead left" -> up, left; "pick up" is not a way to go."""
    if not _NAME.fullmatch(name):
        return ()
    held = {WORDS[word] for word in _WORD.findall(name) if word in WORDS}
    return tuple(key for key in dict.fromkeys(WORDS.values()) if key in held)

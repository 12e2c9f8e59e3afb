"""What one may do in a world: one of several named actions, or K numbers in their ranges."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from unspool.data.clips import ClipSource
from unspool.errors import UserError

RESTS = ("stay", "noop", "no-op", "nothing", "idle", "wait", "done")
"""Names of doing nothing, in the worlds that have one."""
LOOKED = 64
"""Clips that are looked at, where a source does not say what its actions are."""


@final
@dataclass(frozen=True)
class Actions:
    """names: of discrete actions, each one column of K that is 1 where it is chosen; or, of continuous ones, low and high: the
    range of each of the K numbers, as far as the data has them."""

    names: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """K, the numbers of an action."""
        return len(self.names) or len(self.low)

    @property
    def rest(self) -> int | np.ndarray:
        """What stands for doing nothing: the action of such a name, else the first; of numbers, those nearest to 0."""
        if self.names:
            return next((n for n, name in enumerate(self.names) if name.lower() in RESTS), 0)
        return np.clip(np.zeros(self.width, np.float32), self.low, self.high).astype(np.float32)

    def row(self, action: Any) -> np.ndarray:
        """(K,) float32, what a model is told: of the number or the name of a discrete action, or of K numbers.

        Raises UserError for an action that is missing, unknown, out of range or not finite.
        """
        if action is None:
            raise UserError(f"an action is missing: give {self._wanted()}")
        if self.names:
            return np.eye(self.width, dtype=np.float32)[self._number(action)]
        try:
            row = np.asarray(action, np.float32).reshape(-1)
        except (TypeError, ValueError):
            raise UserError(f"{action!r} is no action here: give {self._wanted()}") from None
        if row.shape != (self.width,) or not np.isfinite(row).all():
            raise UserError(f"an action of {row.size} numbers, {row.tolist()[:8]}, is none here: give {self._wanted()}")
        slack = 1e-5 * (1 + np.maximum(np.abs(self.low), np.abs(self.high)))  # numbers that went through text or float32
        if ((row < np.asarray(self.low) - slack) | (row > np.asarray(self.high) + slack)).any():
            raise UserError(f"the action {row.tolist()} is out of range: give {self._wanted()}")
        return row

    def rows(self, actions: Sequence[Any]) -> np.ndarray:
        """(T, K) of many. Raises UserError as `row`, with the place of the action."""
        made = np.zeros((len(actions), self.width), np.float32)
        for at, action in enumerate(actions):
            try:
                made[at] = self.row(action)
            except UserError as error:
                raise UserError(f"action {at}, from 0: {error}") from None
        return made

    def told(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {"names": list(self.names)} if self.names else {"low": list(self.low), "high": list(self.high)}

    @staticmethod
    def read(told: Any) -> Actions:
        """The inverse of `told`. Raises UserError for anything else."""
        parts = {key: tuple(told.get(key, ())) for key in ("names", "low", "high")} if isinstance(told, Mapping) else {}
        named = bool(parts) and all(isinstance(name, str) for name in parts["names"])
        ranged = named and all(isinstance(x, int | float) and np.isfinite(x) for x in parts["low"] + parts["high"])
        if not ranged or len(parts["low"]) != len(parts["high"]) or bool(parts["names"]) == bool(parts["low"]):
            raise UserError("the checkpoint's actions are neither names nor ranges of numbers; copy its config.json again")
        return Actions(**parts)

    def _number(self, action: Any) -> int:
        if isinstance(action, str) and action in self.names:
            return self.names.index(action)
        whole = isinstance(action, int | np.integer) or (isinstance(action, np.ndarray) and action.dtype.kind in "iu")
        if whole and not isinstance(action, bool) and np.size(action) == 1 and 0 <= int(np.ravel(action)[0]) < self.width:
            return int(np.ravel(action)[0])
        if isinstance(action, str) and (near := difflib.get_close_matches(action, self.names, n=1)):
            raise UserError(f"there is no action {action!r}; did you mean {near[0]!r}?")
        raise UserError(f"{action!r} is no action here: give {self._wanted()}")

    def _wanted(self) -> str:
        if self.names:
            return f"a number of 0 to {self.width - 1}, or a name of {', '.join(self.names)}"
        return f"{self.width} numbers, between {[*self.low]} and {[*self.high]}"


def actions_of(source: ClipSource) -> Actions | None:
    """What one may do in the clips of a source; None where nobody acts.

    Named actions are as the source names them. Else its first clips are looked at: where every action is one of K, they are
    numbered, and where not, their numbers have the range that these clips show.
    """
    rows = source(np.arange(LOOKED, dtype=np.int64), 2).actions
    if rows is None or not rows.shape[-1]:
        return None
    return seen_in(rows.reshape(-1, rows.shape[-1]), source.action_names)


def seen_in(rows: np.ndarray, names: tuple[str, ...] = ()) -> Actions:
    """What the actions (N, K) of some data are: named where there is a name for each of K; else numbered where each row is one
    of K or nothing, or what ranges they have. Raises UserError for actions that are not finite."""
    if not np.isfinite(rows).all():
        raise UserError("some actions of the data are not finite: mend them, or leave those videos out")
    if rows.shape[1] and len(names) == rows.shape[1]:
        return Actions(names)
    if rows.shape[1] > 1 and np.isin(rows, (0, 1)).all() and (rows.sum(1) <= 1).all():
        return Actions(tuple(f"action {n}" for n in range(rows.shape[1])))
    return Actions(low=tuple(map(float, rows.min(0))), high=tuple(map(float, rows.max(0))))


def read_actions(path: Path, known: Actions) -> np.ndarray:
    """(T, K) float32 from a file: an action a line, by name, by number or as K numbers with spaces or commas between; or a .npy
    of (T,) numbers of actions, or (T, K). Raises UserError for a file that cannot be read, and as `Actions.row`."""
    try:
        if path.suffix == ".npy":
            given: Sequence[Any] = list(np.load(path, allow_pickle=False))
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            given = [_parsed(line.strip(), known) for line in lines if line.strip()]
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read the actions in {path}: {error}; give a text with one a line, or a .npy") from error
    if not given:
        raise UserError(f"{path} holds no action; write one a line")
    try:
        return known.rows(given)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _parsed(line: str, known: Actions) -> Any:
    if known.names:
        return int(line) if line.isdecimal() else line
    return [float(number) for number in line.replace(",", " ").split()]

"""What of a memory training never reaches, since its clips are too short: refused where weights would never be learned, told
where something happens in use alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from unspool.errors import UserError
from unspool.memory import LSTM, Delayed, Full, Latents, Memory, Window


class Past(NamedTuple):
    """Of one training clip of `frames`: frames that memories have taken in before the last flight (written), and that lie
    before the last frame of all (last). most: frames that a clip may have."""

    frames: int
    written: int
    last: int
    most: int

    def mended(self, missing: int, setting: str, value: int) -> str:
        """How `missing` more frames of the past are had, or a setting goes without them."""
        longer = f"frames to at least {self.frames + missing}" if self.frames + missing <= self.most else ""
        lower = f"{setting} to at most {value}" if value >= 0 else ""
        return f"set {' or '.join(filter(None, (longer, lower)))}"


def unreached(memories: Iterable[Memory], past: Past) -> list[str]:
    """A line for each thing that only happens in use. Raises UserError for a memory that training never reads anything from,
    and for one that its clips overflow."""
    warnings = (line for memory in memories for line in _of(memory, past))
    return list(dict.fromkeys(warnings))


def _of(memory: Memory, past: Past) -> list[str]:
    shown = f"training shows at most {past.written} frames of the past"
    if isinstance(memory, Delayed):
        if (missing := memory.by + 1 - past.last) > 0:
            raise UserError(
                f"a memory read {memory.by} frames late is empty throughout training clips of {past.frames} frames: "
                f"{past.mended(missing, 'delay', memory.by - missing)}"
            )
        return _of(memory.memory, past._replace(written=min(past.written, past.last - memory.by)))
    if isinstance(memory, Latents):
        if (missing := memory.segment - past.written) > 0:
            fix = past.mended(missing, "segment", past.written)
            raise UserError(f"{shown}, a segment has {memory.segment}: nothing would ever enter the memory; {fix}")
        return _cut(memory.horizon, memory.segment, past, shown)
    if isinstance(memory, Full) and past.written > memory.capacity:
        fix = f"set capacity to at least {past.written}, or frames lower"
        raise UserError(f"{shown}, and memory full has place for {memory.capacity}: {fix}")
    if isinstance(memory, Window) and memory.sink and (missing := memory.frames + memory.sink - past.written) > 0:
        seen = f"{shown}, {memory.sink} of a sink are seen apart once the window of {memory.frames} has lost them"
        return [f"{seen}: {past.mended(missing, 'window', memory.frames - missing)}"]
    return _cut(memory.horizon, 1, past, shown) if isinstance(memory, LSTM) else []


def _cut(horizon: int | None, size: int, past: Past, shown: str) -> list[str]:
    """size: frames of a step of the memory."""
    if horizon is None or horizon * size < past.written:
        return []
    steps = f"{horizon} segments of {size}" if size > 1 else f"{horizon} frames"
    fix = past.mended(horizon * size + 1 - past.written, "horizon", (past.written - 1) // size)
    return [f"{shown}, gradient is cut after {steps}, which is never: {fix}"]

"""The figures of a system as a page of plain text."""

from __future__ import annotations

from typing import Any

from unspool.explain.figures import explain_dict
from unspool.system import System

SHADES = " ░▒▓█"


def explain(system: System, name: str = "", *, batch: int = 16, fps: float = 30.0, measure: bool = True) -> str:
    """What a system will do and cost, as text; see `explain_dict`. Raises UserError for a system that cannot work."""
    told = explain_dict(system, name, batch=batch, fps=fps, measure=measure)
    parts = [_title(told), _levels(told["levels"]), _mask(told["mask"]), _costs(told), _machine(told)]
    parts += [[f"Warning: {line}" for line in told["warnings"]]]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(told: dict[str, Any]) -> list[str]:
    count = told["parameters"]
    shape = " x ".join(map(str, told["latents"]))
    codec = f"codec {told['codec']} ({_si(told['codec_parameters'])} parameters)" if told["codec_parameters"] else told["codec"]
    size = f"{_si(count['count'])} parameters, {_bytes(count['bytes'])}"
    return [f"{told['name'] or 'system'}: {size}; frames of {shape} by {codec}"]


def _levels(levels: dict[str, Any]) -> list[str]:
    warmup, loop = levels["warmup"], levels["loop"]
    lines = [f"Levels: 1 is noise {SHADES[::-1].strip()} 0 is clean; a row is a moment, a column a frame under way"]
    if len(warmup) > 1:
        grows = ", · is not in flight yet" if min(levels["exist"]) < len(warmup[0]) else ""
        if levels["queued"]:
            lines.append(" behind a context the flight begins full of it, noised to the levels of the loop; from nothing by a")
        lines += [f" warm-up, once{grows}", *_matrix(warmup, levels, [*levels["exist"], len(warmup[0])])]
    leave = "1 frame leaves" if levels["hop"] == 1 else f"{levels['hop']} frames leave"
    lines.append(f" loop, for ever: at its end {leave}, the rest moves up, noise enters")
    lines += _matrix(loop, levels, [len(loop[0])] * len(loop))
    if levels["redo"]:
        lines.append(f" the first {levels['redo']} columns are frames already shown that are generated again")
    return lines


def _matrix(rows: list[list[float]], levels: dict[str, Any], exist: list[int]) -> list[str]:
    """Shades by frame, then figures by chunk, of the frames that exist in each row."""
    chunk, redo = levels["chunk"], levels["redo"]
    cuts = [*range(0, redo, chunk), *range(redo, len(rows[0]), chunk)]
    wide = 2 if len(rows[0]) <= 24 else 1
    lines = []
    for r in _abridged(len(rows), 7, 4):
        if r is None:
            lines.append("    ⋮")
            continue
        row, here = rows[r], exist[r]
        shades = "".join("…" if f is None else (_shade(row[f]) if f < here else "·") * wide for f in _abridged(len(row), 40, 8))
        cut = (None if c is None else cuts[c] for c in _abridged(len(cuts), 5, 2))
        figures = [" …  " if f is None else f"{row[f]:.2f}" if f < here else " ·  " for f in cut]
        lines.append(f"{r:5d} ▏{shades}▕ {' '.join(figures)}")
    return lines


def _shade(level: float) -> str:
    """Only a clean frame is blank, only pure noise is full."""
    return SHADES[0 if level <= 0 else 4 if level >= 1 else 1 + min(2, int(3 * level))]


def _mask(mask: dict[str, Any] | None) -> list[str]:
    if mask is None:
        return []
    window, context, flight = mask["window"], mask["context"], mask["flight"]
    groups = [_abridged(context, 6, 2), [None if i is None else context + i for i in _abridged(flight, 12, 4)]]
    names = {f"{window} of the window (once they are there)": window, f"{context} of context": context}
    names[f"{flight} under way"] = flight
    past = "■" * window if window <= 24 else f"■■■■■■ ×{window} ■■■■■■"
    lines = ["Who sees whom, by frame: ■ seen, · hidden; columns: " + ", then ".join(name for name, n in names.items() if n)]
    for i in groups[0] + groups[1]:
        if i is None:
            lines.append("            ⋮")
            continue
        cells = ["".join("…" if j is None else "■" if mask["sees"][i][j] else "·" for j in group) for group in groups]
        label = f"context {i}" if i < context else f"frame {i - context}"
        lines.append(f"  {label:>11}  {' '.join(part for part in (past, *cells) if part)}")
    beside = {"newest clean frames": mask["newest"], "first frames of the video": mask["anchor"]}
    if any(beside.values()):
        counts = ", ".join(f"{name} {count}" for name, count in beside.items() if count)
        lines.append(f"  beside each frame, as channels: {counts}")
    return lines


def _costs(told: dict[str, Any]) -> list[str]:
    asked, cost, state, window = told["evaluations"], told["flops"], told["state"], told["window"]
    hop, steps, first = asked["frames_per_chunk"], asked["solver_steps_per_chunk"], told["first_frame"]
    grows = "the same at any length" if state["growth_bytes"] == 0 else f"GROWS by {_bytes(state['growth_bytes'])}"
    frames, calls = "1 frame" if hop == 1 else f"{hop} frames", asked["denoise_calls_per_chunk"]
    rows = {
        f"to emit {frames}": f"{steps} solver steps, {calls} network calls and {asked['remember_calls_per_chunk']} to remember",
        "per emitted frame": f"{asked['calls_per_frame']:.4g} network calls, {asked['token_forwards_per_frame']:.4g} "
        f"token-forwards ({asked['tokens_per_frame']} tokens a frame, remembering included)",
        "a call": f"computes {asked['frames_computed']} frames for {asked['frames_per_call']} under way",
        "before the first frame": f"{first['denoise_calls']} network calls, {_si(first['flops'])}FLOP",
        "FLOPs": f"{_si(cost['token_forward'])}FLOP a token-forward, {_si(cost['frame'])}FLOP an emitted frame "
        f"({cost['denoise_attention'] / cost['denoise']:.0%} of a call is attention)",
        "training": f"{_si(cost['training_clip'])}FLOP a clip of {window['clip_frames']} frames "
        f"({window['clip_seconds']:.2g} s), {_si(cost['training_step'])}FLOP a step of {cost['batch']} clips",
        "state": f"{_bytes(state['bytes'])}, {grows}",
        "what it sees": _sight(window) or "nothing of the past",
    }
    if window["carried"]:
        rows["what it carries"] = "; ".join(window["carried"])
    if window["reach"]:
        seconds = window["reach"] / window["fps"]
        rows["anchors in training"] = f"up to {window['reach']} frames ({seconds:.2g} s) before the clip"
    return ["Cost", *(f"  {key:<24}{value}" for key, value in rows.items())]


def _sight(window: dict[str, Any]) -> str:
    parts = []
    if window["in_front"]:
        parts.append(f"the {window['in_front']} newest clean frames in front")
    if window["frames"]:
        parts.append(
            f"a window of {window['frames']} frames, {window['seconds']:.2g} s at {window['fps']:g} fps; "
            f"through all layers it can reach {window['reach_frames']} frames back"
        )
    if window["newest"]:
        parts.append(f"the {window['newest']} newest frames beside")
    if window["anchor"]:
        parts.append(f"the first {window['anchor']} of the video beside, for ever")
    if window["overlap"]:
        parts.append(f"the {window['overlap']} frames of the chunk before that it makes again")
    return "; ".join(parts)


def _machine(told: dict[str, Any]) -> list[str]:
    if "machine" not in told:
        return []
    here, fps = told["machine"], told["window"]["fps"]
    lines = [
        f"This machine: {here['threads']} thread{'s' * (here['threads'] > 1)}, {here['dtype']}, best matrix product "
        f"{_si(here['matmul_flops_per_second'])}FLOP/s, load {here['load']:.1f}"
    ]
    kinds = {"expected": f"expected at {here['share']:.0%} of that rate", "measured": "measured, untrained model"}
    for kind, label in kinds.items():
        if kind in here:
            pace = here[kind]
            lines.append(
                f"  {label:<32}{pace['frames_per_second']:.3g} frames/s ({pace['frames_per_second'] / fps:.2g} x real time), "
                f"first frame after {_seconds(pace['first_frame_seconds'])}, a call {_seconds(pace['denoise_seconds'])}"
            )
    return lines


def _abridged(count: int, head: int, tail: int) -> list[int | None]:
    """0 .. count - 1, with None for those left out in the middle."""
    if count <= head + tail + 1:
        return list(range(count))
    return [*range(head), None, *range(count - tail, count)]


def _si(value: float) -> str:
    """Three digits and a prefix: 2 061 568 -> '2.06 M'."""
    power = 0
    while abs(value) >= 999.5 and power < 6:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {' kMGTPE'[power].strip()}"


def _bytes(value: float) -> str:
    return f"{_si(value)}B"


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value >= 1 else f"{value * 1e3:.3g} ms"

"""What a step of training costs in bytes, of memory and over the network, on paper: bench/scale.py holds it against what is."""

from __future__ import annotations

from typing import NamedTuple

WORD = 4
"""Bytes of a number: weights, gradients, averages and optimisers' states are float32."""


class Bytes(NamedTuple):
    """Of one process. kept: between steps; peak: at most in a step, without activations; sent: over the network in a step,
    what the orthogonalisation of sharded matrices sends apart."""

    kept: float
    peak: float
    sent: float


def bytes_of(parameters: int, matrices: int, processes: int, shard: bool) -> Bytes:
    """Of a model with so many parameters, `matrices` of them stepped by Muon, which keeps one number for each, where AdamW
    keeps two; every parameter has its average besides.

    DDP keeps all of it everywhere and sends gradients round in a ring, twice all but one part of them. FSDP keeps one part in
    each process; in a step all weights and all gradients are whole for a while, and go round once each.
    """
    slots = 2 * parameters - matrices
    held = WORD * (2 * parameters + slots)
    ring = WORD * parameters * (processes - 1) / processes
    if not shard:
        return Bytes(held, held + WORD * parameters, 2 * ring)
    return Bytes(held / processes, held / processes + 2 * WORD * parameters + WORD * parameters / processes, 2 * ring)

"""Memory `gist`: the kit, and what its recursion amounts to."""

from __future__ import annotations

import pytest
import torch

from unspool.memory import Gist, Map
from unspool.testing import MakeMemory, assert_close, draw, memory_kit, scale_weights
from unspool.types import Cond

WIDTH, GRID = 32, (2, 3)


def gist(*maps: Map, learned: bool = True) -> MakeMemory:
    return lambda width: Gist(width, 2, maps or (Map(8, 3), Map(8, 40), Map(1, 8)), learned)


@pytest.mark.parametrize("make", [gist(), gist(Map(2, 1)), gist(learned=False)], ids=["three maps", "one map", "fixed gates"])
@pytest.mark.parametrize("check", memory_kit, ids=lambda check: check.__name__)
def test_kit(check, make: MakeMemory) -> None:
    check(make)


def test_a_map_is_the_average_of_its_span() -> None:
    """With fixed gates, frame by frame in plain sums."""
    memory = scale_weights(gist(Map(8, 4), learned=False)(WIDTH)).double()
    clean = draw(1, shape=(1, 9, 6, WIDTH))
    cond = Cond(torch.zeros(1, 9, WIDTH), GRID, tuple(range(9)))
    start = memory.start(1, grid=GRID, device=torch.device("cpu"), dtype=torch.float64)
    encoded = memory.encode(clean)
    weights = 0.25 * 0.75 ** torch.arange(8, -1, -1, dtype=torch.float64)
    assert_close(memory.commit(clean, start, cond)["gist"], (weights[:, None, None] * encoded).sum(1))


def test_a_fine_map_keeps_places_apart_and_a_coarse_one_does_not() -> None:
    one, other = draw(1, shape=(1, 1, 6, WIDTH)), draw(1, shape=(1, 1, 6, WIDTH)).flip(2)
    cond = Cond(torch.zeros(1, 1, WIDTH), GRID, (0,))
    for side, same in ((8, False), (1, True)):
        memory = scale_weights(gist(Map(side, 4), learned=False)(WIDTH)).double()
        start = memory.start(1, grid=GRID, device=torch.device("cpu"), dtype=torch.float64)
        kept = [memory.commit(clean, start, cond)["gist"] for clean in (one, other)]
        assert torch.allclose(*kept) == same

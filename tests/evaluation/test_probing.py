"""What is read off states: the way since a walk began, the map around its end; and the model that was never taught."""

from __future__ import annotations

import numpy as np
import torch

from unspool.data.worlds.rooms import Rooms
from unspool.evaluation.probing import scrambled, since, surroundings
from unspool.recipes import full_sequence


def test_the_way_since_the_beginning() -> None:
    first, south = [5.0, 5.0, 0.0], [5.0, 5.0, np.pi / 2]
    east_two, turned = [7.0, 5.0, 0.3], [5.0, 8.0, np.pi / 2 - 0.1]
    poses = np.array([[first, east_two], [south, turned], [south, east_two]])
    assert np.allclose(since(poses), [[2, 0, 0.3], [3, 0, -0.1], [0, -2, 0.3 - np.pi / 2]], atol=1e-6)


def test_the_map_is_what_one_would_draw() -> None:
    """Cell by cell, from the steps that a walker would count: ahead and to the right."""
    world = Rooms(size=32, split="unseen")
    episode = world.episodes(world.seeds(np.arange(20)), 40)
    layout, poses = episode.layout, episode.walk.poses[:, -1]
    drawn = surroundings(layout, poses)
    assert drawn.shape == (20, 24) and 0.1 < drawn.mean() < 0.9
    for n, (x, y, heading) in enumerate(poses):
        ahead = max(((1, 0), (0, 1), (-1, 0), (0, -1)), key=lambda way: way[0] * np.cos(heading) + way[1] * np.sin(heading))
        right = (-ahead[1], ahead[0])
        want = []
        for far in (2, 1, 0, -1, -2):
            for side in (-2, -1, 0, 1, 2):
                row, column = int(y) + far * ahead[1] + side * right[1], int(x) + far * ahead[0] + side * right[0]
                inside = 0 <= row < 13 and 0 <= column < 13
                want.append(bool(layout.solid[n, row, column]) if inside else True)
        assert not want.pop(12) and np.array_equal(drawn[n], want)


def test_scrambled_weights_are_the_same_numbers() -> None:
    system = full_sequence(size="nano", resolution=32, controls=6)
    state = torch.random.get_rng_state()
    other, again = scrambled(system, 1), scrambled(system, 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    for (name, new), same, old in zip(
        other.model.named_parameters(), again.model.parameters(), system.model.parameters(), strict=True
    ):
        assert torch.equal(new, same) and torch.equal(new.flatten().sort().values, old.flatten().sort().values), name
        assert old.std() == 0 or not torch.equal(new, old)

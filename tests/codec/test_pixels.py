"""Codec `pixels`: nothing is changed either way, in pieces or at once."""

from __future__ import annotations

import torch

from unspool.codec import Pixels
from unspool.testing import assert_equal, draw


def test_both_ways_are_the_identity_and_stream() -> None:
    video, codec = draw(1, shape=(2, 7, 3, 4, 4)), Pixels()
    for way in (codec.encode, codec.decode):
        assert_equal(way(video, {})[0], video)
        state, pieces = {}, []
        for piece in video.split(3, 1):
            out, state = way(piece, state)
            pieces.append(out)
        assert_equal(torch.cat(pieces, 1), video)
    codec.fit(video)
    assert not list(codec.parameters())

"""What mean colours say: a cut is a change out of nothing, a tint is where they went."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.errors import UserError
from unspool.evaluate.colours import jumps_of, tint_of


def test_a_cut_is_a_change_out_of_nothing() -> None:
    steady = np.arange(40.0)[None, :, None] * [2.0, 0, 0]
    late = steady + 90 * (np.arange(40) >= 20)[None, :, None] * [1, 0, 0]
    np.testing.assert_allclose(jumps_of(np.concatenate([steady, late])), [1, 46])
    assert jumps_of(np.zeros((1, 4, 3))) == 0
    with pytest.raises(UserError, match="4 frames or more, not 3"):
        jumps_of(np.zeros((1, 3, 3)))


def test_a_tint_is_the_change_from_the_first_quarter_to_the_last() -> None:
    rgb = np.arange(8.0)[None, :, None] * [1.0, -2, 0]
    np.testing.assert_allclose(tint_of(rgb), [[6, -12, 0]])
    np.testing.assert_allclose(tint_of(rgb[:, :2]), [[1, -2, 0]])

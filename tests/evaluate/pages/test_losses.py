"""Losses drawn: what is in the picture, and when there is none."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from unspool.evaluate.pages.losses import _averaged, draw_losses


def height(noted: list[dict[str, float]]) -> int:
    picture = draw_losses(noted)
    assert picture is not None
    return PIL.Image.open(io.BytesIO(picture)).height


def test_a_panel_for_each_stage_with_held_out_points_beside_it() -> None:
    plain = [{"step": s, "loss": 1 / s, "grad": 1.0, "seconds": 0.1} for s in range(1, 9)]
    staged = [{**line, "stage_0": 1 / line["step"], "stage_1": 2 / line["step"], "rollout": 1.0} for line in plain]
    assert height(staged) > 2 * height(plain)
    with_held_out = [{**line, "held_out_loss": 0.5} for line in plain]
    assert draw_losses(with_held_out) != draw_losses(plain)


@pytest.mark.parametrize("noted", [[], [{"step": 1, "loss": 1.0}], [{"step": 1, "psnr": 30.0}, {"step": 2, "psnr": 30.0}]])
def test_there_is_nothing_to_draw(noted: list[dict[str, float]]) -> None:
    assert draw_losses(noted) is None


def test_a_long_line_is_averaged() -> None:
    x, y = _averaged(np.arange(1000.0), np.arange(1000.0) ** 2)
    assert len(x) == 100 and x[0] == 4.5 and y[0] == pytest.approx((np.arange(10.0) ** 2).mean())

"""Flow-warp error: how much of what changes from a frame to the next is not explained by things moving.

Videos are uint8 (N, T, H, W, 3). Optical flow says where each pixel of the next frame was before, the frame before is drawn
from there, and what is left is counted where the flows forward and backward agree. Flicker, noise and shuffled frames raise
it. A FROZEN VIDEO HAS 0, less than any real one: it is read beside the motion of the same pairs, which stands in the same
result, and as a distance from real video, where too little is as far away as too much.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unspool.errors import UserError
from unspool.evaluate.curves import check

STRIDE = 5  # neighbours say nearly the same. Odd, so that faults of every second frame meet pairs of both kinds
SMALLEST = 16  # pixels: the patches of the flow are 8 x 8


class Warp(NamedTuple):
    """One figure per video and pair of frames (t, t + 1), t = 0, stride, 2 * stride ...; all (N, P).

    error: mean absolute difference of the next frame to the frame before, drawn where the flow says, in grey levels over
        the pixels where the flows agree; NaN where there are none. motion: the same difference over all pixels with nothing
        moved, so error well under motion means that the flow explains what changes. kept: share of pixels that agree.
    """

    error: NDArray[np.float64]
    motion: NDArray[np.float64]
    kept: NDArray[np.float64]


def warp(videos: np.ndarray, stride: int = STRIDE) -> Warp:
    """uint8 (N, T >= 2, H >= 16, W >= 16, 3). Raises UserError otherwise.

    The figure after Lai et al. 2018 ("Learning blind video temporal consistency"), with absolute instead of squared
    differences; where flows agree after Sundaram et al. 2010, equation 5 (both reconstructed). The flow is OpenCV's DIS
    (Kroeger et al. 2016) at its fastest preset down to single pixels: a third of the time of the medium preset, and the
    error left on real video of `duel` and `rooms` is lower (1.3 against 1.6 and 2.7 against 3.3 grey levels at 64 pixels).
    """
    check(videos)
    if videos.shape[1] < 2 or min(videos.shape[2:4]) < SMALLEST or stride < 1:
        size = f"{videos.shape[1]} frames of {videos.shape[2]} x {videos.shape[3]}"
        raise UserError(f"flow needs 2 frames or more of {SMALLEST} x {SMALLEST} px and a stride of 1 or more, not {size}")
    cv2 = _opencv()
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    dis.setFinestScale(0)
    grid = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in videos.shape[3:1:-1])), -1)
    pairs = range(0, videos.shape[1] - 1, stride)
    found = [[_pair(cv2, dis, grid, *_grey(cv2, video[t : t + 2])) for t in pairs] for video in videos]
    return Warp(*np.moveaxis(np.array(found), -1, 0))


def _grey(cv2: Any, frames: np.ndarray) -> list[np.ndarray]:
    return [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]


def _pair(cv2: Any, dis: Any, grid: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """uint8 (H, W) twice -> error, motion, kept. grid: float32 (H, W, 2), x and y of each pixel."""
    forward, back = dis.calc(before, after, None), dis.calc(after, before, None)
    source = grid + back
    drawn, known = (
        cv2.remap(part, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in (before.astype(np.float32), forward)
    )
    apart, length = ((known + back) ** 2).sum(-1), (known**2 + back**2).sum(-1)
    inside = ((source >= 0) & (source <= grid[-1, -1])).all(-1)
    agree = inside & (apart < 0.01 * length + 0.5)
    error = float(np.abs(after - drawn)[agree].mean(dtype=np.float64)) if agree.any() else float("nan")
    return error, float(cv2.absdiff(before, after).mean()), float(agree.mean())


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise UserError("optical flow needs OpenCV: pip install 'unspool[eval]'") from None
    return cv2

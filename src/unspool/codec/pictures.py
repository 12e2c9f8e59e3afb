"""Between pictures as files hold them, uint8 (..., T, H, W, 3), and videos as models do, float (..., T, 3, H, W) in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch

from unspool.types import Video


def to_video(clips: np.ndarray, device: torch.device | str = "cpu") -> Video:
    """uint8 (..., T, H, W, 3) -> float (..., T, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(clips).to(device).movedim(-1, -3).float() / 127.5 - 1


def to_pixels(video: Video) -> np.ndarray:
    """(..., 3, H, W), clipped to [-1, 1] -> uint8 (..., H, W, 3)."""
    return ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()

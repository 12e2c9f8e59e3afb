"""Models: the three verbs, and the video transformer that speaks them."""

from unspool.model.dit import Predict, VideoTransformer
from unspool.model.video import VideoModel

__all__ = ["Predict", "VideoModel", "VideoTransformer"]

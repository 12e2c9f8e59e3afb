"""Codecs: between videos and latents, both ways streaming."""

from unspool.codec.patches import Patches
from unspool.codec.pixels import Codec, Pixels

__all__ = ["Codec", "Patches", "Pixels"]

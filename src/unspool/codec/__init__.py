"""Codecs: between videos and latents, both ways streaming."""

from unspool.codec.pixels import Codec, Pixels

__all__ = ["Codec", "Pixels"]

"""Codecs: between videos and latents, both ways streaming."""

from unspool.codec.causal import Causal
from unspool.codec.frames import Frames
from unspool.codec.patches import Patches
from unspool.codec.pixels import Codec, Pixels
from unspool.codec.trained import CodecOptions, load_codec

__all__ = ["Causal", "Codec", "CodecOptions", "Frames", "Patches", "Pixels", "load_codec"]

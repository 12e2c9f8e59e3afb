"""Codecs: between videos and latents, both ways streaming."""

from unspool.codec.causal import Causal
from unspool.codec.frames import Frames
from unspool.codec.patches import Patches
from unspool.codec.pictures import to_pixels, to_video
from unspool.codec.pixels import Codec, Pixels
from unspool.codec.trained import CodecOptions, build_codec, load_codec

__all__ = [
    "Causal",
    "Codec",
    "CodecOptions",
    "Frames",
    "Patches",
    "Pixels",
    "build_codec",
    "load_codec",
    "to_pixels",
    "to_video",
]

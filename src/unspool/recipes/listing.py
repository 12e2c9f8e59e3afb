"""All recipes by the name that one types."""

from __future__ import annotations

from collections.abc import Callable

from unspool.recipes.alpha import alpha_context, alpha_context_published, lgc_vd
from unspool.recipes.flights import chunk_by_chunk, diffusion_forcing, frame_by_frame, full_sequence
from unspool.recipes.memories import full, malt, malt_nomemory, none, rad, rad_chunkwise, window
from unspool.recipes.progressive import (
    acdit,
    ar_diffusion,
    fifo,
    progressive,
    progressive_free,
    replace_clean,
    replace_noised,
    rolling,
)
from unspool.system import System

Recipe = Callable[..., System]

RECIPES: dict[str, Recipe] = {
    function.__name__.replace("_", "-"): function
    for function in (
        acdit,
        alpha_context,
        alpha_context_published,
        ar_diffusion,
        chunk_by_chunk,
        diffusion_forcing,
        fifo,
        frame_by_frame,
        full,
        full_sequence,
        lgc_vd,
        malt,
        malt_nomemory,
        none,
        progressive,
        progressive_free,
        rad,
        rad_chunkwise,
        replace_clean,
        replace_noised,
        rolling,
        window,
    )
}

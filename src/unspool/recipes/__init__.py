"""The systems, ten lines each: a function of named settings that returns a `System`.

The recipes share one backbone. Weights trained by one of those with `channels` and `window` load in the others where `size`,
`patch`, `components`, `channels` and `anchor` agree: they differ in what is noisy when, in training and in use. The first line
of a docstring is the summary that `unspool recipes` prints; `Source:` says whose idea it is, what was read and what is ours.

size: of the transformer. resolution: pixels of a frame's side. patch: pixels of a token's side. components: numbers that the
codec keeps of a patch, 0 for its pixels. channels: newest frames that stand beside each frame's input. anchor: first frames
of the video that stand there too, for ever. reach: frames that may lie between a training clip and its anchor. chunk: frames
denoised together. flight: frames denoised at a time. clean: share of frames that training leaves without noise. window:
frames that the key/value cache keeps. steps: of a descent from noise to clean. frames: of a training clip. shift: above 1,
training sees more of the high levels. least: level below which training sees none. loss: what the error is taken of, the
velocity or the clean frame, which weighs low levels less. context_noise: highest level of the noise on the history in
training, told to the model. overlap: frames of the chunk before that a chunk makes again. stages: chunks of a training clip,
each behind the one before. estimate: what a stage stands behind: the truth, or the model's guess of it, x - level v (blend)
or noise - v. corrective: the target holds the true overlap, though the model is given its own. rollouts: chunks of real
rollouts that one more stage stands behind, 0 for none. gist: the global context, a memory of the whole past. unconditional:
share of clips learned from nothing. own: chunks that the model makes itself, in training, before the last one it learns; 0 is
teacher forcing. own_steps: of each of them. predict: what the network puts out. controls: features of an action per frame
that the model is told, 0 for none; then the data must have as many. text: what prompts are made of: `captions` for the words
of the data's captions, or the folder of a transformers encoder.
"""

from unspool.recipes.alpha import alpha_context, alpha_context_published, lgc_vd
from unspool.recipes.backbone import SIZES, Size, SizeName
from unspool.recipes.finding import find
from unspool.recipes.flights import chunk_by_chunk, diffusion_forcing, frame_by_frame, full_sequence
from unspool.recipes.listing import RECIPES, Recipe
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

__all__ = [
    "RECIPES",
    "SIZES",
    "Recipe",
    "Size",
    "SizeName",
    "acdit",
    "alpha_context",
    "alpha_context_published",
    "ar_diffusion",
    "chunk_by_chunk",
    "diffusion_forcing",
    "fifo",
    "find",
    "frame_by_frame",
    "full",
    "full_sequence",
    "lgc_vd",
    "malt",
    "malt_nomemory",
    "none",
    "progressive",
    "progressive_free",
    "rad",
    "rad_chunkwise",
    "replace_clean",
    "replace_noised",
    "rolling",
    "window",
]

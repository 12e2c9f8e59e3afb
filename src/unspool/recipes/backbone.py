"""What the recipes share: sizes, and one model and codec that they all begin from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from unspool.blend import Blend
from unspool.codec import Codec, Patches, Pixels
from unspool.context import Cached, Channels, Local, Tokens
from unspool.errors import UserError
from unspool.memory import Memory, Prompt, Window
from unspool.model import Predict, VideoTransformer
from unspool.text import Wording, text_of

SizeName = Literal["nano", "mini", "tiny", "small", "base"]


class Size(NamedTuple):
    width: int
    depth: int
    heads: int


SIZES: dict[str, Size] = {
    "nano": Size(128, 2, 2),
    "mini": Size(128, 6, 2),
    "tiny": Size(192, 4, 3),
    "small": Size(384, 8, 6),
    "base": Size(768, 12, 12),
}


CODEC_PATCH = 8
"""Pixels a side of the patches whose principal components are kept."""


def backbone(
    size: str, resolution: int, patch: int, components: int, window: int, chunk: int, predict: Predict,
    channels: int, anchor: int, controls: int,
    local: Local | None = None, gist: Callable[[int, int], Memory] | None = None, blend: Blend | None = None,
    *, held: Callable[[int, int], list[Memory]] | None = None, mlp: float = 4, before: int = 0, text: Wording = None,
) -> tuple[VideoTransformer, Codec]:  # fmt: skip
    """The model and codec of them all: blocks of one memory `window` and an MLP, over tokens of patch x patch pixels.

    components: principal components kept of each 8 x 8 patch; 0 works on the pixels themselves. gist: makes a second memory,
    of a width and heads, for the block in the middle. held: makes the memories of each block instead. mlp: widths of its MLP.
    before: clean frames that stand in front of a flight and see it too. text: what prompts are made of; each block hears them
    behind its memories.
    """
    unit = CODEC_PATCH if components else 1
    if resolution % patch or patch % unit:
        fix = f"choose a multiple of {unit} that divides it" if unit > 1 else "choose one that does, such as 8 or 16"
        raise UserError(f"patch {patch} does not fit resolution {resolution}; {fix}")
    if components > 3 * CODEC_PATCH**2:
        raise UserError(f"an 8 x 8 patch has {3 * CODEC_PATCH**2} components, not {components}; choose fewer")
    width, depth, heads = SIZES[size]
    shape = (components or 3, resolution // unit, resolution // unit)
    held = held or (lambda width, heads: [Window(width, heads, window)])
    memories = [held(width, heads) for _ in range(depth)]
    if gist is not None:
        memories[depth // 2].append(gist(width, heads))
    heard = text_of(text, width, heads)
    if heard is not None:
        for block in memories:
            block.append(Prompt(width, heads))
    beside = Channels(channels, anchor) if channels or anchor else Cached()
    context = Tokens(before, joined=True) if before else beside
    model = VideoTransformer(
        shape, patch=patch // unit, width=width, chunk=chunk, predict=predict, controls=controls, memories=memories, mlp=mlp,
        context=context, local=local, blend=blend, text=heard,
    )  # fmt: skip
    return model, Patches(components, CODEC_PATCH) if components else Pixels()

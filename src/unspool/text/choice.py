"""Which text a recipe's argument `text` means."""

from __future__ import annotations

from unspool.text.base import Text
from unspool.text.frozen import Frozen
from unspool.text.words import Vocabulary, Words

Wording = Vocabulary | str | None
"""None: a model that hears nothing. "captions": the words of the data's captions, whose `Vocabulary` takes the place of this
word when training begins, and stands in every checkpoint. Any other name: the folder of a transformers encoder."""

CAPTIONS = "captions"


def text_of(wording: Wording, width: int, heads: int) -> Text | None:
    """Raises UserError for an encoder that cannot be read. Before any data is known, `captions` are a vocabulary without words:
    enough to tell what a model costs."""
    if wording is None:
        return None
    if wording == CAPTIONS:
        wording = Vocabulary(())
    return Words(wording, width, heads) if isinstance(wording, Vocabulary) else Frozen(wording, width)

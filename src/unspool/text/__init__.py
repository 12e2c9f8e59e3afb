"""Prompts: words become numbers of a frame's control, and these become tokens that a model attends to."""

from unspool.text.base import Text
from unspool.text.choice import CAPTIONS, Wording, text_of
from unspool.text.frozen import Frozen
from unspool.text.words import Vocabulary, Words, vocabulary_of

__all__ = ["CAPTIONS", "Frozen", "Text", "Vocabulary", "Wording", "Words", "text_of", "vocabulary_of"]

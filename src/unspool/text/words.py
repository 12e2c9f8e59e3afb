"""A small text encoder of one's own: a vocabulary of whole words, trained with the model that hears them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from unspool.errors import UserError
from unspool.nn.attention import attend
from unspool.text.base import Text
from unspool.types import Count, Tokens

MOST_WORDS = 20_000
"""Of a vocabulary: more are names and slips, and an encoder that is trained here has not seen them often enough."""


@dataclass(frozen=True)
class Vocabulary:
    """words: all that a prompt may hold, sorted. longest: words of the longest caption of all. A checkpoint keeps both."""

    words: tuple[str, ...]
    longest: Count = 16


def words_in(prompt: str) -> list[str]:
    """Its words in order, in lower case: "Red kicks, blue falls" -> red kicks blue falls."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", prompt.lower())


def vocabulary_of(captions: Iterable[str]) -> Vocabulary:
    """All words of these captions. Raises UserError where they hold none, or more than `MOST_WORDS` different ones."""
    said = [words_in(caption) for caption in captions]
    words = sorted({word for caption in said for word in caption})
    if not words:
        raise UserError("the data has no captions: give each video a `text` in metadata.jsonl, or leave --text away")
    if len(words) > MOST_WORDS:
        fix = "give --text the folder of a transformers encoder instead"
        raise UserError(f"the captions hold {len(words)} different words, more than {MOST_WORDS} to train on: {fix}")
    return Vocabulary(tuple(words), max(map(len, said)))


@final
class Words(Text):
    """A control holds the numbers of a prompt's words in the vocabulary, from 1, and 0 behind the last: no word, which has an
    embedding like the others. So an empty prompt is something that can be learned, and nothing needs a mask."""

    def __init__(self, vocabulary: Vocabulary, width: int, heads: int, depth: int = 1) -> None:
        super().__init__()
        self.vocabulary, self.numbers = vocabulary, vocabulary.longest
        self.number = {word: n for n, word in enumerate(vocabulary.words, 1)}
        self.word = nn.Embedding(1 + len(vocabulary.words), width)
        self.place = nn.Parameter(torch.randn(vocabulary.longest, width))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def extra_repr(self) -> str:
        return f"{len(self.vocabulary.words)} words, at most {self.numbers} a prompt"

    def _numbers(self, prompt: str) -> np.ndarray:
        words, most = words_in(prompt), self.numbers
        if strange := [word for word in words if word not in self.number]:
            raise UserError(f"the model does not know the word {strange[0]!r}: {self._near(strange[0])}")
        if len(words) > most:
            raise UserError(f"a prompt has at most {most} words, not {len(words)}: {' '.join(words[:most])!r} would be one")
        return np.array([self.number[word] for word in words] + [0] * (most - len(words)), np.float32)

    def decode(self, control: np.ndarray) -> str:
        """The words of one control (K,), the inverse of `encode` but for case and commas."""
        return " ".join(self.vocabulary.words[int(number) - 1] for number in control if number)

    def forward(self, control: Tensor) -> Tokens:
        x = self.word(control.round().long()) + self.place
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def _near(self, word: str) -> str:
        """The nearest words that it does know."""
        words: Sequence[str] = self.vocabulary.words
        near = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
        shown = near or words[:20]
        return f"{'did you mean' if near else 'it knows'} {', '.join(map(repr, shown))}{'?' if near else ', ...'}"


@final
class _Layer(nn.Module):
    """Attention among the words of one prompt, then an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU("tanh"), nn.Linear(2 * width, width))

    def forward(self, x: Tokens) -> Tokens:
        qkv = self.qkv(self.norm(x)).flatten(0, -3).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        heard = attend(q, k, v, None)
        x = x + self.out(heard.transpose(1, 2).flatten(2)).reshape(x.shape)
        return x + self.mlp(self.norm(x))

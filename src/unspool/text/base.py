"""What a model makes of a prompt: one class between words and tokens, whoever encodes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
from torch import Tensor, nn

from unspool.types import Tokens


class Text(nn.Module, ABC):
    """A prompt is a control of every frame that it is said of: `numbers` figures, all zero where nothing is said.

    `encode` is what a command line needs, words -> control; `forward` what a model needs, control -> tokens.
    """

    numbers: int
    """K, of one frame's prompt."""

    @final
    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """(n, K) float32 of n prompts, "" being none. Raises UserError for words that the model does not know, or too many."""
        known = {prompt: self._numbers(prompt) for prompt in dict.fromkeys(prompts) if prompt.strip()}
        nothing = np.zeros(self.numbers, np.float32)
        return np.stack([known.get(prompt, nothing) for prompt in prompts]) if len(prompts) else nothing[None][:0]

    @abstractmethod
    def _numbers(self, prompt: str) -> np.ndarray:
        """(K,) float32 of one prompt that is not empty."""

    @abstractmethod
    def forward(self, control: Tensor) -> Tokens:
        """control (..., K) -> (..., L, D): L tokens of each frame, of an empty prompt too."""

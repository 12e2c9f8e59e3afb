"""Any text encoder of `transformers` that lies in a folder: its weights stay as they are and where they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from unspool.errors import UserError
from unspool.text.base import Text
from unspool.types import Tokens

LONGEST = 32
"""Tokens of a prompt. Each is a vector of the encoder's width in the control of every frame: 32 of 512 are 64 KB a frame."""
_AT_ONCE = 4096
"""Prompts whose numbers are held on to: the frames of a clip say much the same."""


@final
class Frozen(Text):
    """A control holds the encoder's last hidden states, token by token, and zeros behind the last; what is trained here is
    their projection and a place for each token.

    Nothing is downloaded: `folder` holds config.json, the weights and the tokenizer, as `save_pretrained` leaves them. A
    checkpoint keeps the path alone. Raises UserError where transformers is not installed, or reads no encoder there.
    """

    def __init__(self, folder: str | Path, width: int) -> None:
        super().__init__()
        self.folder = Path(folder)
        wide = _wide(self.folder)
        self.numbers = LONGEST * wide
        self.enter = nn.Linear(wide, width)
        self.place = nn.Parameter(torch.randn(LONGEST, width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self._encoder: tuple[Any, Any] | None = None  # a tuple, so that its weights are none of this model's
        self._known: dict[str, np.ndarray] = {}

    def extra_repr(self) -> str:
        return f"{self.folder}, at most {LONGEST} tokens a prompt"

    def _numbers(self, prompt: str) -> np.ndarray:
        if prompt not in self._known:
            if len(self._known) >= _AT_ONCE:
                self._known.clear()
            self._known[prompt] = self._encoded(prompt)
        return self._known[prompt]

    @torch.no_grad()
    def _encoded(self, prompt: str) -> np.ndarray:
        if self._encoder is None:
            self._encoder = _load(self.folder)
        tokenizer, encoder = self._encoder
        tokens = tokenizer(prompt, return_tensors="pt")
        count = tokens["input_ids"].shape[1]
        if count > LONGEST:
            raise UserError(f"a prompt has at most {LONGEST} tokens, not {count}: shorten it by {count - LONGEST} or more")
        hidden = encoder(**tokens).last_hidden_state[0].float()
        return nn.functional.pad(hidden, (0, 0, 0, LONGEST - count)).flatten().numpy()

    def forward(self, control: Tensor) -> Tokens:
        states = control.unflatten(-1, (LONGEST, -1)).to(self.enter.weight.dtype)
        return self.norm(self.enter(states) + self.place)


def _wide(folder: Path) -> int:
    """Numbers of a hidden state, from config.json alone."""
    transformers = _library(folder)
    try:
        told = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        return int(told.hidden_size)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _unread(folder, error) from error


def _load(folder: Path) -> tuple[Any, Any]:
    """Its tokenizer and its encoder, on the CPU."""
    transformers = _library(folder)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        try:
            encoder = transformers.AutoModelForTextEncoding.from_pretrained(folder, local_files_only=True)
        except ValueError:  # an architecture that is no encoder and decoder in one
            encoder = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise _unread(folder, error) from error
    return tokenizer, encoder.eval().requires_grad_(False)


def _library(folder: Path) -> Any:
    if not folder.is_dir():
        raise UserError(f"there is no text encoder {str(folder)!r}: give a folder, or `captions` for the words of the data")
    try:
        import transformers
    except ImportError:
        raise UserError(f"reading the text encoder {folder} needs transformers: pip install 'unspool[text]'") from None
    return transformers


def _unread(folder: Path, error: Exception) -> UserError:
    why = " ".join(str(error).split())[:160]
    return UserError(f"transformers reads no text encoder in {folder} ({why}); give the folder that save_pretrained wrote")

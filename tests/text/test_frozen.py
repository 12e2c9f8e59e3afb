"""Any encoder of transformers: its states are what a control holds, and its weights are none of the model's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unspool.errors import UserError
from unspool.testing import assert_close, error
from unspool.text import Frozen, text_of
from unspool.text.frozen import LONGEST

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT of random weights, saved as any other is."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "kicks", "falls", ","]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    told = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(told).save_pretrained(folder)
    return folder


def test_a_control_holds_the_states_of_the_encoder(encoder: Path) -> None:
    text = Frozen(encoder, 16)
    assert text.numbers == LONGEST * 8
    controls = text.encode(["red kicks", "", "blue falls", "red kicks"]).reshape(4, LONGEST, 8)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.BertModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        states = model(**tokenizer("red kicks", return_tensors="pt")).last_hidden_state[0]
    assert_close(torch.from_numpy(controls[0, : len(states)]), states)
    assert not controls[0, len(states) :].any() and not controls[1].any()
    assert np.array_equal(controls[0], controls[3]) and not np.array_equal(controls[0], controls[2])


def test_its_weights_are_not_the_models(encoder: Path) -> None:
    text = Frozen(encoder, 16)
    text.encode(["red"])
    assert sorted(text.state_dict()) == ["enter.bias", "enter.weight", "place"]
    tokens = text(torch.from_numpy(text.encode(["red kicks", "blue kicks", ""])))
    assert tokens.shape == (3, LONGEST, 16) and error(tokens[0], tokens[1]) > 0.01 and error(tokens[0], tokens[2]) > 0.01
    assert isinstance(text_of(str(encoder), 16, 2), Frozen)


def test_what_is_refused(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"at most {LONGEST} tokens, not 42: shorten it by 10"):
        Frozen(encoder, 16).encode(["red " * 40])
    with pytest.raises(UserError, match="reads no text encoder in"):
        Frozen(tmp_path, 16)
    with pytest.raises(UserError, match="there is no text encoder"):
        Frozen(tmp_path / "missing", 16)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'unspool\[text\]'"):
        Frozen(encoder, 16)

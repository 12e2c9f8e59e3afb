"""Words: from a prompt to numbers and back, from numbers to tokens, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unspool.data.worlds.duel import Duel, vocabulary
from unspool.errors import UserError
from unspool.testing import error, scale_weights
from unspool.text import CAPTIONS, Vocabulary, Words, text_of, vocabulary_of

KNOWN = Vocabulary(("a", "blue", "falls", "kicks", "red", "throws", "uppercut", "an"), 6)


def words(vocabulary: Vocabulary = KNOWN) -> Words:
    return scale_weights(Words(vocabulary, 16, 2))


@pytest.mark.parametrize("prompt", ["red kicks", "blue falls red kicks", "red throws an uppercut blue falls", "a a a a a a"])
def test_round_trip(prompt: str) -> None:
    text = words()
    (control,) = text.encode([prompt])
    assert control.shape == (6,) and control.dtype == np.float32
    assert text.decode(control) == prompt
    assert not control[len(prompt.split()) :].any() and control[: len(prompt.split())].all()


def test_case_and_commas_do_not_matter_and_order_does() -> None:
    one, other, turned, again = words().encode(["Red kicks, BLUE falls!", "red kicks blue falls", "blue falls red kicks", ""])
    assert np.array_equal(one, other) and not np.array_equal(one, turned) and not again.any()


def test_the_vocabulary_is_that_of_the_captions() -> None:
    known = vocabulary_of(["Red kicks", "blue's falling-down fast", ""])
    assert known == Vocabulary(("blue's", "falling-down", "fast", "kicks", "red"), 3)
    world = Duel(size=32, fighters=3)
    assert vocabulary_of(world.wording()) == Vocabulary(tuple(vocabulary()), 12)
    said, text = world(np.arange(6), 40).text, Words(vocabulary_of(world.wording()), 16, 2)
    assert said is not None
    for caption in said.ravel().tolist():
        assert text.decode(text.encode([caption])[0]) == caption.replace(",", "")


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("red kickz", "'kickz': did you mean 'kicks'"), ("zzzz", "it knows 'a', 'blue'"), ("red " * 7, "at most 6 words, not 7")],
)
def test_what_cannot_be_said(prompt: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        words().encode([prompt])


def test_a_vocabulary_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no captions"):
        vocabulary_of(["", " , "])
    with pytest.raises(UserError, match="20001 different words"):
        vocabulary_of(f"w{n}" for n in range(20_001))


def test_tokens_tell_every_word_and_place_apart() -> None:
    """In any frame alike, whatever is beside it; every word moves every token."""
    text = words().double()
    control = torch.from_numpy(text.encode(["red kicks blue falls", "blue kicks red falls", "red kicks", ""]))
    tokens = text(control)
    assert tokens.shape == (4, 6, 16)
    assert min(error(a, b) for i, a in enumerate(tokens) for b in tokens[:i]) > 0.1
    torch.testing.assert_close(text(control.unflatten(0, (2, 2)))[1, 0], tokens[2])
    assert (text(control[:1]) - text(control[1:2])).abs().amin(-1).gt(0).all()


def test_what_a_recipe_may_be_given() -> None:
    assert text_of(None, 16, 2) is None
    made, stand_in = text_of(KNOWN, 16, 2), text_of(CAPTIONS, 16, 2)
    assert isinstance(made, Words) and made.numbers == 6 and isinstance(stand_in, Words)
    with pytest.raises(UserError, match="no text encoder 'nowhere'"):
        text_of("nowhere", 16, 2)

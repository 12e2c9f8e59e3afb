"""Memory `prompt`: the kit, and whose words are heard by whom."""

from __future__ import annotations

import pytest
import torch

from unspool.memory import Prompt
from unspool.testing import assert_close, assert_equal, error, memory_kit, parts
from unspool.testing.memory import past_is_remembered


def make(width: int) -> Prompt:
    return Prompt(width, 2)


@pytest.mark.parametrize("check", [c for c in memory_kit if c is not past_is_remembered], ids=lambda check: check.__name__)
def test_kit(check) -> None:
    """All but the one check that it remembers."""
    check(make)


def test_it_remembers_nothing() -> None:
    with pytest.raises(AssertionError, match="moves nothing"):
        past_is_remembered(make)
    assert not make(8).keeps


def test_it_is_softmax_attention_over_the_words_of_the_frame() -> None:
    """In plain sums, frame by frame and head by head."""
    memory = parts.ready(make)
    x, cond = parts.flight(1)
    got, text = parts.read(memory, {}, x, cond), cond.text
    assert text is not None
    dim = parts.WIDTH // memory.heads
    key, value = memory.kv.weight.chunk(2)
    for f in range(x.shape[1]):
        out = torch.zeros_like(x[:, f])
        for h in range(memory.heads):
            rows = slice(h * dim, (h + 1) * dim)
            q = memory.norm_q(x[:, f] @ memory.q.weight[rows].T)
            k = memory.norm_k(text[:, f] @ key[rows].T)
            heard = (torch.einsum("bnd,bld->bnl", q, k) / dim**0.5).softmax(-1) @ (text[:, f] @ value[rows].T)
            out = out + heard @ memory.out.weight[:, rows].T
        assert_close(got[:, f], out + memory.out.bias)


def test_a_frame_hears_its_own_words_and_no_others() -> None:
    memory = parts.ready(make)
    (x, cond), (clean, told) = parts.flight(1), parts.clean(2, 4)
    for verb, tokens, frames, given in ((memory.read, x, 3, cond), (memory.write, clean, 4, told)):
        text = given.text.clone().requires_grad_()
        out = verb(tokens, {}, given._replace(text=text))
        out = out if isinstance(out, torch.Tensor) else out[0]
        for f in range(frames):
            (grad,) = torch.autograd.grad(out[0, f].square().sum(), text, retain_graph=True)
            assert grad[0, f].any(), "it hears nothing"
            grad[0, f] = 0
            assert not grad.any(), f"frame {f} hears what is said of others"


def test_other_words_move_it_and_no_text_is_silence() -> None:
    memory = parts.ready(make)
    x, cond = parts.flight(1)
    assert error(parts.read(memory, {}, x, cond._replace(text=-cond.text)), parts.read(memory, {}, x, cond)) > 0.1
    assert_equal(parts.read(memory, {}, x, cond._replace(text=None)), torch.zeros_like(x))

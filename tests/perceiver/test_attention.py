"""Attention against its formula, sample by sample and head by head."""

import pytest
import torch

from perceiver.attention import Attention, CrossAttend
from perceiver.forms.textbook import Textbook
from perceiver.segment import Segment


def textbook(attention: Attention, reader: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(e)) v for one sample, head by head."""
    q, k, v = attention.query(reader), attention.key(source), attention.value(source)
    width = q.shape[1] // attention.heads
    heads = [slice(h * width, (h + 1) * width) for h in range(attention.heads)]
    read = [torch.softmax(q[:, h] @ k[:, h].T / width**0.5, 1) @ v[:, h] for h in heads]
    return attention.out(torch.cat(read, 1))


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_the_textbook_formula(heads: int) -> None:
    attention = Attention(width=8, source=5, inner=6, heads=heads).double()
    reader, source = torch.randn(2, 4, 8).double(), torch.randn(2, 7, 5).double()

    read = attention(reader, source)

    expected = torch.stack([textbook(attention, r, s) for r, s in zip(reader, source, strict=True)])
    torch.testing.assert_close(read, expected)


def test_a_cross_attend_adds_to_the_latents_and_then_an_mlp() -> None:
    cross = CrossAttend(width=8, channels=5, inner=5, heads=1).double()
    latents, byte_array = torch.randn(2, 4, 8).double(), torch.randn(2, 7, 5).double()

    read = cross(latents, Textbook([Segment(byte_array)]))

    after = latents + cross.attention(cross.latent_norm(latents), cross.byte_norm(byte_array))
    torch.testing.assert_close(read, after + cross.mlp(after))

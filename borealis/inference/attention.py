"""Attention of one new token without copies of keys and values, on a CPU.

With grouped queries (Ainslie et al., 2023, arXiv:2305.13245) several heads read the same keys and
values. Transformers copies them for each head at every token; with several beams of long audio
that takes as long as the arithmetic. Heads of a group can ask as several queries instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_grouped"


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls with `attn_implementation="sdpa_grouped"`.

    Args:
        module: the attention layer.
        query: `[rows, heads, queries, head_dim]`.
        key: `[rows, key_value_heads, places, head_dim]`, as is `value`.
        value: see `key`.
        attention_mask: `[rows, 1, queries, places]` or None.
        dropout: as in training, where this is not used.
        scaling: of the products.
        options: for transformers' own function.

    Returns:
        `[rows, queries, heads, head_dim]`, and no weights.
    """
    rows, heads, queries, head_dim = query.shape
    groups = key.shape[1]
    if queries != 1 or heads == groups:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **options
        )
    asked = query.reshape(rows, groups, heads // groups, head_dim)
    heard = scaled_dot_product_attention(asked, key, value, attention_mask, dropout, scale=scaling)
    return heard.reshape(rows, 1, heads, head_dim), None


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def group_queries(language_model: Any) -> None:
    """Let a language model on a CPU attend so, if it attends by PyTorch's own function."""
    if language_model.config._attn_implementation == "sdpa" and language_model.device.type == "cpu":
        language_model.set_attn_implementation(NAME)

"""Attention of one new token without copies of keys and values, on a CPU.

With grouped queries (Ainslie et al., 2023, arXiv:2305.13245) several heads read the same keys and
values. Transformers copies them for each head at every token; with several beams of long audio
that takes as long as the arithmetic. Heads of a group can ask as several queries instead. So can
all beams of a clip, which share the keys and values of its prompt (as in Juravsky et al., 2024,
"Hydragen: High-Throughput LLM Inference with Shared Prefixes", arXiv:2402.05099).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED = "sdpa_grouped"


def share_prompt(key: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
    """Tell `grouped_attention` by `key` that before its places all beams have a prompt in common.

    Args:
        key: of what was said `[rows, key_value_heads, places, head_dim]`, rows clip after clip.
        keys: of the prompt `[clips, key_value_heads, length, head_dim]`.
        values: the same.
    """
    key.prompt = (keys, values)  # type: ignore[attr-defined]


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
    prompt = getattr(key, "prompt", None)
    if prompt is not None:
        keys, values = prompt
        scale = head_dim**-0.5 if scaling is None else scaling
        asked = query.reshape(rows, groups, heads // groups, head_dim) * scale
        heard = _attend_both(asked, key, value, keys, values, attention_mask)
        return heard.reshape(rows, 1, heads, head_dim), None
    if queries != 1 or heads == groups:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **options
        )
    asked = query.reshape(rows, groups, heads // groups, head_dim)
    heard = scaled_dot_product_attention(asked, key, value, attention_mask, dropout, scale=scaling)
    return heard.reshape(rows, 1, heads, head_dim), None


def _attend_both(
    asked: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attention_mask: torch.Tensor | None,
) -> torch.Tensor:
    """Attention over a shared prompt and what each row has said, of one new token a row.

    Args:
        asked: scaled queries `[rows, key_value_heads, heads of a group, head_dim]`.
        key: of what was said, as is `value`.
        value: see `key`.
        keys: of the prompt, as is `values`.
        values: see `keys`.
        attention_mask: `[rows, 1, 1, places]`, true or 0 where there is something to read.
    """
    rows, groups, heads, head_dim = asked.shape
    clips = len(keys)
    beams = rows // clips

    def by_clip(part: torch.Tensor) -> torch.Tensor:
        turned = part.view(clips, beams, groups, heads, part.shape[-1]).transpose(1, 2)
        return turned.reshape(clips, groups, beams * heads, part.shape[-1])

    near = asked @ key.transpose(-1, -2)
    far = by_clip(asked) @ keys.transpose(-1, -2)
    if attention_mask is not None:  # padding before a prompt; what was said has none
        hidden = attention_mask[::beams, :, :, : keys.shape[2]]
        far = far.masked_fill(~hidden, -torch.inf) if hidden.dtype == torch.bool else far + hidden
    # Each part by itself, and then both by their share of the whole sum.
    heard, read = by_clip(near.softmax(-1) @ value), far.softmax(-1) @ values
    share = by_clip(near.logsumexp(-1, keepdim=True)) - far.logsumexp(-1, keepdim=True)
    both = torch.lerp(read, heard, share.sigmoid())
    return both.view(clips, groups, beams, heads, head_dim).transpose(1, 2)


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def group_queries(language_model: Any) -> None:
    """Let a language model on a CPU attend so, if it attends by PyTorch's own function."""
    if language_model.config._attn_implementation == "sdpa" and language_model.device.type == "cpu":
        language_model.set_attn_implementation(GROUPED)

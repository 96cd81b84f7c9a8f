"""Attention without copies of keys and values is the attention that transformers computes."""

from __future__ import annotations

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from borealis.inference.attention import GROUPED, grouped_attention, share_prompt


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_what_copies_give(queries, groups):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, queries, 8, generator=generator)
    key, value = torch.randn(2, 2, groups, 9, 8, generator=generator)
    mask = torch.ones(2, 1, queries, 9, dtype=torch.bool)
    mask[1, ..., :4] = False  # a shorter clip beside a longer one
    layer = torch.nn.Module()
    layer.num_key_value_groups, layer.is_causal = 4 // groups, True
    for given in (mask, None) if queries == 1 else (mask,):
        got, _ = grouped_attention(layer, query, key, value, given, scaling=0.3)
        want, _ = sdpa_attention_forward(layer, query, key, value, given, scaling=0.3)
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("padded", [True, False])
def test_a_prompt_that_beams_share_is_read_as_if_each_had_it(padded):
    generator = torch.Generator().manual_seed(1)
    clips, beams, heads, groups, length, said = 2, 3, 4, 2, 7, 5
    rows = clips * beams
    query = torch.randn(rows, heads, 1, 8, generator=generator)
    prompt = torch.randn(2, clips, groups, length, 8, generator=generator)
    key, value = torch.randn(2, rows, groups, said, 8, generator=generator)
    mask = None
    if padded:
        mask = torch.ones(rows, 1, 1, length + said, dtype=torch.bool)
        mask[beams:, ..., :4] = False
    layer = torch.nn.Module()
    layer.num_key_value_groups, layer.is_causal = heads // groups, True
    whole = [
        torch.cat([part.repeat_interleave(beams, 0), own], 2)
        for part, own in zip(prompt, (key, value), strict=True)
    ]
    want, _ = sdpa_attention_forward(layer, query, *whole, mask, scaling=0.3)
    share_prompt(key, *prompt)
    got, _ = grouped_attention(layer, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_a_loaded_model_attends_so_and_writes_the_same(nano, clips):
    language_model = nano.model.model.language_model
    assert language_model.config._attn_implementation == GROUPED
    audios = [clip.audio for clip in clips[:3]]
    written = [t.text for t in nano.transcribe(audios)]
    language_model.set_attn_implementation("sdpa")
    try:
        assert [t.text for t in nano.transcribe(audios)] == written
    finally:
        language_model.set_attn_implementation(GROUPED)

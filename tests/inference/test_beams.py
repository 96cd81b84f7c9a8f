"""Beams that share a prompt find what transformers finds with a prompt for every beam."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

import borealis.inference.engine as engine
from borealis.inference.beams import BeamLayer, read_prompt

CLIPS, BEAMS, HEADS, HEAD_DIM = 2, 3, 2, 4


def states(length: int, rows: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    keys, values = torch.randn(2, rows, HEADS, length, HEAD_DIM, generator=generator)
    return keys, values


def test_a_layer_keeps_what_transformers_keeps():
    generator = torch.Generator().manual_seed(0)
    prompt = states(7, CLIPS, generator)
    ours, theirs = BeamLayer(*prompt, BEAMS), DynamicCache()
    theirs.update(*(part.repeat_interleave(BEAMS, 0) for part in prompt), 0)
    for step in range(250):  # more than there is room for at once
        new = states(1, CLIPS * BEAMS, generator)
        got, want = ours.update(*new), theirs.update(*new, 0)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True)), step
        # A beam goes on from any beam of its own clip.
        picks = torch.randint(BEAMS, (CLIPS, BEAMS), generator=generator)
        order = (picks + torch.arange(CLIPS)[:, None] * BEAMS).flatten()
        ours.reorder_cache(order)
        theirs.reorder_cache(order)
    assert ours.get_seq_length() == theirs.get_seq_length() == 257


@pytest.mark.slow
def test_transcripts_are_those_of_repeated_prompts(nano, clips, monkeypatch):
    audios = [clip.audio for clip in clips[:3]]
    written = [t.text for t in nano.transcribe(audios, num_beams=4)]
    read = []

    def watched(*args):
        read.append(args[-1])
        return read_prompt(*args)

    monkeypatch.setattr(engine, "read_prompt", watched)
    assert [t.text for t in nano.transcribe(audios, num_beams=4)] == written
    assert read == [4]
    monkeypatch.setattr(engine, "read_prompt", lambda *_: DynamicCache())
    assert [t.text for t in nano.transcribe(audios, num_beams=4)] == written

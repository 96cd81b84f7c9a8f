"""Looking inside: counts come from the config, attention from the model, and nothing stays changed."""

from __future__ import annotations

import numpy as np
import pytest

from borealis import load_audio
from borealis.inference.inspection import _by_word, _sharpest, inspect
from borealis.inference.words import align_words


def test_inside_of_a_recording(nano, speech):
    audio = load_audio(speech)
    config = nano.model.config
    before = nano.model.model.language_model.config._attn_implementation
    seen = inspect(nano, audio)
    assert nano.model.model.language_model.config._attn_implementation == before
    assert seen.num_audio_tokens == config.num_audio_tokens(len(audio))
    assert seen.text == nano.transcribe(audio).text
    assert [w.text for w in seen.words] == seen.text.split()
    assert seen.mel.shape == (80, len(audio) // config.hop_length)
    assert seen.token_seconds == pytest.approx(0.08)
    assert all(len(w.weights) == seen.num_audio_tokens for w in seen.words)
    assert all(0 <= w.weights.sum() <= 1.001 for w in seen.words)


def test_attention_is_where_the_words_were_said(nano, speech):
    """Two ways to find a word in time, by attention and by CTC, agree for most words."""
    audio = load_audio(speech)
    seen = inspect(nano, audio)
    spoken = align_words(nano, audio, nano.transcribe(audio).segments)
    near = [
        word.start - 0.25 <= (row.weights.argmax() + 0.5) * seen.token_seconds <= word.end + 0.25
        for row, word in zip(seen.words, spoken, strict=True)
    ]
    assert np.mean(near) > 0.7


@pytest.mark.slow
def test_a_long_recording_is_counted_whole_and_shown_in_part(nano, clips):
    audio = np.concatenate([load_audio(c.audio) for c in clips])
    assert len(audio) > 31 * 16_000
    seen = inspect(nano, audio)
    assert seen.shown == 30.0 and len(seen.windows) == 2 and seen.cuts
    assert seen.num_audio_tokens == nano.model.config.num_audio_tokens(len(audio))
    starts = [w.start for w in seen.words]
    assert starts == sorted(starts) and starts[-1] > 0


def test_the_sharpest_heads_are_kept():
    flat, sharp = np.full((3, 8), 1 / 8), np.eye(8)[:3]
    heads = np.stack([flat] * 6 + [sharp] * 4)
    assert np.array_equal(_sharpest(heads), sharp)


def test_rows_are_joined_by_word(tokenizer):
    text = "Мороз и солнце"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    rows = np.arange(len(ids))[:, None] * np.ones((1, 3))
    words = _by_word(tokenizer, ids, rows, 1.5)
    assert [w.text for w in words] == text.split()
    assert all(w.start == 1.5 for w in words)
    values = [w.weights[0] for w in words]
    assert values == sorted(values)

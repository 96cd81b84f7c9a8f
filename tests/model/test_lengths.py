"""Invariant 1: one count of audio tokens, and processor, encoder and adapter all agree with it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from borealis.errors import PromptError
from borealis.model import BorealisConfig
from borealis.model.processing import AUDIO_TOKEN

LENGTHS = st.one_of(
    st.integers(1, 4000),
    st.integers(1, 100 * 16_000),
    st.builds(lambda s, d: max(1, s * 16_000 + d), st.sampled_from([1, 29, 30, 31, 60]), st.integers(-3, 3)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(LENGTHS, st.sampled_from([1, 2, 4, 5]), st.sampled_from(["full", "cut"]))
def test_count_is_the_sum_over_windows_rounded_up(num_samples, factor, window):
    config = BorealisConfig(downsample_factor=factor, encoder_window=window)
    spans = config.window_spans(num_samples)
    assert spans[0][0] == 0 and spans[-1][1] == num_samples
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert all(0 < end - start <= 480_000 for start, end in spans)
    by_hand = sum(math.ceil(math.ceil((end - start) / 320) / factor) for start, end in spans)
    assert config.num_audio_tokens(num_samples) == by_hand


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.floats(0, 3), st.sampled_from([0.02, 0.1, 0.5, 1.0]))
def test_encoder_sees_all_of_the_audio(num_samples, margin, step):
    config = BorealisConfig(
        encoder_window="cut", encoder_window_margin=margin, encoder_window_step=step
    )
    for start, end in config.window_spans(num_samples):
        seen = config.encoder_samples(end - start)
        assert end - start <= seen <= config.window_length
        assert seen % config.frame_length == 0


@pytest.mark.parametrize(
    ("seconds", "tokens"), [(0.02, 1), (0.08, 1), (0.081, 2), (3, 38), (30, 375), (30.01, 376), (60, 750)]
)  # fmt: skip
def test_known_counts(seconds, tokens):
    assert BorealisConfig().num_audio_tokens(round(seconds * 16_000)) == tokens


def test_keep_padding_counts_whole_windows():
    config = BorealisConfig(keep_padding=True)
    assert config.num_audio_tokens(16_000) == 375
    assert config.num_audio_tokens(31 * 16_000) == 750


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 45 * 16_000))
def test_processor_and_model_give_that_many(tiny, num_samples):
    model, processor = tiny
    clip = np.random.default_rng(num_samples).standard_normal(num_samples).astype(np.float32) * 0.1
    inputs = processor(text=AUDIO_TOKEN, audio=clip)
    wanted = model.config.num_audio_tokens(num_samples)
    assert processor.num_audio_tokens(num_samples) == wanted
    assert int((inputs["input_ids"] == processor.audio_token_id).sum()) == wanted
    with torch.inference_mode():
        tokens = model.get_audio_features(inputs["input_features"], inputs["num_samples"])
    assert tokens.pooler_output.shape == (wanted, model.config.text_config.hidden_size)


@pytest.mark.parametrize("adapter_type", ["mlp", "deep", "ctc"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_every_adapter_and_factor(make_tiny, noise, adapter_type, factor):
    model, processor = make_tiny(adapter_type, downsample_factor=factor)
    for seconds in (0.05, 1.0, 2.37):
        clip = noise(seconds)
        inputs = processor(text=AUDIO_TOKEN, audio=clip)
        with torch.inference_mode():
            tokens = model.get_audio_features(inputs["input_features"], inputs["num_samples"])
        assert len(tokens.pooler_output) == model.config.num_audio_tokens(len(clip))


def test_a_mismatch_is_an_error_with_both_numbers(tiny, noise):
    model, processor = tiny
    inputs = processor(text=AUDIO_TOKEN, audio=noise(1.0))
    inputs["input_ids"] = inputs["input_ids"][:, :-2]
    with pytest.raises(ValueError, match=r"11 audio placeholders and the audio gave 13 tokens"):
        model(**{k: v for k, v in inputs.items() if k != "attention_mask"})


def test_as_many_placeholders_as_clips(tiny_processor, noise):
    with pytest.raises(PromptError, match=r"2 .*placeholder.* and 1 clip"):
        tiny_processor(text=AUDIO_TOKEN * 2, audio=noise(0.5))
    with pytest.raises(PromptError, match=r"0 .*placeholder.* and 1 clip"):
        tiny_processor(text="hello", audio=noise(0.5))


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (np.zeros(0, np.float32), "is empty"),
        (np.zeros((2, 100), np.float32), "one channel"),
        (np.array([0.0, np.nan], np.float32), "finite"),
        (np.zeros(16_000 * 601, np.float32), "at most 600 s"),
    ],
)
def test_clips_that_are_refused(tiny_processor, clip, words):
    with pytest.raises(PromptError, match=words):
        tiny_processor(text=AUDIO_TOKEN, audio=[clip])


@pytest.mark.parametrize(
    "settings_",
    [
        {"adapter_type": "cnn"},
        {"encoder_window": "half"},
        {"downsample_factor": 0},
        {"encoder_window": "cut", "keep_padding": True},
        {"adapter_type": "ctc"},
        {"adapter_type": "ctc", "ctc_labels": " ab", "downsample_factor": 3},
    ],
)
def test_configs_that_are_refused(settings_):
    with pytest.raises(ValueError, match=list(settings_)[-1]):
        BorealisConfig(**settings_)

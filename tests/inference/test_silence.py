"""Silence before, between and after speech: no word is lost by it and none invented."""

from __future__ import annotations

import numpy as np
import pytest

from borealis.audio import SAMPLING_RATE, load_audio


def hiss(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, round(seconds * SAMPLING_RATE))
    return (level * noise).astype(np.float32)


def letters(nano, clip: np.ndarray) -> str:
    """The words alone: what is heard around them may move a mark or a capital."""
    return nano._writer.alphabet.fold(nano.transcribe(clip, language="ru").text)


@pytest.fixture(scope="module")
def speech(clips) -> np.ndarray:
    return load_audio(next(clip.audio for clip in clips if clip.audio.endswith("sleep.flac")))


@pytest.mark.parametrize(("seconds", "level"), [(4, 0.0), (9, 1e-4), (6, 1e-3), (9, 1e-3)])
def test_silence_beside_speech_costs_no_sentence(nano, speech, seconds, level):
    alone, quiet = letters(nano, speech).split(), hiss(seconds, level)
    for clip in (np.concatenate([quiet, speech]), np.concatenate([speech, quiet])):
        heard = letters(nano, clip).split()
        assert len(heard) == len(alone)
        # A letter at the edge of a cut may be heard otherwise; the rest is the same.
        assert sum(a == b for a, b in zip(heard, alone, strict=True)) >= len(alone) - 1


@pytest.mark.parametrize("samples", [1, 80, 800, 1600])
def test_moments_have_no_words(nano, speech, samples):
    for clip in (hiss(1, 0.001)[:samples], hiss(1, 0.1)[:samples], speech[30_000:][:samples]):
        assert nano.transcribe(clip).text == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["white", "pink", "hum", "clicks", "chirp"])
def test_sound_without_speech_has_no_words(nano, kind):
    size = 25 * SAMPLING_RATE  # an hour of it is measured: results/nano-sounds.json
    time = np.arange(size) / SAMPLING_RATE
    white = np.random.default_rng(1).normal(0, 1, size)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), size)
    sound = {
        "white": white,
        "pink": pink / pink.std(),
        "hum": np.sin(2 * np.pi * 50 * time) + 0.3 * np.sin(2 * np.pi * 150 * time),
        "clicks": (np.random.default_rng(2).random(size) < 1e-4) * 10.0,
        "chirp": np.sin(2 * np.pi * (200 + 20 * time) * time),
    }[kind]
    for level in (0.001, 0.01, 0.1):
        clip = (level * sound).clip(-1, 1).astype(np.float32)
        assert nano.transcribe(clip).text == ""


def test_a_tail_of_a_split_is_long_enough_to_be_understood(nano, clips):
    """A sample more than a part can hold: the rest isn't that sample."""
    joined = np.concatenate([load_audio(clip.audio) for clip in clips])
    limit = round(nano.longest_part * SAMPLING_RATE)
    segments = nano.transcribe(joined[: limit + 1]).segments
    assert len(segments) == 2
    assert segments[1].end - segments[1].start >= 3
    assert not any("a" <= c <= "z" for c in segments[1].text.lower())

"""Distortions of recordings: what they change and what they keep."""

from __future__ import annotations

import numpy as np

from borealis.data.augment import AugmentConfig, augment, change_speed, mix_noise, through_codec

TONE = (0.1 * np.sin(np.arange(16_000) / 10)).astype(np.float32)


def test_augmentation_keeps_the_rules():
    rng = np.random.default_rng(0)
    for _ in range(20):
        out = augment(TONE, AugmentConfig(), rng)
        assert out.dtype == np.float32 and np.isfinite(out).all()
        assert np.abs(out).max() <= 1.001
        assert 0.8 * len(TONE) < len(out) < 1.25 * len(TONE)
    assert abs(len(change_speed(TONE, 1.25)) - 12_800) < 32
    noise = np.random.default_rng(1).standard_normal(16_000)
    added = mix_noise(TONE, noise, 20.0) - TONE
    ratio = 10 * np.log10((TONE**2).mean() / (added**2).mean())
    assert abs(ratio - 20) < 0.1
    one, two = (augment(TONE, AugmentConfig(), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_codec_is_heard_and_keeps_length():
    for seed in range(6):  # every codec is drawn
        out = coded(seed)
        assert len(out) == len(TONE) and np.isfinite(out).all()
        assert not np.allclose(out, TONE, atol=1e-4)
        assert np.corrcoef(out, TONE)[0, 1] > 0.5
        assert np.array_equal(out, coded(seed))


def coded(seed: int) -> np.ndarray:
    return through_codec(TONE, np.random.default_rng(seed))

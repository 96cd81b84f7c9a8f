"""Presets by which recordings are distorted in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from borealis.data.augment import AugmentConfig, augment

AUGMENTATIONS: dict[str, AugmentConfig | None] = {
    "none": None,
    "light": AugmentConfig(echo_probability=0.1, telephone_probability=0.1, noise_probability=0.15),
    "rough": AugmentConfig(
        speed_probability=0.9,
        speed_range=(0.83, 1.2),
        echo_probability=0.35,
        telephone_probability=0.4,
        noise_probability=0.5,
        noise_snr=(5.0, 30.0),
    ),
    # The last of the published curriculum: most clips are distorted, through a codec too.
    "hard": AugmentConfig(
        speed_probability=0.9,
        speed_range=(0.83, 1.2),
        echo_probability=0.45,
        telephone_probability=0.4,
        noise_probability=0.72,
        noise_snr=(3.0, 25.0),
        codec_probability=0.4,
    ),
}


def distorted(audio: np.ndarray, preset: str, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A recording as a preset has it.

    Args:
        audio: float32 mono at 16 kHz `[num_samples]`.
        preset: a name of `AUGMENTATIONS`.
        kind: of the utterance: speech, silence, noise or music.
        rng: source of all randomness.
    """
    config = AUGMENTATIONS[preset]
    if config is None:
        return audio
    if kind == "silence":  # louder silence would become noise
        config = replace(config, gain_range=None, noise_probability=0.0)
    return augment(audio, config, rng)


def preset_place(step: int, steps: int, count: int) -> int:
    """Which of `count` distortions serves a batch: each an equal part of the stage."""
    return min(int(step / steps * count), count - 1)

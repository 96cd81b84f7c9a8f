"""Encoder frames of cached clips as a batch: masked in time, styles mixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from borealis.training.data.features import CachedClip, FeatureCache


class CachedFrames:
    """Reads clips of a cache.

    Args:
        cache: clips with their frames.
        config: the model's `BorealisConfig`.
        time_mask: SpecAugment: share of time masked.
        style_mix: share of clips whose style is mixed with that of another (`mix_style`).
    """

    def __init__(
        self, cache: FeatureCache, config: Any, *, time_mask: float, style_mix: float
    ) -> None:
        self.cache, self.config = cache, config
        self.time_mask, self.style_mix = time_mask, style_mix

    def batch(
        self, clips: Sequence[CachedClip], rng: np.random.Generator, mixable: Sequence[bool] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames `[clips, T, d_model]`, and where they are `[clips, T]`.

        Args:
            clips: what to read.
            rng: source of all randomness.
            mixable: for each clip whether its style may be mixed; all by default.
        """
        cache = self.cache
        width = max(c.frames for c in clips)
        width += -width % self.config.downsample_factor
        frames = np.zeros((len(clips), width, self.config.audio_config.d_model), np.float32)
        mask = np.zeros((len(clips), width), bool)
        for row, clip in enumerate(clips):
            own = cache.frames(clip).astype(np.float32)
            if rng.random() < self.style_mix and (not mixable or mixable[row]):
                other = cache.clips[int(rng.integers(len(cache)))]
                if clip.utterance.kind == other.utterance.kind == "speech":
                    style = cache.frames(other).astype(np.float32)
                    own = mix_style(own, style, rng.beta(0.3, 0.3))
            frames[row, : clip.frames], mask[row, : clip.frames] = own, True
            for span in time_masks(clip.frames, self.time_mask, (2, 16), rng):
                frames[row, span] = 0.0
        return torch.from_numpy(frames), torch.from_numpy(mask)


def time_masks(
    length: int, share: float, lengths: tuple[int, int], rng: np.random.Generator
) -> Iterator[slice]:
    """Spans to mask in time (SpecAugment: Park et al., 2019).

    Args:
        length: of the sequence.
        share: of it that is masked, on average; overlaps count twice.
        lengths: shortest span, and one more than the longest.
        rng: source of all randomness.
    """
    left = int(length * share * rng.uniform(0, 2))
    while left > 0:
        span = min(left, int(rng.integers(*lengths)))
        start = int(rng.integers(0, max(1, length - span)))
        yield slice(start, start + span)
        left -= span


def mix_style(frames: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Move the mean and deviation of each channel towards those of another clip.

    MixStyle (Zhou et al., 2021): what a voice and a room add to all frames of a clip is exchanged,
    what is said stays.

    Args:
        frames: `[T, d_model]`.
        other: frames of the clip that lends its style, `[T', d_model]`.
        share: 1 keeps the own style, 0 takes the other's.
    """
    mean, deviation = frames.mean(0), frames.std(0) + 1e-5
    new_mean = share * mean + (1 - share) * other.mean(0)
    new_deviation = share * deviation + (1 - share) * (other.std(0) + 1e-5)
    return (frames - mean) / deviation * new_deviation + new_mean

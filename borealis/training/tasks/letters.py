"""Recorded clips as letters alone, by CTC: no prompt, and nobody reads the audio tokens."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from borealis.training.data.batch import Batch, Example
from borealis.training.data.epochs import Epochs, length_buckets
from borealis.training.data.features import CachedClip
from borealis.training.tasks.task import CachedTask


class WholeEpochs(CachedTask):
    """A task that hears every clip of a cache once an epoch, of similar length in a batch."""

    @cached_property
    def epochs(self) -> Epochs:
        """Which clips each batch holds."""
        return Epochs(self._plan)

    def _plan(self, epoch: int) -> list[list[int]]:
        rate = self.context.config.sampling_rate / self.context.config.frame_length
        rng = np.random.default_rng([self.context.seed, 2, epoch])
        lengths = [clip.frames for clip in self.frames.cache.clips]
        return length_buckets(lengths, round(self.stage.batch.seconds * rate), rng)

    def clips(self, step: int) -> list[CachedClip]:
        """The clips of a batch."""
        return [self.frames.cache.clips[i] for i in self.epochs.batch(step)]


class LettersTask(WholeEpochs):
    """Clips of a cache in whole epochs, with their letters."""

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        clips, batch = self.clips(step), Batch(mode="audio")
        examples = [Example([], clip.utterance.text) for clip in clips]
        batch |= self.shared.targets("transcription", batch, examples)
        batch["frames"], batch["frame_mask"] = self.frames.batch(clips, rng, [])
        return batch

"""Recorded clips with their instruction: mostly to write down, now and then a question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from borealis.data.manifest import Utterance
from borealis.data.phrasings import Phrasings
from borealis.training.data.batch import Batch, Example
from borealis.training.data.epochs import Epochs, length_buckets
from borealis.training.data.loading import at_row
from borealis.training.data.talks import Turn
from borealis.training.recipe import StageSection
from borealis.training.tasks.task import CachedTask, targets_of
from borealis.training.tasks.turns import clip_turn

# Chance that a second question is one, and not the wish for a transcript.
_QUESTION_AGAIN = 0.75


class TranscriptionTask(CachedTask):
    """Clips of a cache in whole epochs, of similar length in a batch."""

    @cached_property
    def epochs(self) -> Epochs:
        """Which clips each batch holds."""
        return Epochs(self._plan)

    def _plan(self, epoch: int) -> list[list[int]]:
        rate = self.context.config.sampling_rate / self.context.config.frame_length
        rng = np.random.default_rng([self.context.seed, 2, epoch])
        lengths = [clip.frames for clip in self.frames.cache.clips]
        return length_buckets(lengths, round(self.stage.batch_seconds * rate), rng)

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        cache = self.frames.cache
        clips = [cache.clips[i] for i in self.epochs.batch(step)]
        items = [clip.utterance for clip in clips]
        batch, talks = Batch(mode="audio"), [list[Turn]() for _ in clips]
        mixable: list[bool] = []
        if answers_are_learned(self.stage):
            others = [
                cache.clips[i].utterance.text for i in rng.integers(len(cache), size=len(clips))
            ]
            talks = clip_talks(items, others, self.stage, self.context.phrasings, rng)
            rows = [item.messages or talk for item, talk in zip(items, talks, strict=True)]
            batch |= self.context.prompts(rows, [c.frames for c in clips], items)
            # A clip that is asked about its voice keeps its own; a conversation may ask about it.
            mixable = [
                not item.messages and all(turn.task != "voice" for turn in talk)
                for item, talk in zip(items, talks, strict=True)
            ]
        examples = [Example(t, item.text) for t, item in zip(talks, items, strict=True)]
        vocabulary = self.context.vocabulary
        batch |= targets_of(self.losses, "transcription", batch, examples, vocabulary)
        batch["frames"], batch["frame_mask"] = self.frames.batch(clips, rng, mixable)
        return batch


def answers_are_learned(stage: StageSection) -> bool:
    """Whether conversations are learned, or letters alone."""
    return stage.kind == "instruct" or not stage.losses.ctc.weight


def clip_talks(
    items: Sequence[Utterance],
    others: Sequence[str],
    stage: StageSection,
    phrasings: Phrasings,
    rng: np.random.Generator,
) -> list[list[Turn]]:
    """The first turn about each clip, and then for some of them a second one.

    Args:
        items: the clips.
        others: for each the text of another clip, for words that aren't said.
        stage: shares of questions.
        phrasings: wordings.
        rng: source of all randomness.
    """
    share = stage.questions.share if stage.kind == "instruct" else 0.0
    firsts = []
    for item, other in zip(items, others, strict=True):
        with at_row(item):
            firsts.append(clip_turn(item, phrasings, rng, share, other))
    talks = []
    for first, item, other in zip(firsts, items, others, strict=True):
        with at_row(item):
            talks.append([first, *follow_up(item, other, stage, phrasings, rng)])
    return talks


def follow_up(
    item: Utterance, other: str, stage: StageSection, phrasings: Phrasings, rng: np.random.Generator
) -> list[Turn]:
    """Now and then a second question about the same clip, so that a conversation works."""
    if stage.kind != "instruct" or rng.random() >= stage.questions.follow_up:
        return []
    return [clip_turn(item, phrasings, rng, _QUESTION_AGAIN, other)]

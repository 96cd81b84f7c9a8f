"""Recorded clips with their instruction: mostly to write down, now and then a question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from borealis.data.manifest import Utterance
from borealis.data.phrasings import Phrasings
from borealis.training.data.batch import Batch, Example
from borealis.training.data.loading import at_row
from borealis.training.data.talks import Turn
from borealis.training.recipe.tasks import TranscriptionSection
from borealis.training.tasks.letters import WholeEpochs
from borealis.training.tasks.turns import clip_turn


class TranscriptionTask(WholeEpochs):
    """Clips of a cache in whole epochs, with what is asked about them."""

    settings: TranscriptionSection

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        cache, clips = self.frames.cache, self.clips(step)
        items = [clip.utterance for clip in clips]
        others = [cache.clips[i].utterance.text for i in rng.integers(len(cache), size=len(clips))]
        talks = clip_talks(items, others, self.settings, self.context.phrasings, rng)
        rows = [item.messages or talk for item, talk in zip(items, talks, strict=True)]
        prompts = self.context.prompts(rows, [c.frames for c in clips], items)
        batch = Batch(mode="audio") | prompts
        # A clip that is asked about its voice keeps its own; a conversation may ask about it.
        mixable = [
            not item.messages and all(turn.task != "voice" for turn in talk)
            for item, talk in zip(items, talks, strict=True)
        ]
        examples = [Example(t, item.text) for t, item in zip(talks, items, strict=True)]
        batch |= self.shared.targets("transcription", batch, examples)
        batch["frames"], batch["frame_mask"] = self.frames.batch(clips, rng, mixable)
        return batch


def clip_talks(
    items: Sequence[Utterance],
    others: Sequence[str],
    settings: TranscriptionSection,
    phrasings: Phrasings,
    rng: np.random.Generator,
) -> list[list[Turn]]:
    """The first turn about each clip, and then for some of them a second one.

    Args:
        items: the clips.
        others: for each the text of another clip, for words that aren't said.
        settings: shares of questions.
        phrasings: wordings.
        rng: source of all randomness.
    """
    firsts = []
    for item, other in zip(items, others, strict=True):
        with at_row(item):
            turn = clip_turn(item, phrasings, rng, settings.questions, settings.kinds, other)
            firsts.append(turn)
    talks = []
    for first, item, other in zip(firsts, items, others, strict=True):
        with at_row(item):
            talks.append([first, *follow_up(item, other, settings, phrasings, rng)])
    return talks


def follow_up(
    item: Utterance,
    other: str,
    settings: TranscriptionSection,
    phrasings: Phrasings,
    rng: np.random.Generator,
) -> list[Turn]:
    """Now and then a second turn about the same clip, so that a conversation works."""
    if not settings.follow_up or rng.random() >= settings.follow_up:
        return []
    share = settings.follow_up_questions
    return [clip_turn(item, phrasings, rng, share, settings.kinds, other)]

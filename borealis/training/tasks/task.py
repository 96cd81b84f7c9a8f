"""What a task is, and what all of them are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from borealis.data.manifest import Utterance
from borealis.data.phrasings import Phrasings
from borealis.data.text import read_lines
from borealis.training.data.batch import Batch, Example, Vocabulary
from borealis.training.data.features import FeatureCache
from borealis.training.data.frames import CachedFrames
from borealis.training.data.loading import at_row
from borealis.training.data.packing import padded
from borealis.training.data.speech import SpeechCache
from borealis.training.data.talks import encode_talk
from borealis.training.losses.auxiliary import AuxiliaryLoss, Lesson
from borealis.training.recipe import StageSection
from borealis.training.tasks.pseudo_audio import PseudoAudio


@dataclass
class BatchContext:
    """What batches are made of.

    Args:
        tokenizer: the language model's tokenizer.
        config: the model's `BorealisConfig`.
        phrasings: wordings of questions and answers.
        cache: encoder frames of the recorded clips, if the stage has any.
        sentences: sentences of the corpora, sorted by length.
        seed: seed of the recipe.
        speech: recordings to speak from, by their names in `data.speech`.
    """

    tokenizer: Any
    config: Any
    phrasings: Phrasings
    cache: FeatureCache | None
    sentences: Sequence[str]
    seed: int
    speech: Mapping[str, SpeechCache] = field(default_factory=dict)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """How conversations are spelled."""
        return Vocabulary.of(self.tokenizer, self.config)

    def prompts(
        self,
        talks: Sequence[Any],
        num_frames: Sequence[int],
        items: Sequence[Utterance] = (),
    ) -> Batch:
        """Ids and labels of whole conversations, padded on the right; only answers are learned.

        Args:
            talks: turns, or messages, of each.
            num_frames: encoder frames of the recording of each; 0 where there is none.
            items: the rows of a manifest that they come from, for messages.
        """
        rows = []
        for number, (talk, frames) in enumerate(zip(talks, num_frames, strict=True)):
            count = self.config.num_tokens_from_frames(frames)
            counts = [count] * bool(count)
            with at_row(items[number]) if items else nullcontext():
                rows.append(encode_talk(self.tokenizer, talk, counts, self.config.audio_token_id))
        return padded(rows, self.tokenizer.pad_token_id)


@dataclass
class Shared:
    """What the tasks of a stage share.

    Args:
        stage: its settings.
        context: what batches are made of.
        losses: of the stage.
        frames: reads its clips; None where it has no features.
        audio: makes pseudo-audio.
    """

    stage: StageSection
    context: BatchContext
    losses: Sequence[AuxiliaryLoss]
    frames: CachedFrames | None
    audio: PseudoAudio

    def targets(self, lesson: Lesson, batch: Batch, examples: Sequence[Example]) -> Batch:
        """What a batch has to carry for the losses of the stage."""
        return targets_of(self.losses, lesson, batch, examples, self.context.vocabulary)


class Task(ABC):
    """Something that is learned: draws examples and makes a batch of them.

    Args:
        settings: of the task; each class names its own.
        shared: what all tasks of the stage have.
    """

    def __init__(self, settings: Any, shared: Shared) -> None:
        self.settings, self.shared = settings, shared
        self.stage, self.context = shared.stage, shared.context

    @abstractmethod
    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """One batch.

        Args:
            step: number of the batch within the stage.
            progress: of the stage, 0 to 1.
            rng: source of all randomness; belongs to the step.
        """


class CachedTask(Task):
    """A task on the clips of a cache."""

    @property
    def frames(self) -> CachedFrames:
        """Reads the clips."""
        assert self.shared.frames is not None  # the schema asks for features
        return self.shared.frames


def targets_of(
    losses: Sequence[AuxiliaryLoss],
    lesson: Lesson,
    batch: Batch,
    examples: Sequence[Example],
    vocabulary: Vocabulary,
) -> Batch:
    """What a batch has to carry for the losses of its stage."""
    out: Batch = {}
    for loss in losses:
        out |= loss.targets(lesson, batch, examples, vocabulary)
    return out


def load_sentences(paths: Sequence[Path]) -> list[str]:
    """Sentences of all corpora, shortest first."""
    lines = [line for path in paths for line in read_lines(path) if line]
    return sorted(lines, key=len)


def num_turns(rng: np.random.Generator) -> int:
    """Questions about one clip in a batch of questions: the clip is heard once for all of them."""
    return int(rng.integers(1, 4))


def talk_length(talk: Sequence[Any]) -> int:
    """About how many tokens a conversation has, of a letter each."""
    return sum(len(turn.question) + len(turn.answer) + 10 for turn in talk)

"""Sentences that nobody has recorded, as noisy posteriors: to be written down or asked about."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from borealis.data.manifest import Utterance
from borealis.training.data.batch import Batch, Example
from borealis.training.data.talks import Turn
from borealis.training.recipe.tasks import PseudoQuestionsSection, PseudoSection, TaskSection
from borealis.training.tasks.pseudo_audio import PseudoClip
from borealis.training.tasks.reading import draw_kinds, reading_talk
from borealis.training.tasks.task import Shared, Task, num_turns, talk_length
from borealis.training.tasks.turns import text_turn

_NEAR = 200  # sentences shorter and longer that a batch is drawn from
_FEWEST = 64


class Sentences(Task):
    """A task on sentences of similar length; a subclass says what is asked about each."""

    def __init__(self, settings: TaskSection, shared: Shared) -> None:
        super().__init__(settings, shared)
        self._lengths = np.array([len(s) for s in self.context.sentences])

    @abstractmethod
    def talk(self, text: str, other: str, rng: np.random.Generator) -> list[Turn]:
        """What is said about a sentence.

        Args:
            text: the sentence.
            other: another one, whose words serve as words that aren't said.
            rng: source of all randomness.
        """

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        clips: list[PseudoClip] = []
        examples: list[Example] = []
        window, used = self._window(progress, rng), 0
        low, high = self.stage.pseudo_audio.error_rate
        while used < self.stage.batch.tokens:
            text = window[int(rng.integers(len(window)))]
            error = rng.uniform(0, low + (high - low) * min(1.0, progress * 2))
            clip = self.shared.audio(text, rng, error)
            talk = self.talk(text, window[int(rng.integers(len(window)))], rng)
            clips.append(clip)
            examples.append(Example(talk, text, clip.char_frames))
            used += len(clip.posteriors) // self.context.config.downsample_factor
            used += talk_length(talk)
        talks = [example.talk for example in examples]
        frames = [len(clip.posteriors) for clip in clips]
        posteriors = np.zeros(
            (len(clips), max(frames), len(self.shared.audio.labels) + 1), np.float32
        )
        mask = np.zeros((len(clips), max(frames)), bool)
        for row, clip in enumerate(clips):
            posteriors[row, : frames[row]], mask[row, : frames[row]] = clip.posteriors, True
        batch = Batch(
            mode="pseudo",
            posteriors=torch.from_numpy(posteriors),
            frame_mask=torch.from_numpy(mask),
        )
        batch |= self.context.prompts(talks, frames)
        return batch | self.shared.targets("pseudo", batch, examples)

    def _window(self, progress: float, rng: np.random.Generator) -> Sequence[str]:
        """Sentences are sorted, so neighbours have like lengths; long ones are drawn less often."""
        first, last = self.stage.pseudo_audio.max_chars
        # Short sentences until attention has found the letters, then longer ones.
        longest = round(first + (last - first) * min(1.0, max(0.0, progress - 0.15) * 2.5))
        limit = max(int(np.searchsorted(self._lengths, longest)), _FEWEST)
        centre = int(rng.integers(limit))
        return self.context.sentences[max(0, centre - _NEAR) : centre + _NEAR]


class PseudoTask(Sentences):
    """Sentences to be written down, now and then a question."""

    settings: PseudoSection

    def talk(self, text: str, other: str, rng: np.random.Generator) -> list[Turn]:
        """See `Sentences`."""
        settings, phrasings = self.settings, self.context.phrasings
        return [text_turn(text, phrasings, rng, settings.questions, settings.kinds, other)]


class PseudoQuestionsTask(Sentences):
    """Nothing but questions."""

    settings: PseudoQuestionsSection

    def talk(self, text: str, other: str, rng: np.random.Generator) -> list[Turn]:
        """See `Sentences`."""
        settings, phrasings, count = self.settings, self.context.phrasings, num_turns(rng)
        if rng.random() < settings.read:
            sentence = Utterance(audio="", text=text)
            kinds = draw_kinds(settings.read_kinds, count + 1, rng)
            return reading_talk(sentence, kinds, phrasings, rng, other)
        return [text_turn(text, phrasings, rng, 1.0, settings.kinds, other) for _ in range(count)]

"""Sentences that nobody has recorded, as noisy posteriors: to be written down or asked about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from borealis.data.manifest import Utterance
from borealis.training.data.batch import Batch, Example
from borealis.training.data.talks import Turn
from borealis.training.losses.auxiliary import AuxiliaryLoss
from borealis.training.recipe import StageSection
from borealis.training.tasks.pseudo_audio import PseudoAudio, PseudoClip
from borealis.training.tasks.reading import draw_tasks, reading_talk
from borealis.training.tasks.task import BatchContext, num_turns, talk_length, targets_of
from borealis.training.tasks.turns import text_turn

_NEAR = 200  # sentences shorter and longer that a batch is drawn from
_FEWEST = 64


class PseudoTask:
    """Sentences of similar length.

    Args:
        stage: `batch_tokens`, `pseudo`, `questions`.
        context: what batches are made of.
        losses: of the stage.
        audio: makes the posteriors.
        ask: ask about every sentence, and nothing else.
    """

    def __init__(
        self,
        stage: StageSection,
        context: BatchContext,
        losses: Sequence[AuxiliaryLoss],
        audio: PseudoAudio,
        *,
        ask: bool = False,
    ) -> None:
        self.stage, self.context, self.losses = stage, context, losses
        self.audio, self.ask = audio, ask
        self._lengths = np.array([len(s) for s in context.sentences])

    def batch(self, step: int, progress: float, rng: np.random.Generator) -> Batch:
        """See `Task`."""
        clips: list[PseudoClip] = []
        examples: list[Example] = []
        window, used = self._window(progress, rng), 0
        low, high = self.stage.pseudo.error_rate
        while used < self.stage.batch_tokens:
            text = window[int(rng.integers(len(window)))]
            error = rng.uniform(0, low + (high - low) * min(1.0, progress * 2))
            clip = self.audio(text, rng, error)
            talk = self._talk(text, window[int(rng.integers(len(window)))], rng)
            clips.append(clip)
            examples.append(Example(talk, text, clip.char_frames))
            used += len(clip.posteriors) // self.context.config.downsample_factor
            used += talk_length(talk)
        talks = [example.talk for example in examples]
        frames = [len(clip.posteriors) for clip in clips]
        posteriors = np.zeros((len(clips), max(frames), len(self.audio.labels) + 1), np.float32)
        mask = np.zeros((len(clips), max(frames)), bool)
        for row, clip in enumerate(clips):
            posteriors[row, : frames[row]], mask[row, : frames[row]] = clip.posteriors, True
        batch = Batch(
            mode="pseudo",
            posteriors=torch.from_numpy(posteriors),
            frame_mask=torch.from_numpy(mask),
        )
        batch |= self.context.prompts(talks, frames)
        vocabulary = self.context.vocabulary
        return batch | targets_of(self.losses, "pseudo", batch, examples, vocabulary)

    def _window(self, progress: float, rng: np.random.Generator) -> Sequence[str]:
        """Sentences are sorted, so neighbours have like lengths; long ones are drawn less often."""
        first, last = self.stage.pseudo.max_chars
        # Short sentences until attention has found the letters, then longer ones.
        longest = round(first + (last - first) * min(1.0, max(0.0, progress - 0.15) * 2.5))
        limit = max(int(np.searchsorted(self._lengths, longest)), _FEWEST)
        centre = int(rng.integers(limit))
        return self.context.sentences[max(0, centre - _NEAR) : centre + _NEAR]

    def _talk(self, text: str, other: str, rng: np.random.Generator) -> list[Turn]:
        phrasings = self.context.phrasings
        share, count = (1.0, num_turns(rng)) if self.ask else (self.stage.questions.share, 1)
        if self.ask and rng.random() < self.stage.questions.read:
            sentence = Utterance(audio="", text=text)
            return reading_talk(sentence, draw_tasks(count + 1, rng), phrasings, rng, other)
        return [text_turn(text, phrasings, rng, share, other) for _ in range(count)]

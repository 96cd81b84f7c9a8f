"""Batches by step: what step N learns from depends on the seed and N alone, so resume is exact."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from borealis.training.data.batch import Batch
from borealis.training.data.frames import CachedFrames
from borealis.training.losses.stage import auxiliary_losses
from borealis.training.recipe import StageSection
from borealis.training.tasks.pieces import Pieces
from borealis.training.tasks.pseudo import PseudoTask
from borealis.training.tasks.pseudo_audio import PseudoAudio
from borealis.training.tasks.questions import QuestionsTask
from borealis.training.tasks.task import BatchContext, Task
from borealis.training.tasks.text import TextTask
from borealis.training.tasks.transcription import TranscriptionTask


class CachedBatches(Dataset):
    """A dataset whose item N is the whole batch of step N, of one of the stage's tasks.

    Args:
        stage: settings; its shares say how often which task is drawn.
        context: what batches are made of.
        pieces: what pseudo-audio is glued from; without them its errors are made up.
    """

    def __init__(
        self, stage: StageSection, context: BatchContext, pieces: Pieces | None = None
    ) -> None:
        self.stage, self.context = stage, context
        losses, config = auxiliary_losses(stage), context.config
        audio = PseudoAudio(config.ctc_labels or "", config.downsample_factor, pieces)
        self.text = TextTask(stage, context)
        self.pseudo = PseudoTask(stage, context, losses, audio)
        self.pseudo_questions = PseudoTask(stage, context, losses, audio, ask=True)
        self.frames = cached_frames(stage, context)
        self.transcription = self.questions = None
        if self.frames is not None:
            self.transcription = TranscriptionTask(stage, context, losses, self.frames)
            self.questions = QuestionsTask(stage, context, losses, self.frames)

    def __len__(self) -> int:
        return self.stage.max_steps * self.stage.batches_per_step

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(step)
        rng = np.random.default_rng([self.context.seed, 1, step])
        return self._draw(rng).batch(step, step / max(1, len(self) - 1), rng)

    def _draw(self, rng: np.random.Generator) -> Task:
        """The task of a step."""
        draw, stage = rng.random(), self.stage
        asked = stage.questions.only if stage.kind == "instruct" else 0.0
        if draw < stage.text.share:
            return self.text
        ask = bool(asked) and rng.random() < asked
        if draw < stage.text.share + stage.pseudo.share or self.transcription is None:
            return self.pseudo_questions if ask else self.pseudo
        return self.questions if ask and self.questions else self.transcription


def cached_frames(stage: StageSection, context: BatchContext) -> CachedFrames | None:
    """The clips of a stage with its distortions of frames; None if it has no cache."""
    if context.cache is None:
        return None
    return CachedFrames(
        context.cache, context.config, time_mask=stage.time_mask, style_mix=stage.style_mix
    )

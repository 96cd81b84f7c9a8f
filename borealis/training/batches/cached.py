"""Batches by step: what step N learns from depends on the seed and N alone, so resume is exact."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from borealis.training.data.batch import Batch
from borealis.training.data.frames import CachedFrames
from borealis.training.losses.stage import auxiliary_losses
from borealis.training.recipe import StageSection
from borealis.training.tasks.chat import ChatTask
from borealis.training.tasks.letters import LettersTask
from borealis.training.tasks.pieces import Pieces
from borealis.training.tasks.pseudo import PseudoQuestionsTask, PseudoTask
from borealis.training.tasks.pseudo_audio import PseudoAudio
from borealis.training.tasks.questions import QuestionsTask
from borealis.training.tasks.speech import ListeningTask, SpeechTask
from borealis.training.tasks.task import BatchContext, Shared, Task
from borealis.training.tasks.text import TextTask
from borealis.training.tasks.transcription import TranscriptionTask

# By the names of `borealis.training.recipe.tasks`; in this order, whatever a recipe's is.
TASKS: dict[str, type[Task]] = {
    "text": TextTask,
    "chat": ChatTask,
    "pseudo": PseudoTask,
    "pseudo_questions": PseudoQuestionsTask,
    "letters": LettersTask,
    "transcription": TranscriptionTask,
    "questions": QuestionsTask,
    "speech": SpeechTask,
    "listening": ListeningTask,
}


class CachedBatches(Dataset):
    """A dataset whose item N is the whole batch of step N, of one of the stage's tasks.

    Args:
        stage: settings; the shares of its tasks say how often which is drawn.
        context: what batches are made of.
        pieces: what pseudo-audio is glued from; without them its errors are made up.
    """

    def __init__(
        self, stage: StageSection, context: BatchContext, pieces: Pieces | None = None
    ) -> None:
        self.stage, self.context = stage, context
        config = context.config
        audio = PseudoAudio(config.ctc_labels or "", config.downsample_factor, pieces)
        frames = frames_of(stage, context)
        shared = Shared(stage, context, auxiliary_losses(stage), frames, audio)
        given = stage.tasks.given
        names = [name for name in TASKS if name in given]
        self.tasks = {name: TASKS[name](given[name], shared) for name in names}
        self._limits = np.cumsum([stage.tasks.share(name) for name in names])

    def __len__(self) -> int:
        return self.stage.max_steps * self.stage.batch.per_step

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(step)
        rng = np.random.default_rng([self.context.seed, 1, step])
        place = int(np.searchsorted(self._limits, rng.random(), side="right"))
        task = list(self.tasks.values())[min(place, len(self.tasks) - 1)]
        return task.batch(step, step / max(1, len(self) - 1), rng)


def frames_of(stage: StageSection, context: BatchContext) -> CachedFrames | None:
    """The clips of a stage with its distortions of frames; None if it has no cache."""
    if context.cache is None:
        return None
    augment = stage.augment
    return CachedFrames(
        context.cache, context.config, time_mask=augment.time_mask, style_mix=augment.style_mix
    )
